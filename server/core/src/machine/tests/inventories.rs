//! Inventories: what holds between a welcome and the word of what the shim holds, and what follows from that.

use super::*;
use crate::effect::{Disconnect, OperationOutcome, SignalAnswer};
use crate::input::{Missing, SignalRequest, UpdateMode, UpdateRequest};
use rekindle::policy::PolicyPatch;

use super::alone::back;

/// The same process, as the shim of a world that runs would tell.
fn same(world: &World) -> Inventory {
    Inventory {
        child: Some(world.child(1)),
        last_incarnation: Incarnation::new(1),
        ..Inventory::default()
    }
}

#[test]
fn nothing_is_concluded_from_a_hello() {
    let mut world = World::running();
    world.disconnect();
    let call = world.stop();
    world.told();
    // Its shim has given this stream up, and begins a life alone meanwhile.
    world.greet(hello("a", 1));
    assert_eq!(world.told(), "");
    assert_eq!((world.state(), world.commands()), (AgentState::Running, vec![]));
    world.disconnect();
    let inventory = back(&mut world, 1);
    world.connect_with(hello("a", 1), inventory);
    let stop = Command::Stop {
        incarnation: Incarnation::new(2),
        grace: None,
    };
    assert_eq!((world.state(), world.commands()), (AgentState::Stopping, vec![stop]));
    assert!(matches!(world.answer(call), Some(Ok(answer)) if answer.outcome == OperationOutcome::Pending));
}

#[test]
fn what_is_ordered_before_the_inventory_is_made_good_by_it() {
    let mut world = World::running();
    world.disconnect();
    world.greet(hello("a", 1));
    let call = world.restart(|_| ());
    assert_eq!((world.answer(call), world.commands()), (None, vec![]));
    let inventory = same(&world);
    world.inventory(inventory);
    assert_eq!((world.state(), world.commands()), (AgentState::Stopping, run(2)));
    world.report(1, ended(ExitStatus::Exited(0), EndedBy::Command));
    world.spawn(2);
    assert!(matches!(world.answer(call), Some(Ok(answer)) if answer.outcome == OperationOutcome::Completed));
}

#[test]
fn nobody_is_signalled_before_the_inventory() {
    let signal = Request::Signal(SignalRequest {
        agent: AgentId::new("a").expect("valid"),
        expected_incarnation: None,
        signal: 10,
    });
    let answers = |world: &World| -> Vec<Result<SignalAnswer, RequestError>> {
        let signalled = |effect: &Effect| match effect {
            Effect::Reply {
                answer: Answer::Signalled(answer),
                ..
            } => Some(answer.clone()),
            Effect::Reply { .. }
            | Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::CheckpointKept { .. }
            | Effect::Dispatch { .. }
            | Effect::Command { .. } => None,
        };
        world.effects.iter().filter_map(signalled).collect()
    };
    let mut world = World::running();
    world.disconnect();
    world.greet(hello("a", 1));
    world.request(signal.clone());
    assert!(matches!(answers(&world)[..], [Err(RequestError::NoProcess { .. })]));
    let inventory = same(&world);
    world.inventory(inventory);
    world.request(signal);
    assert!(matches!(world.commands()[..], [Command::Signal { .. }]));
}

#[test]
fn a_shim_that_is_heard_and_tells_nothing_is_no_way_back() {
    let mut world = World::running();
    world.disconnect();
    world.pass(15 + 100);
    assert_eq!(world.state(), AgentState::Unreachable);
    let session = world.greet(hello("a", 1));
    world.pass(1_000);
    assert_eq!(world.state(), AgentState::Unreachable, "its beats are heard");
    let last_heard = world.now.mono;
    world.pass(15);
    world.step(Input::LeaseExpired { session, last_heard });
    world.pass(164);
    assert_eq!(world.state(), AgentState::Unreachable);
    world.pass(1);
    assert_eq!(world.state(), AgentState::Crashed);
}

#[test]
fn silence_after_a_welcome_counts_from_the_end_of_its_stream() {
    let mut world = World::running();
    world.disconnect();
    world.pass(15 + 100);
    world.greet(hello("a", 1));
    world.pass(100);
    world.disconnect();
    world.pass(179);
    assert_eq!(world.state(), AgentState::Unreachable);
    world.pass(1);
    assert_eq!(world.state(), AgentState::Crashed);
}

#[test]
fn how_a_shim_came_to_hold_the_agent_outlives_its_stream_and_the_server() {
    let mut world = World::running();
    world.restart(|_| ());
    assert_eq!(world.commands(), run(2));
    world.disconnect();
    world.pass(15);
    let rebooted = |life| {
        let mut hello = hello("a", life);
        hello.host.boot_id = BootId::from_u128(9);
        hello
    };
    // Incarnation 2 may have begun in the boot that is over, and nobody can say so any more.
    world.greet(rebooted(2));
    world.disconnect();
    world.restart_server();
    world.greet(rebooted(2));
    world.disconnect();
    world.connect_with(
        rebooted(3),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), run(3));
}

#[test]
fn what_it_tells_is_acknowledged_before_anything_is_ordered() {
    let mut world = World::running();
    world.disconnect();
    world.greet(hello("a", 1));
    world.effects.clear();
    let exited = world.numbered(1, ended(ExitStatus::Exited(3), EndedBy::Itself));
    let through = exited.sequence;
    world.inventory(Inventory {
        last_incarnation: Incarnation::new(1),
        reports: vec![exited],
        ..Inventory::default()
    });
    let session = world.last_session();
    assert_eq!(world.effects.first(), Some(&Effect::Acknowledge { session, through }));
    let charged = |effect: &Effect| {
        matches!(
            effect,
            Effect::Command {
                command: Command::Charge(_),
                ..
            }
        )
    };
    assert!(world.effects.get(1).is_some_and(charged), "{:?}", world.effects);
    assert_eq!(world.commands(), run(2));
}

#[test]
fn an_inventory_is_concluded_from_once() {
    let mut world = World::running();
    world.inventory(Inventory::default());
    assert_eq!(
        (world.state(), world.told(), world.commands()),
        (AgentState::Running, String::new(), vec![])
    );
}

#[test]
fn facts_before_an_inventory_are_none() {
    let mut world = World::running();
    world.disconnect();
    world.greet(hello("a", 1));
    world.told();
    let exited = ended(ExitStatus::Exited(3), EndedBy::Itself);
    world.report(1, exited);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    assert_eq!((world.state(), world.told()), (AgentState::Running, String::new()));
}

#[test]
fn a_policy_that_changes_before_the_inventory_is_told_with_it() {
    let mut world = World::running();
    world.disconnect();
    world.greet(hello("a", 1));
    world.commands();
    world.request(Request::Update(Box::new(UpdateRequest {
        agent: AgentId::new("a").expect("valid"),
        policy: Some(PolicyPatch {
            max_attempts: Some(77),
            ..PolicyPatch::default()
        }),
        labels: None,
        etag: None,
        missing: Missing::Fail,
        mode: UpdateMode::Apply,
    })));
    assert_eq!(world.commands(), []);
    let child = Some(world.child(1));
    world.inventory(Inventory {
        child,
        last_incarnation: Incarnation::new(1),
        ..Inventory::default()
    });
    let told = world.commands();
    assert!(
        matches!(&told[..], [Command::SetPolicy(policy)] if policy.max_attempts == 77),
        "{told:?}"
    );
}

#[test]
fn a_number_that_a_shim_has_used_and_tells_nothing_of_is_not_ordered() {
    let mut world = World::new();
    let used = Inventory {
        last_incarnation: Incarnation::new(5),
        reports: vec![world.numbered(4, ended(ExitStatus::Exited(1), EndedBy::Itself))],
        ..Inventory::default()
    };
    world.connect_with(hello("a", 1), used);
    assert_eq!(world.commands(), run(6));
}

#[test]
fn an_inventory_with_a_hole_ends_the_stream() {
    let mut world = World::running();
    world.disconnect();
    world.greet(hello("a", 1));
    let one = world.numbered(1, ReportFact::Stopping);
    let mut two = world.numbered(1, ended(ExitStatus::Exited(3), EndedBy::Itself));
    two.sequence = two.sequence.next();
    world.effects.clear();
    world.inventory(Inventory {
        last_incarnation: Incarnation::new(1),
        reports: vec![one, two],
        ..Inventory::default()
    });
    assert!(world.effects.iter().any(|effect| matches!(
        effect,
        Effect::Disconnect {
            cause: Disconnect::Protocol(_),
            ..
        }
    )));
    assert_eq!(world.state(), AgentState::Running);
}
