//! What is asked of workflows, and what is refused.

use super::*;

fn secret(byte: u8) -> Option<SecretHash> {
    Some(SecretHash([byte; 32]))
}

#[test]
fn a_creation_that_is_repeated_makes_one() {
    let mut world = World::at_work(|_| ());
    let mut create = creation("w", spec(Trigger::Manual, |_| ()));
    create.request_id = request_id("r");
    let first = world.create(create.clone()).expect("made");
    let again = world.create(create.clone()).expect("the same");
    assert_eq!(first.workflow.uid, again.workflow.uid);
    assert_eq!(
        (first.was, again.was),
        (crate::effect::Was::Absent, crate::effect::Was::Present)
    );
    world.restart_server();
    let later = world.create(create.clone()).expect("the same");
    assert_eq!(first.workflow.uid, later.workflow.uid);
    create.id = Some(wid("other"));
    assert_eq!(
        world.create(create.clone()),
        Err(WorkflowError::RequestIdReused(wid("w")))
    );
    create.request_id = None;
    create.id = Some(wid("w"));
    assert_eq!(world.create(create.clone()), Err(WorkflowError::Exists(wid("w"))));
    create.id = None;
    let named = world.create(create).expect("made");
    assert_eq!(named.workflow.id.as_str(), named.workflow.uid.to_string());
}

#[test]
fn what_is_only_checked_changes_nothing() {
    let mut world = World::at_work(|_| ());
    let mut create = creation("w", spec(Trigger::Manual, |_| ()));
    create.mode = UpdateMode::ValidateOnly;
    world.create(create).expect("right");
    assert_eq!((world.told().as_str(), world.records.workflows.len()), ("", 0));
    world.flow("w", Trigger::Manual, |_| ());
    let mut change = update("w", switched(false));
    change.mode = UpdateMode::ValidateOnly;
    let answer = world.change(change).expect("right");
    assert!(!answer.workflow.spec.enabled && world.record("w").spec.enabled);
    let same = world.change(update("w", switched(true))).expect("right");
    assert_eq!(
        (same.workflow.revision, world.told().as_str()),
        (1, ""),
        "nothing changes by what is so already"
    );
}

#[test]
fn what_never_fires_or_has_changed_since_is_refused() {
    let mut world = World::at_work(|_| ());
    let refused = world.create(creation("w", spec(cron("0 0 30 2 *"), |_| ())));
    assert!(
        matches!(&refused, Err(WorkflowError::Schedule(error)) if error.field == "cron.expression"),
        "{refused:?}"
    );
    world.flow("w", Trigger::Manual, |_| ());
    let never = WorkflowPatch {
        trigger: Some(cron("0 0 30 2 *")),
        ..WorkflowPatch::default()
    };
    assert!(matches!(
        world.change(update("w", never)),
        Err(WorkflowError::Schedule(_))
    ));
    let stale = UpdateWorkflow {
        etag: Some(7),
        ..update("w", switched(false))
    };
    let mismatch = WorkflowError::EtagMismatch {
        id: wid("w"),
        expected: 7,
        actual: 1,
    };
    assert_eq!(world.change(stale), Err(mismatch.clone()));
    assert_eq!(world.drop_workflow("w", Some(7)), Err(mismatch));
    assert_eq!(world.drop_workflow("w", Some(1)), Ok(()));
    assert_eq!(world.drop_workflow("w", None), Err(WorkflowError::NotFound(wid("w"))));
    assert_eq!(
        world.change(update("w", switched(false))),
        Err(WorkflowError::NotFound(wid("w")))
    );
    let made = UpdateWorkflow {
        missing: Missing::Create,
        ..update("w", switched(false))
    };
    assert!(matches!(world.change(made.clone()), Err(WorkflowError::Invalid(error)) if error.field == "agent"));
    let whole = WorkflowPatch {
        agent: Some(agent()),
        trigger: Some(Trigger::Manual),
        ..switched(false)
    };
    let made = UpdateWorkflow { patch: whole, ..made };
    for empty in [None, Some(String::new())] {
        let without = UpdateWorkflow {
            message: empty,
            ..made.clone()
        };
        let refused = world.change(without);
        assert!(matches!(refused, Err(WorkflowError::Invalid(error)) if error.field == "message"));
    }
    let made = UpdateWorkflow {
        message: Some("do".to_owned()),
        ..made
    };
    let read_before = UpdateWorkflow {
        etag: Some(1),
        ..made.clone()
    };
    assert_eq!(world.change(read_before), Err(WorkflowError::NotFound(wid("w"))));
    assert_eq!(
        world.change(made).map(|answer| answer.was),
        Ok(crate::effect::Was::Absent)
    );
}

#[test]
fn what_fires_keeps_its_etag() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |_| ());
    let (revision, updated) = (world.record("w").revision, world.record("w").updated);
    world.pass(1);
    world.trigger("w", "k").expect("accepted");
    assert_eq!(
        (world.record("w").revision, world.record("w").updated),
        (revision, updated)
    );
    world.switch("w", false);
    assert_eq!(
        (world.record("w").revision, world.record("w").updated),
        (revision + 1, world.now.wall)
    );
}

#[test]
fn a_webhook_keeps_its_secret_until_it_gets_another() {
    let mut world = World::at_work(|_| ());
    let mut create = creation("w", spec(Trigger::Webhook, |_| ()));
    create.secret = secret(1);
    world.create(create.clone()).expect("made");
    let with = |byte, rotate| UpdateWorkflow {
        secret: secret(byte),
        rotate,
        ..update("w", WorkflowPatch::default())
    };
    world.change(with(2, Rotate::No)).expect("there");
    assert_eq!(world.record("w").secret, secret(1));
    world.change(with(2, Rotate::Yes)).expect("there");
    assert_eq!(world.record("w").secret, secret(2));
    let to = |trigger| WorkflowPatch {
        trigger: Some(trigger),
        ..WorkflowPatch::default()
    };
    world.change(update("w", to(Trigger::Manual))).expect("there");
    assert_eq!(world.record("w").secret, None);
    let by_http = world.trigger_with("w", |trigger| trigger.by = TriggeredBy::Webhook);
    assert_eq!(by_http, Err(WorkflowError::NoWebhook(wid("w"))));
    let fresh = UpdateWorkflow {
        secret: secret(3),
        ..update("w", to(Trigger::Webhook))
    };
    world.change(fresh).expect("there");
    assert_eq!(world.record("w").secret, secret(3));
    // A secret that was right for an earlier workflow of the name is for nobody.
    let uid = world.record("w").uid;
    world.drop_workflow("w", None).expect("there");
    world.create(create).expect("made");
    let by_old = world.trigger_with("w", |trigger| trigger.uid = Some(uid));
    assert_eq!(by_old, Err(WorkflowError::NotFound(wid("w"))));
}

#[test]
fn one_key_is_one_fire_among_what_waits_goes_on_or_has_succeeded() {
    let mut world = World::at_work(|policy| policy.max_deliveries = 1);
    world.flow("w", Trigger::Manual, |_| ());
    world.dies();
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()));
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()), "it waits");
    world.restart_server();
    assert_eq!(world.trigger("w", "k"), Ok("1 waits".into()), "after a restart, too");
    world.connect(worker(|_| ()));
    world.comes_back();
    assert_eq!(world.trigger("w", "k"), Ok("1 DISPATCHED".into()), "it goes on");
    let execution = world.execution_of("w", 1);
    let incarnation = world.agent().incarnation.get();
    let attempt = world.attempt(&execution, 1);
    world.report(incarnation, ReportFact::AttemptStarted(attempt.clone(), None));
    world.report(incarnation, result(Verdict::Succeeded).of(attempt));
    assert_eq!(world.trigger("w", "k"), Ok("1 SUCCEEDED".into()), "it has succeeded");
    world.restart_server();
    assert_eq!(
        world.trigger("w", "k"),
        Ok("1 SUCCEEDED".into()),
        "after a restart, too"
    );
    assert_eq!(world.made("w"), "1:SUCCEEDED");
}

#[test]
fn a_key_whose_work_has_failed_fires_again() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |_| ());
    assert_eq!(world.trigger("w", "k"), Ok("1 DISPATCHED".into()));
    world.works_on("w", 1);
    world.did("w", 1, Verdict::Failed);
    assert_eq!(world.trigger("w", "k"), Ok("2 DISPATCHED".into()));
    // A failed one that is done again has its key, too.
    world.works_on("w", 2);
    world.did("w", 2, Verdict::Failed);
    let failed = world.execution_of("w", 2);
    world.send_with("again", |create| {
        create.redrive_of = Some(super::super::work::id(&failed))
    });
    assert_eq!(world.runner("w"), RunnerState::InFlight, "it is the workflow's");
    assert_eq!(world.trigger("w", "k"), Ok("2 DISPATCHED".into()));
    // What is forgotten takes no key.
    world.start("again", 1);
    world.finish("again", 1, result(Verdict::Succeeded));
    let executions = world
        .machine
        .executions()
        .map(|e| (e.agent.clone(), e.id.clone()))
        .collect();
    world.step(Input::ExecutionsAged { executions, most: 9 });
    assert_eq!(world.trigger("w", "k"), Ok("3 DISPATCHED".into()));
}

#[test]
fn a_payload_goes_into_the_message_and_is_durable_with_its_fire() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Webhook, |_| ());
    world.dies();
    let by_http = |trigger: &mut TriggerWorkflow| {
        trigger.by = TriggeredBy::Webhook;
        trigger.payload = "this".into();
    };
    let answer = world.trigger_with("w", by_http).expect("accepted");
    assert_eq!(answer.outcome, TriggerOutcome::Pending);
    assert_eq!(world.records.fire_payloads.len(), 1);
    world.restart_server();
    world.connect(worker(|_| ()));
    world.messages.clear();
    world.comes_back();
    assert_eq!(world.messages, ["do this"]);
    assert_eq!(world.records.fire_payloads.len(), 0);
    let huge = |trigger: &mut TriggerWorkflow| trigger.payload = "x".repeat(rekindle::execution::MESSAGE_MAX_BYTES);
    let refused = world.trigger_with("w", huge);
    assert!(
        matches!(refused, Err(WorkflowError::PayloadTooLong { .. })),
        "{refused:?}"
    );
    // What waits goes with its workflow.
    world.dies();
    world.trigger_with("w", by_http).expect("accepted");
    world.told();
    world.drop_workflow("w", None).expect("there");
    assert_eq!(world.told_of_workflows(), "DELETED");
    assert_eq!(
        (world.records.fire_payloads.len(), world.records.workflow_messages.len()),
        (0, 0)
    );
}

#[test]
fn triggers_beyond_what_may_wait_are_refused() {
    let mut world = World::new();
    world.flow("w", Trigger::Manual, |_| ());
    for number in 0..rekindle::workflow::PENDING_MAX {
        world.trigger("w", &format!("k{number}")).expect("there is room");
    }
    let limit = rekindle::workflow::PENDING_MAX;
    let full = WorkflowError::TooManyPending { id: wid("w"), limit };
    assert_eq!(world.trigger("w", "one-more"), Err(full));
    assert_eq!(
        world.trigger("w", "k7"),
        Ok("8 waits".into()),
        "what is accepted stays so"
    );
}

#[test]
fn where_the_newest_takes_the_place_of_all_none_is_refused() {
    let mut world = World::new();
    world.flow("w", Trigger::Manual, |fields| fields.overlap = Overlap::CancelRunning);
    for number in 1..=rekindle::workflow::PENDING_MAX + 5 {
        let answer = world.trigger("w", &format!("k{number}"));
        assert_eq!(answer, Ok(format!("{number} waits")));
        assert_eq!(world.waiting("w").len(), 1, "an older one is skipped in the same step");
        let told = if number == 1 { "TRIGGERED" } else { "TRIGGERED SKIPPED" };
        assert_eq!(world.told_of_workflows(), told);
    }
    // What waits of another policy is no obstacle, either.
    let to = |overlap| WorkflowPatch {
        overlap: Some(overlap),
        ..WorkflowPatch::default()
    };
    world.change(update("w", to(Overlap::Queue))).expect("there");
    for number in 0..rekindle::workflow::PENDING_MAX - 1 {
        world.trigger("w", &format!("l{number}")).expect("there is room");
    }
    assert!(world.record("w").is_full());
    world.change(update("w", to(Overlap::CancelRunning))).expect("there");
    assert_eq!(world.waiting("w").len(), 1);
}

#[test]
fn only_so_many_wait_for_the_end_of_one_other() {
    let mut world = World::new();
    let after = |id: &str| {
        let completion = rekindle::workflow::Completion::new(wid(id), []).expect("valid");
        spec(Trigger::Completion(completion), |_| ())
    };
    let limit = crate::machine::workflow::WAITING_FOR_ONE_MAX;
    for number in 0..limit {
        world
            .create(creation(&format!("w{number}"), after("first")))
            .expect("there is room");
    }
    let of = "workflows/first".to_owned();
    let full = WorkflowError::TooManyWaiting { of, limit };
    assert_eq!(world.create(creation("one-more", after("first"))), Err(full.clone()));
    world
        .create(creation("other", after("second")))
        .expect("it waits for something else");
    let into = |trigger: &WorkflowSpec| WorkflowPatch {
        trigger: Some(trigger.trigger.clone()),
        ..WorkflowPatch::default()
    };
    assert_eq!(world.change(update("other", into(&after("first")))), Err(full));
    world.change(update("w1", switched(false))).expect("it counts already");
    let failed = rekindle::workflow::Completion::new(wid("first"), [ExecutionState::Failed]).expect("valid");
    let other_end = WorkflowPatch {
        trigger: Some(Trigger::Completion(failed)),
        ..WorkflowPatch::default()
    };
    let changed = world.change(update("w2", other_end));
    changed.expect("it counts already, whichever end it waits for");
}

#[test]
fn an_earlier_workflow_of_the_name_counts_for_nothing() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |_| ());
    assert_eq!(world.trigger("w", "k"), Ok("1 DISPATCHED".into()));
    world.drop_workflow("w", None).expect("there");
    world.flow("w", Trigger::Manual, |_| ());
    assert_eq!((world.made("w").as_str(), world.runner("w")), ("", RunnerState::Armed));
    assert_eq!(
        world.trigger("w", "k"),
        Ok("1 QUEUED".into()),
        "the old one has the slot, and is not its own"
    );
    world.restart_server();
    assert_eq!(world.made("w"), "1:QUEUED");
}
