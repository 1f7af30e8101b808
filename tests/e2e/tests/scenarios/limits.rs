//! The time that a message has: the shim keeps it by its own clock, whoever is there, and ends the whole tree.

use std::time::Duration;

use rekindle::wire::v1::{Execution, ExecutionState, FailureCause};
use rekindle_e2e::client::runs;
use rekindle_e2e::shim::ShimBuilder;
use rekindle_e2e::work::{cause, in_state, is_over, lasted, pulls};
use rekindle_e2e::{World, eventually, process};

/// So soon after the limit and the grace nothing of a tree is left.
const WITHIN: Duration = Duration::from_millis(250);

/// For so long a loaded machine may stand still in the wrong moment: no single end is judged more strictly.
const STALL: Duration = Duration::from_secs(1);

/// Ends of which the best is held to [`WITHIN`]: a machine stands still during one or two of them, and a shim that is late
/// is so in all.
const ROUNDS: usize = 3;

/// Long enough for a server to be killed before it is over.
const TIMEOUT: Duration = Duration::from_millis(1500);

/// Given in full to those who ignore TERM.
const GRACE: Duration = Duration::from_millis(300);

/// Where the server is when the time of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    There,
    Away,
}

/// A script that notes both processes of its tree, of which one leaves the group and the session, and that ignore TERM.
fn stubborn(world: &World) -> String {
    format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 1000' & \
         echo $$ >> {0}; while :; do sleep 1; done",
        world.path("pids").display()
    )
}

/// How late one was ended that had this time in all.
fn late(over: &Execution, after: Duration) -> Duration {
    assert_eq!(
        (over.state(), cause(over)),
        (ExecutionState::TimedOut, FailureCause::MessageTimeout),
        "{over:#?}"
    );
    lasted(over).checked_sub(after).expect("it had its time, and the grace")
}

async fn is_ended_in_time(world: &World, shim: ShimBuilder<'_>) {
    let mut server = world.server().start().await;
    let mut client = server.client();
    let grace = format!("{}ms", GRACE.as_millis());
    let shim = shim.flag("--stop-grace", &grace).flag("--max-attempts", "100");
    let _shim = shim.flag("--cooldown", "0s").start(&server);
    client.until("a", |agent| agent.ready).await;
    for place in [Server::There, Server::Away] {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let _none_yet = std::fs::remove_file(world.path("pids"));
            let given = client.give_for("a", "x", TIMEOUT).await.name;
            let tree = eventually("both processes", async || {
                let text = std::fs::read_to_string(world.path("pids")).unwrap_or_default();
                let pids: Vec<u32> = text.lines().filter_map(|pid| pid.parse().ok()).collect();
                (pids.len() == 2).then_some(pids)
            })
            .await;
            if place == Server::Away {
                server.kill();
            }
            for pid in tree {
                process::is_gone(pid).await;
            }
            if place == Server::Away {
                server.start_again().await;
            }
            let over = client.until_execution(&given, is_over).await;
            let late = late(&over, TIMEOUT + GRACE);
            assert!(late < WITHIN + STALL, "{late:?} late, server {place:?}");
            best = best.min(late);
        }
        assert!(best < WITHIN, "{best:?} late at best, server {place:?}");
    }
}

#[tokio::test]
async fn is_kept_for_each_message_s_own_process() {
    let world = World::new();
    let shim = world.shim("a").per_message(&stubborn(&world));
    is_ended_in_time(&world, shim).await;
}

#[tokio::test]
async fn is_kept_for_an_agent_that_asks_for_its_work() {
    let world = World::new();
    let shim = world.shim("a").flag("--delivery", "pull");
    let shim = shim.script(&pulls(&stubborn(&world)));
    is_ended_in_time(&world, shim).await;
}

#[tokio::test]
async fn is_kept_for_an_agent_that_reads_its_work() {
    let world = World::new();
    let shim = world.shim("a").flag("--delivery", "stdin");
    let shim = shim.script(&format!("while read -r line; do\n{}\ndone", stubborn(&world)));
    is_ended_in_time(&world, shim).await;
}

/// Who waits for somebody has that time beside his own, once, however often he says it, and whoever is there.
#[tokio::test]
async fn stands_still_for_the_blocked_limit_and_no_longer() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    const BLOCKED: Duration = Duration::from_secs(1);
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let script = pulls(
        "self blocked approval; : > blocked\n\
         [ \"$message\" = again ] && while :; do self unblocked; self blocked quota; done\n\
         exec sleep 1000",
    );
    let shim = world.shim("a").flag("--delivery", "pull");
    let shim = shim.flag("--blocked-limit", "1s").flag("--stop-grace", "0s");
    let shim = shim.flag("--cooldown", "0s").flag("--max-attempts", "100");
    let _shim = shim.script(&script).start(&server);
    client.until("a", runs(1)).await;
    for (message, place, least) in [
        ("once", Server::There, TIMEOUT + BLOCKED),
        ("again", Server::There, TIMEOUT),
        ("once", Server::Away, TIMEOUT + BLOCKED),
    ] {
        let _not_yet = std::fs::remove_file(world.path("blocked"));
        let given = client.give_for("a", message, TIMEOUT).await.name;
        eventually("its word", async || world.path("blocked").exists().then_some(())).await;
        if place == Server::Away {
            server.kill();
            world.none_left("sleep 1000").await;
            server.start_again().await;
        }
        let over = client.until_execution(&given, is_over).await;
        let beyond = late(&over, least);
        let most = TIMEOUT + BLOCKED + WITHIN + STALL - least;
        assert!(beyond < most, "{message}, server {place:?}: {beyond:?} past {least:?}");
    }
    let next = client.give("a", "x").await;
    client
        .until_execution(&next.name, in_state(ExecutionState::Running))
        .await;
}
