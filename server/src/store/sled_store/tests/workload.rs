//! A process of its own that commits until it is killed or its disk is full, and the check of what it left.
//!
//! Batch `n` has event `n`, revision `n` of agent `n % 8`, and request `n` in place of request `n - 1`; every tenth one
//! trims the log. Whole batches are told from torn ones by any of these.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rekindle::id::RequestId;

use super::*;
use crate::store::sample::{agent, put_agent, put_event, put_request, request};

const AGENTS: u64 = 8;
const KEPT_EVENTS: u64 = 30;

/// The variable that tells the process its data directory.
const DIRECTORY: &str = "STORE_WORKLOAD_DIRECTORY";
/// The variable that tells the process how many bytes each agent's record has beside the rest.
const FILLER_BYTES: &str = "STORE_WORKLOAD_FILLER_BYTES";

/// What the process says, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// The batch is durable.
    Acknowledged(u64),
    /// The commit failed, and the process ends.
    Failed(String),
}

/// Starts the process, and reads what it says to its end.
pub(super) fn start(data_dir: &Path, filler_bytes: usize) -> (Child, Receiver<Line>) {
    let mut child = Command::new(std::env::current_exe().expect("a test has a program"))
        .args([
            concat!(module_path!(), "::process").trim_start_matches("rekindle_server::"),
            "--exact",
        ])
        .arg("--nocapture")
        .env(DIRECTORY, data_dir)
        .env(FILLER_BYTES, filler_bytes.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test's own program runs");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (lines, received) = channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // The full stop tells a whole number from one that the kill has cut off.
            let number = line
                .strip_prefix("acknowledged ")
                .and_then(|rest| rest.strip_suffix('.'));
            let acknowledged = number.and_then(|number| number.parse().ok());
            let failed = line.strip_prefix("failed ").map(str::to_owned);
            let line = acknowledged.map(Line::Acknowledged).or(failed.map(Line::Failed));
            if line.is_some_and(|line| lines.send(line).is_err()) {
                break;
            }
        }
    });
    (child, received)
}

/// The process. `start` runs it, by its name; without what `start` puts into its environment it does nothing.
#[test]
fn process() {
    let (Ok(directory), Ok(filler)) = (std::env::var(DIRECTORY), std::env::var(FILLER_BYTES)) else {
        return;
    };
    let filler = "x".repeat(filler.parse().expect("a number"));
    let store = SledStore::open(Path::new(&directory)).expect("opened");
    let newest = store
        .load()
        .expect("loaded")
        .events
        .map_or(0, |(_, newest)| newest.get());
    let mut out = std::io::stdout().lock();
    writeln!(out).expect("the other test reads");
    for number in newest + 1.. {
        match store.commit(&batch(number, &filler)) {
            Ok(()) => writeln!(out, "acknowledged {number}.").expect("the other test reads"),
            Err(error) => {
                writeln!(out, "failed {error}").expect("the other test reads");
                return;
            }
        }
    }
}

fn batch(number: u64, filler: &str) -> Vec<Record> {
    let mut agent = agent(&format!("agent-{}", number % AGENTS), number);
    agent.labels.insert("filler".to_owned(), filler.to_owned());
    let mut batch = vec![
        put_agent(agent),
        put_event(number),
        put_request(request("agent-0", &number.to_string())),
    ];
    if number > 1 {
        batch.push(Record::RequestForgotten {
            agent: rekindle::id::AgentId::new("agent-0").expect("a valid id"),
            id: RequestId::new(&(number - 1).to_string()).expect("a valid id"),
        });
    }
    if number.is_multiple_of(10) && number > KEPT_EVENTS {
        batch.push(Record::EventsTrimmed {
            through: Sequence::new(number - KEPT_EVENTS),
        });
    }
    batch
}

/// Checks that all batches through some number are there, that one included and acknowledged ones among them, and
/// nothing of any other. Says which number that is.
pub(super) fn check(store: &SledStore, acknowledged: u64) -> u64 {
    let records = store.load().expect("loaded");
    let (oldest, newest) = records
        .events
        .map_or((0, 0), |(oldest, newest)| (oldest.get(), newest.get()));
    assert!(
        newest >= acknowledged,
        "{acknowledged} was acknowledged, {newest} is the newest"
    );
    let events = store
        .events(Sequence::ZERO, Sequence::new(u64::MAX), usize::MAX)
        .expect("readable");
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence.get()).collect();
    let expected_oldest = if newest < KEPT_EVENTS + 10 {
        newest.min(1)
    } else {
        newest / 10 * 10 - KEPT_EVENTS + 1
    };
    assert_eq!(oldest, expected_oldest, "trims are whole");
    assert_eq!(
        numbers,
        (oldest.max(1)..=newest).collect::<Vec<_>>(),
        "events are whole"
    );
    for remainder in 0..AGENTS {
        let expected = (0..=newest)
            .rev()
            .take(8)
            .find(|number| number % AGENTS == remainder && *number > 0);
        let name = format!("agent-{remainder}");
        let found = records.agents.iter().find(|agent| agent.id.as_str() == name);
        assert_eq!(found.map(|agent| agent.revision), expected, "{name} is whole");
    }
    let requests: Vec<&str> = records.requests.iter().map(|request| request.id.as_str()).collect();
    let expected = (newest > 0).then(|| newest.to_string());
    assert_eq!(requests, expected.iter().map(String::as_str).collect::<Vec<_>>());
    newest
}
