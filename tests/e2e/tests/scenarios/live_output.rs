//! What an agent writes for a message reaches who watches while it is being written, and holds nobody up.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rekindle::wire::v1::watch_execution_response::Update;
use rekindle::wire::v1::{
    Execution, ExecutionState, OutputChunk, OutputKind, WatchExecutionRequest, WatchExecutionResponse,
};
use rekindle_e2e::client::runs;
use rekindle_e2e::work::{in_state, is_over};
use rekindle_e2e::{Client, World, eventually, tools};
use tonic::Streaming;

/// Longest time that a test waits for an update.
const LIMIT: Duration = Duration::from_secs(30);

/// One who watches an execution.
struct Watch {
    updates: Streaming<WatchExecutionResponse>,
    /// As it was last told.
    execution: Execution,
}

impl Watch {
    async fn open(client: &mut Client, name: &str) -> Self {
        let request = WatchExecutionRequest { name: name.to_owned() };
        let updates = client.executions.watch_execution(request).await;
        Self {
            updates: updates.expect("WatchExecution succeeds").into_inner(),
            execution: Execution::default(),
        }
    }

    /// The next piece of output; `None` once the execution is over.
    async fn piece(&mut self) -> Option<OutputChunk> {
        loop {
            let update = tokio::time::timeout(LIMIT, self.updates.message()).await;
            let update = update.expect("in time").expect("the stream is whole")?.update;
            match update.expect("an update has something") {
                Update::Output(piece) => return Some(piece),
                Update::Execution(execution) => self.execution = *execution,
            }
        }
    }
}

/// A loop in sh that waits for a file.
fn wait_for(gate: &Path) -> String {
    format!("while ! [ -e {} ]; do sleep 0.02; done", gate.display())
}

fn open(gate: &Path) {
    std::fs::write(gate, "").expect("can be written");
}

#[tokio::test]
async fn a_watcher_sees_the_first_line_while_the_process_runs() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = format!("echo first; {}; echo last", wait_for(&gate));
    let _shim = world.shim("a").per_message(&script).start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let mut watch = Watch::open(&mut client, &given.name).await;
    let first = watch.piece().await.expect("it runs");
    assert_eq!(
        (first.attempt, first.offset, first.data.as_slice()),
        (1, 0, b"first\n".as_slice())
    );
    assert_eq!(watch.execution.state(), ExecutionState::Running);
    let mut late = Watch::open(&mut client, &given.name).await;
    assert_eq!(late.piece().await, Some(first), "whoever comes late has it all");
    open(&gate);
    for watch in [&mut watch, &mut late] {
        let last = watch.piece().await.expect("what is written comes before the end");
        assert_eq!((last.offset, last.data.as_slice()), (6, b"last\n".as_slice()));
        assert_eq!(watch.piece().await, None);
        assert_eq!(watch.execution.state(), ExecutionState::Succeeded);
        assert_eq!(watch.execution.output, "first\nlast\n");
    }
}

#[tokio::test]
async fn a_slow_watcher_gets_a_gap_and_the_end() {
    const FLOOD_BYTES: u64 = 8 << 20;
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let [begin, flooded, end] = ["begin", "flooded", "end"].map(|gate| world.path(gate));
    let script = format!(
        "echo first; {}; head -c {FLOOD_BYTES} /dev/zero | tr '\\0' x; echo > {}; {}; echo last",
        wait_for(&begin),
        flooded.display(),
        wait_for(&end)
    );
    let _shim = world.shim("a").flag("--log", "off").per_message(&script).start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let mut watch = Watch::open(&mut client, &given.name).await;
    let first = watch.piece().await.expect("it runs");
    let mut seen = first.offset + first.data.len() as u64;
    open(&begin);
    // Nobody reads, and nobody waits for that.
    eventually("the end of the flood", async || flooded.exists().then_some(())).await;
    let mut missing = 0;
    while missing == 0 {
        let piece = watch.piece().await.expect("it runs");
        missing = piece.offset - seen;
        seen = piece.offset + piece.data.len() as u64;
    }
    assert!(missing < FLOOD_BYTES);
    open(&end);
    while let Some(piece) = watch.piece().await {
        assert!(piece.offset >= seen, "in order, and once");
        seen = piece.offset + piece.data.len() as u64;
    }
    assert_eq!(watch.execution.state(), ExecutionState::Succeeded);
    assert!(watch.execution.output_truncated && watch.execution.output.ends_with("xlast\n"));
}

#[tokio::test]
async fn run_prints_each_byte_once_as_it_comes_and_no_secret() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = format!(
        "printf 'key sk-abc'; sleep 0.3; echo defgh; {}; echo sk-last; exit 3",
        wait_for(&gate)
    );
    let _shim = world
        .shim("a")
        .flag("--redact", "sk-[a-z]+")
        .per_message(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let (printed, told) = (world.path("printed"), world.path("told"));
    let file = |path| File::create(path).expect("can be made");
    let mut run = world
        .command(tools::under_test("rekindle-under-test"))
        .args(["--server", &server.url(), "run", "a", "x"])
        .stdout(file(&printed))
        .stderr(file(&told))
        .spawn()
        .expect("it runs");
    let read = || std::fs::read_to_string(&printed).unwrap_or_default();
    eventually("the first line", async || (read() == "key [redacted]\n").then_some(())).await;
    assert_eq!(run.try_wait().expect("a child"), None);
    open(&gate);
    let status = eventually("the end", async || run.try_wait().expect("a child")).await;
    let told = std::fs::read_to_string(&told).unwrap_or_default();
    assert_eq!(
        (read().as_str(), status.code()),
        ("key [redacted]\n[redacted]\n", Some(1)),
        "{told}"
    );
    assert!(!told.contains("differs") && !told.contains("missing"), "{told}");
}

#[tokio::test]
async fn an_agent_that_is_not_run_for_each_message_has_its_result_told_at_the_end() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = format!(
        "while read -r line; do echo noise; {}; echo \"$line\" | sed 's/\"message\":.*/\"result\":\"did it\"}}/'; done",
        wait_for(&gate)
    );
    let _shim = world
        .shim("a")
        .flag("--delivery", "stdin")
        .script(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let mut watch = Watch::open(&mut client, &given.name).await;
    client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    open(&gate);
    assert_eq!(watch.piece().await, None, "nothing of it is for this message alone");
    assert!(is_over(&watch.execution));
    assert_eq!(watch.execution.output, "did it");
}

/// What comes of an execution that an agent says to be half done, and ends once the gate is open.
async fn sees_progress(client: &mut Client, gate: &Path) {
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let mut watch = Watch::open(client, &given.name).await;
    let half = watch.piece().await.expect("it is told while it runs");
    assert_eq!(
        (half.kind(), half.attempt, half.offset, half.data.as_slice()),
        (OutputKind::Progress, 1, 0, b"half of [redacted]\n".as_slice())
    );
    assert_eq!(watch.execution.state(), ExecutionState::Running);
    let mut late = Watch::open(client, &given.name).await;
    assert_eq!(late.piece().await, Some(half), "whoever comes late has it all");
    open(gate);
    for watch in [&mut watch, &mut late] {
        let nearly = watch.piece().await.expect("what is said comes before the end");
        assert_eq!((nearly.offset, nearly.data.as_slice()), (19, b"nearly\n".as_slice()));
        assert_eq!(watch.piece().await, None);
        assert_eq!(watch.execution.state(), ExecutionState::Succeeded);
        assert_eq!(watch.execution.output, "did it", "progress is no part of the result");
    }
}

#[tokio::test]
async fn how_far_an_agent_is_that_pulls_its_work_is_told_while_it_works() {
    let world = World::new();
    let server = world.server().start().await;
    let gate = world.path("gate");
    let itself = format!("{} self", tools::under_test("rekindle-under-test").display());
    let script = format!(
        "while :; do {itself} next || continue; {itself} progress 'half of sk-abc'; {}; {itself} progress nearly; \
         {itself} done 'did it'; done",
        wait_for(&gate)
    );
    let _shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--redact", "sk-[a-z]+")
        .script(&script)
        .start(&server);
    sees_progress(&mut server.client(), &gate).await;
}

#[tokio::test]
async fn how_far_an_agent_is_that_reads_its_work_is_told_while_it_works() {
    let world = World::new();
    let server = world.server().start().await;
    let gate = world.path("gate");
    let answer = |says: &str| format!("echo \"$line\" | sed 's/,\"message\":.*/,{says}}}/'");
    let script = format!(
        "while read -r line; do {}; {}; {}; {}; done",
        answer("\"progress\":\"half of sk-abc\""),
        wait_for(&gate),
        answer("\"progress\":\"nearly\""),
        answer("\"result\":\"did it\"")
    );
    let _shim = world
        .shim("a")
        .flag("--delivery", "stdin")
        .flag("--redact", "sk-[a-z]+")
        .script(&script)
        .start(&server);
    sees_progress(&mut server.client(), &gate).await;
}
