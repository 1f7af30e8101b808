//! Records for tests, plain ones and the largest that the vocabulary allows.

mod checkpoint;

pub(super) use checkpoint::{checkpoint, content, largest_checkpoint, put_checkpoint};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::{AskedSave, CheckpointId};
use rekindle::execution::{Delivery, EXECUTION_ID_MAX_BYTES, ExecutionId, ExecutionState};
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus, TAIL_MAX_BYTES};
use rekindle::exit_rule::{ExitRule, ExitRuleFields, PARK_MAX, PATTERN_MAX_BYTES, RULES_MAX, RuleClass};
use rekindle::host::Host;
use rekindle::id::{AGENT_ID_MAX_BYTES, ExecutionUid, FireNumber, ShimInstance, WorkflowUid};
use rekindle::id::{AgentId, AgentUid, BootId, Epoch, Incarnation, Marker, ReportSequence, RequestId, Sequence};
use rekindle::label::{LABEL_KEY_MAX_BYTES, LABEL_VALUE_MAX_BYTES, LABELS_MAX};
use rekindle::launch::{
    ARGUMENTS_MAX, ARGUMENTS_MAX_BYTES, DIRECTORY_MAX_BYTES, ENVIRONMENT_NAMES_MAX, ENVIRONMENT_NAMES_MAX_BYTES,
    Extent, Launch, LaunchFields,
};
use rekindle::policy::{AgentPolicy, MAX_CONCURRENT_MAX, PolicyFields};
use rekindle::process::ProcessIdentity;
use rekindle::report::{SURVIVORS_MAX, Survivor};
use rekindle::session::Wanted;
use rekindle::state::{AgentState, FailureCause};
use rekindle::time::Timestamp;
use rekindle::workflow::{
    AgentEventKind, AgentEvents, CRON_EXPRESSION_MAX_BYTES, FIRE_KEY_MAX_BYTES, FireKey, PENDING_MAX, SecretHash,
    Trigger, WORKFLOW_ID_MAX_BYTES, WorkflowId, WorkflowSpec, WorkflowSpecFields,
};
use rekindle_server_core::checkpoint::{Begun, Line};
use rekindle_server_core::claim::Admission;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::{AttemptProcess, Ending, ExecutionRecord, GivenTo, OutputSize, Times};
use rekindle_server_core::host::{HostKey, HostRecord};
use rekindle_server_core::record::{
    AgentProcess, AgentRecord, Claim, Context, Failure, Fate, Holder, Operation, OperationKind, Record, ReportCursor,
    RequestRecord, Resume, StateReason, Unsettled,
};
use rekindle_server_core::workflow::{Fire, FireSource, FiredBy, LastError, Misfired, WorkflowRecord};

const NOON: Timestamp = Timestamp::from_unix_nanos(1_795_435_200_000_000_000);

/// Longest text of a report or a call, `convert`'s limits.
const TEXT_MAX_BYTES: usize = 1024;

/// An agent in its `revision`th revision.
pub(super) fn agent(id: &str, revision: u64) -> AgentRecord {
    AgentRecord {
        uid: AgentUid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        revision,
        labels: BTreeMap::from([("team".to_owned(), "search".to_owned())]),
        state: AgentState::Running,
        reason: StateReason::FirstStart,
        incarnation: Incarnation::new(1),
        epoch: Epoch::new(1),
        ..AgentRecord::unborn(AgentId::new(id).expect("a valid id"), NOON)
    }
}

/// A line of the history.
pub(super) fn event(sequence: u64) -> Event {
    Event {
        sequence: Sequence::new(sequence),
        time: NOON,
        kind: EventKind::AgentReady,
        agent: Some(AgentId::new("planner-1").expect("a valid id")),
        incarnation: Incarnation::new(1),
        execution: None,
        workflow: None,
        message: "planner-1 is ready".to_owned(),
        attributes: BTreeMap::from([("pid".to_owned(), "4711".to_owned())]),
    }
}

/// A request that goes on.
pub(super) fn request(agent: &str, id: &str) -> RequestRecord {
    RequestRecord {
        agent: AgentId::new(agent).expect("a valid id"),
        id: RequestId::new(id).expect("a valid id"),
        time: NOON,
        kind: OperationKind::Restart,
        target: Incarnation::new(2),
        previous_state: AgentState::Crashed,
        fate: Fate::Open,
    }
}

/// A host in a boot, and one boot before it over.
pub(super) fn host(name: &str, boot: u128) -> HostRecord {
    let key = HostKey::Machine {
        name: name.to_owned(),
        machine_id: "m1".to_owned(),
    };
    let mut host = HostRecord::new(key, BootId::from_u128(boot));
    host.enter(BootId::from_u128(boot), [BootId::from_u128(boot + 100)]);
    host
}

/// An agent whose every text is as long as it may be, of characters that take the most room in JSON.
pub(super) fn largest_agent() -> AgentRecord {
    let nul = |bytes: usize| "\0".repeat(bytes);
    let labels = (0..LABELS_MAX).map(|number| {
        let key = format!("k{number:0>width$}", width = LABEL_KEY_MAX_BYTES - 1);
        (key, "\"".repeat(LABEL_VALUE_MAX_BYTES))
    });
    let name = nul(255);
    AgentRecord {
        id: AgentId::new(&"a".repeat(AGENT_ID_MAX_BYTES)).expect("a valid id"),
        labels: labels.collect(),
        policy: largest_policy(),
        process: Some(AgentProcess {
            incarnation: Incarnation::new(u64::MAX),
            identity: Some(largest_identity()),
            host: name.clone(),
        }),
        holder: Some(holder(name)),
        reports: Some(ReportCursor {
            marker: Marker::from_u128(u128::MAX),
            sequence: ReportSequence::new(u64::MAX),
        }),
        operation: Some(Operation {
            kind: OperationKind::Restart,
            target: Incarnation::new(u64::MAX),
            previous_state: AgentState::Quarantined,
            reason: nul(TEXT_MAX_BYTES),
            grace: Some(Duration::MAX),
            cancels: (0..MAX_CONCURRENT_MAX).map(longest_execution_id).collect(),
            context: Context::Resume,
            asked: Some(AskedSave::Saved(CheckpointId::new(
                Incarnation::new(u64::MAX),
                u32::MAX,
            ))),
        }),
        last_failure: Some(largest_failure()),
        resume: Some(Resume {
            incarnation: Incarnation::new(u64::MAX),
            launch: Some(largest_launch()),
        }),
        checkpoint_line: Line {
            deleted: Some(CheckpointId::new(Incarnation::new(u64::MAX), u32::MAX)),
            begun: Some(largest_begun()),
            begun_elsewhere: Some(largest_begun()),
        },
        ..agent("planner-1", u64::MAX)
    }
}

fn largest_begun() -> Begun {
    Begun {
        incarnation: Incarnation::new(u64::MAX),
        marker: Marker::from_u128(u128::MAX),
        handed: Some(CheckpointId::new(Incarnation::new(u64::MAX), u32::MAX)),
    }
}

/// A running execution that waits for nothing.
pub(super) fn execution(agent: &str, id: &str) -> ExecutionRecord {
    ExecutionRecord {
        agent: AgentId::new(agent).expect("a valid id"),
        id: ExecutionId::new(id).expect("a valid id"),
        uid: ExecutionUid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002),
        revision: 4,
        state: ExecutionState::Running,
        ending: None,
        priority: 1,
        order: 7,
        timeout: Duration::from_secs(300),
        start_by: None,
        attempt: 1,
        given_to: Some(GivenTo {
            marker: Marker::from_u128(1),
            boot: BootId::from_u128(2),
            incarnation: Incarnation::new(3),
            after: ReportSequence::new(4),
        }),
        given_before: None,
        end_order: None,
        process: Some(AttemptProcess {
            incarnation: Incarnation::new(3),
            identity: identity_of(4711),
            host: "h1".to_owned(),
        }),
        times: Times {
            dispatched: Some(NOON),
            accepted: Some(NOON),
            started: Some(NOON),
            ..Times::created(NOON)
        },
        failure: None,
        output: OutputSize::default(),
        request: Some(RequestId::new("r-1").expect("a valid id")),
        redrive_of: None,
        redriven_as: None,
        workflow: None,
    }
}

/// An execution whose every text is as long as it may be, of characters that take the most room in JSON.
pub(super) fn largest_execution() -> ExecutionRecord {
    let other = Some(longest_execution_id(1));
    ExecutionRecord {
        agent: AgentId::new(&"a".repeat(AGENT_ID_MAX_BYTES)).expect("a valid id"),
        id: longest_execution_id(0),
        ending: Some(Ending::Cancelled {
            reason: "\0".repeat(TEXT_MAX_BYTES),
            grace: Some(Duration::MAX),
        }),
        process: Some(AttemptProcess {
            incarnation: Incarnation::new(u64::MAX),
            identity: largest_identity(),
            host: "\0".repeat(255),
        }),
        failure: Some(largest_failure()),
        output: OutputSize {
            kept: u64::MAX,
            dropped: u64::MAX,
        },
        redrive_of: other.clone(),
        redriven_as: other,
        workflow: Some(FiredBy {
            workflow: longest_workflow_id(),
            uid: WorkflowUid::from_u128(u128::MAX),
            fire: FireNumber::new(u64::MAX),
            key: FireKey::new(&"\"".repeat(FIRE_KEY_MAX_BYTES)).expect("a valid key"),
            hops: u8::MAX,
        }),
        ..execution("planner-1", "e-1")
    }
}

/// A workflow that waits for its webhook.
pub(super) fn workflow(id: &str) -> WorkflowRecord {
    let agent = AgentId::new("planner-1").expect("a valid id");
    let fields = WorkflowSpecFields::new(agent, Trigger::Webhook);
    WorkflowRecord {
        id: WorkflowId::new(id).expect("a valid id"),
        uid: WorkflowUid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0003),
        revision: 2,
        created: NOON,
        updated: NOON,
        spec: WorkflowSpec::new(fields).expect("within its limits"),
        toggled: NOON,
        message_bytes: 5,
        secret: Some(SecretHash([1; 32])),
        request: None,
        fired: FireNumber::new(7),
        through: NOON,
        pending: [Fire {
            number: FireNumber::new(7),
            key: FireKey::new("k-1").expect("a valid key"),
            at: NOON,
            source: FireSource::Webhook,
            misfired: Misfired::No,
            hops: 0,
            payload_bytes: 3,
        }]
        .into(),
        last_error: None,
    }
}

/// A workflow of which as much waits as may, every text as long as it may be, of characters that take the most room in
/// JSON.
pub(super) fn largest_workflow() -> WorkflowRecord {
    let workflow = longest_workflow_id();
    let agent = AgentId::new(&"a".repeat(AGENT_ID_MAX_BYTES)).expect("a valid id");
    let events = AgentEvents::new(agent.clone(), AgentEventKind::ALL.iter().copied());
    // The texts of a cron expression are shorter than this list.
    assert!(CRON_EXPRESSION_MAX_BYTES < AgentEventKind::ALL.len() * 32);
    let fields = WorkflowSpecFields {
        timeout: Some(Duration::from_nanos(1_000_000_001)),
        expires_after: Some(Duration::from_nanos(1_000_000_001)),
        ..WorkflowSpecFields::new(agent.clone(), Trigger::AgentEvent(events.expect("some")))
    };
    let fire = Fire {
        number: FireNumber::new(u64::MAX),
        key: FireKey::new(&"\"".repeat(FIRE_KEY_MAX_BYTES)).expect("a valid key"),
        at: Timestamp::from_unix_nanos(u64::MAX),
        source: FireSource::Completion {
            workflow: workflow.clone(),
            agent,
            execution: longest_execution_id(0),
            state: ExecutionState::DeadLetter,
        },
        misfired: Misfired::Yes,
        hops: u8::MAX,
        payload_bytes: u64::MAX,
    };
    WorkflowRecord {
        id: workflow,
        spec: WorkflowSpec::new(fields).expect("within its limits"),
        secret: Some(SecretHash([255; 32])),
        request: Some(RequestId::new(&"\"".repeat(64)).expect("a valid id")),
        fired: FireNumber::new(u64::MAX),
        pending: vec![fire; PENDING_MAX].into(),
        last_error: Some(LastError {
            time: NOON,
            message: "\0".repeat(TEXT_MAX_BYTES),
        }),
        ..self::workflow("nightly")
    }
}

fn longest_workflow_id() -> WorkflowId {
    WorkflowId::new(&"w".repeat(WORKFLOW_ID_MAX_BYTES)).expect("a valid id")
}

fn largest_failure() -> Failure {
    let survivor = Survivor {
        pid: u32::MAX,
        pidfd_inode: Some(u64::MAX),
        start_time_ticks: u64::MAX,
        command: "\0".repeat(64),
    };
    Failure {
        cause: FailureCause::SpawnFailed,
        message: "\0".repeat(TEXT_MAX_BYTES),
        time: NOON,
        incarnation: Incarnation::new(u64::MAX),
        evidence: Some(evidence("\"".repeat(TAIL_MAX_BYTES))),
        survivors: vec![survivor; SURVIVORS_MAX],
    }
}

fn largest_policy() -> AgentPolicy {
    let rule = ExitRule::new(ExitRuleFields {
        exit_codes: vec![255; RULES_MAX],
        signals: vec![64; RULES_MAX],
        output_pattern: Some("\"".repeat(PATTERN_MAX_BYTES)),
        class: RuleClass::Quota,
        park: Some(PARK_MAX),
    });
    AgentPolicy::new(PolicyFields {
        watchdog_timeout: Some(Duration::from_nanos(1_000_000_001)),
        stall_timeout: Some(Duration::from_nanos(1_000_000_001)),
        exit_rules: vec![rule.expect("at its limits"); RULES_MAX],
        ..PolicyFields::default()
    })
    .expect("at its limits")
}

/// An agent of more than any that the vocabulary allows.
pub(super) fn oversized_agent(id: &str) -> AgentRecord {
    AgentRecord {
        labels: BTreeMap::from([("blob".to_owned(), "x".repeat(super::VALUE_MAX_BYTES))]),
        ..agent(id, 1)
    }
}

/// A process of this pid.
pub(super) fn identity_of(pid: u32) -> ProcessIdentity {
    ProcessIdentity {
        boot_id: BootId::from_u128(2),
        pid,
        pidfd_inode: Some(99),
        start_time_ticks: 5,
        start_time: NOON,
    }
}

fn largest_identity() -> ProcessIdentity {
    ProcessIdentity {
        boot_id: BootId::from_u128(u128::MAX),
        pid: u32::MAX,
        pidfd_inode: Some(u64::MAX),
        start_time_ticks: u64::MAX,
        start_time: NOON,
    }
}

fn longest_execution_id(number: u32) -> ExecutionId {
    ExecutionId::new(&format!("{number:0>EXECUTION_ID_MAX_BYTES$}")).expect("a valid id")
}

fn holder(name: String) -> Holder {
    Holder {
        instance: ShimInstance::from_u128(u128::MAX),
        host: Host {
            machine_id: Some(name.clone()),
            name,
            boot_id: BootId::from_u128(u128::MAX),
        },
        marker: Marker::from_u128(u128::MAX),
        shim_version: "\0".repeat(64),
        fence_after: Some(Duration::MAX),
        delivery: Delivery::PerMessage,
        stop_grace_max: Duration::MAX,
        order: rekindle::report::HelloOrder {
            life: u64::MAX,
            stream: u64::MAX,
        },
        connected: NOON,
        last_heard: Some(NOON),
        claim: Claim::Held,
        launch: Some(largest_launch()),
        goes_by: Wanted::Run,
        unsettled: Some(Unsettled {
            admission: Admission::FencedOff,
            launch: Some(largest_launch()),
        }),
    }
}

fn largest_launch() -> Launch {
    let words = |most: usize, bytes: usize| vec!["\"".repeat(bytes / most); most];
    Launch::new(LaunchFields {
        directory: "\"".repeat(DIRECTORY_MAX_BYTES),
        arguments: words(ARGUMENTS_MAX, ARGUMENTS_MAX_BYTES),
        environment_names: words(ENVIRONMENT_NAMES_MAX, ENVIRONMENT_NAMES_MAX_BYTES),
        extent: Extent::Whole,
    })
}

fn evidence(tail: String) -> ExitEvidence {
    ExitEvidence {
        status: ExitStatus::Signaled {
            signal: 11,
            core_dumped: true,
        },
        ended_by: EndedBy::Itself,
        oom_killed: true,
        uptime: Duration::MAX,
        user_time: Duration::MAX,
        system_time: Duration::MAX,
        max_rss_kib: u64::MAX,
        stderr_tail: tail.clone(),
        stdout_tail: tail,
        asked_save: AskedSave::Saved(CheckpointId::new(Incarnation::new(u64::MAX), u32::MAX)),
    }
}

/// As one change of a batch.
pub(super) fn put_agent(agent: AgentRecord) -> Record {
    Record::Agent(Arc::new(agent))
}

/// As one change of a batch.
pub(super) fn put_execution(execution: ExecutionRecord) -> Record {
    Record::Execution(Arc::new(execution))
}

/// As one change of a batch.
pub(super) fn put_workflow(workflow: WorkflowRecord) -> Record {
    Record::Workflow(Arc::new(workflow))
}

/// As one change of a batch.
pub(super) fn put_event(sequence: u64) -> Record {
    Record::Event(Arc::new(event(sequence)))
}

/// As one change of a batch.
pub(super) fn put_request(request: RequestRecord) -> Record {
    Record::Request(Arc::new(request))
}

/// As one change of a batch.
pub(super) fn put_host(host: HostRecord) -> Record {
    Record::Host(Arc::new(host))
}
