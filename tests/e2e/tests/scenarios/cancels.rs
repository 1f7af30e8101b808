//! Cancels in every moment: before an attempt has begun, while it ends by itself, and by callers who hang up.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rekindle::wire::v1::watch_execution_response::Update;
use rekindle::wire::v1::{CancelOutcome, ExecutionState, WatchExecutionRequest};
use rekindle_e2e::client::runs;
use rekindle_e2e::process::Daemon;
use rekindle_e2e::work::{in_state, is_over, open_gate, pulls, time, until_file};
use rekindle_e2e::{Client, LIMIT, World, eventually, tools};
use rustix::process::Signal;
use tokio::task::JoinSet;

/// Cancels all of these at once, and gives the answers.
async fn cancel_all(client: &Client, names: &[String]) -> BTreeMap<String, CancelOutcome> {
    let mut cancels = JoinSet::new();
    for name in names {
        let (mut client, name) = (client.clone(), name.clone());
        cancels.spawn(async move {
            let answer = client.cancel(&name).await.expect("CancelExecution succeeds");
            let execution = answer.execution.as_ref().expect("the answer has an execution");
            assert!(is_over(execution), "it is over by then: {answer:#?}");
            (name, answer.outcome())
        });
    }
    let answers = cancels.join_all().await;
    answers.into_iter().collect()
}

#[tokio::test]
async fn what_is_accepted_and_has_not_begun_never_begins() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let asks = pulls("echo \"$message\" >> begun; self done ok");
    let script = format!("while ! [ -e ask ]; do sleep 0.02; done\n{asks}");
    let _shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .script(&script)
        .start(&server);
    let before = client.until("a", runs(1)).await;
    let given = client.give("a", "one").await.name;
    client.until_execution(&given, in_state(ExecutionState::Accepted)).await;
    let answer = client.cancel(&given).await.expect("CancelExecution succeeds");
    assert_eq!(answer.outcome(), CancelOutcome::Cancelled);
    let over = client.execution(&given).await.expect("GetExecution succeeds");
    assert_eq!((over.state(), over.start_time), (ExecutionState::Cancelled, None));

    let next = client.give("a", "two").await.name;
    client.until_execution(&next, in_state(ExecutionState::Accepted)).await;
    open_gate(&world, "ask");
    let done = client.until_execution(&next, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded, "{done:#?}");
    let begun = std::fs::read_to_string(world.path("begun")).expect("one has begun");
    assert_eq!(begun, "two\n");
    assert_eq!(client.until("a", runs(1)).await.process, before.process, "it goes on");
}

/// Between the word that it has a message and the word of its process a shim reads that it is to end it: it gets all of
/// them at once.
#[tokio::test]
async fn what_is_told_to_end_as_it_is_given_leaves_nothing_behind() {
    const SLOTS: usize = 8;
    /// The grace, and 5 s (`END_AGAIN` of the server's core): past that it is the server's second request that ends them.
    const ASKED_AGAIN: Duration = Duration::from_secs(15);
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--max-concurrent", &SLOTS.to_string());
    let mut shim = shim.per_message("exec sleep 1000").start(&server);
    client.until("a", runs(1)).await;
    shim.pause();
    let mut given = Vec::new();
    for _ in 0..SLOTS {
        let name = client.give("a", "x").await.name;
        client
            .until_execution(&name, in_state(ExecutionState::Dispatched))
            .await;
        given.push(name);
    }
    let answers = tokio::spawn({
        let (client, given) = (client.clone(), given.clone());
        async move { cancel_all(&client, &given).await }
    });
    for name in &given {
        client.until_execution(name, |execution| execution.cancelling).await;
    }
    let told = SystemTime::now();
    shim.resume();
    for (name, outcome) in answers.await.expect("no panic") {
        assert_eq!(outcome, CancelOutcome::Cancelled, "{name}");
        let over = client.execution(&name).await.expect("GetExecution succeeds");
        assert!(time(over.end_time) < told + ASKED_AGAIN, "told once: {over:#?}");
    }
    world.none_left("sleep 1000").await;
    let slots = BTreeMap::from([(ExecutionState::Cancelled, SLOTS)]);
    assert_eq!(client.states("a").await, slots);
    let next = client.give("a", "x").await.name;
    client.until_execution(&next, in_state(ExecutionState::Running)).await;
}

#[tokio::test]
async fn racing_the_end_it_is_told_what_came_first() {
    const SLOTS: usize = 12;
    /// A race that only ever ends in one way is none.
    const ROUNDS_MAX: usize = 50;
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    // The ends are spread over what a cancel needs to arrive.
    let script = "read -r gate; while ! [ -e $gate ]; do sleep 0.1; done; echo done";
    let shim = world.shim("a").flag("--max-concurrent", &SLOTS.to_string());
    let _shim = shim.per_message(script).start(&server);
    client.until("a", runs(1)).await;
    let mut seen = BTreeMap::new();
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "never both of a race's ends: {seen:?}");
        let gate = format!("gate-{round}");
        let mut given = Vec::new();
        for _ in 0..SLOTS {
            given.push(client.give("a", &gate).await.name);
        }
        for name in &given {
            client.until_execution(name, in_state(ExecutionState::Running)).await;
        }
        open_gate(&world, &gate);
        eventually("the first end", async || {
            let states = client.states("a").await;
            let running = states.get(&ExecutionState::Running).copied().unwrap_or_default();
            (running < SLOTS).then_some(())
        })
        .await;
        for (name, outcome) in cancel_all(&client, &given).await {
            let over = client.execution(&name).await.expect("GetExecution succeeds");
            let (state, output) = match outcome {
                CancelOutcome::Cancelled => (ExecutionState::Cancelled, ""),
                CancelOutcome::AlreadyOver => (ExecutionState::Succeeded, "done\n"),
                CancelOutcome::Pending | CancelOutcome::Unspecified => panic!("{name}: {outcome:?}"),
            };
            assert_eq!(over.state(), state, "the answer is what became of it");
            if state == ExecutionState::Succeeded {
                assert_eq!(over.output, output);
            }
            let again = client.cancel(&name).await.expect("CancelExecution succeeds");
            assert_eq!(again.outcome(), outcome, "and stays so");
            *seen.entry(outcome.as_str_name()).or_insert(0) += 1;
        }
        if seen.len() == 2 {
            break;
        }
    }
    let history = client.history().await;
    for execution in client.executions_of("a").await {
        let chain = history.of_execution(&execution.name);
        assert_eq!(chain.len(), 5, "one end: {chain:?}");
    }
}

#[tokio::test]
async fn who_hangs_up_ends_nothing() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = format!("echo first; {}", until_file(&world));
    let shim = world.shim("a").flag("--max-concurrent", "3");
    let _shim = shim.per_message(&script).start(&server);
    client.until("a", runs(1)).await;

    // One who watches, and is gone in the middle of it.
    let given = client.give("a", "gate").await;
    let watch = WatchExecutionRequest { name: given.name };
    let watch = client.executions.watch_execution(watch).await;
    let mut watch = watch.expect("WatchExecution succeeds").into_inner();
    let heard = async {
        loop {
            let message = watch.message().await.expect("the watch goes on").expect("it runs");
            if let Some(Update::Output(_)) = message.update {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, heard).await.expect("it writes");
    drop(watch);
    // Two who wait at a terminal.
    for (signal, log) in [(Signal::KILL, "killed"), (Signal::INT, "interrupted")] {
        let log = world.path(log);
        let mut command = world.command(tools::under_test("rekindle-under-test"));
        command.args(["--server", &server.url(), "run", "a", "gate"]);
        let mut run = Daemon::start(command, &log);
        eventually("its output", async || {
            let printed = std::fs::read_to_string(&log).unwrap_or_default();
            printed.contains("first\n").then_some(())
        })
        .await;
        run.signal(signal);
        run.end().await;
    }

    let running = BTreeMap::from([(ExecutionState::Running, 3)]);
    assert_eq!(client.states("a").await, running, "it is the server's");
    open_gate(&world, "gate");
    for execution in client.executions_of("a").await {
        let done = client.until_execution(&execution.name, is_over).await;
        assert_eq!(
            (done.state(), done.attempt, done.output.as_str()),
            (ExecutionState::Succeeded, 1, "first\ndone\n"),
            "{done:#?}"
        );
    }
}

#[tokio::test]
async fn a_cancel_goes_on_without_its_caller() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").per_message("exec sleep 1000").start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await.name;
    client.pid_of(&given).await;
    shim.pause();
    let caller = tokio::spawn({
        let (mut client, given) = (client.clone(), given.clone());
        async move { client.cancel(&given).await }
    });
    client.until_execution(&given, |execution| execution.cancelling).await;
    caller.abort();
    assert!(caller.await.expect_err("it waits for the end").is_cancelled());
    shim.resume();
    let over = client.until_execution(&given, is_over).await;
    assert_eq!(over.state(), ExecutionState::Cancelled, "{over:#?}");
    world.none_left("sleep 1000").await;
}
