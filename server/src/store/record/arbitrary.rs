//! Arbitrary records, for round trips: every variant, every text, and numbers from end to end.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::execution::{Delivery, EXECUTION_ID_MAX_BYTES, ExecutionId, ExecutionState};
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::exit_rule::{ExitRule, ExitRuleFields, RuleClass};
use rekindle::host::Host;
use rekindle::id::{AGENT_ID_MAX_BYTES, ExecutionUid, REQUEST_ID_MAX_BYTES, ShimInstance};
use rekindle::id::{AgentId, AgentUid, BootId, Epoch, Incarnation, Marker, ReportSequence, RequestId, Sequence};
use rekindle::launch::{Extent, Launch, LaunchFields};
use rekindle::policy::{
    AgentPolicy, Backoff, InterruptPolicy, MAX_CONCURRENT_MAX, MAX_DELIVERIES_MAX, MESSAGE_TIMEOUT_MAX,
    MESSAGE_TIMEOUT_MIN, PolicyFields, QUEUE_LIMIT_MAX, RebootPolicy, RestartPolicy, StopSignal,
};
use rekindle::process::ProcessIdentity;
use rekindle::recovery::Budget;
use rekindle::report::Survivor;
use rekindle::session::Wanted;
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle::time::Timestamp;
use rekindle_server_core::claim::Admission;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::execution::{AttemptProcess, Ending, ExecutionRecord, GivenTo, OutputSize, Times};
use rekindle_server_core::host::{HostKey, HostRecord};
use rekindle_server_core::record::{
    AgentProcess, AgentRecord, Claim, Failure, Fate, Holder, Operation, OperationKind, ReportCursor, RequestRecord,
    Resume, Source, StateReason, Unsettled,
};

/// Any agent.
pub(super) fn agent() -> impl Strategy<Value = AgentRecord> {
    let identity = (agent_id(), any::<u128>(), timestamp(), timestamp(), any::<u64>());
    let rules = (texts(), source(), policy(), source(), desired());
    let standing = (state(), reason(), timestamp(), incarnation(), option::of(process()));
    let session = (any::<u64>(), option::of(holder()), option::of(cursor()));
    let resume = (incarnation(), option::of(launch())).prop_map(|(incarnation, launch)| Resume { incarnation, launch });
    let failure = (option::of(failure()), option::of(timestamp()), option::of(resume));
    let recovery = (budget(), any::<bool>(), option::of(operation()), failure);
    (identity, rules, standing, session, recovery).prop_map(|(identity, rules, standing, session, recovery)| {
        let (id, uid, created, updated, revision) = identity;
        let (labels, labels_source, policy, policy_source, desired) = rules;
        let (state, reason, state_since, incarnation, process) = standing;
        let (epoch, holder, reports) = session;
        let (budget, recovering, operation, (last_failure, parked_until, resume)) = recovery;
        AgentRecord {
            id,
            uid: AgentUid::from_u128(uid),
            created,
            updated,
            revision,
            labels,
            labels_source,
            policy,
            policy_source,
            desired,
            state,
            reason,
            state_since,
            incarnation,
            used_elsewhere: Incarnation::new(epoch / 2),
            process,
            epoch: Epoch::new(epoch),
            holder,
            reports,
            budget,
            recovering,
            operation,
            last_failure,
            parked_until,
            resume,
        }
    })
}

/// Any event.
pub(super) fn event() -> impl Strategy<Value = Event> {
    let fields = (any::<u64>(), timestamp(), select(&EventKind::ALL[..]));
    let about = (option::of(agent_id()), option::of(execution_id()));
    (fields, about, incarnation(), any::<String>(), texts()).prop_map(
        |((sequence, time, kind), (agent, execution), incarnation, message, attributes)| Event {
            sequence: Sequence::new(sequence),
            time,
            kind,
            agent,
            incarnation,
            execution,
            message,
            attributes,
        },
    )
}

/// Any execution.
pub(super) fn execution() -> impl Strategy<Value = ExecutionRecord> {
    let ids = (agent_id(), execution_id(), any::<u128>(), option::of(request_id()));
    let order = (any::<u64>(), option::of(any::<u64>()));
    let place = (any::<i32>(), order, option::of(timestamp()), any::<Duration>());
    let standing = (any::<u64>(), execution_state(), option::of(ending()), any::<u32>());
    let given = (option::of(given_to()), option::of(given_to()));
    let newest = (given, option::of(attempt_process()), times());
    let end = (option::of(failure()), any::<u64>(), any::<u64>());
    let links = (option::of(execution_id()), option::of(execution_id()));
    (ids, place, standing, newest, end, links).prop_map(|(ids, place, standing, newest, end, links)| {
        let (agent, id, uid, request) = ids;
        let (priority, (order, end_order), start_by, timeout) = place;
        let (revision, state, ending, attempt) = standing;
        let ((given_to, given_before), process, times) = newest;
        let (failure, kept, dropped) = end;
        let (redrive_of, redriven_as) = links;
        ExecutionRecord {
            agent,
            id,
            uid: ExecutionUid::from_u128(uid),
            revision,
            state,
            ending,
            priority,
            order,
            end_order,
            timeout,
            start_by,
            attempt,
            given_to,
            given_before,
            process,
            times,
            failure,
            output: OutputSize { kept, dropped },
            request,
            redrive_of,
            redriven_as,
        }
    })
}

/// Any execution's id.
pub(super) fn execution_id() -> impl Strategy<Value = ExecutionId> {
    let inside = EXECUTION_ID_MAX_BYTES - 2;
    let pattern = format!("[a-z0-9]([a-z0-9._-]{{0,{inside}}}[a-z0-9])?");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| ExecutionId::new(&id).expect("the pattern is the alphabet"))
}

fn execution_state() -> impl Strategy<Value = ExecutionState> {
    select(&ExecutionState::ALL[..])
}

fn ending() -> impl Strategy<Value = Ending> {
    let cancelled = (any::<String>(), option::of(any::<Duration>()));
    prop_oneof![
        cancelled.prop_map(|(reason, grace)| Ending::Cancelled { reason, grace }),
        interrupt().prop_map(Ending::Interrupted),
        Just(Ending::OutOfTime),
    ]
}

fn given_to() -> impl Strategy<Value = GivenTo> {
    (any::<u128>(), any::<u128>(), incarnation(), any::<u64>()).prop_map(|(marker, boot, incarnation, after)| GivenTo {
        marker: Marker::from_u128(marker),
        boot: BootId::from_u128(boot),
        incarnation,
        after: ReportSequence::new(after),
    })
}

fn attempt_process() -> impl Strategy<Value = AttemptProcess> {
    (incarnation(), identity(), any::<String>()).prop_map(|(incarnation, identity, host)| AttemptProcess {
        incarnation,
        identity,
        host,
    })
}

fn times() -> impl Strategy<Value = Times> {
    let step = || option::of(timestamp());
    (timestamp(), step(), step(), step(), (step(), step())).prop_map(
        |(created, dispatched, accepted, started, (ended, closed))| Times {
            created,
            dispatched,
            accepted,
            started,
            ended,
            closed,
        },
    )
}

/// Any request.
pub(super) fn request() -> impl Strategy<Value = RequestRecord> {
    let fate = prop_oneof![
        Just(Fate::Open),
        any::<String>().prop_map(Fate::Completed),
        any::<String>().prop_map(Fate::Failed),
    ];
    let ids = (agent_id(), request_id());
    (ids, timestamp(), operation_kind(), incarnation(), state(), fate).prop_map(
        |((agent, id), time, kind, target, previous_state, fate)| RequestRecord {
            agent,
            id,
            time,
            kind,
            target,
            previous_state,
            fate,
        },
    )
}

/// Any agent's id.
pub(super) fn agent_id() -> impl Strategy<Value = AgentId> {
    let inside = AGENT_ID_MAX_BYTES - 2;
    let pattern = format!("[a-z0-9]([a-z0-9._-]{{0,{inside}}}[a-z0-9])?");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| AgentId::new(&id).expect("the pattern is the alphabet"))
}

fn request_id() -> impl Strategy<Value = RequestId> {
    let pattern = format!("[!-~]{{1,{REQUEST_ID_MAX_BYTES}}}");
    let pattern = proptest::string::string_regex(&pattern).expect("it is a regular expression");
    pattern.prop_map(|id| RequestId::new(&id).expect("the pattern is the alphabet"))
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_unix_nanos)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation::new)
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(any::<String>(), any::<String>(), 0..4)
}

fn source() -> impl Strategy<Value = Source> {
    select(vec![Source::Shim, Source::Operator])
}

fn desired() -> impl Strategy<Value = Desired> {
    select(vec![Desired::Running, Desired::Stopped])
}

fn state() -> impl Strategy<Value = AgentState> {
    select(&AgentState::ALL[..])
}

fn operation_kind() -> impl Strategy<Value = OperationKind> {
    select(vec![OperationKind::Restart, OperationKind::Start, OperationKind::Stop])
}

fn cause() -> impl Strategy<Value = FailureCause> {
    select(&FailureCause::ALL[..])
}

fn reason() -> impl Strategy<Value = StateReason> {
    let plain = select(vec![
        StateReason::None,
        StateReason::Operator,
        StateReason::Recovery,
        StateReason::FirstStart,
        StateReason::Finished,
        StateReason::Repeat,
        StateReason::Reboot,
        StateReason::ShimStopped,
        StateReason::AwaitingShim,
        StateReason::LeaseExpired,
        StateReason::Survivors,
        StateReason::Agent,
    ]);
    prop_oneof![plain, cause().prop_map(StateReason::Failure)]
}

/// A duration between these, to the nanosecond.
fn between(least: Duration, most: Duration) -> impl Strategy<Value = Duration> {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).expect("less than 584 years");
    (nanos(least)..=nanos(most)).prop_map(Duration::from_nanos)
}

fn policy() -> impl Strategy<Value = AgentPolicy> {
    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let backoff = (1.0..=10.0, between(Duration::ZERO, DAY), 0.0..=1.0).prop_map(|(multiplier, max, jitter)| {
        Backoff::new(multiplier, max, jitter).expect("the ranges are the limits")
    });
    let restart = select(vec![
        RestartPolicy::OnFailure,
        RestartPolicy::Always,
        RestartPolicy::Never,
    ]);
    let on_reboot = select(vec![RebootPolicy::Start, RebootPolicy::Stay]);
    let stop = (between(Duration::ZERO, 3600 * SECOND), select(&StopSignal::ALL[..]));
    let start = (
        between(SECOND, 30 * DAY),
        between(SECOND, DAY),
        between(SECOND, 30 * DAY),
    );
    let attempts = (restart, 0..=1000u32, between(Duration::ZERO, DAY), option::of(backoff));
    let watches = (
        option::of(between(SECOND, DAY)),
        option::of(between(SECOND, DAY)),
        between(SECOND, DAY),
        option::of(exit_rule()),
        work_policy(),
    );
    (start, stop, attempts, on_reboot, watches).prop_map(|(start, stop, attempts, on_reboot, watches)| {
        let (watchdog_timeout, stall_timeout, blocked_limit, exit_rule, work) = watches;
        let (heartbeat_timeout, start_timeout, stable_after) = start;
        let (stop_grace, stop_signal) = stop;
        let (restart, max_attempts, cooldown, backoff) = attempts;
        AgentPolicy::new(PolicyFields {
            heartbeat_timeout,
            start_timeout,
            stop_grace,
            stop_signal,
            restart,
            max_attempts,
            cooldown,
            backoff,
            stable_after,
            on_reboot,
            watchdog_timeout,
            stall_timeout,
            blocked_limit,
            exit_rules: exit_rule.into_iter().collect(),
            ..work
        })
        .expect("the ranges are the limits")
    })
}

/// What of a policy concerns executions.
fn work_policy() -> impl Strategy<Value = PolicyFields> {
    let limits = (1..=MAX_CONCURRENT_MAX, 0..=QUEUE_LIMIT_MAX, 1..=MAX_DELIVERIES_MAX);
    let timeout = between(MESSAGE_TIMEOUT_MIN, MESSAGE_TIMEOUT_MAX);
    (timeout, limits, interrupt()).prop_map(|(message_timeout, limits, on_restart)| {
        let (max_concurrent, queue_limit, max_deliveries) = limits;
        PolicyFields {
            message_timeout,
            max_concurrent,
            queue_limit,
            max_deliveries,
            on_restart,
            ..PolicyFields::default()
        }
    })
}

fn interrupt() -> impl Strategy<Value = InterruptPolicy> {
    select(vec![InterruptPolicy::Cancel, InterruptPolicy::Requeue])
}

fn exit_rule() -> impl Strategy<Value = ExitRule> {
    let fields = (0..=255, 1..=64, option::of("[a-z]{1,9}"), select(&RuleClass::ALL[..]));
    fields.prop_map(|(code, signal, output_pattern, class)| {
        ExitRule::new(ExitRuleFields {
            exit_codes: vec![code],
            signals: vec![signal],
            output_pattern,
            class,
            park: None,
        })
        .expect("the ranges are the limits")
    })
}

fn process() -> impl Strategy<Value = AgentProcess> {
    (incarnation(), option::of(identity()), any::<String>()).prop_map(|(incarnation, identity, host)| AgentProcess {
        incarnation,
        identity,
        host,
    })
}

fn identity() -> impl Strategy<Value = ProcessIdentity> {
    let numbers = (any::<u32>(), option::of(any::<u64>()), any::<u64>());
    (any::<u128>(), numbers, timestamp()).prop_map(|(boot_id, numbers, start_time)| {
        let (pid, pidfd_inode, start_time_ticks) = numbers;
        ProcessIdentity {
            boot_id: BootId::from_u128(boot_id),
            pid,
            pidfd_inode,
            start_time_ticks,
            start_time,
        }
    })
}

fn holder() -> impl Strategy<Value = Holder> {
    let host =
        (any::<String>(), option::of(any::<String>()), any::<u128>()).prop_map(|(name, machine_id, boot_id)| Host {
            name,
            machine_id,
            boot_id: BootId::from_u128(boot_id),
        });
    let claim = select(vec![Claim::Held, Claim::Released, Claim::Left]);
    let delivery = select(vec![
        Delivery::None,
        Delivery::PerMessage,
        Delivery::Pull,
        Delivery::Stdin,
    ]);
    let flags = (option::of(any::<Duration>()), delivery);
    let ids = (any::<u128>(), any::<u128>());
    let grace = any::<Duration>();
    let times = (timestamp(), option::of(timestamp()));
    let goes_by = select(vec![Wanted::Run, Wanted::Rest]);
    let claim = (claim, option::of(launch()), option::of(unsettled()), goes_by);
    (ids, host, any::<String>(), flags, grace, times, claim).prop_map(
        |(
            (instance, marker),
            host,
            shim_version,
            (fence_after, delivery),
            stop_grace_max,
            (connected, last_heard),
            (claim, launch, unsettled, goes_by),
        )| {
            Holder {
                instance: ShimInstance::from_u128(instance),
                host,
                marker: Marker::from_u128(marker),
                shim_version,
                fence_after,
                delivery,
                stop_grace_max,
                order: rekindle::report::HelloOrder { life: 4, stream: 2 },
                connected,
                last_heard,
                claim,
                launch,
                unsettled,
                goes_by,
            }
        },
    )
}

fn unsettled() -> impl Strategy<Value = Unsettled> {
    let admission = select(vec![
        Admission::First,
        Admission::Free,
        Admission::Same,
        Admission::Successor,
        Admission::Rebooted,
        Admission::FencedOff,
    ]);
    (admission, option::of(launch())).prop_map(|(admission, launch)| Unsettled { admission, launch })
}

fn launch() -> impl Strategy<Value = Launch> {
    let texts = || proptest::collection::vec(any::<String>(), 0..4);
    (any::<String>(), texts(), texts()).prop_map(|(directory, arguments, environment_names)| {
        Launch::new(LaunchFields {
            directory,
            arguments,
            environment_names,
            extent: Extent::Whole,
        })
    })
}

/// Any host that has rebooted.
pub(super) fn host_record() -> impl Strategy<Value = HostRecord> {
    let machine =
        (any::<String>(), any::<String>()).prop_map(|(name, machine_id)| HostKey::Machine { name, machine_id });
    let directory = (any::<String>(), any::<u128>()).prop_map(|(name, marker)| HostKey::Directory {
        name,
        marker: Marker::from_u128(marker),
    });
    let boots = proptest::collection::vec(any::<u128>(), 1..4);
    (prop_oneof![machine, directory], boots).prop_map(|(key, boots)| {
        let boot = |boot: &u128| BootId::from_u128(*boot);
        let mut host = HostRecord::new(key, boot(&boots[0]));
        host.enter(boot(&boots[0]), boots.iter().map(boot));
        host
    })
}

fn cursor() -> impl Strategy<Value = ReportCursor> {
    (any::<u128>(), any::<u64>()).prop_map(|(marker, sequence)| ReportCursor {
        marker: Marker::from_u128(marker),
        sequence: ReportSequence::new(sequence),
    })
}

fn budget() -> impl Strategy<Value = Budget> {
    (any::<u32>(), option::of(timestamp())).prop_map(|(attempts, last_attempt)| Budget { attempts, last_attempt })
}

fn operation() -> impl Strategy<Value = Operation> {
    let rest = (option::of(any::<Duration>()), vec(execution_id(), 0..3));
    (operation_kind(), incarnation(), state(), any::<String>(), rest).prop_map(
        |(kind, target, previous_state, reason, (grace, cancels))| Operation {
            kind,
            target,
            previous_state,
            reason,
            grace,
            cancels,
        },
    )
}

fn failure() -> impl Strategy<Value = Failure> {
    let survivor = (any::<u32>(), option::of(any::<u64>()), any::<u64>(), any::<String>());
    let survivor = survivor.prop_map(|(pid, pidfd_inode, start_time_ticks, command)| Survivor {
        pid,
        pidfd_inode,
        start_time_ticks,
        command,
    });
    let life = (cause(), any::<String>(), timestamp(), incarnation());
    (life, option::of(evidence()), vec(survivor, 0..4)).prop_map(|(life, evidence, survivors)| {
        let (cause, message, time, incarnation) = life;
        Failure {
            cause,
            message,
            time,
            incarnation,
            evidence,
            survivors,
        }
    })
}

fn evidence() -> impl Strategy<Value = ExitEvidence> {
    let status = prop_oneof![
        any::<i32>().prop_map(ExitStatus::Exited),
        (any::<i32>(), any::<bool>()).prop_map(|(signal, core_dumped)| ExitStatus::Signaled { signal, core_dumped }),
        Just(ExitStatus::Unknown),
    ];
    let ended_by = select(vec![
        EndedBy::Itself,
        EndedBy::Command,
        EndedBy::ShimStop,
        EndedBy::StartTimeout,
        EndedBy::Fence,
        EndedBy::Watchdog,
        EndedBy::Stall,
        EndedBy::ShimDeath,
        EndedBy::MessageTimeout,
        EndedBy::MessageCancel,
    ]);
    let how = (ended_by, any::<bool>());
    let times = (any::<Duration>(), any::<Duration>(), any::<Duration>());
    let tails = (any::<String>(), any::<String>());
    (status, how, times, any::<u64>(), tails).prop_map(|(status, how, times, max_rss_kib, tails)| {
        let (ended_by, oom_killed) = how;
        let (uptime, user_time, system_time) = times;
        let (stderr_tail, stdout_tail) = tails;
        ExitEvidence {
            status,
            ended_by,
            oom_killed,
            uptime,
            user_time,
            system_time,
            max_rss_kib,
            stderr_tail,
            stdout_tail,
        }
    })
}
