//! Messages to agents that live long: by the shim's socket, and as lines.

use std::time::Duration;

use rekindle::wire::v1::{
    ActivityState, Agent, AgentState, BlockedReason, CancelOutcome, ExecutionState, FailureCause,
};
use rekindle_e2e::client::runs;
use rekindle_e2e::work::{in_state, is_over, pulls};
use rekindle_e2e::{World, tools};

#[tokio::test]
async fn an_agent_in_shell_pulls_its_work() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = pulls(
        "case $message in\n\
         bad) self fail 'cannot do that';;\n\
         *) self progress half && self done \"did $message\";;\n\
         esac",
    );
    let _shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .script(&script)
        .start(&server);
    let before = client.until("a", runs(1)).await;
    assert!(before.process.is_some());
    for message in ["one", "bad", "two"] {
        let given = client.give("a", message).await;
        let done = client.until_execution(&given.name, is_over).await;
        if message == "bad" {
            let failure = done.failure.as_ref().expect("it failed");
            assert_eq!(
                (done.state(), failure.cause()),
                (ExecutionState::Failed, FailureCause::Reported)
            );
            assert!(failure.message.contains("cannot do that"), "{failure:?}");
        } else {
            assert_eq!(
                (done.state(), done.output),
                (ExecutionState::Succeeded, format!("did {message}"))
            );
        }
        assert_eq!(done.process, None, "the agent's own process worked on it");
    }
    assert_eq!(
        client.until("a", runs(1)).await.process,
        before.process,
        "one process did it all"
    );
}

#[tokio::test]
async fn a_message_past_its_time_ends_the_agent_and_the_agent_recovers() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = pulls("[ \"$message\" = hang ] && exec sleep 1000; self done ok");
    let shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--message-timeout", "500ms")
        .flag("--cooldown", "0s")
        .script(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let hangs = client.give("a", "hang").await;
    let waits = client.give("a", "next").await;
    let over = client.until_execution(&hangs.name, is_over).await;
    assert_eq!(over.state(), ExecutionState::TimedOut, "{over:#?}");
    let done = client.until_execution(&waits.name, is_over).await;
    assert_eq!((done.state(), done.incarnation), (ExecutionState::Succeeded, 2));
    let agent = client.until("a", runs(2)).await;
    assert_eq!(
        agent.last_failure.map(|failure| failure.cause()),
        Some(FailureCause::MessageTimeout)
    );
    shim.check_lives();
}

#[tokio::test]
async fn a_cancel_ends_the_agent_that_works_on_it_and_spends_nothing() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = pulls("[ \"$message\" = hang ] && exec sleep 1000; self done ok");
    let _shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--max-attempts", "1")
        .script(&script)
        .start(&server);
    for life in 1..=3 {
        client.until("a", runs(life)).await;
        let given = client.give("a", "hang").await;
        client
            .until_execution(&given.name, in_state(ExecutionState::Running))
            .await;
        let answer = client.cancel(&given.name).await.expect("CancelExecution succeeds");
        assert_eq!(answer.outcome(), CancelOutcome::Cancelled);
    }
    let agent = client.until("a", runs(4)).await;
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(0));
}

#[tokio::test]
async fn a_blocked_agents_time_stands_still() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = pulls(&format!(
        "self blocked approval; while ! [ -e {} ]; do sleep 0.05; done; self unblocked; self done ok",
        gate.display()
    ));
    let _shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--message-timeout", "1s")
        .script(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    let given = client.give("a", "x").await;
    let running = client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    let does = |state, reason| {
        move |agent: &Agent| {
            let activity = agent.activity.clone().unwrap_or_default();
            (activity.state(), activity.blocked_reason()) == (state, reason)
        }
    };
    client
        .until("a", does(ActivityState::Blocked, BlockedReason::Approval))
        .await;
    let start: std::time::SystemTime = running
        .start_time
        .and_then(|time| time.try_into().ok())
        .expect("it has begun");
    rekindle_e2e::eventually("twice its time", async || {
        (start.elapsed().unwrap_or_default() > Duration::from_secs(2)).then_some(())
    })
    .await;
    std::fs::write(&gate, "").expect("can be written");
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(done.state(), ExecutionState::Succeeded, "{done:#?}");
}

#[tokio::test]
async fn work_goes_on_under_the_next_shim() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let gate = world.path("gate");
    let script = pulls(&format!(
        "while ! [ -e {} ]; do sleep 0.05; done; until self done \"did $message\"; do sleep 0.05; done",
        gate.display()
    ));
    let mut shim = world
        .shim("a")
        .flag("--delivery", "pull")
        .flag("--on-shim-exit", "keep")
        .script(&script)
        .start(&server);
    let before = client.until("a", runs(1)).await;
    let given = client.give("a", "it").await;
    client
        .until_execution(&given.name, in_state(ExecutionState::Running))
        .await;
    server.kill();
    shim.start_again();
    server.start_again().await;
    std::fs::write(&gate, "").expect("can be written");
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), done.output.as_str(), done.attempt),
        (ExecutionState::Succeeded, "did it", 1)
    );
    assert_eq!(
        client.until("a", runs(1)).await.process,
        before.process,
        "nobody was restarted"
    );
}

#[tokio::test]
async fn an_agent_reads_its_work_as_lines() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let agent = r#"
import json, sys
print("hello, I am up", flush=True)
for line in sys.stdin:
    work = json.loads(line)
    if work["message"] == "die":
        sys.exit(3)
    if work["message"] == "bad":
        print(json.dumps({"id": work["id"], "error": "cannot do that"}), flush=True)
    else:
        print(json.dumps({"id": work["id"], "result": "did " + work["message"]}), flush=True)
"#;
    let _shim = world
        .shim("a")
        .flag("--delivery", "stdin")
        .flag("--cooldown", "0s")
        .command([python.to_str().expect("a path in UTF-8"), "-c", agent])
        .start(&server);
    client.until("a", runs(1)).await;
    for (message, state) in [
        ("one\ntwo", ExecutionState::Succeeded),
        ("bad", ExecutionState::Failed),
        ("die", ExecutionState::DeadLetter),
        ("three", ExecutionState::Succeeded),
    ] {
        let given = client.give("a", message).await;
        let done = client.until_execution(&given.name, is_over).await;
        assert_eq!(done.state(), state, "{done:#?}");
        if state == ExecutionState::Succeeded {
            assert_eq!(done.output, format!("did {message}"));
        }
    }
    let agent = client.until("a", runs(2)).await;
    assert_eq!(agent.state(), AgentState::Running);
}

#[tokio::test]
async fn a_message_that_its_agent_cannot_read_is_given_to_the_next_life() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let deaf = world.path("deaf");
    let deaf = deaf.display();
    let script = format!(
        "[ -e {deaf} ] || {{ exec 0<&-; echo > {deaf}; while :; do sleep 0.05; done; }}\n\
         while read -r line; do echo \"$line\" | sed 's/\"message\":.*/\"result\":\"did it\"}}/'; done"
    );
    let _shim = world
        .shim("a")
        .flag("--delivery", "stdin")
        .flag("--max-deliveries", "2")
        .flag("--stop-grace", "200ms")
        .flag("--cooldown", "0s")
        .script(&script)
        .start(&server);
    client.until("a", runs(1)).await;
    rekindle_e2e::eventually("its stdin closed", async || world.path("deaf").exists().then_some(())).await;
    let given = client.give("a", "x").await;
    // Long before its time is over, which is five minutes.
    let done = client.until_execution(&given.name, is_over).await;
    assert_eq!(
        (done.state(), done.attempt, done.incarnation),
        (ExecutionState::Succeeded, 2, 2),
        "{done:#?}"
    );
}
