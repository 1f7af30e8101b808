//! Work goes on, is given again, or is told lost, whoever is away meanwhile: the server, the shim, or its state.

use std::time::SystemTime;

use rekindle::wire::v1::{AgentState, EventType, ExecutionState, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::work::{cause, in_state, is_over, time};
use rekindle_e2e::{World, process};

#[tokio::test]
async fn results_of_a_long_outage_arrive_once_with_their_true_times() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = format!("while ! [ -e {} ]; do sleep 0.02; done; echo done", gate.display());
    let shim = world
        .shim("a")
        .flag("--max-concurrent", "3")
        .per_message(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let mut given = Vec::new();
    for _ in 0..3 {
        let execution = client.give("a", "x").await;
        let running = client
            .until_execution(&execution.name, in_state(ExecutionState::Running))
            .await;
        given.push((execution.name, running.process.expect("it has a process").pid));
    }
    server.kill();
    std::fs::write(&gate, "").expect("can be written");
    for (_, pid) in &given {
        process::is_gone(*pid).await;
    }
    // Dead, and told.
    shim.keeps_results(given.len()).await;
    let back = SystemTime::now();
    server.start_again().await;
    for (name, _) in &given {
        let done = client.until_execution(name, is_over).await;
        assert_eq!(
            (done.state(), done.output.as_str()),
            (ExecutionState::Succeeded, "done\n")
        );
        assert!(
            time(done.end_time) < back,
            "it ended when it did, not when that was heard"
        );
    }
    let history = client.history().await;
    let ends = history
        .0
        .iter()
        .filter(|event| event.r#type() == EventType::ExecutionSucceeded);
    assert_eq!(ends.count(), 3, "each once");
}

#[tokio::test]
async fn a_shim_that_dies_gives_back_what_the_policy_allows() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "[ \"$REKINDLE_ATTEMPT\" = 2 ] && { echo second; exit; }; exec sleep 1000";
    let mut shim = world
        .shim("a")
        .flag("--cooldown", "0s")
        .flag("--max-deliveries", "2")
        .per_message(script)
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let running = client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    let pid = running.process.expect("it has a process").pid;
    shim.start_again();
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), done.attempt, done.output.as_str()),
        (ExecutionState::Succeeded, 2, "second\n")
    );
    assert!(!process::is_alive(pid));
}

#[tokio::test]
async fn what_nothing_may_run_twice_is_a_dead_letter() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world
        .shim("a")
        .flag("--cooldown", "0s")
        .per_message("exec sleep 1000")
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    shim.start_again();
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), done.attempt),
        (ExecutionState::DeadLetter, 1),
        "{done:#?}"
    );
    let again = client.redrive(&given.name).await;
    client
        .until_execution(&again.name, in_state(ExecutionState::Running))
        .await;
}

#[tokio::test]
async fn unreachable_is_unknown() {
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "200ms").start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = format!("while ! [ -e {} ]; do sleep 0.02; done; echo done", gate.display());
    let mut shim = world.shim("a").per_message(&script).start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    shim.pause();
    client.until("a", is(AgentState::Unreachable)).await;
    std::fs::write(&gate, "").expect("can be written");
    let meanwhile = client.execution(&given.name).await.expect("GetExecution succeeds");
    assert_eq!(meanwhile.state(), ExecutionState::Running);
    shim.resume();
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), done.output.as_str()),
        (ExecutionState::Succeeded, "done\n")
    );
}

/// A shim whose state directory is lost, which another one replaces as soon as the fence allows: nobody can say what
/// became of the message, and it is not run twice unasked.
#[tokio::test]
async fn what_nobody_can_tell_of_is_lost() {
    let world = World::new();
    // Nothing is called LOST before it is over.
    let server = world.server().flag("--adoption-window", "1s");
    let server = server.flag("--heartbeat-interval", "200ms").start().await;
    let mut client = server.client();
    let shim = |state: &str| {
        let shim = world.shim("a").state(state).flag("--fence-after", "1s");
        shim.flag("--stop-grace", "0s").per_message("exec sleep 1000")
    };
    let mut first = shim("first").start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    first.kill();
    let _second = shim("second").start(&server);
    // The fence takes half of the longest wait, and the pass a third: each has its own.
    client.until("a", |agent| agent.ready && agent.incarnation > 1).await;
    let over = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (over.state(), cause(&over), over.attempt),
        (ExecutionState::Lost, FailureCause::Lost, 1),
        "{over:#?}"
    );
    // The next one goes to who is there.
    let next = client.give("a", "y").await;
    client
        .until_execution(&next.name, in_state(ExecutionState::Running))
        .await;
}
