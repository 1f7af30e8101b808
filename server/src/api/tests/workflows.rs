//! Workflows, as their operators see them.

use rekindle::wire::v1;
use rekindle::wire::v1::trigger::Kind;
use tonic::Code;

use super::shim::FakeShim;
use super::{World, soon, told};

impl World {
    pub(super) async fn workflow(&self, id: &str) -> v1::Workflow {
        let request = v1::GetWorkflowRequest {
            name: format!("workflows/{id}"),
        };
        let found = self.workflows().get_workflow(request).await.expect("it is there");
        found.into_inner().workflow.expect("the answer has it")
    }

    async fn made(&self, id: &str, trigger: v1::Trigger) -> v1::Workflow {
        let created = self.workflows().create_workflow(create(id, trigger)).await;
        created
            .expect("created")
            .into_inner()
            .workflow
            .expect("the answer has it")
    }

    async fn trigger(&self, id: &str, key: &str, payload: &str) -> v1::TriggerWorkflowResponse {
        let request = v1::TriggerWorkflowRequest {
            name: format!("workflows/{id}"),
            request_id: key.into(),
            payload: payload.into(),
        };
        let triggered = soon(self.workflows().trigger_workflow(request)).await;
        triggered.expect("triggered").into_inner()
    }

    async fn listed(&self, filter: &str) -> Vec<String> {
        let request = v1::ListWorkflowsRequest {
            filter: filter.into(),
            ..v1::ListWorkflowsRequest::default()
        };
        let listed = self.workflows().list_workflows(request).await.expect("listed");
        let listed = listed.into_inner().workflows;
        assert!(listed.iter().all(|workflow| workflow.message.is_empty()), "without it");
        listed.into_iter().map(|workflow| workflow.name).collect()
    }
}

pub(super) fn kind_of(kind: Kind) -> v1::Trigger {
    v1::Trigger { kind: Some(kind) }
}

fn manual() -> v1::Trigger {
    kind_of(Kind::Manual(v1::trigger::Manual {}))
}

fn every(seconds: i64) -> v1::Trigger {
    let every = Some(prost_types::Duration { seconds, nanos: 0 });
    kind_of(Kind::Interval(v1::trigger::Interval { every }))
}

fn cron(expression: &str, time_zone: &str) -> v1::Trigger {
    kind_of(Kind::Cron(v1::trigger::Cron {
        expression: expression.into(),
        time_zone: time_zone.into(),
    }))
}

/// A workflow for `agents/a` that is made for this trigger.
pub(super) fn create(id: &str, trigger: v1::Trigger) -> v1::CreateWorkflowRequest {
    v1::CreateWorkflowRequest {
        workflow_id: id.into(),
        workflow: Some(v1::Workflow {
            agent: "agents/a".into(),
            message: "do {payload}".into(),
            trigger: Some(trigger),
            ..v1::Workflow::default()
        }),
        ..v1::CreateWorkflowRequest::default()
    }
}

fn update(id: &str, change: impl FnOnce(&mut v1::Workflow)) -> v1::UpdateWorkflowRequest {
    let mut workflow = v1::Workflow {
        name: format!("workflows/{id}"),
        ..v1::Workflow::default()
    };
    change(&mut workflow);
    v1::UpdateWorkflowRequest {
        workflow: Some(workflow),
        ..v1::UpdateWorkflowRequest::default()
    }
}

fn runner(workflow: &v1::Workflow) -> v1::Runner {
    workflow.runner.clone().expect("it has one")
}

#[tokio::test]
async fn a_workflow_is_as_it_was_made() {
    let world = World::start().await;
    let mut request = create("nightly", cron("30 2 * * MON-FRI", "Europe/Berlin"));
    let given = request.workflow.as_mut().expect("given");
    given.timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    given.expires_after = Some(prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    });
    given.set_misfire(v1::Misfire::All);
    given.set_overlap(v1::Overlap::CancelRunning);
    let asked = given.clone();
    let made = world
        .workflows()
        .create_workflow(request)
        .await
        .expect("created")
        .into_inner();
    assert_eq!(made.webhook_secret, "", "it has no webhook");
    let made = made.workflow.expect("the answer has it");
    assert_eq!(world.workflow("nightly").await, made);
    assert_eq!(made.name, "workflows/nightly");
    assert_eq!(made.enabled, Some(true), "where nothing is said");
    assert!(!made.uid.is_empty() && !made.etag.is_empty() && made.create_time.is_some());
    let runner = runner(&made);
    assert_eq!(runner.state(), v1::RunnerState::Waiting);
    assert!(runner.waiting_for.contains("agents/a"), "{runner:?}");
    assert!(runner.next_fire_time.is_some(), "{runner:?}");
    let same = v1::Workflow {
        agent: made.agent,
        message: made.message,
        trigger: made.trigger,
        timeout: made.timeout,
        misfire: made.misfire,
        overlap: made.overlap,
        expires_after: made.expires_after,
        ..v1::Workflow::default()
    };
    assert_eq!(same, asked);
}

#[tokio::test]
async fn a_runner_follows_from_its_agent() {
    let world = World::start().await;
    world.made("w", manual()).await;
    let state = async || runner(&world.workflow("w").await).state();
    assert_eq!(state().await, v1::RunnerState::Waiting, "its agent does not exist");
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    assert_eq!(state().await, v1::RunnerState::Armed);
    let fired = world.trigger("w", "k-1", "it").await;
    assert_eq!(
        fired.fire.as_ref().map(|fire| (fire.number, fire.key.as_str())),
        Some((1, "k-1"))
    );
    let execution = fired.execution.expect("the agent is there");
    let given = shim.given().await;
    assert_eq!(given.message.as_str(), "do it");
    assert_eq!(execution.workflow, "workflows/w");
    assert_eq!(execution.workflow_trigger, "k-1");
    let flying = runner(&world.workflow("w").await);
    assert_eq!(flying.state(), v1::RunnerState::InFlight);
    assert_eq!(flying.executions, std::slice::from_ref(&execution.name));
    assert_eq!(
        world.trigger("w", "k-1", "it").await.execution.map(|again| again.name),
        Some(execution.name.clone())
    );
    let next = world.trigger("w", "", "more").await;
    assert_eq!(next.execution, None, "it waits for its turn");
    assert_eq!(runner(&world.workflow("w").await).pending, 1);

    let of = async |filter: &str| {
        let request = v1::ListExecutionsRequest {
            parent: "agents/-".into(),
            filter: filter.into(),
            ..v1::ListExecutionsRequest::default()
        };
        let listed = world.executions().list_executions(request).await.expect("listed");
        let listed = listed.into_inner().executions.into_iter();
        listed.map(|execution| execution.name).collect::<Vec<_>>()
    };
    assert_eq!(of("workflow = workflows/w").await, [execution.name]);
    assert_eq!(of("workflow = workflows/other").await, Vec::<String>::new());
    let request = v1::ListEventsRequest {
        filter: "workflow = workflows/w AND type = WORKFLOW_TRIGGERED".into(),
        ..v1::ListEventsRequest::default()
    };
    let told = world.events().list_events(request).await.expect("listed").into_inner();
    let told: Vec<_> = told.events.iter().map(|event| event.workflow.as_str()).collect();
    assert_eq!(told, ["workflows/w", "workflows/w"]);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let world = World::start().await;
    world.made("a", manual()).await;
    world.made("b", every(60)).await;
    let mut off = create("c", cron("@daily", ""));
    off.workflow.as_mut().expect("given").enabled = Some(false);
    world.workflows().create_workflow(off).await.expect("created");
    let mut other = create("d", manual());
    other.workflow.as_mut().expect("given").agent = "agents/b".into();
    world.workflows().create_workflow(other).await.expect("created");
    let names = |ids: &[&str]| ids.iter().map(|id| format!("workflows/{id}")).collect::<Vec<_>>();
    for (filter, expected) in [
        ("", &["a", "b", "c", "d"][..]),
        ("agent = agents/b", &["d"]),
        ("enabled = false", &["c"]),
        ("trigger = MANUAL", &["a", "d"]),
        ("trigger = CRON OR trigger = INTERVAL", &["b", "c"]),
        ("runner.state = DISARMED", &["c"]),
        ("runner.state = RUNNER_STATE_WAITING AND name = *b", &["b"]),
        ("runner.pending > 0", &[]),
    ] {
        assert_eq!(world.listed(filter).await, names(expected), "{filter}");
    }
    world.trigger("a", "", "").await;
    assert_eq!(world.listed("runner.pending > 0").await, names(&["a"]));
    let mut pages = Vec::new();
    let mut request = v1::ListWorkflowsRequest {
        page_size: 3,
        ..v1::ListWorkflowsRequest::default()
    };
    loop {
        let page = world
            .workflows()
            .list_workflows(request.clone())
            .await
            .expect("listed")
            .into_inner();
        pages.push(page.workflows.len());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [3, 1]);
}

#[tokio::test]
async fn what_is_given_changes_and_the_rest_stays() {
    let world = World::start().await;
    let made = world.made("w", every(60)).await;
    let mut client = world.workflows();
    let changed = client
        .update_workflow(update("w", |w| w.set_overlap(v1::Overlap::Skip)))
        .await;
    let changed = changed
        .expect("updated")
        .into_inner()
        .workflow
        .expect("the answer has it");
    assert_eq!(changed.overlap(), v1::Overlap::Skip);
    assert_eq!(
        (&changed.trigger, &changed.message, &changed.uid),
        (&made.trigger, &made.message, &made.uid)
    );
    assert_ne!(changed.etag, made.etag);
    assert_eq!(world.workflow("w").await, changed);

    let stale = client
        .update_workflow(update("w", |w| w.etag = made.etag.clone()))
        .await;
    assert_eq!(told(&stale.expect_err("it has changed")).1, "ETAG_MISMATCH");
    let mut dry = update("w", |w| w.trigger = Some(cron("@hourly", "UTC")));
    dry.validate_only = true;
    let dry = client.update_workflow(dry).await.expect("valid").into_inner();
    assert_eq!(
        dry.workflow.expect("the answer has it").trigger,
        Some(cron("@hourly", "UTC"))
    );
    assert_eq!(world.workflow("w").await, changed, "nothing has changed");

    let mut absent = update("new", |w| {
        w.agent = "agents/a".into();
        w.message = "go".into();
        w.trigger = Some(manual());
    });
    let refused = client.update_workflow(absent.clone()).await;
    assert_eq!(told(&refused.expect_err("there is none")).1, "WORKFLOW_NOT_FOUND");
    absent.allow_missing = true;
    client.update_workflow(absent).await.expect("made");
    assert_eq!(world.listed("").await, ["workflows/new", "workflows/w"]);

    let off = client.update_workflow(update("w", |w| w.enabled = Some(false))).await;
    let off = off.expect("updated").into_inner().workflow.expect("the answer has it");
    assert_eq!(runner(&off).state(), v1::RunnerState::Disarmed);
    let name = "workflows/w".to_owned();
    let etag = changed.etag;
    let delete = v1::DeleteWorkflowRequest { name, etag };
    let refused = client.delete_workflow(delete.clone()).await;
    assert_eq!(told(&refused.expect_err("it has changed")).1, "ETAG_MISMATCH");
    let delete = v1::DeleteWorkflowRequest {
        etag: off.etag,
        ..delete
    };
    client.delete_workflow(delete.clone()).await.expect("deleted");
    let again = client.delete_workflow(delete).await.expect_err("it is gone");
    assert_eq!(
        (again.code(), told(&again).1.as_str()),
        (Code::NotFound, "WORKFLOW_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_secret_is_told_once() {
    let world = World::start().await;
    let mut client = world.workflows();
    let request = v1::CreateWorkflowRequest {
        request_id: "r-1".into(),
        ..create("w", kind_of(Kind::Webhook(v1::trigger::Webhook {})))
    };
    let first = client
        .create_workflow(request.clone())
        .await
        .expect("created")
        .into_inner();
    assert_eq!(first.webhook_secret.len(), 43);
    let again = client.create_workflow(request).await.expect("the same").into_inner();
    assert_eq!(again.webhook_secret, "", "a retry has another answer");
    assert_eq!(again.workflow.map(|w| w.uid), first.workflow.map(|w| w.uid));
    let change = client.update_workflow(update("w", |w| w.message = "else".into())).await;
    assert_eq!(
        change.expect("updated").into_inner().webhook_secret,
        "",
        "nothing else makes one"
    );
    let mut rotate = update("w", |_| ());
    rotate.rotate_webhook_secret = true;
    let rotated = client.update_workflow(rotate).await.expect("rotated").into_inner();
    assert_eq!(rotated.webhook_secret.len(), 43);
    assert_ne!(rotated.webhook_secret, first.webhook_secret);
    let manual = client
        .update_workflow(update("w", |w| w.trigger = Some(manual())))
        .await;
    assert_eq!(manual.expect("updated").into_inner().webhook_secret, "");
    let webhook = Some(kind_of(Kind::Webhook(v1::trigger::Webhook {})));
    let back = client.update_workflow(update("w", |w| w.trigger = webhook)).await;
    let back = back.expect("updated").into_inner().webhook_secret;
    assert_eq!(back.len(), 43, "it has none by then");
    assert_ne!(back, rotated.webhook_secret);
}

#[tokio::test]
async fn what_is_only_checked_has_no_secret() {
    let world = World::start().await;
    let mut client = world.workflows();
    let mut request = create("w", kind_of(Kind::Webhook(v1::trigger::Webhook {})));
    request.validate_only = true;
    let checked = client.create_workflow(request.clone()).await.expect("right");
    assert_eq!(checked.into_inner().webhook_secret, "");
    request.validate_only = false;
    client.create_workflow(request).await.expect("created");
    let mut rotate = update("w", |_| ());
    rotate.rotate_webhook_secret = true;
    rotate.validate_only = true;
    let checked = client.update_workflow(rotate).await.expect("right");
    assert_eq!(checked.into_inner().webhook_secret, "");
}

#[tokio::test]
async fn every_refusal_names_its_reason_and_field() {
    let world = World::start().await;
    world.made("w", manual()).await;
    let mut client = world.workflows();
    let mut refused = async |change: fn(&mut v1::CreateWorkflowRequest)| {
        let mut request = create("new", manual());
        change(&mut request);
        let (code, reason, field) = told(&client.create_workflow(request).await.expect_err("refused"));
        (code, reason, field)
    };
    let invalid = |field: &str| (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned(), field.to_owned());
    assert_eq!(refused(|r| r.workflow_id = "No".into()).await, invalid("workflow_id"));
    assert_eq!(refused(|r| r.workflow = None).await, invalid("workflow"));
    assert_eq!(refused(|r| of(r).agent.clear()).await, invalid("workflow.agent"));
    assert_eq!(refused(|r| of(r).message.clear()).await, invalid("workflow.message"));
    assert_eq!(refused(|r| of(r).trigger = None).await, invalid("workflow.trigger"));
    assert_eq!(
        refused(|r| of(r).trigger = Some(every(0))).await,
        invalid("workflow.trigger.interval.every")
    );
    let expression = invalid("workflow.trigger.cron.expression");
    assert_eq!(refused(|r| of(r).trigger = Some(cron("* * *", ""))).await, expression);
    assert_eq!(
        refused(|r| of(r).trigger = Some(cron("0 0 30 2 *", ""))).await,
        expression,
        "never"
    );
    let zone = invalid("workflow.trigger.cron.time_zone");
    assert_eq!(
        refused(|r| of(r).trigger = Some(cron("@daily", "Mars/Base"))).await,
        zone
    );
    assert_eq!(
        refused(|r| of(r).expires_after = Some(prost_types::Duration { seconds: 0, nanos: 1 })).await,
        invalid("workflow.expires_after")
    );
    assert_eq!(
        refused(|r| r.workflow_id = "w".into()).await,
        (Code::AlreadyExists, "WORKFLOW_EXISTS".to_owned(), String::new())
    );
    let trigger = |change: fn(&mut v1::TriggerWorkflowRequest)| {
        let mut request = v1::TriggerWorkflowRequest {
            name: "workflows/w".into(),
            ..v1::TriggerWorkflowRequest::default()
        };
        change(&mut request);
        let mut client = world.workflows();
        async move { told(&client.trigger_workflow(request).await.expect_err("refused")) }
    };
    assert_eq!(trigger(|r| r.name = "w".into()).await, invalid("name"));
    assert_eq!(trigger(|r| r.request_id = "a b".into()).await, invalid("request_id"));
    assert_eq!(
        trigger(|r| r.payload = "x".repeat(64 * 1024 + 1)).await,
        invalid("payload")
    );
    assert_eq!(
        trigger(|r| r.name = "workflows/nobody".into()).await.1,
        "WORKFLOW_NOT_FOUND"
    );
}

fn of(request: &mut v1::CreateWorkflowRequest) -> &mut v1::Workflow {
    request.workflow.get_or_insert_default()
}

#[tokio::test]
async fn only_so_many_fires_wait() {
    let world = World::start().await;
    world.made("w", manual()).await;
    for _ in 0..rekindle::workflow::PENDING_MAX {
        assert_eq!(world.trigger("w", "", "x").await.execution, None);
    }
    let request = v1::TriggerWorkflowRequest {
        name: "workflows/w".into(),
        ..v1::TriggerWorkflowRequest::default()
    };
    let full = world.workflows().trigger_workflow(request).await.expect_err("no more");
    assert_eq!(
        (full.code(), told(&full).1.as_str()),
        (Code::ResourceExhausted, "FIRES_FULL")
    );
    use tonic_types::StatusExt as _;
    assert!(full.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn an_agent_is_explained_with_its_workflows() {
    let world = World::start().await;
    world.create("agents/a").await;
    world.create("agents/b").await;
    world.made("w", manual()).await;
    world.trigger("w", "k", "").await;
    let mut explained = Vec::new();
    for name in ["agents/a", "agents/b"] {
        let request = v1::ExplainAgentRequest { name: name.into() };
        let answer = world
            .agents()
            .explain_agent(request)
            .await
            .expect("explained")
            .into_inner();
        let fact = answer.facts.into_iter().find(|fact| fact.name == "workflows");
        explained.push((
            answer.summary.contains("fires that wait: 1"),
            fact.map(|fact| fact.value),
        ));
    }
    let waits = "1, 1 of them wait until it is RUNNING; fires that wait: 1".to_owned();
    assert_eq!(explained, [(true, Some(waits)), (false, None)]);
}
