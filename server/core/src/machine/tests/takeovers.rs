//! Takeovers: who is refused, who succeeds whom, and what becomes of the lives that the one before may have begun.

use super::*;
use crate::effect::{OperationOutcome, Refusal};

#[test]
fn a_second_shim_is_refused_until_the_first_lets_go() {
    let mut world = World::running();
    let mut other = hello("a", 2);
    other.host = Host {
        name: "host-b".into(),
        machine_id: None,
        boot_id: BootId::from_u128(9),
    };
    other.marker = Marker::from_u128(9);
    let session = world.connect(other.clone());
    let refused = world.effects.iter().find_map(|effect| {
        let Effect::Refuse {
            session: refused,
            refusal,
        } = effect
        else {
            return None;
        };
        (*refused == session).then(|| refusal.clone())
    });
    assert!(
        matches!(&refused, Some(Refusal::Held { holder, .. }) if holder.name == "host-a"),
        "{refused:?}"
    );
    assert_eq!(world.told(), "");
    world.next = 2;
    world.report(
        1,
        ended(
            ExitStatus::Signaled {
                signal: 15,
                core_dumped: false,
            },
            EndedBy::ShimStop,
        ),
    );
    world.step(Input::ShimLeft { session: SessionId(1) });
    assert_eq!(
        (world.state(), world.agent().reason.as_str()),
        (AgentState::Stopped, "exit:shim_stopped")
    );
    assert_eq!(world.commands(), [], "nothing is ordered of a shim that leaves");
    world.next = 10;
    world.connect(other);
    assert_eq!(world.commands(), run(2));
}

#[test]
fn force_hands_a_silent_shims_agent_over_and_fences_it() {
    let mut world = World::running();
    world.disconnect();
    world.pass(15);
    world.restart(|run| run.force = Force::Yes);
    let mut other = hello("a", 2);
    other.host = Host {
        name: "host-b".into(),
        machine_id: None,
        boot_id: BootId::from_u128(9),
    };
    other.marker = Marker::from_u128(9);
    world.connect(other);
    assert_eq!(
        world.commands(),
        run(36),
        "the silent shim may have begun 2 and more, in lives that nobody saw"
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
    let fenced = |e: &Effect| {
        matches!(
            e,
            Effect::Refuse {
                refusal: Refusal::Held { .. },
                ..
            }
        )
    };
    assert!(world.effects.iter().any(fenced));
}

#[test]
fn a_shim_that_dies_takes_its_child_along() {
    let mut world = World::running();
    world.connect_with(
        hello("a", 2),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        world.told(),
        "AGENT_TAKEN_OVER AGENT_CRASHED RECOVERY_STARTED AGENT_STARTING"
    );
    assert_eq!(world.commands(), run(2));
}

#[test]
fn a_reboot_is_no_failure() {
    let mut world = World::running();
    world.disconnect();
    world.pass(15);
    world.told();
    let mut back = hello("a", 2);
    back.host.boot_id = BootId::from_u128(2);
    world.connect_with(
        back,
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        world.told(),
        "HOST_REBOOTED AGENT_TAKEN_OVER AGENT_STOPPED AGENT_STARTING"
    );
    assert_eq!((world.commands(), world.agent().budget.attempts), (run(2), 0));
}

#[test]
fn a_life_that_may_have_begun_on_a_lost_host_lends_its_number_to_no_other() {
    let mut world = World::running();
    let call = world.restart(|run| run.request_id = request_id("r"));
    assert_eq!(world.commands(), run(2));
    world.disconnect();
    world.pass(15);
    let mut rebooted = hello("a", 2);
    rebooted.host.boot_id = BootId::from_u128(9);
    world.connect_with(
        rebooted,
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(world.commands(), run(3));
    world.spawn(3);
    assert!(matches!(world.answer(call), Some(Ok(answer)) if answer.outcome == OperationOutcome::Completed));
    let retry = world.restart(|run| run.request_id = request_id("r"));
    assert!(matches!(world.answer(retry), Some(Ok(answer)) if answer.outcome == OperationOutcome::Completed));
    assert_eq!(world.commands(), []);
}

#[test]
fn a_grace_that_was_shortened_out_of_a_shims_sight_does_not_shorten_its_fence() {
    let mut world = World::new();
    let fencing = Hello {
        fence_after: Some(Duration::from_secs(30)),
        policy: policy(|p| p.stop_grace = Duration::from_secs(60)),
        ..hello("a", 1)
    };
    world.connect(fencing);
    world.spawn(1);
    world.commands();
    world.disconnect();
    world.request(Request::Update(Box::new(crate::input::UpdateRequest {
        agent: AgentId::new("a").expect("valid"),
        policy: Some(rekindle::policy::PolicyPatch {
            stop_grace: Some(Duration::ZERO),
            ..Default::default()
        }),
        labels: None,
        etag: None,
        missing: crate::input::Missing::Fail,
        mode: crate::input::UpdateMode::Apply,
    })));
    let mut other = hello("a", 2);
    other.host = Host {
        name: "host-b".into(),
        machine_id: None,
        boot_id: BootId::from_u128(9),
    };
    other.marker = Marker::from_u128(9);
    // Lease, fence, the grace that the holder knows, and the margin.
    world.pass(15 + 30 + 60 + 13);
    world.connect(other.clone());
    assert_eq!(world.commands(), [], "the holder may still be ending its child");
    world.pass(1);
    world.connect(other);
    assert_eq!(
        world.commands(),
        run(35),
        "what the holder may have begun alone has its numbers"
    );
}

#[test]
fn a_hello_that_was_long_under_way_does_nothing() {
    let numbered = |life, stream| rekindle::report::HelloOrder { life, stream };
    let mut world = World::new();
    world.connect(Hello {
        order: numbered(1, 2),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.commands();
    world.told();
    for order in [numbered(1, 1), numbered(1, 2), numbered(0, 9)] {
        let stale = world.connect(Hello { order, ..hello("a", 1) });
        let refused = Effect::Refuse {
            session: stale,
            refusal: Refusal::Stale,
        };
        assert!(world.effects.contains(&refused));
    }
    assert_eq!(
        (world.state(), world.commands(), world.told()),
        (AgentState::Running, vec![], String::new())
    );
}

#[test]
fn old_reports_that_are_told_again_after_another_marker_begin_nothing() {
    let mut world = World::new();
    world.connect(Hello {
        policy: policy(|p| p.max_attempts = 0),
        ..hello("a", 1)
    });
    let reports = vec![
        world.numbered(1, ReportFact::Spawned(Some(process(1)))),
        world.numbered(1, ReportFact::Ready),
    ];
    world.sequence = 0;
    world.spawn(1);
    world.exit(1, 3);
    assert_eq!(world.state(), AgentState::Terminated);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    let mut other = hello("a", 2);
    other.marker = Marker::from_u128(9);
    world.connect(other);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    world.connect_with(
        hello("a", 3),
        Inventory {
            last_incarnation: Incarnation::new(1),
            reports,
            ..Inventory::default()
        },
    );
    assert_eq!(world.state(), AgentState::Terminated);
}
