//! Hosts that reboot: all of their shims and agents are gone at once, and come back together.

use std::fs;

use rekindle::wire::v1::{AgentState, EventType};
use rekindle_e2e::client::{is, runs};
use rekindle_e2e::process::signal;
use rekindle_e2e::shim::Shim;
use rekindle_e2e::{Host, World, eventually};
use rustix::process::Signal;

/// Agents whose shims come back.
const BACK: usize = 20;

/// The one of them that stays down.
const STAYS: &str = "agent-7";

/// The one beside them whose shim does not come back.
const GONE: &str = "gone";

/// A child beside which somebody of the same life, in a session of its own, lives through the power loss, with the marker
/// in its environment and in the life's control group: where a signal would go that was sent to what an earlier boot had
/// left. It tells of every signal that can be caught; its file has its pid first.
const WITNESSED: &str = r#"
(setsid sh -c '
    for signal in HUP INT QUIT USR1 USR2 TERM CONT; do trap "echo $signal >> $0" $signal; done
    sleep 2000 &
    echo $$ > $0
    while kill -0 $!; do wait $!; done
' "$E2E_LIVES.witness-$REKINDLE_INCARNATION" &)
exec sleep 1000
"#;

/// What the witness of an agent's first life has told, its pid first.
async fn witness(world: &World, agent: &str, lines: usize) -> Vec<String> {
    let file = world.path(format!("lives-{agent}.witness-1"));
    eventually(&format!("{lines} lines of the witness beside {agent}"), async || {
        let text = fs::read_to_string(&file).ok()?;
        let told: Vec<String> = text.lines().map(str::to_owned).collect();
        (told.len() >= lines && text.ends_with('\n')).then_some(told)
    })
    .await
}

fn power_loss(shims: &mut [Shim<'_>]) {
    for shim in shims {
        // Its child dies with it.
        shim.kill();
    }
}

#[tokio::test]
async fn twenty_shims_of_a_host_that_rebooted_make_one_event_each() {
    let world = World::new();
    let host = Host::new(&world);
    let server = world.server().flag("--heartbeat-interval", "1s").start().await;
    let mut client = server.client();
    let back: Vec<String> = (0..BACK).map(|number| format!("agent-{number}")).collect();
    let all: Vec<&str> = back.iter().map(String::as_str).chain([GONE]).collect();
    let mut shims: Vec<Shim<'_>> = all
        .iter()
        .map(|agent| {
            let shim = host.shim(agent).script(WITNESSED);
            let shim = if *agent == STAYS {
                shim.flag("--on-reboot", "stay")
            } else {
                shim
            };
            shim.start(&server)
        })
        .collect();
    for agent in &all {
        client.until(agent, runs(1)).await;
        witness(&world, agent, 1).await;
    }

    power_loss(&mut shims);
    world.none_left("sleep 1000").await;
    host.boots(2);
    for shim in &mut shims[..BACK] {
        shim.start_again();
    }
    for agent in &all {
        if [STAYS, GONE].contains(agent) {
            let agent = client.until(agent, is(AgentState::Stopped)).await;
            assert_eq!(agent.state_reason, "exit:reboot");
            let resume = agent.resume.expect("its life was lost");
            let home = fs::canonicalize(world.path("home")).expect("there");
            assert_eq!((resume.incarnation, resume.directory), (1, home.display().to_string()));
            assert_eq!(resume.arguments[..2], ["sh", "-c"]);
            assert!(resume.environment_names.contains(&"PATH".to_owned()));
        } else {
            let agent = client.until(agent, runs(2)).await;
            assert_eq!(agent.resume, None, "it was taken up");
            assert_eq!(agent.recovery.map(|recovery| recovery.attempts), Some(0));
        }
    }
    eventually("the shim of the one that stays down", async || {
        let agent = client.get(STAYS).await.ok()?;
        agent.connection?.connected.then_some(())
    })
    .await;

    let history = client.history().await;
    for agent in &all {
        assert_eq!(
            history.count(agent, EventType::AgentStopped),
            1,
            "{agent}: {history:#?}"
        );
        assert_eq!(
            history.count(agent, EventType::AgentCrashed),
            0,
            "{agent}: {history:#?}"
        );
        let started = if [STAYS, GONE].contains(agent) { 1 } else { 2 };
        assert_eq!(history.count(agent, EventType::AgentStarted), started, "{agent}");
    }
    let reboots: Vec<_> = history
        .0
        .iter()
        .filter(|event| event.r#type() == EventType::HostRebooted)
        .collect();
    assert_eq!(reboots.len(), 1, "{reboots:#?}");
    assert_eq!(reboots[0].attributes["agents"], all.len().to_string());
    assert_eq!(reboots[0].attributes["boot_id"], "00000000-0000-4000-8000-000000000002");
    for (agent, shim) in all.iter().zip(&shims) {
        shim.check_lives();
        // Whoever was stopped or killed does not answer; who was signalled otherwise has told so by then.
        let pid = witness(&world, agent, 1).await[0].parse().expect("a pid comes first");
        signal(pid, Signal::USR2);
        let told = witness(&world, agent, 2).await;
        assert_eq!(
            told[1..],
            ["USR2"],
            "signals were sent to what an earlier boot had left of {agent}"
        );
    }
}

#[tokio::test]
async fn an_agent_goes_on_where_its_lost_life_worked() {
    let world = World::new();
    let host = Host::new(&world);
    let server = world.server().flag("--heartbeat-interval", "1s").start().await;
    let mut client = server.client();
    let script = "echo \"$PWD $REKINDLE_RESUMED_INCARNATION.\" >> \"$E2E_LIVES.resumed\"; exec sleep 1000";
    let mut shims = [host.shim("a").script(script).start(&server)];
    client.until("a", runs(1)).await;
    let noted = |lines: usize| {
        let file = world.path("lives-a.resumed");
        async move {
            eventually("what the lives were told", async || {
                let text = fs::read_to_string(&file).ok()?;
                let told: Vec<String> = text.lines().map(str::to_owned).collect();
                (told.len() == lines).then_some(told)
            })
            .await
        }
    };
    let home = fs::canonicalize(world.path("home")).expect("there");
    let home = home.display();
    assert_eq!(noted(1).await, [format!("{home} .")]);

    power_loss(&mut shims);
    host.boots(2);
    // An init that starts it somewhere else.
    shims[0].start_again_in("");
    client.until("a", runs(2)).await;
    assert_eq!(noted(2).await[1], format!("{home} 1."));
    // The next life of that shim has no lost one before it, and stays where it is.
    client.restart("a").await.expect("restarted");
    client.until("a", runs(3)).await;
    assert_eq!(noted(3).await[2], format!("{home} ."));

    power_loss(&mut shims);
    host.boots(3);
    fs::remove_dir(world.path("home")).expect("empty");
    shims[0].start_again();
    let agent = client.until("a", |agent| agent.last_failure.is_some()).await;
    let message = agent.last_failure.expect("just seen").message;
    assert!(
        message.contains("cannot enter the directory") && message.contains("--directory"),
        "{message}"
    );
}
