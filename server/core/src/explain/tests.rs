mod checkpoints;

use std::collections::BTreeMap;

use rekindle::host::Host;
use rekindle::id::{AgentId, AgentUid, BootId, Epoch, Incarnation, Marker, ShimInstance};
use rekindle::policy::AgentPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::recovery::Budget;
use rekindle::report::Survivor;
use rekindle::session::Wanted;
use rekindle::state::FailureCause;

use super::*;
use crate::checkpoint::Line;
use crate::record::{AgentProcess, Claim, Context, Failure, Holder, Operation, Source};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_nanos(seconds * 1_000_000_000)
}

const NOW: u64 = 10_000;

fn host() -> Host {
    Host {
        name: "h1".into(),
        machine_id: None,
        boot_id: BootId::from_u128(1),
    }
}

/// An agent that has been in `state` for 19 seconds.
fn agent(state: AgentState, reason: StateReason) -> AgentRecord {
    let runs = matches!(
        state,
        AgentState::Running | AgentState::Unreachable | AgentState::Stopping
    );
    AgentRecord {
        id: AgentId::new("planner-1").expect("valid"),
        uid: AgentUid::from_u128(7),
        created: at(1),
        updated: at(NOW - 19),
        revision: 5,
        labels: BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]),
        labels_source: Source::Shim,
        policy: AgentPolicy::default(),
        policy_source: Source::Shim,
        desired: Desired::Running,
        state,
        reason,
        state_since: at(NOW - 19),
        incarnation: Incarnation::new(4),
        used_elsewhere: Incarnation::ZERO,
        given_up: Incarnation::ZERO,
        process: runs.then(process),
        epoch: Epoch::new(2),
        holder: Some(Holder {
            instance: ShimInstance::from_u128(3),
            host: host(),
            marker: Marker::from_u128(9),
            shim_version: "0.1.0".into(),
            fence_after: None,
            stop_grace_max: std::time::Duration::from_secs(10),
            order: rekindle::report::HelloOrder::default(),
            connected: at(5),
            last_heard: Some(at(NOW - 34)),
            claim: Claim::Held,
            launch: None,
            unsettled: None,
            goes_by: Wanted::Rest,
            delivery: rekindle::execution::Delivery::None,
        }),
        reports: None,
        budget: Budget::default(),
        recovering: false,
        operation: None,
        last_failure: None,
        parked_until: None,
        resume: None,
        checkpoint_line: Line::default(),
    }
}

fn process() -> AgentProcess {
    AgentProcess {
        incarnation: Incarnation::new(4),
        identity: Some(ProcessIdentity {
            boot_id: BootId::from_u128(1),
            pid: 77,
            pidfd_inode: Some(5),
            start_time_ticks: 6,
            start_time: at(8),
        }),
        host: "h1".into(),
    }
}

fn failed(mut record: AgentRecord, attempts: u32) -> AgentRecord {
    record.budget = Budget {
        attempts,
        last_attempt: (attempts > 0).then(|| at(NOW - 19)),
    };
    record.last_failure = Some(Failure {
        cause: FailureCause::Exited,
        message: "exited with code 3".into(),
        time: at(NOW - 19),
        incarnation: Incarnation::new(4),
        evidence: None,
        survivors: Vec::new(),
    });
    record
}

fn ordered(mut record: AgentRecord, kind: OperationKind) -> AgentRecord {
    record.operation = Some(Operation {
        kind,
        target: Incarnation::new(5),
        previous_state: AgentState::Running,
        reason: "deploy".into(),
        grace: None,
        cancels: Vec::new(),
        context: Context::Resume,
        asked: None,
    });
    record
}

fn with(mut record: AgentRecord, change: impl FnOnce(&mut AgentRecord)) -> AgentRecord {
    change(&mut record);
    record
}

fn policy(change: impl FnOnce(&mut rekindle::policy::PolicyFields)) -> AgentPolicy {
    let mut fields = rekindle::policy::PolicyFields::default();
    change(&mut fields);
    AgentPolicy::new(fields).expect("valid")
}

#[test]
fn every_state_is_explained() {
    use AgentState::{Crashed, Pending, Quarantined, Running, Starting, Stopped, Stopping, Terminated, Unreachable};
    let exited = StateReason::Failure(FailureCause::Exited);
    let silent = StateReason::Failure(FailureCause::HeartbeatTimeout);
    let (up, down) = (Link::Up, Link::Down);
    let cases = [
        (down, with(agent(Pending, StateReason::None), |r| r.holder = None)),
        (up, agent(Starting, StateReason::FirstStart)),
        (down, agent(Starting, StateReason::Operator)),
        (
            up,
            with(agent(Starting, StateReason::Recovery), |r| r.process = Some(process())),
        ),
        (up, agent(Running, StateReason::None)),
        (down, failed(agent(Running, StateReason::None), 2)),
        (down, agent(Unreachable, StateReason::LeaseExpired)),
        (down, ordered(agent(Running, StateReason::None), OperationKind::Stop)),
        (
            down,
            ordered(agent(Unreachable, StateReason::LeaseExpired), OperationKind::Restart),
        ),
        (up, failed(agent(Crashed, exited), 2)),
        (up, failed(agent(Crashed, exited), 0)),
        (down, failed(agent(Crashed, exited), 0)),
        (up, ordered(failed(agent(Crashed, exited), 1), OperationKind::Restart)),
        (down, ordered(failed(agent(Crashed, exited), 1), OperationKind::Start)),
        (
            down,
            with(failed(agent(Crashed, silent), 1), |r| r.process = Some(process())),
        ),
        (
            up,
            with(failed(agent(Crashed, exited), 1), |r| r.desired = Desired::Stopped),
        ),
        (
            up,
            with(failed(agent(Crashed, exited), 1), |r| {
                r.policy = policy(|p| p.restart = RestartPolicy::Never)
            }),
        ),
        (up, failed(agent(Crashed, exited), 3)),
        (up, ordered(agent(Stopping, StateReason::Operator), OperationKind::Stop)),
        (
            down,
            ordered(agent(Stopping, StateReason::Operator), OperationKind::Restart),
        ),
        (
            up,
            with(agent(Stopped, StateReason::Operator), |r| r.desired = Desired::Stopped),
        ),
        (up, agent(Stopped, StateReason::Finished)),
        (
            up,
            with(failed(agent(Stopped, StateReason::Repeat), 0), |r| {
                r.policy = policy(|p| p.restart = RestartPolicy::Always)
            }),
        ),
        (down, agent(Stopped, StateReason::Reboot)),
        (
            up,
            with(agent(Stopped, StateReason::Reboot), |r| {
                r.policy = policy(|p| p.on_reboot = RebootPolicy::Stay)
            }),
        ),
        (down, agent(Stopped, StateReason::ShimStopped)),
        (up, failed(agent(Terminated, exited), 3)),
        (
            up,
            failed(agent(Terminated, StateReason::Failure(FailureCause::Auth)), 0),
        ),
        (
            up,
            with(
                failed(agent(Crashed, StateReason::Failure(FailureCause::Quota)), 3),
                |r| {
                    r.parked_until = Some(at(NOW + 3600));
                },
            ),
        ),
        (
            up,
            with(failed(agent(Quarantined, StateReason::Survivors), 1), |r| {
                let survivor = |pid| Survivor {
                    pid,
                    pidfd_inode: Some(70),
                    start_time_ticks: 700,
                    command: "sleep".into(),
                };
                r.last_failure.as_mut().expect("failed").survivors = (1..=4).map(survivor).collect();
            }),
        ),
    ];
    let lines: Vec<String> = cases
        .iter()
        .map(|(link, record)| format!("{}: {}", record.state, explain(record, *link, 0, None, at(NOW)).summary))
        .collect();
    for state in AgentState::ALL {
        assert!(
            cases.iter().any(|(_, record)| record.state == state),
            "no case for {state}"
        );
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    PENDING: no shim has ever connected for this agent; start rekindle-shim --agent planner-1 on its host
    STARTING: incarnation 4 is ordered, and its shim has not told of the process yet
    STARTING: incarnation 4 is ordered, and starts once the shim on h1 connects
    STARTING: incarnation 4 runs as pid 77 on h1, and is not ready yet
    RUNNING: runs as pid 77 on h1 and is ready, for 19 s
    RUNNING: runs as pid 77 on h1 and is ready, for 19 s; 2 of 3 attempts used, and the count returns to zero after 10 min of running; its shim's stream is down, and nothing follows before the lease has run out
    UNREACHABLE: the shim on h1 is silent, for 34 s; pid 77 on h1 is presumed alive and left alone; it counts as crashed after 3 min of silence, unless the shim returns
    RUNNING: runs as pid 77 on h1 and is ready, for 19 s; its shim's stream is down, and nothing follows before the lease has run out; the stop that an operator ordered waits until the shim on h1 connects
    UNREACHABLE: the shim on h1 is silent, for 34 s; pid 77 on h1 is presumed alive and left alone; it counts as crashed after 3 min of silence, unless the shim returns; the restart that an operator ordered waits until the shim on h1 connects
    CRASHED: not restarted: cooldown, 41 s left, 2 of 3 attempts used; last failure: exited with code 3
    CRASHED: crashed; the restart is due, 0 of 3 attempts used
    CRASHED: not restarted: crashed, and it waits until the shim on h1 connects
    CRASHED: crashed; the restart that an operator ordered is under way
    CRASHED: crashed; the start that an operator ordered waits until the shim on h1 connects
    CRASHED: not restarted: the shim on h1 has been silent past 3 min, and nobody has proven pid 77 on h1 dead; it goes on when the shim returns, or by RestartAgent with force
    CRASHED: crashed, and it shall not run; StartAgent starts it
    CRASHED: not restarted: its policy leaves that to operators; StartAgent does it; last failure: exited with code 3
    CRASHED: not restarted: 3 of 3 attempts used; last failure: exited with code 3
    STOPPING: pid 77 on h1 is being ended; SIGKILL comes any moment
    STOPPING: pid 77 on h1 is to be ended, once the shim on h1 connects; then incarnation 5 starts
    STOPPED: stopped, and it shall not run; StartAgent starts it
    STOPPED: finished with a clean exit, which its policy does not repeat; StartAgent starts it again
    STOPPED: finished, and its policy repeats it; the restart is due, 0 of 3 attempts used
    STOPPED: not restarted: gone with a reboot of its host, and it waits until the shim on h1 connects
    STOPPED: gone with a reboot of its host, and on_reboot is STAY; StartAgent starts it
    STOPPED: not restarted: its shim was told to stop, and it waits until the shim on h1 connects
    TERMINATED: not restarted: 3 of 3 attempts used; RestartAgent or StartAgent begins anew; last failure: exited with code 3
    TERMINATED: not restarted: no restart can help; RestartAgent or StartAgent begins anew; last failure: exited with code 3
    CRASHED: crashed; not restarted: parked, as something is used up, 1 h left; it spends no attempt
    QUARANTINED: not restarted: pid 1 (sleep), pid 2 (sleep), pid 3 (sleep) and others outlived SIGKILL on h1; end them there, or use RestartAgent with force
    ");
}

#[test]
fn a_life_without_a_process_of_its_own_is_explained() {
    let taking = |state| {
        with(agent(state, StateReason::None), |record| {
            let process = record.process.get_or_insert_with(process);
            process.identity = None;
        })
    };
    let lines: Vec<String> = [
        AgentState::Starting,
        AgentState::Running,
        AgentState::Unreachable,
        AgentState::Stopping,
    ]
    .map(|state| explain(&taking(state), Link::Up, 0, None, at(NOW)).summary)
    .into();
    insta::assert_snapshot!(lines.join("\n"), @r"
    incarnation 4 has begun on h1, and does not take messages yet
    is ready to take messages on h1, each in a process of its own, for 19 s
    the shim on h1 is silent, for 34 s; incarnation 4 on h1 is presumed alive and left alone; it counts as crashed after 3 min of silence, unless the shim returns
    incarnation 4 on h1 is being ended; SIGKILL comes any moment
    ");
    let facts = explain(&taking(AgentState::Running), Link::Up, 0, None, at(NOW)).facts;
    let process = facts.into_iter().find(|fact| fact.name == "process");
    assert_eq!(
        process.map(|fact| fact.value).as_deref(),
        Some("one for each message, on h1")
    );
}

#[test]
fn facts_have_the_numbers_and_no_secrets() {
    let record = ordered(
        failed(
            agent(AgentState::Crashed, StateReason::Failure(FailureCause::Exited)),
            2,
        ),
        OperationKind::Stop,
    );
    let record = with(record, |r| {
        r.operation = None;
        r.process = None;
    });
    let facts: Vec<String> = explain(&record, Link::Up, 0, None, at(NOW))
        .facts
        .into_iter()
        .map(|fact| format!("{}: {}", fact.name, fact.value))
        .collect();
    insta::assert_snapshot!(facts.join("\n"), @r"
    state: CRASHED, EXITED, for 19 s
    desired_state: RUNNING
    next_attempt: in 41 s
    attempts: 2 of 3 attempts used
    restart_policy: ON_FAILURE, cooldown 1 min, stable after 10 min
    last_failure: EXITED in incarnation 4, 19 s ago: exited with code 3
    incarnation: 4
    shim: on h1, connected
    ");
    assert!(!facts.join("\n").contains("s3cret"));
}

#[test]
fn what_waits_for_a_shim_that_takes_none_is_told() {
    let record = agent(AgentState::Running, StateReason::None);
    assert!(record.takes_no_messages());
    let told = explain(&record, Link::Up, 3, None, at(NOW));
    insta::assert_snapshot!(told.summary, @"runs as pid 77 on h1 and is ready, for 19 s; executions: 3 queued, and the shim takes none: start it with --delivery per-message, pull or stdin, or cancel them");
    assert_eq!(told.facts.last().map(|fact| fact.name), Some("executions"));
    let taking = with(record, |record| {
        let holder = record.holder.as_mut().expect("it has one");
        holder.delivery = rekindle::execution::Delivery::Pull;
    });
    assert_eq!(
        explain(&taking, Link::Up, 3, None, at(NOW)).facts.len() + 1,
        told.facts.len()
    );
}

#[test]
fn workflows_that_wait_are_told_with_what_they_wait_for() {
    use rekindle::id::{FireNumber, WorkflowUid};
    use rekindle::workflow::{FireKey, Trigger, WorkflowId, WorkflowSpec, WorkflowSpecFields};

    use crate::workflow::{Fire, FireSource, LastError, Misfired, WorkflowRecord};

    let workflow = |id: &str, enabled: bool, fires: u64, error: Option<&str>| {
        let mut fields = WorkflowSpecFields::new(AgentId::new("planner-1").expect("valid"), Trigger::Manual);
        fields.enabled = enabled;
        let fire = |number| Fire {
            number: FireNumber::new(number),
            key: FireKey::new("k").expect("valid"),
            at: at(1),
            source: FireSource::Manual,
            misfired: Misfired::No,
            hops: 0,
            payload_bytes: 0,
        };
        WorkflowRecord {
            id: WorkflowId::new(id).expect("valid"),
            uid: WorkflowUid::from_u128(1),
            revision: 1,
            created: at(1),
            updated: at(1),
            spec: WorkflowSpec::new(fields).expect("valid"),
            toggled: at(1),
            message_bytes: 0,
            secret: None,
            request: None,
            fired: FireNumber::new(fires),
            through: at(1),
            pending: (1..=fires).map(fire).collect(),
            last_error: error.map(|message| LastError {
                time: at(2),
                message: message.to_owned(),
            }),
        }
    };
    let told = |state: AgentState, workflows: &[WorkflowRecord]| {
        let record = agent(state, StateReason::None);
        let explanation = explain(&record, Link::Up, 0, None, at(NOW)).with_workflows(&record, workflows);
        let fact = explanation.facts.into_iter().find(|fact| fact.name == "workflows");
        let summary = explanation.summary.split("; workflows: ").nth(1).map(str::to_owned);
        (fact.map(|fact| fact.value), summary)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told(AgentState::Running, &[]), (None, None));
    let (idle, off) = (workflow("a", true, 0, None), workflow("b", false, 0, None));
    assert_eq!(
        told(AgentState::Running, &[idle.clone(), off.clone()]),
        (some("2, 1 of them armed"), None)
    );
    assert_eq!(
        told(AgentState::Running, &[off]),
        (some("1, none of them enabled"), None)
    );
    let waits = workflow("c", true, 3, None);
    let away = told(AgentState::Crashed, &[idle.clone(), waits]);
    let expected = some("2, 2 of them wait until it is RUNNING; fires that wait: 3");
    assert_eq!(away, (expected, some("fires that wait: 3")));
    let (full, was_full) = (
        workflow("d", true, 1, Some("the queue is full")),
        workflow("e", true, 0, Some("once")),
    );
    let busy = told(AgentState::Running, &[full, was_full]);
    let expected = some("2, 2 of them armed; fires that wait: 1, as the queue is full");
    assert_eq!(busy, (expected, some("fires that wait: 1, as the queue is full")));
}
