//! Silence, returns, takeovers, and reports that come more than once.

use super::*;
use crate::effect::OperationOutcome;
use crate::effect::{Disconnect, Refusal};

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
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(1),
        ..hello("a", 1)
    });
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
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(1),
        ..hello("a", 1)
    });
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
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(1),
        ..hello("a", 1)
    });
    world.pass(1000);
    assert_eq!(
        (world.state(), world.commands(), world.told()),
        (AgentState::Running, vec![], String::new())
    );
}

#[test]
fn an_exit_while_the_server_was_away_is_recovered_from_once() {
    let mut world = World::running();
    world.restart_server();
    world.told();
    let exited = world.numbered(
        1,
        ended(
            ExitStatus::Signaled {
                signal: 9,
                core_dumped: false,
            },
            EndedBy::Itself,
        ),
    );
    let back = Hello {
        last_incarnation: Incarnation::new(1),
        reports: vec![exited],
        ..hello("a", 1)
    };
    world.connect(back.clone());
    assert_eq!(world.told(), "AGENT_CRASHED RECOVERY_STARTED AGENT_STARTING");
    assert_eq!(world.commands(), run(2));
    // The acknowledgement was lost, and so was the command: everything is told again.
    world.disconnect();
    world.connect(back);
    assert_eq!(world.told(), "");
    assert_eq!(world.commands(), run(2));
    assert_eq!(world.agent().budget.attempts, 1);
}

#[test]
fn a_shim_that_dies_takes_its_child_along() {
    let mut world = World::running();
    world.connect(Hello {
        last_incarnation: Incarnation::new(1),
        ..hello("a", 2)
    });
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
    let mut back = Hello {
        last_incarnation: Incarnation::new(1),
        ..hello("a", 2)
    };
    back.host.boot_id = BootId::from_u128(2);
    world.connect(back);
    assert_eq!(
        world.told(),
        "HOST_REBOOTED AGENT_TAKEN_OVER AGENT_STOPPED AGENT_STARTING"
    );
    assert_eq!((world.commands(), world.agent().budget.attempts), (run(2), 0));
}

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
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(1),
        ..hello("a", 1)
    });
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
fn a_report_out_of_order_ends_the_stream() {
    let mut world = World::running();
    world.sequence += 1;
    world.exit(1, 1);
    assert!(world.effects.iter().any(|e| matches!(
        e,
        Effect::Disconnect {
            cause: Disconnect::Protocol(_),
            ..
        }
    )));
    assert_eq!(world.state(), AgentState::Running);
}

#[test]
fn late_words_of_a_replaced_stream_do_nothing() {
    let mut world = World::running();
    let child = Some(world.child(1));
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(1),
        ..hello("a", 1)
    });
    world.told();
    world.step(Input::SessionClosed {
        session: SessionId(1),
        last_heard: MonoTime::START,
    });
    let report = world.numbered(1, ended(ExitStatus::Exited(1), EndedBy::Itself));
    world.step(Input::ShimReported {
        session: SessionId(1),
        report,
    });
    world.pass(1000);
    assert_eq!((world.state(), world.told()), (AgentState::Running, String::new()));
}

#[test]
fn a_server_with_an_older_store_adopts_what_runs() {
    let mut world = World::new();
    let child = Some(world.child(7));
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(7),
        ..hello("a", 1)
    });
    assert_eq!(
        (world.state(), world.agent().incarnation),
        (AgentState::Running, Incarnation::new(7))
    );
    assert_eq!(world.commands(), []);
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

#[test]
fn a_life_that_may_have_begun_on_a_lost_host_lends_its_number_to_no_other() {
    let mut world = World::running();
    let call = world.restart(|run| run.request_id = request_id("r"));
    assert_eq!(world.commands(), run(2));
    world.disconnect();
    world.pass(15);
    let mut rebooted = hello("a", 2);
    rebooted.host.boot_id = BootId::from_u128(9);
    world.connect(Hello {
        last_incarnation: Incarnation::new(1),
        ..rebooted
    });
    assert_eq!(world.commands(), run(3));
    world.spawn(3);
    assert!(matches!(world.answer(call), Some(Ok(answer)) if answer.outcome == OperationOutcome::Completed));
    let retry = world.restart(|run| run.request_id = request_id("r"));
    assert!(matches!(world.answer(retry), Some(Ok(answer)) if answer.outcome == OperationOutcome::Completed));
    assert_eq!(world.commands(), []);
}

#[test]
fn force_after_an_order_leaves_nothing_running_in_sight() {
    let mut world = World::running();
    world.disconnect();
    world.restart(|_| ());
    assert_eq!(world.state(), AgentState::Running);
    world.restart(|run| run.force = Force::Yes);
    assert_eq!(world.state(), AgentState::Starting);
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
    world.request(Request::Update(crate::input::UpdateRequest {
        agent: AgentId::new("a").expect("valid"),
        policy: Some(rekindle::policy::PolicyPatch {
            stop_grace: Some(Duration::ZERO),
            ..Default::default()
        }),
        labels: None,
        etag: None,
        missing: crate::input::Missing::Fail,
        mode: crate::input::UpdateMode::Apply,
    }));
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
fn a_shim_that_breaks_the_protocol_and_stays_away_falls_silent() {
    let mut world = World::running();
    world.sequence += 1;
    world.exit(1, 1);
    world.pass(15);
    assert_eq!(world.state(), AgentState::Unreachable);
}

#[test]
fn a_policy_that_comes_by_hello_is_acted_on() {
    let mut world = World::new();
    world.connect(Hello {
        policy: policy(|p| p.restart = rekindle::policy::RestartPolicy::Never),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.exit(1, 1);
    world.commands();
    world.disconnect();
    world.connect(Hello {
        last_incarnation: Incarnation::new(1),
        ..hello("a", 2)
    });
    assert_eq!(world.commands(), run(2));
}

#[test]
fn attempts_are_given_back_after_a_server_restart_too() {
    let mut world = World::running();
    world.exit(1, 1);
    world.spawn(2);
    world.restart_server();
    let child = Some(world.child(2));
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(2),
        ..hello("a", 1)
    });
    world.pass(600);
    assert_eq!(world.agent().budget.attempts, 0);
}

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
    world.connect(Hello {
        child: Some(world.child(1)),
        last_incarnation: Incarnation::new(1),
        reports,
        ..hello("a", 1)
    });
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
fn old_reports_that_are_told_again_after_another_marker_begin_nothing() {
    let mut world = World::new();
    world.connect(Hello {
        policy: policy(|p| p.max_attempts = 0),
        ..hello("a", 1)
    });
    let reports = vec![
        world.numbered(1, ReportFact::Spawned(process(1))),
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
    world.connect(Hello {
        last_incarnation: Incarnation::new(1),
        reports,
        ..hello("a", 3)
    });
    assert_eq!(world.state(), AgentState::Terminated);
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
    world.connect(Hello {
        child,
        last_incarnation: Incarnation::new(1),
        ..hello("a", 1)
    });
    assert!(matches!(world.commands()[..], [Command::Stop { .. }]));
}
