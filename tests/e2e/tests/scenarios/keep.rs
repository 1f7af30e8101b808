//! Children that go on under another shim, or under a newer program of the same one: one life for the server.

use rekindle::wire::v1::{Agent, EventType, FailureCause};
use rekindle_e2e::client::runs;
use rekindle_e2e::{World, eventually, process};
use rustix::process::Signal;

/// The newest session's number, of a shim that is connected.
fn epoch(agent: &Agent) -> Option<u64> {
    let connection = agent.connection.as_ref().filter(|connection| connection.connected);
    connection.map(|connection| connection.epoch)
}

/// Whether a later session than that of `before` tells that the same life goes on.
fn goes_on(before: &Agent) -> impl Fn(&Agent) -> bool {
    let earlier = epoch(before).expect("it is connected");
    move |agent| runs(1)(agent) && epoch(agent).is_some_and(|epoch| epoch > earlier)
}

/// Whether this kernel tells how a process ended to who is not its parent (PIDFD_GET_INFO, Linux 6.15).
fn tells_strangers() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells it");
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 15)
}

#[tokio::test]
async fn a_kept_child_is_adopted_as_the_same_life_and_its_end_is_seen() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "trap 'exit 7' USR1\n: > armed\nwhile :; do sleep 0.01; done";
    let mut shim = world
        .shim("a")
        .flag("--on-shim-exit", "keep")
        .flag("--max-attempts", "0")
        .script(script)
        .start(&server);
    let before = client.until("a", runs(1)).await;
    let events = client.history().await.of("a");

    for _ in 0..2 {
        let held = client.until("a", |agent| epoch(agent).is_some()).await;
        shim.kill();
        assert!(process::is_alive(shim.life(1).await.pid), "the child outlives its shim");
        shim.start_again();
        let after = client.until("a", goes_on(&held)).await;
        assert_eq!((&after.process, after.incarnation), (&before.process, 1));
        assert_eq!(after.recovery.map(|recovery| recovery.attempts), Some(0));
        assert_eq!(after.last_failure, None);
    }
    let taken_over = [(EventType::AgentTakenOver, 1); 2];
    let told = client.history().await.of("a");
    assert_eq!(told, [&events[..], &taken_over].concat(), "nothing was started");

    eventually("the child's trap", async || world.path("armed").exists().then_some(())).await;
    process::signal(shim.life(1).await.pid, Signal::USR1);
    let failed = |agent: &Agent| agent.last_failure.is_some();
    let failure = client
        .until("a", failed)
        .await
        .last_failure
        .expect("the failure is kept");
    assert_eq!((failure.cause(), failure.incarnation), (FailureCause::Exited, 1));
    if tells_strangers() {
        assert_eq!(failure.exit_code, Some(7), "{failure:?}");
    } else {
        assert!(failure.message.contains("unknown"), "{failure:?}");
    }
    assert_eq!(shim.lives().len(), 1);
}

#[tokio::test]
async fn an_upgrade_in_place_is_the_same_life_with_all_of_its_output() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "n=0\nuntil [ -e enough ]; do n=$((n + 1)); echo \"line $n\"; sleep 0.002; done\n\
                  echo \"last $n\"\nexec sleep 1000";
    let mut shim = world.shim("a").script(script).start(&server);
    let before = client.until("a", runs(1)).await;
    let events = client.history().await.of("a");

    for _ in 0..3 {
        let held = client.until("a", |agent| epoch(agent).is_some()).await;
        let pid = shim.pid();
        shim.upgrade();
        let after = client.until("a", goes_on(&held)).await;
        assert_eq!((&after.process, after.incarnation), (&before.process, 1));
        assert_eq!(shim.pid(), pid);
    }
    std::fs::write(world.path("enough"), "").expect("written");
    shim.says("last ").await;
    let taken_over = [(EventType::AgentTakenOver, 1); 3];
    let told = client.history().await.of("a");
    assert_eq!(told, [&events[..], &taken_over].concat(), "nothing was started");
    let log = shim.log();
    let lines: Vec<u64> = log
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    let last: u64 = lines.last().copied().expect("it writes");
    assert_eq!(lines, (1..=last).collect::<Vec<_>>(), "each line once, and in order");
    assert!(log.contains(&format!("last {last}\n")), "all of them");
    assert_eq!(shim.lives().len(), 1);
}
