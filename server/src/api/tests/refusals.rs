//! What bad input gets: the code, the reason and the field of each.

use rekindle::wire::v1;
use tonic::Status;

use super::{World, told};

/// One line of the table.
fn line<T>(what: &str, result: Result<tonic::Response<T>, Status>) -> String {
    let Err(status) = result else {
        return format!("{what}: taken");
    };
    let (code, reason, field) = told(&status);
    format!("{what}: {code:?} {reason} [{field}] {}", status.message())
}

#[tokio::test]
async fn every_refusal_names_its_reason_and_field() {
    let world = World::start().await;
    world.create("agents/a").await;
    let mut client = world.agents();
    let mut table = Vec::new();

    for name in ["", "a", "agents/A", "agents/nobody"] {
        let request = v1::GetAgentRequest { name: name.into() };
        table.push(line(&format!("get {name:?}"), client.get_agent(request).await));
    }
    for (page_size, page_token, filter) in [(-1, "", ""), (0, "x", ""), (0, "", "nme = x"), (0, "", "planner")] {
        let request = v1::ListAgentsRequest {
            page_size,
            page_token: page_token.into(),
            filter: filter.into(),
        };
        table.push(line(
            &format!("list {page_size} {page_token:?} {filter:?}"),
            client.list_agents(request).await,
        ));
    }
    for (what, change) in [
        ("no agent", (|r| r.agent = None) as fn(&mut v1::UpdateAgentRequest)),
        ("unknown path", |r| {
            r.update_mask = Some(prost_types::FieldMask {
                paths: vec!["state".into()],
            })
        }),
        ("policy", |r| {
            agent_of(r).policy = Some(v1::AgentPolicy {
                max_attempts: Some(9999),
                ..v1::AgentPolicy::default()
            });
        }),
        ("label", |r| _ = agent_of(r).labels.insert("Team".into(), "x".into())),
        ("etag", |r| agent_of(r).etag = "x".into()),
        ("missing", |r| agent_of(r).name = "agents/nobody".into()),
    ] {
        let mut request = v1::UpdateAgentRequest {
            agent: Some(v1::Agent {
                name: "agents/a".into(),
                ..v1::Agent::default()
            }),
            ..v1::UpdateAgentRequest::default()
        };
        change(&mut request);
        table.push(line(&format!("update, {what}"), client.update_agent(request).await));
    }
    for (what, change) in [
        (
            "reason",
            (|r| r.reason = "x".repeat(257)) as fn(&mut v1::RestartAgentRequest),
        ),
        ("request id", |r| r.request_id = "a b".into()),
        ("grace", |r| {
            r.grace_period = Some(prost_types::Duration {
                seconds: 3601,
                nanos: 0,
            })
        }),
        ("negative grace", |r| {
            r.grace_period = Some(prost_types::Duration { seconds: -1, nanos: 0 })
        }),
        ("wait", |r| r.wait = 9),
        ("incarnation", |r| r.expected_incarnation = 7),
    ] {
        let mut request = v1::RestartAgentRequest {
            name: "agents/a".into(),
            ..v1::RestartAgentRequest::default()
        };
        change(&mut request);
        table.push(line(&format!("restart, {what}"), client.restart_agent(request).await));
    }
    for signal in ["", "KILL", "FOO", "HUP"] {
        let request = v1::SignalAgentRequest {
            name: "agents/a".into(),
            signal: signal.into(),
            ..v1::SignalAgentRequest::default()
        };
        table.push(line(&format!("signal {signal:?}"), client.signal_agent(request).await));
    }
    let request = v1::WatchEventsRequest {
        after_sequence: None,
        filter: "type = NAP".into(),
    };
    table.push(line("watch", world.events().watch_events(request).await));
    insta::assert_snapshot!(table.join("\n"), @r#"
    get "": InvalidArgument INVALID_ARGUMENT [name] name: an agent's name must not be empty; write for example "agents/planner-1"
    get "a": InvalidArgument INVALID_ARGUMENT [name] name: "a" is not an agent's resource name; write "agents/NAME"
    get "agents/A": InvalidArgument INVALID_ARGUMENT [name] name: an agent's name has lowercase letters, digits, "-", "_" and ".", and starts and ends with a letter or digit; "A" does not
    get "agents/nobody": NotFound AGENT_NOT_FOUND [] agents/nobody does not exist; ListAgents shows those that do
    list -1 "" "": InvalidArgument INVALID_ARGUMENT [page_size] page_size: must not be negative; 0 means 100
    list 0 "x" "": InvalidArgument INVALID_ARGUMENT [page_token] page_token: is not one that this list gave for this filter; start again without one
    list 0 "" "nme = x": InvalidArgument INVALID_ARGUMENT [filter] filter: there is no field "nme"; there are name, state, state_reason, desired_state, ready, connection.connected, connection.host, incarnation, labels.KEY
    list 0 "" "planner": InvalidArgument INVALID_ARGUMENT [filter] filter: "planner" alone says nothing; write FIELD = VALUE, or another comparison
    update, no agent: InvalidArgument INVALID_ARGUMENT [agent] agent: must be given
    update, unknown path: InvalidArgument INVALID_ARGUMENT [update_mask] update_mask: "state" cannot be changed; write *, labels, labels.KEY, policy, or policy. with heartbeat_timeout, message_timeout, start_timeout, stop_grace, stop_signal, restart, max_attempts, cooldown, backoff, stable_after, max_concurrent, queue_limit, max_deliveries, on_restart, on_reboot, watchdog_timeout, stall_timeout, blocked_limit, exit_rules or poison_after
    update, policy: InvalidArgument INVALID_ARGUMENT [agent.policy.max_attempts] agent.policy.max_attempts: 9999 is not between 0 and 1000
    update, label: InvalidArgument INVALID_ARGUMENT [agent.labels] agent.labels: the key "Team" must have 1 to 63 lowercase letters, digits, "-" or "_", and start with a letter
    update, etag: InvalidArgument INVALID_ARGUMENT [agent.etag] agent.etag: is not an etag that this server gave; read it again
    update, missing: NotFound AGENT_NOT_FOUND [] agents/nobody does not exist; ListAgents shows those that do
    restart, reason: InvalidArgument INVALID_ARGUMENT [reason] reason: must have at most 256 bytes, and no control characters
    restart, request id: InvalidArgument INVALID_ARGUMENT [request_id] request_id: a request id has 1 to 64 printable ASCII characters, a UUID for example
    restart, grace: InvalidArgument INVALID_ARGUMENT [grace_period] grace_period: must be at most 1h; 0s kills at once
    restart, negative grace: InvalidArgument INVALID_ARGUMENT [grace_period] grace_period: must be a duration of at least 0 s and at most 10000 years
    restart, wait: InvalidArgument INVALID_ARGUMENT [wait] wait: is none of WAIT_ACCEPTED, WAIT_STARTED, WAIT_READY
    restart, incarnation: FailedPrecondition INCARNATION_MISMATCH [] agents/a is at incarnation 0, not 7; read it again
    signal "": InvalidArgument INVALID_ARGUMENT [signal] signal: is not a signal's name; write for example HUP or SIGUSR1
    signal "KILL": InvalidArgument INVALID_ARGUMENT [signal] signal: KILL cannot be sent; use StopAgent to end the agent
    signal "FOO": InvalidArgument INVALID_ARGUMENT [signal] signal: is not a signal's name; write for example HUP or SIGUSR1
    signal "HUP": FailedPrecondition NO_PROCESS [] agents/a has no process that can be signalled: nothing runs
    watch: InvalidArgument INVALID_ARGUMENT [filter] filter: type: "NAP" is not one of AGENT_REGISTERED, AGENT_STARTING, AGENT_STARTED, AGENT_READY, AGENT_CRASHED, AGENT_UNREACHABLE, AGENT_RECONNECTED, AGENT_RESTARTED, AGENT_STOPPING, AGENT_STOPPED, AGENT_TERMINATED, AGENT_QUARANTINED, AGENT_TAKEN_OVER, AGENT_DELETED, RECOVERY_SCHEDULED, RECOVERY_STARTED, RECOVERY_SUCCEEDED, RECOVERY_EXHAUSTED, EXECUTION_QUEUED, EXECUTION_DISPATCHED, EXECUTION_ACCEPTED, EXECUTION_RUNNING, EXECUTION_SUCCEEDED, EXECUTION_FAILED, EXECUTION_CANCELLED, EXECUTION_TIMED_OUT, EXECUTION_LOST, EXECUTION_DEAD_LETTER, EXECUTION_VERDICTS_HELD, EXECUTION_DISOWNED, EXECUTION_STRANDED, EXECUTION_QUARANTINED, WORKFLOW_CREATED, WORKFLOW_UPDATED, WORKFLOW_DELETED, WORKFLOW_ARMED, WORKFLOW_DISARMED, WORKFLOW_TRIGGERED, WORKFLOW_SKIPPED, WORKFLOW_EXPIRED, CHECKPOINT_SAVED, CHECKPOINT_HANDED_OVER, CHECKPOINT_CLOSED, CHECKPOINT_SET_ASIDE, HOST_REBOOTED, SERVER_STARTED, SERVER_PAUSED
    "#);
}

fn agent_of(request: &mut v1::UpdateAgentRequest) -> &mut v1::Agent {
    request.agent.get_or_insert_default()
}

#[tokio::test]
async fn a_refusal_of_huge_input_still_fits_the_trailers() {
    let world = World::start().await;
    let huge = "ä".repeat(100_000);
    let get = world
        .agents()
        .get_agent(v1::GetAgentRequest { name: huge.clone() })
        .await;
    assert_eq!(told(&get.expect_err("no such name")).2, "name");
    let filter = format!("name = \"{}\" x", &huge[..4000]);
    let mut client = world.agents();
    let list = client.list_agents(v1::ListAgentsRequest {
        filter,
        ..v1::ListAgentsRequest::default()
    });
    assert_eq!(told(&list.await.expect_err("no such filter")).2, "filter");
}
