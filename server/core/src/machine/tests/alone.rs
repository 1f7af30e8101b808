//! What a shim did by itself while the server was gone.

use super::*;
use rekindle::recovery::Budget;
use rekindle::session::{Charge, CommandId, Wanted};
use rekindle::state::FailureCause;

/// What a shim tells that comes back after it has begun incarnation 2 by itself.
pub(super) fn back(world: &mut World, attempts: u32) -> Inventory {
    let reports = vec![
        world.numbered(1, ended(ExitStatus::Exited(3), EndedBy::Itself)),
        world.numbered(2, ReportFact::Recovering { attempts }),
        world.numbered(2, ReportFact::Spawned(Some(process(2)))),
        world.numbered(2, ReportFact::Ready),
    ];
    Inventory {
        last_incarnation: Incarnation::new(2),
        child: Some(world.child(2)),
        reports,
        ..Inventory::default()
    }
}

fn charges(world: &World) -> Vec<Charge> {
    let mut charges = Vec::new();
    for effect in &world.effects {
        if let Effect::Command {
            command: Command::Charge(charge),
            ..
        } = effect
        {
            charges.push(*charge);
        }
    }
    charges
}

fn number(effect: &Effect) -> Option<CommandId> {
    if let Effect::Command { id, .. } = effect {
        Some(*id)
    } else {
        None
    }
}

#[test]
fn it_is_told_in_order_and_counts() {
    let mut world = World::running();
    world.disconnect();
    world.pass(3600);
    world.told();
    let inventory = back(&mut world, 1);
    world.connect_with(hello("a", 1), inventory);
    assert_eq!(
        world.told(),
        "AGENT_CRASHED RECOVERY_STARTED AGENT_STARTING AGENT_STARTED AGENT_READY RECOVERY_SUCCEEDED"
    );
    assert_eq!(world.commands(), [], "nothing is restarted for it");
    assert_eq!((world.state(), world.agent().budget.attempts), (AgentState::Running, 1));
    world.exit(2, 3);
    world.pass(59);
    assert_eq!(
        world.agent().budget.attempts,
        1,
        "the cooldown counts from the shim's attempt"
    );
}

#[test]
fn when_it_was_is_told_with_it() {
    let mut world = World::running();
    world.disconnect();
    let crashed = world.now.wall;
    let inventory = back(&mut world, 1);
    world.pass(3600);
    world.connect_with(hello("a", 1), inventory);
    let failure = world.agent().last_failure.clone().expect("the failure is kept");
    assert_eq!((failure.time, failure.cause), (crashed, FailureCause::Exited));
    let late = ["AGENT_CRASHED", "RECOVERY_STARTED", "AGENT_STARTED"];
    assert_eq!(
        world.late,
        late.map(|kind| (kind.to_owned(), "3600000".to_owned())),
        "what the server decides itself is not late"
    );

    world.exit(2, 3);
    let failure = world.agent().last_failure.clone().expect("the failure is kept");
    assert_eq!(failure.time, world.now.wall);
    assert_eq!(world.late.len(), late.len());
}

#[test]
fn an_operators_restart_of_meanwhile_comes_after_it() {
    let mut world = World::running();
    world.disconnect();
    world.restart(|_| ());
    let inventory = back(&mut world, 1);
    world.connect_with(hello("a", 1), inventory);
    assert_eq!(world.commands(), run(3), "no number stands for two lives");
    assert_eq!(world.state(), AgentState::Stopping);
    world.report(2, ended(ExitStatus::Exited(0), EndedBy::Command));
    world.spawn(3);
    assert_eq!(
        (world.state(), world.agent().budget),
        (AgentState::Running, Budget::default())
    );
}

#[test]
fn an_operators_stop_of_meanwhile_ends_it() {
    let mut world = World::running();
    world.disconnect();
    world.stop();
    let inventory = back(&mut world, 1);
    world.connect_with(hello("a", 1), inventory);
    let stop = Command::Stop {
        incarnation: Incarnation::new(2),
        grace: None,
    };
    assert_eq!(world.commands(), [stop]);
    world.report(2, ended(ExitStatus::Exited(0), EndedBy::Command));
    assert_eq!((world.state(), &world.agent().operation), (AgentState::Stopped, &None));
}

#[test]
fn a_budget_that_a_shim_has_spent_alone_is_spent() {
    let mut world = World::running();
    world.disconnect();
    let mut inventory = back(&mut world, 3);
    inventory.child = None;
    let end = world.numbered(2, ended(ExitStatus::Exited(3), EndedBy::Itself));
    inventory.reports.push(end);
    world.connect_with(hello("a", 1), inventory);
    assert_eq!(world.state(), AgentState::Terminated);
}

#[test]
fn a_shim_knows_of_an_attempt_before_it_is_made() {
    let mut world = World::new();
    world.connect(hello("a", 1));
    world.spawn(1);
    world.effects.clear();
    world.exit(1, 3);
    let place = |wanted: fn(&Command) -> bool| {
        world.effects.iter().position(|effect| {
            if let Effect::Command { command, .. } = effect {
                wanted(command)
            } else {
                false
            }
        })
    };
    let charge = place(|command| matches!(command, Command::Charge(_)));
    let run = place(|command| matches!(command, Command::Run { .. }));
    assert!(charge.is_some() && charge < run);
    let [charge] = charges(&world)[..] else {
        panic!("one charge")
    };
    assert_eq!(
        (charge.wanted, charge.attempts, charge.last_attempt_ago),
        (Wanted::Run, 1, Some(Duration::ZERO))
    );

    let numbers: std::collections::BTreeSet<_> = world.effects.iter().filter_map(number).collect();
    assert_eq!(numbers.len(), 2, "each has a number of its own: {:?}", world.effects);

    world.effects.clear();
    world.stop();
    assert_eq!(charges(&world).last().map(|charge| charge.wanted), Some(Wanted::Rest));
}

#[test]
fn an_agent_whose_shim_may_go_on_alone_is_not_deleted() {
    for (confirms, state) in [(false, AgentState::Stopping), (true, AgentState::Stopped)] {
        let mut world = World::running();
        world.stop();
        if confirms {
            world.confirm();
        }
        let report = world.numbered(1, ended(ExitStatus::Exited(0), EndedBy::Command));
        world.step(Input::ShimReported {
            session: world.last_session(),
            report,
        });
        assert_eq!(world.state(), state);
        world.disconnect();
        world.restart_server();
        let answer = world.delete("a").expect("an answer");
        assert_eq!(answer.is_ok(), confirms, "{answer:?}");
    }
}
