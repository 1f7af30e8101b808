//! Runners are armed exactly while their workflow is enabled and their agent RUNNING.

use super::*;

#[test]
fn a_runner_is_armed_once_with_each_turn_of_its_agent_to_running() {
    let mut world = World::at_work(|_| ());
    world
        .create(creation("w", spec(Trigger::Manual, |_| ())))
        .expect("made");
    assert_eq!(
        world.told_of_workflows(),
        "CREATED ARMED",
        "its agent is RUNNING already"
    );
    world.dies();
    assert_eq!(
        (world.told_of_workflows().as_str(), world.runner("w")),
        ("DISARMED", RunnerState::Waiting)
    );
    world.comes_back();
    assert_eq!(
        (world.told_of_workflows().as_str(), world.runner("w")),
        ("ARMED", RunnerState::Armed)
    );
    // Silence, and the return from it.
    world.disconnect();
    world.pass(20);
    assert_eq!(
        (world.told_of_workflows().as_str(), world.state()),
        ("DISARMED", AgentState::Unreachable)
    );
    world.reconnects();
    assert_eq!(
        (world.told_of_workflows().as_str(), world.state()),
        ("ARMED", AgentState::Running)
    );
    // A restart of the server turns nothing.
    world.restart_server();
    assert_eq!(
        (world.told_of_workflows().as_str(), world.runner("w")),
        ("", RunnerState::Armed)
    );
}

#[test]
fn a_day_of_absence_changes_nothing_about_that() {
    for seconds in [1, 3600, 24 * 3600] {
        let mut world = World::at_work(|policy| policy.restart = rekindle::policy::RestartPolicy::Never);
        world.flow("w", Trigger::Manual, |_| ());
        world.dies();
        world.told();
        world.pass(seconds);
        assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
        world.comes_back();
        assert_eq!(world.told_of_workflows(), "TRIGGERED ARMED", "after {seconds} s");
        assert_eq!(world.made("w"), "1:DISPATCHED");
    }
}

#[test]
fn who_is_disabled_or_deleted_is_never_armed_and_never_fires() {
    let mut world = World::at_work(|_| ());
    world.flow("w", every(MINUTE), |_| ());
    world.flow("gone", every(MINUTE), |_| ());
    world.switch("w", false);
    world.drop_workflow("gone", None).expect("there");
    assert_eq!(world.told_of_workflows(), "UPDATED DISARMED DISARMED DELETED");
    assert_eq!(world.runner("w"), RunnerState::Disarmed);
    world.dies();
    world.comes_back();
    world.pass(10 * MINUTE);
    world.restart_server();
    world.pass(10 * MINUTE);
    assert_eq!(world.told_of_workflows(), "");
    assert_eq!(world.trigger("w", "k"), Err(WorkflowError::Disabled(wid("w"))));
    assert_eq!(world.trigger("gone", "k"), Err(WorkflowError::NotFound(wid("gone"))));
    assert!(world.machine.executions().next().is_none());
}

#[test]
fn what_waits_while_it_is_disabled_goes_when_it_is_enabled() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |_| ());
    world.dies();
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
    world.switch("w", false);
    world.comes_back();
    assert_eq!((world.waiting("w"), world.made("w")), (vec![1], String::new()));
    world.restart_server();
    world.pass(1);
    assert_eq!(world.made("w"), "", "a restart of the server is no reason");
    world.reconnects();
    world.told();
    world.switch("w", true);
    assert_eq!(world.told_of_workflows(), "UPDATED ARMED");
    assert_eq!(world.made("w"), "1:DISPATCHED");
}

#[test]
fn a_workflow_waits_for_an_agent_that_does_not_exist_and_outlives_one_that_is_deleted() {
    let mut world = World::new();
    world
        .create(creation("w", spec(Trigger::Manual, |_| ())))
        .expect("made");
    assert_eq!(world.told_of_workflows(), "CREATED");
    let runner = world.record("w").runner(None, []);
    assert_eq!(
        (runner.state, runner.waiting_for.as_str()),
        (RunnerState::Waiting, "agents/a, which does not exist")
    );
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
    world.connect(worker(|_| ()));
    world.spawn(1);
    assert_eq!(
        (world.told_of_workflows().as_str(), world.made("w").as_str()),
        ("TRIGGERED ARMED", "1:DISPATCHED")
    );
    world.step(Input::ShimLeft {
        session: world.last_session(),
    });
    world.disconnect();
    world.told();
    let call = world.request(Request::Delete(DeleteRequest {
        agent: agent(),
        etag: None,
        force: Force::Yes,
    }));
    assert!(matches!(world.said(call), Some(Answer::Deleted(Ok(())))));
    assert_eq!(world.runner("w"), RunnerState::Waiting);
    // Its execution is forgotten with the agent, and in nobody's way.
    assert_eq!(world.trigger("w", "k"), Ok("2 waits".into()), "the key is free again");
    world.sequence = 0;
    world.connect(worker(|_| ()));
    world.spawn(1);
    assert_eq!(
        (world.state(), world.made("w").as_str()),
        (AgentState::Running, "2:DISPATCHED")
    );
}

#[test]
fn an_agent_that_is_deleted_while_it_is_running_is_no_longer_fired_for() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |_| ());
    world.disconnect();
    assert_eq!(world.state(), AgentState::Running, "its lease has not run out");
    world.told();
    world.request(Request::Delete(DeleteRequest {
        agent: agent(),
        etag: None,
        force: Force::Yes,
    }));
    assert_eq!(world.told(), "AGENT_DELETED WORKFLOW_DISARMED");
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
}

#[test]
fn a_workflow_goes_with_its_new_agent() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |_| ());
    let other = WorkflowPatch {
        agent: Some(AgentId::new("b").expect("valid")),
        ..WorkflowPatch::default()
    };
    world.change(update("w", other)).expect("there");
    assert_eq!(world.told_of_workflows(), "UPDATED DISARMED");
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
    let back = WorkflowPatch {
        agent: Some(agent()),
        ..WorkflowPatch::default()
    };
    world.change(update("w", back)).expect("there");
    assert_eq!(world.told_of_workflows(), "TRIGGERED UPDATED ARMED");
    assert_eq!(world.made("w"), "1:DISPATCHED");
}

#[test]
fn what_is_queued_at_the_old_agent_is_cancelled_and_what_runs_there_is_in_nobodys_way() {
    for (runs, overlap, first) in [
        (false, Overlap::Queue, "1:CANCELLED"),
        (true, Overlap::Queue, "1:RUNNING"),
        (true, Overlap::Skip, "1:RUNNING"),
        (true, Overlap::CancelRunning, "1:RUNNING"),
        (false, Overlap::CancelRunning, "1:CANCELLED"),
    ] {
        let case = format!("runs: {runs}, {overlap:?}");
        let mut world = World::at_work(|policy| policy.max_concurrent = 1);
        if !runs {
            world.send("other").expect("told").expect("made");
        }
        world.flow("w", Trigger::Manual, |fields| fields.overlap = overlap);
        world.trigger("w", "one").expect("accepted");
        if runs {
            world.works_on("w", 1);
        }
        let first_execution = world.execution_of("w", 1);
        world.sequence = 0;
        world.connect(Hello {
            delivery: rekindle::execution::Delivery::PerMessage,
            ..hello("b", 2)
        });
        world.spawn(1);
        world.told();
        let other = WorkflowPatch {
            agent: Some(AgentId::new("b").expect("valid")),
            ..WorkflowPatch::default()
        };
        world.change(update("w", other)).expect("there");
        let told = world.told();
        let cancelled = if runs { "" } else { " EXECUTION_CANCELLED" };
        assert_eq!(told, format!("WORKFLOW_UPDATED{cancelled}"), "{case}");
        assert_eq!(world.made("w"), first, "{case}");
        assert_eq!(
            world.trigger("w", "two"),
            Ok("2 DISPATCHED".into()),
            "{case}: at its new agent"
        );
        assert_eq!(world.made("w"), format!("{first} 2:DISPATCHED"), "{case}");
        let kept = world.execution(&first_execution).ending.is_none();
        assert!(kept, "{case}: nothing ends what the old agent does");
    }
}

#[test]
fn a_restart_of_one_agent_touches_its_own_workflows_alone() {
    let mut world = World::at_work(|_| ());
    for number in 0..10_000u32 {
        let id = format!("w-{number}");
        let trigger = if number % 2 == 0 { every(3600) } else { Trigger::Manual };
        let of = if number < 3 {
            "a".to_owned()
        } else {
            format!("agent-{}", number % 1000)
        };
        let of = AgentId::new(&of).expect("valid");
        let create = creation(&id, spec(trigger, |fields| fields.agent = of));
        // The invariants of each step would make this the square of itself.
        let request = Request::CreateWorkflow(Box::new(create));
        let call = CallId(number.into());
        let _ = world.machine.step(world.now, Input::Requested { call, request });
    }
    let about = |outcome: &Outcome| -> BTreeSet<String> {
        let told = outcome.persist.iter().filter_map(|record| {
            if let Record::Event(event) = record {
                return event.workflow.as_ref().map(WorkflowId::name);
            }
            let Record::Workflow(workflow) = record else {
                return None;
            };
            Some(format!("{} is written", workflow.id.name()))
        });
        told.collect()
    };
    let exit = world.numbered(1, ended(ExitStatus::Exited(1), EndedBy::Itself));
    let session = world.last_session();
    let crash = world
        .machine
        .step(world.now, Input::ShimReported { session, report: exit });
    let own = ["workflows/w-0", "workflows/w-1", "workflows/w-2"].map(str::to_owned);
    assert_eq!(about(&crash), BTreeSet::from(own.clone()));
    let spawned = world.numbered(2, ReportFact::Spawned(Some(process(2))));
    let _ = world.machine.step(
        world.now,
        Input::ShimReported {
            session,
            report: spawned,
        },
    );
    let ready = world.numbered(2, ReportFact::Ready);
    let back = world
        .machine
        .step(world.now, Input::ShimReported { session, report: ready });
    assert_eq!(about(&back), BTreeSet::from(own));
    world.machine.check().expect("the machine's invariants hold");
}
