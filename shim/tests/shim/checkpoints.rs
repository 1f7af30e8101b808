//! What an agent saves, and what its next life is handed.

mod asked;
mod files;
mod limits;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::state_file::StateFile;
use rekindle::wire::agent_v1::checkpoint_service_client::CheckpointServiceClient;
use rekindle::wire::agent_v1::{self as wire};
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::bench::{Bench, exited, kill, spawned};
use crate::fake::Session;

/// Says what it was handed, and stays.
const TELLS: &str = "I=$REKINDLE_INCARNATION
    cat $REKINDLE_STATE_FILE > $D/file.$I 2>/dev/null
    echo $REKINDLE_STATE_FILE > $D/path.$I; echo $REKINDLE_SOCKET > $D/socket
    env | grep ^REKINDLE_ > $D/env.$I; sleep 600";

/// Saves as careful shells do it. What follows it is the JSON, in single quotes.
const SAVES: &str =
    "save() { printf '%s' \"$1\" > $REKINDLE_STATE_FILE.new; mv $REKINDLE_STATE_FILE.new $REKINDLE_STATE_FILE; }; ";

/// The agent's side of a socket.
struct Client {
    runtime: Runtime,
    client: CheckpointServiceClient<Channel>,
}

impl Client {
    fn of(bench: &Bench) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("unix://{}", bench.told("socket"))).expect("a URI");
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        Self {
            runtime,
            client: CheckpointServiceClient::new(channel),
        }
    }

    fn save(&mut self, incarnation: u64, state: wire::ActiveState) -> Result<String, Status> {
        let state = Some(state);
        let saved = self.client.save(wire::SaveRequest { incarnation, state });
        self.runtime.block_on(saved).map(|saved| saved.into_inner().checkpoint)
    }

    fn load(&mut self, incarnation: u64) -> Option<wire::LoadedCheckpoint> {
        let loaded = self.client.load(wire::LoadRequest { incarnation });
        self.runtime.block_on(loaded).expect("answered").into_inner().checkpoint
    }

    fn close(&mut self, incarnation: u64) {
        let closed = self.client.close(wire::CloseRequest { incarnation });
        self.runtime.block_on(closed).expect("answered");
    }
}

fn stage(stage: &str) -> wire::ActiveState {
    wire::ActiveState {
        stage: stage.to_owned(),
        ..wire::ActiveState::default()
    }
}

impl Bench {
    /// What a life was handed in its file.
    fn handed(&self, incarnation: u64) -> Option<StateFile> {
        // Written after it.
        self.told(&format!("env.{incarnation}"));
        let json = fs::read(self.file(&format!("file.{incarnation}"))).expect("written");
        (!json.is_empty()).then(|| StateFile::parse(&json).expect("whole"))
    }

    fn handed_stage(&self, incarnation: u64) -> Option<String> {
        self.handed(incarnation).map(|state| state.draft.stage)
    }

    /// Waits until a file is there and has a line.
    fn told_anything(&self, name: &str) {
        let _ = self.told(name);
    }

    /// A variable of a life's environment.
    fn variable(&self, incarnation: u64, name: &str) -> Option<String> {
        let told = self.told(&format!("env.{incarnation}"));
        told.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned))
    }
}

/// The end of a life, and the next one.
fn next_life(session: &mut Session, incarnation: u64) -> ExitStatus {
    let report = session.report();
    let status = exited(&report).status;
    session.acknowledge(&report);
    session.run(incarnation);
    spawned(session, incarnation);
    status
}

#[test]
fn what_was_saved_by_the_socket_is_handed_over_after_a_sigkill() {
    let mut bench = Bench::new();
    let (_shim, mut session, process) = bench.running(&[], TELLS);
    assert_eq!(bench.handed(1), None);
    let mut client = Client::of(&bench);
    assert_eq!(client.load(1), None);
    client.save(1, stage("first")).expect("saved");
    let state = wire::ActiveState {
        task_id: "T-7".to_owned(),
        issue: "it's".to_owned(),
        workspace: "/w".to_owned(),
        branch: "b".to_owned(),
        stage: "2 of 3".to_owned(),
        memory_refs: vec!["m:1".to_owned(), "m:2".to_owned()],
        values: [("line".to_owned(), "12".to_owned())].into(),
        body: vec![0xff, 0],
    };
    assert_eq!(client.save(1, state.clone()).expect("saved"), "1.2");
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);

    let handed = bench.handed(2).expect("handed over");
    assert_eq!(
        (handed.draft.task_id.as_str(), handed.body.as_slice()),
        ("T-7", &[0xff, 0][..])
    );
    for (name, expected) in [
        ("REKINDLE_CHECKPOINT", Some("1.2")),
        ("REKINDLE_TASK_ID", Some("T-7")),
        ("REKINDLE_ISSUE", Some("it's")),
        ("REKINDLE_WORKSPACE", Some("/w")),
        ("REKINDLE_BRANCH", Some("b")),
        ("REKINDLE_STAGE", Some("2 of 3")),
        ("REKINDLE_MEMORY_REFS", Some("m:1")),
        ("REKINDLE_VALUE_line", Some("12")),
        ("REKINDLE_UNCLEAN", Some("1")),
        ("REKINDLE_IN_FLIGHT", None),
    ] {
        assert_eq!(bench.variable(2, name).as_deref(), expected, "{name}");
    }
    let loaded = Client::of(&bench).load(2).expect("open");
    assert_eq!(
        (loaded.checkpoint.as_str(), loaded.unclean, loaded.state),
        ("1.2", true, Some(state))
    );
}

#[test]
fn what_is_closed_is_handed_to_nobody() {
    let mut bench = Bench::new();
    let (_shim, mut session, process) = bench.running(&[], TELLS);
    let mut client = Client::of(&bench);
    client.close(1);
    client.save(1, stage("done")).expect("saved");
    client.close(1);
    assert_eq!(client.load(1), None);
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    assert_eq!(bench.handed(2), None);
    assert_eq!(bench.variable(2, "REKINDLE_STAGE"), None);
}

#[test]
fn who_is_of_an_earlier_life_is_refused() {
    let mut bench = Bench::new();
    let (_shim, mut session, process) = bench.running(&[], TELLS);
    Client::of(&bench).save(1, stage("of the first")).expect("saved");
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    let mut client = Client::of(&bench);
    for incarnation in [1, 3] {
        let status = client.save(incarnation, stage("late")).expect_err("refused");
        assert!(status.message().contains("incarnation 2"), "{status:?}");
    }
    assert_eq!(client.load(2).expect("open").checkpoint, "1.1");
    assert_eq!(client.save(0, stage("of whoever lives")).expect("saved"), "2.1");
}

#[test]
fn a_shim_that_was_killed_with_its_agent_is_followed_by_one_that_knows() {
    let mut bench = Bench::new();
    let (shim, session, _) = bench.running(&[], TELLS);
    Client::of(&bench).save(1, stage("known")).expect("saved");
    drop(session);
    shim.killed();
    let _shim = bench.spawn(&[], TELLS);
    let mut session = bench.server.welcome();
    session.run(2);
    spawned(&mut session, 2);
    assert_eq!(bench.handed_stage(2).as_deref(), Some("known"));
    assert_eq!(bench.variable(2, "REKINDLE_UNCLEAN").as_deref(), Some("1"));
}

#[test]
fn two_agents_of_one_user_have_nothing_of_each_other() {
    let mut bench = Bench::new();
    let (_shim, _session, _) = bench.running(&[], TELLS);
    Client::of(&bench).save(1, stage("of planner-1")).expect("saved");

    let mut other = Bench::new();
    let (_other_shim, mut session, process) = other.running(&[], TELLS);
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    assert_eq!((other.handed(2), Client::of(&other).load(2)), (None, None));
    let dir = |path: String| PathBuf::from(path).parent().expect("a directory").to_owned();
    let (own, others) = (dir(bench.told("path.1")), dir(other.told("path.2")));
    assert_ne!(own, others);
    for dir in [own, others] {
        assert_eq!(fs::metadata(dir).expect("there").mode() & 0o777, 0o700);
    }
}

#[test]
fn a_message_gets_what_was_saved_of_its_own_execution_alone() {
    let mut bench = Bench::new();
    let flags = ["--delivery", "per-message"];
    let script = format!(
        "{SAVES} E=$REKINDLE_EXECUTION; cat $REKINDLE_STATE_FILE > $D/$E.$REKINDLE_ATTEMPT 2>/dev/null
        echo >> $D/$E.$REKINDLE_ATTEMPT; case $E in e-1) save '{{\"stage\": \"half\"}}'; echo > $D/saved; sleep 600;; esac"
    );
    let (shim, session) = crate::messages::ready(&mut bench, &flags, &script);
    crate::messages::dispatch(&session, "e-1", "m", Duration::from_secs(60));
    bench.told_anything("saved");
    drop(session);
    shim.killed();

    let (_shim, session) = {
        let shim = bench.spawn(&flags, &script);
        let mut session = bench.server.welcome();
        session.run(2);
        spawned_without_process(&mut session);
        (shim, session)
    };
    crate::messages::dispatch(&session, "e-2", "m", Duration::from_secs(60));
    bench.told_anything("e-2.1");
    session.command(crate::messages::dispatch_again("e-1", 2));
    let handed = bench.told("e-1.2");
    let handed = StateFile::parse(handed.as_bytes()).expect("handed over");
    assert_eq!(
        (handed.draft.stage.as_str(), handed.draft.task_id.as_str()),
        ("half", "e-1")
    );
    assert_eq!(fs::read_to_string(bench.file("e-2.1")).expect("told"), "\n");
}

/// A life that has no process has begun.
fn spawned_without_process(session: &mut Session) {
    loop {
        let report = session.report();
        session.acknowledge(&report);
        if report.fact == rekindle::report::ReportFact::Ready {
            return;
        }
    }
}
