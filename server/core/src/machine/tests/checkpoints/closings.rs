//! Closings: by the agent, by the end of the task, by a fresh start.

use rekindle::execution::{Delivery, ExecutionState, Verdict};
use rekindle::policy::InterruptPolicy;

use super::super::work::result;
use super::*;

/// A world in which `e` runs, and its agent has saved where it is with it.
fn at_work(task: &str) -> World {
    let mut world = World::new();
    world.connect(Hello {
        delivery: Delivery::Pull,
        policy: policy(|fields| fields.max_deliveries = 2),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.send("e");
    world.start("e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
    assert_eq!(world.save(held("1.1", task)), Some(Ok(())));
    world.events.clear();
    world
}

fn closed(world: &World) -> Option<ClosedBy> {
    match world.kept("1.1").standing {
        Standing::Closed(by) => Some(by),
        Standing::Open | Standing::SetAside => None,
    }
}

#[test]
fn the_end_of_its_task_closes_it() {
    for task in ["e", "agents/a/executions/e"] {
        for verdict in [
            Verdict::Succeeded,
            Verdict::Failed,
            Verdict::TimedOut,
            Verdict::Cancelled,
        ] {
            let mut world = at_work(task);
            world.finish("e", 1, result(verdict));
            assert_eq!(closed(&world), Some(ClosedBy::Task), "{verdict:?}");
            assert!(world.told().ends_with("CHECKPOINT_CLOSED"), "{verdict:?}");
        }
    }
    for task in ["f", "agents/b/executions/e", "", "E e"] {
        let mut world = at_work(task);
        world.finish("e", 1, result(Verdict::Succeeded));
        assert_eq!(closed(&world), None, "it is about something else: {task}");
    }
}

#[test]
fn what_is_given_again_goes_on() {
    let mut world = at_work("e");
    world.finish("e", 1, result(Verdict::Interrupted));
    assert_eq!(world.is("e"), ExecutionState::Dispatched, "again");
    assert_eq!(closed(&world), None);
    world.start("e", 2);
    world.finish("e", 2, result(Verdict::Interrupted));
    assert_eq!(world.is("e"), ExecutionState::DeadLetter);
    assert_eq!(closed(&world), Some(ClosedBy::Task));
}

#[test]
fn what_may_yet_turn_out_to_go_on_stays_open() {
    let mut world = at_work("e");
    world.restart_server();
    let mut elsewhere = hello("a", 2);
    elsewhere.delivery = Delivery::Pull;
    elsewhere.policy = policy(|fields| fields.max_deliveries = 1);
    world.connect_with(
        elsewhere,
        Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(world.child(1)),
            ..Inventory::default()
        },
    );
    world.pass(120);
    assert_eq!(world.is("e"), ExecutionState::Lost);
    assert_eq!(closed(&world), None);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
    assert_eq!(closed(&world), Some(ClosedBy::Task), "the true result");
}

#[test]
fn what_comes_after_the_end_of_its_task_is_closed_at_once() {
    let mut world = at_work("e");
    world.finish("e", 1, result(Verdict::Succeeded));
    world.told();
    assert_eq!(world.save(held("1.2", "e")), Some(Ok(())));
    assert_eq!(world.told(), "CHECKPOINT_SAVED CHECKPOINT_CLOSED");
    assert_eq!(world.kept("1.2").standing, Standing::Closed(ClosedBy::Task));
}

#[test]
fn a_restart_that_cancels_its_task_closes_it_with_the_order() {
    let mut world = at_work("e");
    world.restart(|_| ());
    assert_eq!(closed(&world), Some(ClosedBy::Task));
    let resumption = world.resumption();
    assert_eq!(resumption.closed_tasks, [ExecutionId::new("e").expect("valid")]);
    assert!(!resumption.offered.expect("it is known").state.standing.is_open());
    // The old life saves when it is asked to, of the same task.
    assert_eq!(world.save(held("1.2", "e")), Some(Ok(())));
    assert_eq!(world.kept("1.2").standing, Standing::Closed(ClosedBy::Task));
}

#[test]
fn a_restart_that_requeues_its_task_leaves_it_open() {
    let mut world = World::new();
    world.connect(Hello {
        delivery: Delivery::Pull,
        policy: policy(|fields| fields.on_restart = InterruptPolicy::Requeue),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.send("e");
    world.start("e", 1);
    world.save(held("1.1", "e"));
    world.restart(|_| ());
    assert_eq!(closed(&world), None);
    assert_eq!(world.resumption().closed_tasks, []);
    world.finish("e", 1, result(Verdict::Interrupted));
    world.report(1, planned(AskedSave::NotSaved));
    assert_eq!(world.is("e"), ExecutionState::Queued);
    assert_eq!(closed(&world), None);
}

#[test]
fn a_stop_that_cancels_its_task_closes_it() {
    let mut world = at_work("e");
    world.stop();
    assert_eq!(closed(&world), Some(ClosedBy::Task));
}

#[test]
fn the_agents_word_closes_it() {
    let mut world = at_work("");
    let over = with(held("1.1", ""), standing(Standing::Closed(ClosedBy::Agent)));
    assert_eq!(world.save(over), Some(Ok(())));
    assert_eq!(world.told(), "CHECKPOINT_CLOSED");
    assert_eq!(world.save(held("1.1", "")), Some(Ok(())), "a word that crossed it");
    assert_eq!(closed(&world), Some(ClosedBy::Agent), "it does not open again");
    world.exit(1, 3);
    assert!(!world.offered().state.standing.is_open());
}
