//! Messages that a shim has worked on, by a program for each, or by one that reads them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rekindle::execution::{AttemptId, AttemptPhase, AttemptResult, Dispatch, ExecutionId, OUTPUT_MAX_BYTES, Verdict};
use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::{ExecutionUid, Incarnation};
use rekindle::process::ProcessIdentity;
use rekindle::report::{Report, ReportFact};
use rekindle::session::{Command, EndWhen};

use crate::bench::{Bench, Shim, lives, nobody_lives, spawned, wait_for};
use crate::fake::Session;

/// Far more time than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Within which a limit is kept, beyond the limit and the grace.
const EXACTNESS: Duration = Duration::from_millis(250);

pub(crate) const PER_MESSAGE: [&str; 2] = ["--delivery", "per-message"];

/// Eight side by side.
const MANY: [&str; 4] = ["--delivery", "per-message", "--max-concurrent", "8"];

pub(crate) fn attempt(execution: &str) -> AttemptId {
    AttemptId {
        execution: ExecutionId::new(execution).expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    }
}

/// Gives an execution again.
pub(crate) fn dispatch_again(execution: &str, number: u32) -> Command {
    Command::Dispatch(Box::new(Dispatch {
        attempt: AttemptId {
            number,
            ..attempt(execution)
        },
        message: "m".to_owned(),
        timeout: LONG,
    }))
}

pub(crate) fn dispatch(session: &Session, execution: &str, message: &str, timeout: Duration) {
    session.command(Command::Dispatch(Box::new(Dispatch {
        attempt: attempt(execution),
        message: message.to_owned(),
        timeout,
    })));
}

/// A shim that runs a program for each message, and its first life.
pub(crate) fn ready(bench: &mut Bench, flags: &[&str], script: &str) -> (Shim, Session) {
    let shim = bench.spawn(flags, script);
    (shim, taking_messages(bench))
}

/// The session of a shim whose first life takes messages, each in a process of its own.
pub(crate) fn taking_messages(bench: &mut Bench) -> Session {
    let mut session = bench.server.welcome();
    session.run(1);
    for expected in [ReportFact::Spawned(None), ReportFact::Ready] {
        let report = session.report();
        assert_eq!(report.fact, expected);
        session.acknowledge(&report);
    }
    session
}

/// What became of attempts, by the execution's name.
#[derive(Default)]
struct Told {
    processes: BTreeMap<String, ProcessIdentity>,
    results: BTreeMap<String, AttemptResult>,
}

impl Told {
    fn hear(&mut self, report: Report) {
        assert_eq!(report.incarnation, Incarnation::new(1));
        match report.fact {
            ReportFact::AttemptAccepted(_) | ReportFact::AttemptStarted(_, None) => {}
            ReportFact::AttemptStarted(attempt, Some(process)) => {
                self.processes.insert(attempt.execution.to_string(), process);
            }
            ReportFact::AttemptFinished(attempt, result) => {
                let before = self.results.insert(attempt.execution.to_string(), *result);
                assert!(before.is_none(), "once");
            }
            other @ (ReportFact::Recovering { .. }
            | ReportFact::Spawned(_)
            | ReportFact::MainProcess(_)
            | ReportFact::Ready
            | ReportFact::Stopping
            | ReportFact::Exited(_)
            | ReportFact::SpawnFailed(_)
            | ReportFact::Survived(_)
            | ReportFact::AttemptSurvived(..)
            | ReportFact::HandedOver(_)
            | ReportFact::CheckpointRead(_)
            | ReportFact::CheckpointConfirmed(_)) => panic!("something of an attempt was expected, not {other:?}"),
        }
    }

    /// Hears until so many run, and so many are over.
    fn until(session: &mut Session, running: usize, over: usize) -> Self {
        let mut told = Self::default();
        while told.processes.len() < running || told.results.len() < over {
            told.hear(session.report());
        }
        told
    }
}

/// The results that an inventory's reports tell.
fn results(session: &Session) -> Vec<(&Report, &AttemptResult)> {
    let told = session.inventory.reports.iter().filter_map(|report| {
        if let ReportFact::AttemptFinished(_, result) = &report.fact {
            Some((report, &**result))
        } else {
            None
        }
    });
    told.collect()
}

/// The next result.
pub(crate) fn result(session: &mut Session) -> AttemptResult {
    let told = Told::until(session, 0, 1);
    told.results.into_values().next().expect("one")
}

#[test]
fn a_message_has_a_process_of_its_own() {
    let mut bench = Bench::new();
    let (_shim, mut session) = ready(&mut bench, &PER_MESSAGE, "echo err >&2; echo $REKINDLE_EXECUTION; cat");
    dispatch(&session, "e-1", "do it\n", LONG);
    let done = result(&mut session);
    assert_eq!((done.verdict, &*done.output.text), (Verdict::Succeeded, "e-1\ndo it\n"));
    let evidence = done.evidence.expect("it had a process");
    assert_eq!(
        (evidence.status, evidence.stderr_tail.as_str()),
        (ExitStatus::Exited(0), "err\n")
    );
}

#[test]
fn a_failure_has_its_evidence_and_costs_the_agent_nothing() {
    let mut bench = Bench::new();
    let (_shim, mut session) = ready(&mut bench, &PER_MESSAGE, "echo half; echo why >&2; exit $(cat)");
    for code in ["7", "8"] {
        dispatch(&session, &format!("e-{code}"), code, LONG);
        let failed = result(&mut session);
        assert_eq!((failed.verdict, &*failed.output.text), (Verdict::Failed, "half\n"));
        let evidence = failed.evidence.expect("it had a process");
        assert_eq!(evidence.status, ExitStatus::Exited(code.parse().expect("a number")));
        assert_eq!(evidence.stderr_tail, "why\n");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut bench = Bench::new();
    let mut command = bench.program();
    command
        .args(["--agent", "planner-1", "--server"])
        .arg(format!("http://{}", bench.server.address));
    command.arg("--state-dir").arg(bench.file("state"));
    command.args(PER_MESSAGE).args(["--", "/no/such/program"]);
    let _shim = Shim::of(command.spawn().expect("the shim runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    assert_eq!(session.report().fact, ReportFact::Spawned(None));
    assert_eq!(session.report().fact, ReportFact::Ready);
    dispatch(&session, "e-1", "do it", LONG);
    let failed = result(&mut session);
    assert_eq!(failed.verdict, Verdict::SpawnFailed);
    assert!(
        failed.message.starts_with("cannot run /no/such/program: No such file"),
        "{}",
        failed.message
    );
}

#[test]
fn eight_run_at_once() {
    let mut bench = Bench::new();
    // Each waits for all others.
    let script = "n=$(cat); echo > $D/up-$n; while [ $(ls $D | grep -c up-) -lt 8 ]; do sleep 0.01; done; echo $n";
    let (_shim, mut session) = ready(&mut bench, &MANY, script);
    for number in 1..=8 {
        dispatch(&session, &format!("e-{number}"), &number.to_string(), LONG);
    }
    let told = Told::until(&mut session, 8, 8);
    for (execution, result) in told.results {
        assert_eq!(result.verdict, Verdict::Succeeded, "{execution}");
        assert_eq!(format!("e-{}", result.output.text.trim()), execution);
    }
}

/// Starts a daemon with a session of its own, and ignores SIGTERM, as does the daemon.
const STUBBORN: &str = "trap '' TERM
n=$(cat)
setsid sh -c 'echo $$ > $0; exec sleep 60' $D/daemon-$n &
echo half of $n; sleep 60; sleep 60";

#[test]
fn at_its_limit_the_whole_tree_ends_and_its_neighbour_goes_on() {
    let mut bench = Bench::new();
    let flags = [&MANY[..], &["--stop-grace", "300ms"]].concat();
    let (_shim, mut session) = ready(&mut bench, &flags, STUBBORN);
    let limit = Duration::from_millis(700);
    dispatch(&session, "e-2", "2", LONG);
    let beside = Told::until(&mut session, 1, 0);
    dispatch(&session, "e-1", "1", limit);
    Told::until(&mut session, 1, 0);
    let start = Instant::now();
    let daemons = ["daemon-1", "daemon-2"].map(|name| bench.told(name));
    let over = result(&mut session);
    let took = start.elapsed();
    assert_eq!((over.verdict, &*over.output.text), (Verdict::TimedOut, "half of 1\n"));
    let evidence = over.evidence.expect("it had a process");
    assert_eq!(evidence.ended_by, EndedBy::MessageTimeout);
    let expected = limit + Duration::from_millis(300);
    assert!(took < expected + EXACTNESS, "{took:?}");
    let [ended, goes_on] = daemons;
    assert!(!lives(ended) && lives(&goes_on));
    assert!(beside.processes.values().all(|process| lives(process.pid)));

    session.command(Command::EndAttempt {
        attempt: attempt("e-2"),
        grace: Some(Duration::ZERO),
        when: EndWhen::Now,
    });
    assert_eq!(result(&mut session).verdict, Verdict::Cancelled);
    assert!(!lives(goes_on));
}

#[test]
fn noise_on_stderr_harms_nothing() {
    let mut bench = Bench::new();
    let script = "head -c 204800 /dev/zero | tr '\\0' e >&2";
    let (_shim, mut session) = ready(&mut bench, &[&PER_MESSAGE[..], &["--log", "off"]].concat(), script);
    dispatch(&session, "e-1", "", LONG);
    let done = result(&mut session);
    assert_eq!((done.verdict, &*done.output.text), (Verdict::Succeeded, ""));
}

#[test]
fn a_reader_of_the_shims_stdout_who_does_not_read_holds_no_message_up() {
    let mut bench = Bench::new();
    let flags = [&MANY[..], &["--log", "inherit"]].concat();
    let mut command = bench.command(&flags, "head -c 1000000 /dev/zero | tr '\\0' x; echo end");
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the shim runs");
    let _unread = child.stdout.take().expect("a pipe");
    let _shim = Shim::of(child);
    let mut session = taking_messages(&mut bench);
    for number in 1..=3 {
        dispatch(&session, &format!("e-{number}"), "", LONG);
    }
    for (execution, result) in Told::until(&mut session, 3, 3).results {
        assert_eq!(result.verdict, Verdict::Succeeded, "{execution}");
        assert!(result.output.text.ends_with("end\n"));
    }
}

#[test]
fn nor_does_it_hold_up_an_agent_that_answers_on_its_stdout() {
    let mut bench = Bench::new();
    let script = r#"exec python3 -c '
import json, sys
for line in sys.stdin:
    for stream in sys.stdout, sys.stderr:
        print("x" * 1000000, file=stream, flush=True)
    print(json.dumps({"id": json.loads(line)["id"], "result": "end"}), flush=True)
'"#;
    let mut command = bench.command(&["--delivery", "stdin", "--log", "inherit"], script);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the shim runs");
    let _unread = (child.stdout.take(), child.stderr.take());
    let _shim = Shim::of(child);
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    for number in 1..=3 {
        dispatch(&session, &format!("e-{number}"), "", LONG);
    }
    for (execution, result) in Told::until(&mut session, 0, 3).results {
        assert_eq!(
            (result.verdict, &*result.output.text),
            (Verdict::Succeeded, "end"),
            "{execution}"
        );
    }
}

#[test]
fn what_was_written_outlives_the_shim_until_a_server_has_it() {
    let mut bench = Bench::new();
    let flags = [&PER_MESSAGE[..], &["--log", "off"]].concat();
    let script = "head -c 300000 /dev/zero | tr '\\0' x; echo end";
    let (shim, mut session) = ready(&mut bench, &flags, script);
    dispatch(&session, "e-1", "", LONG);
    // Not acknowledged.
    let done = result(&mut session);
    assert_eq!(done.output.text.len(), OUTPUT_MAX_BYTES);
    assert_eq!(done.output.dropped, 300_004 - OUTPUT_MAX_BYTES as u64);
    drop(session);
    shim.killed();

    let state = bench.file("state");
    let outputs = || {
        let entries = std::fs::read_dir(&state).expect("listed").flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("output."))
            .count()
    };
    assert_eq!(outputs(), 1);
    let _shim = bench.spawn(&flags, script);
    let session = bench.server.welcome();
    let [(report, again)] = results(&session)[..] else {
        panic!("it is told again")
    };
    assert_eq!(*again, done);
    session.acknowledge(report);
    wait_for("the file's end", || (outputs() == 0).then_some(()));
}

#[test]
fn what_runs_when_the_shim_is_killed_is_ended_and_told() {
    let mut bench = Bench::new();
    let (shim, mut session) = ready(&mut bench, &MANY, STUBBORN);
    let marker = session.hello.marker;
    for number in 1..=3 {
        dispatch(&session, &format!("e-{number}"), &number.to_string(), LONG);
    }
    Told::until(&mut session, 3, 0);
    let daemons = ["daemon-1", "daemon-2", "daemon-3"].map(|name| bench.told(name));
    drop(session);
    shim.killed();

    let _shim = bench.spawn(&MANY, STUBBORN);
    let session = bench.server.welcome();
    nobody_lives(marker, 1, "when the next shim is welcomed");
    assert!(daemons.iter().all(|daemon| !lives(daemon)));
    let verdicts: Vec<Verdict> = results(&session).iter().map(|(_, result)| result.verdict).collect();
    assert_eq!(verdicts, [Verdict::Interrupted; 3]);
}

#[test]
fn a_stop_ends_what_runs() {
    let mut bench = Bench::new();
    let (_shim, mut session) = ready(&mut bench, &MANY, STUBBORN);
    let marker = session.hello.marker;
    for number in 1..=8 {
        dispatch(&session, &format!("e-{number}"), &number.to_string(), LONG);
    }
    Told::until(&mut session, 8, 0);
    (1..=8).for_each(|number| drop(bench.told(&format!("daemon-{number}"))));
    session.command(Command::Stop {
        incarnation: Incarnation::new(1),
        grace: Some(Duration::ZERO),
    });
    let start = Instant::now();
    let told = Told::until(&mut session, 0, 8);
    assert!(told.results.values().all(|result| result.verdict != Verdict::Succeeded));
    assert!(matches!(session.report().fact, ReportFact::Exited(_)));
    nobody_lives(marker, 1, "after the stop");
    assert!(start.elapsed() < Duration::from_secs(2), "within the kill proof");
}

#[test]
fn an_agent_reads_messages_and_answers() {
    let mut bench = Bench::new();
    let script = r#"while read -r line; do
    echo working on "$line"
    case $line in
        *good*) echo '{"id": "e-1", "result": "did it"}' ;;
        *bad*) echo '{"id": "e-2", "error": "cannot do it"}' ;;
        *last*) echo '{"id": "e-3", "result": "and gone"}'; exit 3 ;;
    esac
done"#;
    let (_shim, mut session) = {
        let shim = bench.spawn(&["--delivery", "stdin"], script);
        let mut session = bench.server.welcome();
        session.run(1);
        spawned(&mut session, 1);
        (shim, session)
    };
    let mut asked = |execution: &str, message: &str| {
        dispatch(&session, execution, message, LONG);
        let mut told = Told::until(&mut session, 0, 1);
        told.results.remove(execution).expect("of this one")
    };
    let good = asked("e-1", "something good");
    assert_eq!((good.verdict, &*good.output.text), (Verdict::Succeeded, "did it"));
    let bad = asked("e-2", "something bad");
    assert_eq!((bad.verdict, bad.message.as_str()), (Verdict::Failed, "cannot do it"));
    let last = asked("e-3", "the last one");
    assert_eq!((last.verdict, &*last.output.text), (Verdict::Succeeded, "and gone"));
    assert!(matches!(session.report().fact, ReportFact::Exited(_)));
}

#[test]
fn an_upgrade_leaves_an_agent_that_reads_messages_its_stdin() {
    let mut bench = Bench::new();
    let script = r#"while read -r line; do echo '{"id": "e-1", "result": "still here"}'; done"#;
    let (shim, session, process) = bench.running(&["--delivery", "stdin"], script);
    let mut session = crate::upgrade::upgraded(&mut bench, &shim, session, &process);
    dispatch(&session, "e-1", "are you", LONG);
    let answered = result(&mut session);
    assert_eq!(
        (answered.verdict, &*answered.output.text),
        (Verdict::Succeeded, "still here")
    );
}

#[test]
fn what_waits_is_told_as_held() {
    let mut bench = Bench::new();
    let (_shim, mut session) = ready(&mut bench, &PER_MESSAGE, "sleep 60");
    dispatch(&session, "e-1", "", LONG);
    dispatch(&session, "e-2", "", LONG);
    Told::until(&mut session, 1, 0);
    drop(session);
    let session = bench.server.welcome();
    let held: Vec<(String, AttemptPhase)> = session
        .inventory
        .attempts
        .iter()
        .map(|held| (held.attempt.execution.to_string(), held.phase))
        .collect();
    let expected = [("e-1", AttemptPhase::Running), ("e-2", AttemptPhase::Accepted)];
    assert_eq!(held, expected.map(|(execution, phase)| (execution.to_owned(), phase)));
}
