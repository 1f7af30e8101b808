//! What runners do with the fires that wait, and that none of them is ever stuck.

use super::*;
use crate::effect::DeadlineReason;
use rekindle::policy::InterruptPolicy;

#[test]
fn a_fire_is_an_execution_in_the_commit_that_takes_it_from_those_that_wait() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |fields| {
        fields.timeout = Some(Duration::from_secs(7))
    });
    let outcome = world.machine.step(
        world.now,
        Input::Requested {
            call: CallId(99),
            request: Request::TriggerWorkflow(TriggerWorkflow {
                id: wid("w"),
                uid: None,
                key: None,
                payload: "p".into(),
                by: TriggeredBy::Call,
            }),
        },
    );
    let mut kinds = Vec::new();
    for record in &outcome.persist {
        match record {
            Record::Event(event) => {
                assert_eq!(event.workflow, Some(wid("w")), "{}", event.kind);
                kinds.push(event.kind.as_str());
            }
            Record::Workflow(workflow) => assert!(workflow.pending.is_empty()),
            Record::Execution(execution) => {
                let by = execution.workflow.as_ref().expect("it is of one");
                assert_eq!((by.fire, by.hops), (FireNumber::new(1), 0));
                assert_eq!(execution.timeout, Duration::from_secs(7), "the workflow's own");
            }
            Record::ExecutionMessage { text, .. } => assert_eq!(text, "do p"),
            Record::FirePayload { .. } | Record::FirePayloadForgotten { .. } | Record::Agent(_) => {}
            Record::AgentDeleted(_)
            | Record::EventsTrimmed { .. }
            | Record::Request(_)
            | Record::RequestForgotten { .. }
            | Record::ExecutionOutput { .. }
            | Record::ExecutionForgotten { .. }
            | Record::WorkflowMessage { .. }
            | Record::WorkflowDeleted(_)
            | Record::Checkpoint(_)
            | Record::CheckpointContent { .. }
            | Record::CheckpointForgotten { .. }
            | Record::Host(_)
            | Record::HostForgotten(_) => panic!("{record:?}"),
        }
    }
    assert_eq!(
        kinds,
        ["WORKFLOW_TRIGGERED", "EXECUTION_QUEUED", "EXECUTION_DISPATCHED"]
    );
}

#[test]
fn a_dispatch_in_flight_when_the_agent_dies_leaves_no_runner_stuck() {
    for (deliveries, began, expected) in [
        (1, true, "1:DEAD_LETTER 2:DISPATCHED"),
        (1, false, "1:DISPATCHED"),
        (2, true, "1:DISPATCHED"),
    ] {
        let mut world = World::at_work(|policy| policy.max_deliveries = deliveries);
        world.flow("w", Trigger::Manual, |_| ());
        assert_eq!(world.trigger("w", "one"), Ok("1 DISPATCHED".into()));
        assert_eq!(world.trigger("w", "two"), Ok("2 waits".into()));
        let execution = world.execution_of("w", 1);
        let attempt = world.attempt(&execution, 1);
        let verdict = if began {
            world.start(&execution, 1);
            Verdict::Interrupted
        } else {
            world.accept(&execution, 1);
            Verdict::NotBegun
        };
        world.report(1, result(verdict).of(attempt));
        world.dies();
        world.comes_back();
        assert_eq!(world.made("w"), expected, "{deliveries} deliveries, begun {began}");
        let number = if expected.starts_with("1:DEAD") { 2 } else { 1 };
        let execution = world.execution_of("w", number);
        let tries = world.execution(&execution).attempt;
        let (attempt, incarnation) = (world.attempt(&execution, tries), world.agent().incarnation.get());
        world.report(incarnation, ReportFact::AttemptStarted(attempt.clone(), None));
        world.report(incarnation, result(Verdict::Succeeded).of(attempt));
        world.restart_server();
        assert!(world.made("w").contains("2:"), "the next one goes: {}", world.made("w"));
    }
}

#[test]
fn an_operators_restart_ends_what_goes_on_and_the_next_fire_goes() {
    for (policy, expected) in [
        (InterruptPolicy::Cancel, "1:CANCELLED 2:DISPATCHED"),
        (InterruptPolicy::Requeue, "1:DISPATCHED"),
    ] {
        let mut world = World::at_work(|fields| fields.on_restart = policy);
        world.flow("w", Trigger::Manual, |_| ());
        world.trigger("w", "one").expect("accepted");
        world.trigger("w", "two").expect("accepted");
        world.works_on("w", 1);
        world.restart(|_| ());
        world.did("w", 1, Verdict::Interrupted);
        world.exit(1, 0);
        world.spawn(2);
        assert_eq!(world.made("w"), expected, "{policy:?}");
    }
}

#[test]
fn what_the_agent_does_not_take_waits_and_goes_when_there_is_room() {
    let mut world = World::at_work(|policy| {
        policy.max_concurrent = 1;
        policy.queue_limit = 0;
    });
    for id in ["b", "a", "c"] {
        world.flow(id, Trigger::Manual, |_| ());
    }
    world.send("other").expect("told").expect("made");
    for (second, id) in ["b", "a", "c"].into_iter().enumerate() {
        world.pass(u64::from(second > 0));
        assert_eq!(world.trigger(id, "k"), Ok("1 waits".into()));
        let error = world.record(id).last_error.as_ref().expect("told");
        assert!(error.message.contains("queue_limit"), "{}", error.message);
    }
    let writes = world.writes;
    world.pass(5 * MINUTE - 10);
    assert_eq!(world.writes, writes, "what waits is not written again and again");
    world.start("other", 1);
    world.finish("other", 1, result(Verdict::Succeeded));
    assert_eq!(
        (world.made("b"), world.made("a"), world.made("c")),
        ("1:DISPATCHED".into(), "".into(), "".into())
    );
    assert_eq!(world.record("b").last_error, None);
    world.restart_server();
    assert_eq!((world.waiting("a"), world.waiting("c")), (vec![1], vec![1]));
    world.pass(1);
    world.back_with_reports(&[], Vec::new());
    let execution = world.execution_of("b", 1);
    assert_eq!(world.is(&execution), ExecutionState::Dispatched);
}

#[test]
fn an_agent_that_takes_none_is_waited_for() {
    let mut world = World::running();
    world.flow("w", Trigger::Manual, |_| ());
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
    let error = world.record("w").last_error.clone().expect("told");
    assert!(error.message.contains("takes no messages"), "{}", error.message);
    world.disconnect();
    world.back_with_reports(&[], Vec::new());
    assert_eq!(world.made("w"), "1:DISPATCHED", "its shim takes messages from now on");
}

#[test]
fn many_runners_go_on_in_steps_of_their_own() {
    let mut world = World::at_work(|policy| {
        policy.max_concurrent = 1;
        policy.queue_limit = 10_000;
    });
    world.dies();
    for number in 0..600 {
        world.flow(&format!("w{number}"), Trigger::Manual, |_| ());
        world.trigger(&format!("w{number}"), "k").expect("accepted");
    }
    world.restart(|_| ());
    let incarnation = world.agent().incarnation.get();
    world.spawn(incarnation);
    let made = |world: &World| world.machine.executions().count();
    assert_eq!(made(&world), 256, "of one step");
    assert!(
        world
            .machine
            .deadline()
            .is_some_and(|(at, reason)| at <= world.now.mono && reason == DeadlineReason::Workflow)
    );
    world.pass(0);
    assert_eq!(made(&world), 600);
}

#[test]
fn long_messages_go_on_in_steps_of_their_own() {
    let mut world = World::new();
    for number in 0..40 {
        let mut create = creation(&format!("w{number}"), spec(Trigger::Manual, |_| ()));
        create.message = "x".repeat(256 * 1024);
        world.create(create).expect("made");
        world.trigger(&format!("w{number}"), "k").expect("accepted");
    }
    world.connect(worker(|policy| policy.queue_limit = 100));
    world.spawn(1);
    assert_eq!(world.machine.executions().count(), 16, "four MiB");
    world.pass(0);
    assert_eq!(world.machine.executions().count(), 40);
}

#[test]
fn many_wait_for_room_and_none_is_left_behind() {
    let mut world = World::at_work(|policy| {
        policy.max_concurrent = 1;
        policy.queue_limit = 0;
    });
    world.send("other").expect("told").expect("made");
    for number in 0..300 {
        world.flow(&format!("w{number}"), Trigger::Manual, |_| ());
        assert_eq!(world.trigger(&format!("w{number}"), "k"), Ok("1 waits".into()));
    }
    // There is room for all of them at once.
    let wide = rekindle::policy::PolicyPatch {
        queue_limit: Some(1000),
        ..rekindle::policy::PolicyPatch::default()
    };
    world.request(Request::Update(Box::new(crate::input::UpdateRequest {
        agent: agent(),
        policy: Some(wide),
        labels: None,
        etag: None,
        missing: Missing::Fail,
        mode: UpdateMode::Apply,
    })));
    world.pass(0);
    assert_eq!(world.machine.executions().count(), 301);
}

#[test]
fn what_waits_for_longer_than_it_may_expires_and_an_execution_has_what_is_left() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |fields| {
        fields.expires_after = Some(Duration::from_secs(100))
    });
    world.dies();
    world.told();
    assert_eq!(world.trigger("w", "one"), Ok("1 waits".into()));
    world.pass(60);
    assert_eq!(world.trigger("w", "two"), Ok("2 waits".into()));
    world.restart_server();
    world.pass(39);
    assert_eq!(world.waiting("w"), [1, 2]);
    world.pass(1);
    assert_eq!(
        (world.waiting("w"), world.told_of_workflows()),
        (vec![2], "TRIGGERED TRIGGERED EXPIRED".to_owned())
    );
    world.pass(20);
    world.connect(worker(|_| ()));
    world.comes_back();
    let execution = world.execution_of("w", 2);
    assert_eq!(
        world.execution(&execution).start_by,
        Some(world.now.wall.saturating_add(Duration::from_secs(40)))
    );
    // Nothing through the wall clock shortens or lengthens that.
    world.dies();
    world.told();
    assert_eq!(world.trigger("w", "three"), Ok("3 waits".into()));
    world.set_clock(|now| now.saturating_add(Duration::from_secs(1000)));
    world.pass(99);
    assert_eq!(world.waiting("w"), [3]);
    world.pass(1);
    assert_eq!(world.told_of_workflows(), "TRIGGERED EXPIRED");
    assert_eq!(
        world.trigger("w", "three"),
        Ok("4 waits".into()),
        "what has expired takes no key"
    );
}

#[test]
fn a_change_of_the_time_that_fires_may_wait_counts_for_those_that_wait() {
    let mut world = World::new();
    world.flow("w", Trigger::Manual, |_| ());
    world.trigger("w", "k").expect("accepted");
    world.pass(50);
    let patch = |seconds: Option<u64>| WorkflowPatch {
        expires_after: Some(seconds.map(Duration::from_secs)),
        ..WorkflowPatch::default()
    };
    world.change(update("w", patch(Some(60)))).expect("there");
    world.pass(9);
    assert_eq!(world.waiting("w"), [1]);
    world.change(update("w", patch(None))).expect("there");
    world.pass(3600);
    assert_eq!(world.waiting("w"), [1]);
    world.change(update("w", patch(Some(60)))).expect("there");
    world.pass(0);
    assert_eq!(world.waiting("w"), [0; 0]);
}
