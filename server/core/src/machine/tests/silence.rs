//! Silence: of shims, which is no verdict, and of the server, which judges nobody for it.

use super::*;
use crate::effect::Disconnect;

#[test]
fn silence_is_unreachable_then_crashed_and_a_return_restarts_nothing() {
    let mut world = World::running();
    world.disconnect();
    world.pass(14);
    assert_eq!(world.state(), AgentState::Running);
    world.pass(1);
    assert_eq!(
        (world.state(), world.told()),
        (AgentState::Unreachable, "AGENT_UNREACHABLE".into())
    );
    world.pass(164);
    assert_eq!(world.state(), AgentState::Unreachable);
    world.pass(1);
    assert_eq!(
        (world.state(), world.agent().reason.as_str()),
        (AgentState::Crashed, "HEARTBEAT_TIMEOUT")
    );
    world.pass(100_000);
    assert_eq!(world.commands(), []);
    assert_eq!(world.agent().budget.attempts, 0);
    world.told();
    let child = Some(world.child(1));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        (world.state(), world.told()),
        (AgentState::Running, "AGENT_RECONNECTED".into())
    );
    assert_eq!(world.commands(), []);
}

#[test]
fn a_shim_that_is_stopped_loses_its_stream_and_comes_back_by_hello() {
    let mut world = World::running();
    let (session, last_heard) = (world.last_session(), world.now.mono);
    world.pass(15);
    world.step(Input::LeaseExpired { session, last_heard });
    assert_eq!(world.state(), AgentState::Unreachable);
    assert!(world.effects.iter().any(|e| matches!(
        e,
        Effect::Disconnect {
            cause: Disconnect::LeaseExpired,
            ..
        }
    )));
    let child = Some(world.child(1));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!((world.state(), world.commands()), (AgentState::Running, vec![]));
}

#[test]
fn a_server_restart_restarts_nobody() {
    let mut world = World::running();
    world.told();
    world.restart_server();
    assert_eq!(world.told(), "SERVER_STARTED");
    world.pass(59);
    assert_eq!(
        world.state(),
        AgentState::Running,
        "nobody is judged within the adoption window"
    );
    let child = Some(world.child(1));
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    world.pass(1000);
    assert_eq!(
        (world.state(), world.commands(), world.told()),
        (AgentState::Running, vec![], String::new())
    );
}

#[test]
fn a_shim_that_breaks_the_protocol_and_stays_away_falls_silent() {
    let mut world = World::running();
    world.sequence += 1;
    world.exit(1, 1);
    world.pass(15);
    assert_eq!(world.state(), AgentState::Unreachable);
}

#[test]
fn a_pause_of_the_server_judges_nobody() {
    let mut world = World::running();
    world.disconnect();
    world.now.mono = world.now.mono.saturating_add(Duration::from_secs(500));
    world.step(Input::Paused {
        gap: Duration::from_secs(500),
    });
    world.step(Input::Tick);
    assert_eq!(world.state(), AgentState::Running);
    world.pass(15);
    assert_eq!(world.state(), AgentState::Unreachable);
}

#[test]
fn a_stream_that_ended_in_a_pause_of_the_server_is_not_old() {
    let mut world = World::running();
    let (session, last_heard) = (world.last_session(), world.now.mono);
    let gap = Duration::from_secs(100);
    world.now.mono = world.now.mono.saturating_add(gap);
    world.step(Input::Paused { gap });
    world.step(Input::SessionClosed { session, last_heard });
    world.pass(14);
    assert_eq!(world.state(), AgentState::Running);
    world.pass(1);
    assert_eq!(world.state(), AgentState::Unreachable);
}

#[test]
fn when_a_shim_was_last_heard_outlives_its_session_and_the_server() {
    let mut world = World::running();
    let (session, last_heard, wall) = (world.last_session(), world.now.mono, world.now.wall);
    let heard = |world: &World| {
        world.records.agents[0]
            .holder
            .as_ref()
            .and_then(|holder| holder.last_heard)
    };
    assert_eq!(heard(&world), None, "its session tells");
    world.pass(3);
    world.step(Input::SessionClosed { session, last_heard });
    assert_eq!(heard(&world), Some(wall));
    world.restart_server();
    world.pass(1_000);
    assert_eq!(world.state(), AgentState::Crashed);
    assert_eq!(heard(&world), Some(wall));
    world.connect(hello("a", 1));
    assert_eq!(heard(&world), None);
}
