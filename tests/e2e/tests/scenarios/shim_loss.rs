//! Shims that die, hang, leave, or are too many.

use std::time::Duration;

use rekindle::wire::v1::{AgentState, EventType, FailureCause};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::disk::Disk;
use rekindle_e2e::{World, eventually, process};

#[tokio::test]
async fn a_killed_shim_takes_its_child_along_and_the_next_one_recovers() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;
    let first = shim.life(1).await;

    shim.kill();
    process::is_gone(first.pid).await;
    shim.start_again();
    let agent = client.until("a", runs(2)).await;
    assert_eq!(
        agent.last_failure.map(|failure| failure.cause()),
        Some(FailureCause::ShimLost)
    );
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(1));
    client.history().await;
    shim.check_lives();
}

#[tokio::test]
async fn a_killed_shim_s_whole_tree_is_swept_by_the_next_one() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\nsetsid sleep 4243 &\nexec sleep 4242";
    let mut shim = world.shim("a").script(script).start(&server);
    client.until("a", runs(1)).await;
    eventually("the daemon", async || {
        (!world.processes("sleep 4243").is_empty()).then_some(())
    })
    .await;

    shim.kill();
    shim.start_again();
    client.until("a", runs(2)).await;
    assert_eq!(
        world.processes("sleep 424"),
        Vec::<u32>::new(),
        "nothing of the old tree is beside the new life"
    );
    shim.check_lives();
}

/// Who writes to a file system that is frozen waits in the kernel, and no signal reaches it there.
#[tokio::test]
async fn what_outlives_the_sweep_quarantines_its_agent_until_it_is_dead() {
    let world = World::new();
    let Some(disk) = Disk::mount_ext4(&world, 16) else {
        return;
    };
    let server = world.server().start().await;
    let mut client = server.client();
    let go = world.path("go");
    let script = format!(
        "[ \"$REKINDLE_INCARNATION\" -gt 1 ] && exec sleep 1000\nuntil [ -e {} ]; do sleep 0.05; done\necho x > {}",
        go.display(),
        disk.path().join("file").display()
    );
    let mut shim = world.shim("a").script(&script).start(&server);
    client.until("a", runs(1)).await;
    let first = shim.life(1).await;

    let frozen = disk.freeze();
    std::fs::write(&go, "").expect("the world's directory takes files");
    eventually("the writer's wait", async || {
        (process::state(first.pid) == Some('D')).then_some(())
    })
    .await;
    shim.kill();
    shim.start_again();
    client.until("a", is(AgentState::Quarantined)).await;
    assert!(process::is_alive(first.pid), "SIGKILL has not ended it");

    drop(frozen);
    process::is_gone(first.pid).await;
    let agent = client.until("a", runs(2)).await;
    assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(1));
    shim.check_lives();
}

#[tokio::test]
async fn a_shim_that_is_told_to_end_ends_its_child_and_says_goodbye() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    let status = shim.terminate().await;
    assert!(status.success(), "{status}: {}", shim.log());
    assert!(
        !process::is_alive(shim.life(1).await.pid),
        "the child is dead before the shim is"
    );
    let agent = client.until("a", is(AgentState::Stopped)).await;
    assert_eq!(agent.last_failure, None);
    assert_eq!(agent.connection.map(|connection| connection.connected), Some(false));

    shim.start_again();
    let agent = client.until("a", runs(2)).await;
    assert_eq!(
        agent.recovery.map(|recovery| recovery.attempts),
        Some(0),
        "it comes back, and nothing was spent"
    );

    assert!(shim.terminate().await.success());
    let elsewhere = world.shim("a").state("elsewhere").start(&server);
    client.until("a", runs(3)).await;
    elsewhere.life(3).await;
    client.history().await;
}

#[tokio::test]
async fn a_stopped_shim_is_unreachable_then_crashed_and_back_without_a_restart() {
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "100ms").start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").flag("--heartbeat-timeout", "2s").start(&server);
    let before = client.until("a", runs(1)).await;

    shim.pause();
    let silent = client.until("a", is(AgentState::Unreachable)).await;
    assert_eq!(silent.process, before.process, "unknown is not dead");
    let crashed = client.until("a", is(AgentState::Crashed)).await;
    assert_eq!(
        crashed.last_failure.map(|failure| failure.cause()),
        Some(FailureCause::HeartbeatTimeout)
    );
    assert_eq!(
        crashed.recovery.map(|recovery| recovery.attempts),
        Some(0),
        "that spends no attempt"
    );
    assert!(process::is_alive(shim.life(1).await.pid), "nothing destructive follows");

    shim.resume();
    let after = client.until("a", is(AgentState::Running)).await;
    assert_eq!(after.process, before.process);
    assert_eq!(after.incarnation, 1);
    assert_eq!(client.history().await.count("a", EventType::AgentReconnected), 1);
    assert_eq!(shim.lives().len(), 1, "nothing was restarted");
}

#[tokio::test]
async fn a_second_shim_is_refused_with_the_holder_s_host_and_last_heartbeat() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").start(&server);
    let before = client.until("a", runs(1)).await;

    let second = world.shim("a").state("second").start(&server);
    let host = before
        .connection
        .as_ref()
        .map(|connection| connection.host.clone())
        .unwrap_or_default();
    assert!(!host.is_empty(), "the holder's host is known: {before:?}");
    second
        .says(&format!("another shim holds the agent: on {host}, last heard"))
        .await;
    let after = client.get("a").await.expect("the agent is there");
    assert_eq!((after.process, after.incarnation), (before.process, 1));
    assert_eq!(shim.lives().len(), 1, "two at once never run two children");
}

#[tokio::test]
async fn two_shims_at_once_never_run_two_children() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shims = ["one", "two", "three"].map(|state| world.shim("a").state(state).start(&server));
    client.until("a", runs(1)).await;
    for _ in 0..3 {
        client.restart("a").await.expect("RestartAgent succeeds");
    }
    // All note their lives in one place.
    let [shim, ..] = &shims;
    assert_eq!(
        shim.lives().iter().map(|life| life.incarnation).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    shim.check_lives();
    client.history().await;
}

#[tokio::test]
async fn a_second_shim_on_the_same_state_directory_ends_with_the_reason() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    let mut second = world.shim("a").start(&server);
    let status = eventually("the end of the second shim", async || second.ended()).await;
    assert!(!status.success());
    assert_eq!(shim.lives().len(), 1);
    assert!(runs(1)(&client.get("a").await.expect("the agent is there")));
}

#[tokio::test]
async fn a_missed_beat_or_two_is_no_verdict() {
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "500ms").start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;

    shim.pause();
    // Less than the lease of three intervals: the time is what is under test.
    tokio::time::sleep(Duration::from_millis(700)).await;
    shim.resume();
    let beat = |agent: &rekindle::wire::v1::Agent| agent.connection.as_ref().and_then(|shim| shim.last_heartbeat_time);
    let seen = beat(&client.get("a").await.expect("the agent is there"));
    client.until("a", |agent| beat(agent) != seen).await;
    assert_eq!(client.history().await.count("a", EventType::AgentUnreachable), 0);
}
