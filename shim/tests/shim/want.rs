//! A shim that has too few descriptors for all that it is given to do.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rekindle::execution::{AttemptResult, Verdict};
use rekindle::report::ReportFact;
use rekindle::wire::agent_v1::NextRequest;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::bench::{Bench, Shim, lives, program, spawned, wait_for};
use crate::fake::Session;
use crate::messages::{LONG, dispatch, result, taking_messages};
use crate::pulled::client;

const MANY: [&str; 4] = ["--delivery", "per-message", "--max-concurrent", "64"];

/// Descriptors for the shim itself, for those that it keeps back, and for a few messages.
const FEW_FILES: u32 = 80;

/// More messages than there are descriptors for.
const MESSAGES: usize = 40;

/// The same command, by who may open so many files at a time.
fn limited(command: &Command, files: u32) -> Command {
    let mut limited = program("/bin/sh");
    limited.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

/// Hears until so many have begun, or could not be: how many have, and the results of the others.
fn begun(session: &mut Session, messages: usize) -> (usize, Vec<AttemptResult>) {
    let (mut begun, mut failed) = (0, Vec::new());
    while begun + failed.len() < messages {
        match session.report().fact {
            ReportFact::AttemptStarted(..) => begun += 1,
            ReportFact::AttemptFinished(_, result) => failed.push(*result),
            ReportFact::AttemptAccepted(_)
            | ReportFact::AttemptSurvived(..)
            | ReportFact::Recovering { .. }
            | ReportFact::Spawned(_)
            | ReportFact::MainProcess(_)
            | ReportFact::Ready
            | ReportFact::Stopping
            | ReportFact::Exited(_)
            | ReportFact::SpawnFailed(_)
            | ReportFact::Survived(_)
            | ReportFact::HandedOver(_)
            | ReportFact::CheckpointRead(_)
            | ReportFact::CheckpointConfirmed(_) => {}
        }
    }
    (begun, failed)
}

#[test]
fn messages_that_there_are_no_descriptors_for_say_so_and_all_others_go_on() {
    let mut bench = Bench::new();
    let script = "n=$(cat); while [ ! -e $D/go ]; do sleep 0.05; done; echo $n";
    let command = bench.command(&MANY, script);
    let _shim = Shim::of(limited(&command, FEW_FILES).spawn().expect("the shim runs"));
    let mut session = taking_messages(&mut bench);
    for number in 0..MESSAGES {
        dispatch(&session, &format!("e-{number}"), "", LONG);
    }
    let (begun, failed) = begun(&mut session, MESSAGES);
    assert!(begun > 0 && !failed.is_empty(), "{begun} have begun");
    for result in failed {
        assert_eq!(result.verdict, Verdict::SpawnFailed);
        assert!(result.message.contains("raise it with ulimit -n"), "{}", result.message);
    }
    std::fs::write(bench.file("go"), "").expect("written");
    for _ in 0..begun {
        assert_eq!(result(&mut session).verdict, Verdict::Succeeded);
    }
    dispatch(&session, "e-last", "", LONG);
    assert_eq!(result(&mut session).verdict, Verdict::Succeeded, "there is room again");
}

/// Limits the open files of a shim that runs.
fn limit_files(shim: &Shim, files: u64) {
    let pid = i32::try_from(shim.pid()).ok().and_then(Pid::from_raw);
    let before = prlimit(
        pid,
        Resource::Nofile,
        Rlimit {
            current: Some(files),
            maximum: None,
        },
    );
    // Without the right to have no limit at all, the hard one stays as it is.
    if before.is_err() {
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: Some(files),
            maximum,
        };
        prlimit(pid, Resource::Nofile, limit).expect("the test's own");
    }
}

#[test]
fn what_cannot_be_seen_is_not_dead_and_is_looked_at_again() {
    let mut bench = Bench::new();
    let script = "n=$(cat); setsid sh -c 'echo $$ > $0; exec sleep 60' $D/daemon-$n &
        while [ ! -e $D/go-$n ]; do sleep 0.05; done; echo $n";
    let mut command = bench.command(&MANY, script);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the shim runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let shim = Shim::of(child);
    let mut session = taking_messages(&mut bench);
    for number in ["1", "2"] {
        dispatch(&session, &format!("e-{number}"), number, LONG);
    }
    let (begun, failed) = begun(&mut session, 2);
    assert_eq!((begun, failed.len()), (2, 0));
    let [first, second] = ["daemon-1", "daemon-2"].map(|name| bench.told(name));

    // No descriptor is to be had from here on.
    limit_files(&shim, 3);
    std::fs::write(bench.file("go-1"), "").expect("written");
    let mut complaints = 0;
    while complaints < 3 {
        let line = log.next().expect("the shim lives").expect("read");
        complaints += usize::from(line.contains("they count as alive"));
    }
    assert!(lives(&first), "nobody could find it");

    limit_files(&shim, 1024);
    let done = result(&mut session);
    assert_eq!((done.verdict, &*done.output.text), (Verdict::Succeeded, "1\n"));
    assert!(!lives(&first) && lives(&second));
    std::fs::write(bench.file("go-2"), "").expect("written");
    assert_eq!(result(&mut session).verdict, Verdict::Succeeded);
    assert!(!lives(&second));
}

#[test]
fn the_agents_socket_is_open_again_after_an_upgrade_as_soon_as_there_is_room() {
    let mut bench = Bench::new();
    let mut command = bench.command(&["--delivery", "pull"], "echo $REKINDLE_SOCKET > $D/socket; sleep 600");
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the shim runs");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let shim = Shim::of(child);
    let mut session = bench.server.welcome();
    session.run(1);
    spawned(&mut session, 1);
    let socket = bench.told("socket");

    // Neither the program can be run anew, nor the socket opened. It makes no difference to ask for it again.
    limit_files(&shim, 3);
    let mut hear = |what: &str, times: usize| {
        let mut heard = 0;
        while heard < times {
            let line = log.next().expect("the shim lives").expect("read");
            heard += usize::from(line.contains(what));
        }
    };
    for _ in 0..2 {
        shim.signal(Signal::USR2);
        hear("the upgrade failed", 1);
        hear("cannot open the agent's socket again", 1);
    }

    limit_files(&shim, 1024);
    dispatch(&session, "e-1", "do it", LONG);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let given = wait_for("the message", || {
        let ask = async { client(&socket).next(NextRequest::default()).await };
        runtime.block_on(ask).ok()
    });
    assert_eq!(given.into_inner().assignment.expect("one").message, "do it");
    shim.signal(Signal::TERM);
    assert!(shim.ended().success());
}
