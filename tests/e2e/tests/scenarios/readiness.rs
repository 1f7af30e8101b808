//! What an agent says of itself, through the genuine systemd-notify, and what it is held to.

use std::fs;

use rekindle::wire::v1::{ActivityState, Agent, AgentState, BlockedReason, EventType, FailureCause, Outcome};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::{World, tools};

/// Whether the client that these tests are about is here.
fn has_systemd_notify() -> bool {
    tools::find("systemd-notify").is_some()
}

/// A child that says READY=1 once the test has made the file `go-` and its incarnation.
const READY_WHEN_TOLD: &str =
    "until [ -e go-$REKINDLE_INCARNATION ]; do sleep 0.01; done\nsystemd-notify --ready\nexec sleep 1000";

fn cause(agent: &Agent) -> Option<FailureCause> {
    agent.last_failure.as_ref().map(|failure| failure.cause())
}

#[tokio::test]
async fn a_restart_is_answered_only_when_the_agent_says_that_it_is_ready() {
    if !has_systemd_notify() {
        return;
    }
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let tell = |incarnation: u64| fs::write(world.path(format!("go-{incarnation}")), "").expect("written");
    let shim = world
        .shim("a")
        .flag("--ready", "notify")
        .script(READY_WHEN_TOLD)
        .start(&server);
    shim.life(1).await;
    let agent = client.get("a").await.expect("the agent is there");
    assert_eq!((agent.state(), agent.ready), (AgentState::Starting, false));
    tell(1);
    client.until("a", runs(1)).await;

    let mut caller = server.client();
    let restart = tokio::spawn(async move { caller.restart("a").await });
    let second = shim.life(2).await.pid;
    let spawned = |agent: &Agent| agent.process.as_ref().is_some_and(|process| process.pid == second);
    let agent = client.until("a", spawned).await;
    assert_eq!((agent.state(), agent.ready), (AgentState::Starting, false));
    assert!(!restart.is_finished(), "it runs, and has not said that it is ready");
    tell(2);
    let answer = restart.await.expect("no panic").expect("RestartAgent succeeds");
    assert_eq!(answer.outcome(), Outcome::Completed);
    assert!(answer.agent.as_ref().is_some_and(runs(2)), "{answer:?}");
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn who_is_not_ready_in_time_has_crashed() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world
        .shim("a")
        .flag("--ready", "notify")
        .flag("--start-timeout", "1s")
        .flag("--max-attempts", "1")
        .flag("--cooldown", "0s")
        .script("exec sleep 1000")
        .start(&server);

    let agent = client.until("a", is(AgentState::Terminated)).await;
    assert_eq!(cause(&agent), Some(FailureCause::StartTimeout));
    assert_eq!(agent.state_reason, "START_TIMEOUT");
    assert_eq!(client.history().await.count("a", EventType::AgentReady), 0);
    assert_eq!(shim.lives().len(), 2);
    shim.check_lives();
}

#[tokio::test]
async fn a_missed_watchdog_is_a_crash() {
    if !has_systemd_notify() {
        return;
    }
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "until [ -e hang-$REKINDLE_INCARNATION ]; do systemd-notify WATCHDOG=1; sleep 0.2; done\n\
                  exec sleep 1000";
    let shim = world
        .shim("a")
        .flag("--watchdog-timeout", "5s")
        .flag("--cooldown", "0s")
        .script(script)
        .start(&server);
    client.until("a", runs(1)).await;
    fs::write(world.path("hang-1"), "").expect("written");

    let agent = client.until("a", runs(2)).await;
    assert_eq!(cause(&agent), Some(FailureCause::WatchdogTimeout));
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(1));
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn a_stalled_agent_has_crashed_and_a_blocked_one_has_not() {
    if !has_systemd_notify() {
        return;
    }
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    // What waits for a named pipe uses no processor.
    let script = "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\n\
                  mkfifo answer\n\
                  systemd-notify 'STATUS=waits for bob' X_REKINDLE_ACTIVITY=BLOCKED:approval\n\
                  read answer < answer\n\
                  systemd-notify X_REKINDLE_ACTIVITY=IDLE\n\
                  exec sleep 1000";
    let held = |agent| {
        let shim = world.shim(agent).flag("--stall-timeout", "1s");
        shim.flag("--max-attempts", "0")
    };
    let shim = held("blocked").script(script).start(&server);
    let blocked = |agent: &Agent| {
        let activity = agent.activity.as_ref();
        activity.is_some_and(|activity| activity.state() == ActivityState::Blocked)
    };
    let agent = client.until("blocked", blocked).await;
    let activity = agent.activity.expect("it is told");
    assert_eq!(activity.blocked_reason(), BlockedReason::Approval);
    assert_eq!(activity.status, "waits for bob");

    // Began later, with as much time: once it has stalled, the other would have.
    let _silent = held("silent").start(&server);
    let agent = client.until("silent", is(AgentState::Terminated)).await;
    assert_eq!(cause(&agent), Some(FailureCause::Stalled));
    let agent = client.get("blocked").await.expect("the agent is there");
    assert!(runs(1)(&agent) && blocked(&agent), "{agent:#?}");

    fs::write(world.path("answer"), "yes\n").expect("it reads");
    let agent = client.until("blocked", is(AgentState::Terminated)).await;
    assert_eq!(cause(&agent), Some(FailureCause::Stalled));
    assert_eq!(agent.activity, None, "who is dead says nothing");
    assert_eq!(shim.lives().len(), 1);
}
