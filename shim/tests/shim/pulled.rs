//! Messages that an agent asks for, through upgrades of its shim.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rekindle::execution::{AttemptId, Dispatch, ExecutionId, OUTPUT_MAX_BYTES, OutputKind, Verdict};
use rekindle::id::ExecutionUid;
use rekindle::report::{Report, ReportFact};
use rekindle::session::{Command, ShimMessage};
use rekindle::wire::agent_v1::work_service_client::WorkServiceClient;
use rekindle::wire::agent_v1::{Assignment, CompleteRequest, NextRequest, ReportProgressRequest};
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::bench::{Bench, spawned};
use crate::fake::Session;
use crate::messages::{LONG, attempt, dispatch};

/// Messages in all. Less than a shim holds results of.
const MESSAGES: usize = 100;

/// Messages that the agent has at a time.
const SLOTS: usize = 4;

/// Messages that end between two upgrades.
const PER_UPGRADE: usize = 10;

/// Blanks at the end of each, so many that it is on its way to the agent for a while.
const PADDING_BYTES: usize = 200 * 1024;

/// What the hands of the agent were given, as execution and attempt.
type Given = Arc<Mutex<Vec<(String, u32)>>>;

/// The agent's side of a socket. To be called in a runtime.
pub(crate) fn client(socket: &str) -> WorkServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{socket}")).expect("a URI");
    WorkServiceClient::new(endpoint.connect_lazy())
}

/// One hand of the agent: takes message after message, and does each at once.
async fn work(socket: String, given: Given) {
    let mut client = client(&socket);
    loop {
        let Ok(next) = client.next(NextRequest::default()).await else {
            // Its shim begins anew.
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(assignment) = next.into_inner().assignment {
            let known = (assignment.execution.clone(), assignment.attempt);
            given.lock().unwrap_or_else(PoisonError::into_inner).push(known);
            complete(&mut client, assignment).await;
        }
    }
}

async fn complete(client: &mut WorkServiceClient<Channel>, done: Assignment) {
    let said = CompleteRequest {
        execution: done.execution,
        // Named, as a shim that was upgraded does not know whether the one before gave another of the same execution.
        attempt: done.attempt,
        output: done.message.trim_end().to_owned(),
        ..CompleteRequest::default()
    };
    // One that was heard, and not answered, is over.
    while let Err(status) = client.complete(said.clone()).await {
        // All else is a connection's end, which has more than one code.
        if status.code() == tonic::Code::FailedPrecondition {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The server's side: what it has given, and what became of it.
#[derive(Default)]
struct Book {
    /// What has no end yet, and its attempt. Given again it keeps its number for as long as it has not begun.
    open: BTreeMap<String, u32>,
    done: BTreeSet<String>,
    begun: usize,
}

impl Book {
    fn dispatch(&self, session: &Session, execution: &str) {
        let number = self.open[execution];
        let attempt = AttemptId {
            execution: ExecutionId::new(execution).expect("valid"),
            uid: ExecutionUid::from_u128(1),
            number,
        };
        session.command(Command::Dispatch(Box::new(Dispatch {
            attempt,
            message: format!("{execution}{}", " ".repeat(PADDING_BYTES)),
            timeout: LONG,
        })));
    }

    /// Keeps the agent busy.
    fn fill(&mut self, session: &Session) {
        while self.open.len() < SLOTS && self.begun < MESSAGES {
            self.begun += 1;
            let execution = format!("e-{}", self.begun);
            self.open.insert(execution.clone(), 1);
            self.dispatch(session, &execution);
        }
    }

    fn hear(&mut self, session: &Session, report: &Report) {
        session.acknowledge(report);
        let ReportFact::AttemptFinished(attempt, result) = &report.fact else {
            return;
        };
        let execution = attempt.execution.to_string();
        if self.open.get(&execution) != Some(&attempt.number) {
            return;
        }
        match result.verdict {
            Verdict::Succeeded => {
                assert_eq!(*result.output.text, *execution);
                self.open.remove(&execution);
                self.done.insert(execution);
            }
            Verdict::NotBegun => self.dispatch(session, &execution),
            other @ (Verdict::Failed
            | Verdict::SpawnFailed
            | Verdict::TimedOut
            | Verdict::Cancelled
            | Verdict::Interrupted) => panic!("{execution}: {other:?}"),
        }
    }

    /// What the shim does not have, and has told no end of, never arrived.
    fn take_stock(&mut self, session: &Session) {
        for report in &session.inventory.reports {
            self.hear(session, report);
        }
        let held: BTreeSet<String> = session
            .inventory
            .attempts
            .iter()
            .map(|held| held.attempt.execution.to_string())
            .collect();
        for execution in self.open.keys().filter(|open| !held.contains(*open)) {
            self.dispatch(session, execution);
        }
    }
}

fn agent(runtime: &Runtime, socket: &Path) -> Given {
    let given = Given::default();
    for _ in 0..SLOTS {
        runtime.spawn(work(socket.display().to_string(), Arc::clone(&given)));
    }
    given
}

#[test]
fn upgrades_under_a_flood_of_messages_lose_none_and_give_none_twice() {
    let mut bench = Bench::new();
    let slots = SLOTS.to_string();
    let flags = ["--delivery", "pull", "--max-concurrent", &slots];
    let (shim, mut session, process) = {
        let shim = bench.spawn(&flags, "echo $REKINDLE_SOCKET > $D/socket; sleep 600");
        let mut session = bench.server.welcome();
        session.run(1);
        let process = spawned(&mut session, 1);
        (shim, session, process)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let given = agent(&runtime, Path::new(&bench.told("socket")));
    let mut book = Book::default();
    let (mut upgrades, mut due) = (0, PER_UPGRADE);
    while book.done.len() < MESSAGES {
        book.fill(&session);
        match session.hear() {
            Some(ShimMessage::Report(report)) => {
                // What has begun at this moment is on its way.
                let begins = matches!(report.fact, ReportFact::AttemptStarted(..));
                if begins && book.done.len() >= due {
                    due += PER_UPGRADE;
                    shim.signal(Signal::USR2);
                }
                book.hear(&session, &report);
            }
            Some(_) => {}
            None => {
                upgrades += 1;
                session = bench.server.welcome();
                let child = session.inventory.child.as_ref().expect("it goes on");
                assert_eq!(child.process.as_ref(), Some(&process));
                book.take_stock(&session);
            }
        }
    }
    assert!(upgrades >= 5, "{upgrades} upgrades");
    let mut given = given.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let all = given.len();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), all, "none is given twice");
    runtime.shutdown_timeout(Duration::ZERO);
}

/// What the agent says next of how far it is, where the server has read so much: a place after it, and the line.
fn told_of(session: &mut Session, from: u64) -> (u64, Vec<u8>) {
    session.follow(&attempt("e-1"), Some(from), OUTPUT_MAX_BYTES as u32);
    loop {
        match session.hear() {
            Some(ShimMessage::Output(part)) => {
                assert_eq!(part.kind, OutputKind::Progress);
                assert!(
                    part.offset >= from,
                    "it would count as read: {} after {from}",
                    part.offset
                );
                return (part.end(), part.data);
            }
            Some(_) => {}
            None => panic!("the stream has ended"),
        }
    }
}

#[test]
fn who_watches_reads_on_when_another_shim_goes_on_with_the_agent() {
    let mut bench = Bench::new();
    let flags = ["--delivery", "pull", "--on-shim-exit", "keep"];
    let script = "echo $REKINDLE_SOCKET > $D/socket; sleep 600";
    let (shim, mut session, _) = bench.running(&flags, script);
    let socket = bench.told("socket");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    dispatch(&session, "e-1", "do it", LONG);
    let says = |text: &str| {
        let said = ReportProgressRequest {
            text: text.to_owned(),
            ..ReportProgressRequest::default()
        };
        let heard = async { client(&socket).report_progress(said).await };
        runtime.block_on(heard).expect("heard");
    };
    let given = async { client(&socket).next(NextRequest::default()).await };
    runtime.block_on(given).expect("given");
    says("one");
    let (read, line) = told_of(&mut session, 0);
    assert_eq!((read, line.as_slice()), (4, b"one\n".as_slice()));

    shim.signal(Signal::USR2);
    let mut session = bench.server.welcome();
    says("two");
    let (read, line) = told_of(&mut session, read);
    assert_eq!(line, b"two\n");

    shim.killed();
    let _shim = bench.spawn(&flags, script);
    let mut session = bench.server.welcome();
    says("three");
    let (_, line) = told_of(&mut session, read);
    assert_eq!(line, b"three\n");
}
