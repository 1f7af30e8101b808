//! Quarantines: what outlived SIGKILL, when its shim comes back.

use super::*;

fn survivors() -> ReportFact {
    ReportFact::Survived(vec![rekindle::report::Survivor {
        pid: 7,
        pidfd_inode: Some(70),
        start_time_ticks: 700,
        command: "stuck".into(),
    }])
}

#[test]
fn survivors_are_no_old_news_to_an_order_that_had_not_begun() {
    let mut world = World::running();
    world.disconnect();
    world.restart(|_| ());
    let reports = vec![world.numbered(1, survivors())];
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(world.child(1)),
            last_incarnation: Incarnation::new(1),
            reports,
            ..Inventory::default()
        },
    );
    assert_eq!((world.state(), world.commands()), (AgentState::Quarantined, vec![]));
}

#[test]
fn a_reboot_ends_a_quarantine_and_uses_no_number_twice() {
    let mut world = World::running();
    world.report(1, survivors());
    world.disconnect();
    world.pass(15);
    let mut rebooted = hello("a", 2);
    rebooted.host.boot_id = BootId::from_u128(9);
    world.connect(rebooted);
    assert_eq!(world.commands(), run(2));
}

#[test]
fn a_stop_of_what_is_quarantined_is_told_to_a_shim_that_comes_back() {
    let mut world = World::running();
    world.restart(|_| ());
    world.report(1, survivors());
    world.disconnect();
    world.stop();
    let child = Some(world.child(1));
    world.commands();
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert!(matches!(world.commands()[..], [Command::Stop { .. }]));
}

#[test]
fn no_fence_ends_what_outlived_sigkill() {
    let mut world = World::new();
    world.connect(fencing());
    world.spawn(1);
    world.report(1, survivors());
    world.disconnect();
    // Lease, fence, grace and margin.
    world.pass(15 + 30 + 10 + 14);
    let mut other = hello("a", 2);
    (other.host.name, other.host.machine_id) = ("host-b".into(), None);
    (other.host.boot_id, other.marker) = (BootId::from_u128(9), Marker::from_u128(9));
    world.commands();
    world.connect(other.clone());
    assert_eq!((world.state(), world.commands()), (AgentState::Quarantined, vec![]));
    world.restart(|run| run.force = Force::Yes);
    world.connect(other);
    assert_eq!(world.commands(), run(36), "the operator has given them up");
}

/// A shim that is back with the first life, which is being ended, and tells of what outlived SIGKILL in a report of its own.
fn back_with_survivors(world: &mut World) {
    let reports = vec![world.numbered(1, survivors())];
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(Child {
                phase: ChildPhase::Stopping,
                ..world.child(1)
            }),
            last_incarnation: Incarnation::new(1),
            reports,
            ..Inventory::default()
        },
    );
}

#[test]
fn survivors_that_were_given_up_are_old_news_however_often_they_are_told() {
    let mut world = World::running();
    world.report(1, survivors());
    world.disconnect();
    world.restart(|run| run.force = Force::Yes);
    world.commands();
    for _ in 0..2 {
        back_with_survivors(&mut world);
        assert_eq!(world.commands(), run(2));
        // The order is lost with the stream.
        world.disconnect();
    }
}

#[test]
fn survivors_that_were_given_up_keep_an_agent_from_being_stopped() {
    let mut world = World::running();
    world.report(1, survivors());
    world.disconnect();
    world.restart(|run| run.force = Force::Yes);
    world.stop();
    back_with_survivors(&mut world);
    assert_eq!(world.state(), AgentState::Quarantined);
}

/// A world in which the shim of `a` has fenced itself, and another one, which let go since, has run incarnation 35.
fn elsewhere_since_a_fence() -> World {
    let mut world = World::new();
    world.connect(fencing());
    world.spawn(1);
    world.disconnect();
    // Lease, fence, grace and margin.
    world.pass(15 + 30 + 10 + 14);
    let mut other = hello("a", 2);
    (other.host.name, other.host.machine_id) = ("host-b".into(), None);
    (other.host.boot_id, other.marker) = (BootId::from_u128(9), Marker::from_u128(9));
    let session = world.connect(other);
    let told = std::mem::take(&mut world.sequence);
    world.spawn(35);
    world.report(35, ended(ExitStatus::Exited(0), EndedBy::ShimStop));
    world.confirm();
    world.step(Input::ShimLeft { session });
    world.sequence = told;
    world.commands();
    world
}

fn fencing() -> Hello {
    Hello {
        fence_after: Some(Duration::from_secs(30)),
        ..hello("a", 1)
    }
}

#[test]
fn what_outlived_a_fence_is_no_old_news_once_the_agent_was_elsewhere() {
    let mut world = elsewhere_since_a_fence();
    let reports = vec![world.numbered(1, survivors())];
    let stuck = Child {
        phase: ChildPhase::Stopping,
        ..world.child(1)
    };
    world.connect_with(
        fencing(),
        Inventory {
            child: Some(stuck),
            last_incarnation: Incarnation::new(1),
            reports,
            ..Inventory::default()
        },
    );
    assert_eq!((world.state(), world.commands()), (AgentState::Quarantined, vec![]));
    world.report(1, ended(ExitStatus::Exited(0), EndedBy::Fence));
    assert_eq!(world.commands(), run_after(36, 34), "35 was another shim's life");
}

/// What the first shim still has when it comes back: its child, or, where it has started anew since, what that has left.
fn left_of_the_first_life(world: &mut World) -> [Inventory; 2] {
    let reports = vec![world.numbered(1, survivors())];
    let inventory = Inventory {
        last_incarnation: Incarnation::new(1),
        reports,
        ..Inventory::default()
    };
    let stuck = Child {
        phase: ChildPhase::Stopping,
        ..world.child(1)
    };
    [
        Inventory {
            child: Some(stuck),
            ..inventory.clone()
        },
        Inventory {
            quarantined: Some(Incarnation::new(1)),
            ..inventory
        },
    ]
}

#[test]
fn what_outlived_a_fence_is_no_old_news_where_the_agent_was_fenced_elsewhere_too() {
    for shape in 0..2 {
        let mut world = World::new();
        world.connect(fencing());
        world.spawn(1);
        world.disconnect();
        world.pass(15 + 30 + 10 + 14);
        let mut other = fencing();
        other.instance = hello("a", 2).instance;
        (other.host.name, other.host.machine_id) = ("host-b".into(), None);
        (other.host.boot_id, other.marker) = (BootId::from_u128(9), Marker::from_u128(9));
        world.connect(other);
        let told = std::mem::take(&mut world.sequence);
        world.spawn(35);
        world.disconnect();
        world.pass(15 + 30 + 10 + 14);
        world.sequence = told;
        world.commands();
        let left = left_of_the_first_life(&mut world)[shape].clone();
        world.connect_with(fencing(), left);
        assert_eq!(
            (world.state(), world.commands()),
            (AgentState::Quarantined, vec![]),
            "{shape}"
        );
        world.report(1, ended(ExitStatus::Exited(0), EndedBy::Fence));
        assert_eq!(
            world.commands(),
            run_after(69, 34),
            "{shape}: the other shim may have begun 32 more alone"
        );
    }
}

#[test]
fn a_life_that_outlived_a_later_one_brings_no_restart_that_the_budget_does_not_allow() {
    let mut world = World::new();
    let spent = |life| Hello {
        policy: policy(|fields| fields.max_attempts = 0),
        instance: hello("a", life).instance,
        ..fencing()
    };
    world.connect(spent(1));
    world.spawn(1);
    world.disconnect();
    world.pass(15 + 30 + 10 + 14);
    let mut other = spent(2);
    (other.host.name, other.host.machine_id) = ("host-b".into(), None);
    (other.host.boot_id, other.marker) = (BootId::from_u128(9), Marker::from_u128(9));
    let session = world.connect(other);
    world.sequence = 0;
    world.spawn(35);
    world.report(35, ended(ExitStatus::Exited(1), EndedBy::Itself));
    assert_eq!(world.state(), AgentState::Terminated);
    world.confirm();
    world.step(Input::ShimLeft { session });
    world.sequence = 0;
    world.commands();
    let child = Some(world.child(1));
    world.connect_with(
        spent(1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(world.state(), AgentState::Terminated);
    assert!(matches!(world.commands()[..], [Command::Stop { .. }]));
}

/// Its last failure says why the order is given again for nothing, not that its shim was silent before.
#[test]
fn an_order_that_may_have_begun_under_a_fence_is_fenced() {
    let mut world = World::new();
    world.connect(fencing());
    world.commands();
    world.disconnect();
    // Lease, fence, grace and margin.
    world.pass(15 + 30 + 10 + 14);
    let mut other = fencing();
    other.instance = hello("a", 2).instance;
    (other.host.name, other.host.machine_id) = ("host-b".into(), None);
    (other.host.boot_id, other.marker) = (BootId::from_u128(9), Marker::from_u128(9));
    world.connect(other);
    assert_eq!(world.commands(), run(35));
    let failure = world.agent().last_failure.as_ref().expect("it is told");
    assert_eq!(failure.cause, rekindle::state::FailureCause::Fenced);
}

#[test]
fn what_outlived_a_fence_and_is_dead_since_holds_nothing_up() {
    let mut world = elsewhere_since_a_fence();
    let reports = vec![
        world.numbered(1, survivors()),
        world.numbered(1, ended(ExitStatus::Exited(0), EndedBy::Fence)),
    ];
    world.told();
    world.connect_with(
        fencing(),
        Inventory {
            last_incarnation: Incarnation::new(1),
            reports,
            ..Inventory::default()
        },
    );
    assert_eq!(world.told(), "AGENT_STARTING");
    assert_eq!(world.commands(), run_after(36, 34));
}

#[test]
fn a_life_that_outlived_a_later_one_makes_way_under_a_fresh_number() {
    let mut world = elsewhere_since_a_fence();
    // Nothing that it has told is counted any more.
    world.sequence = 0;
    let child = Some(world.child(1));
    world.connect_with(
        fencing(),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        (world.state(), world.commands()),
        (AgentState::Stopping, run_after(36, 34))
    );
    world.report(1, ended(ExitStatus::Exited(0), EndedBy::Command));
    world.spawn(36);
    assert_eq!(world.state(), AgentState::Running);
}
