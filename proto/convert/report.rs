//! What a shim says: `ConnectRequest`.

use std::time::Duration;

use super::attempt::{attempt, finished_from_wire, finished_to_wire, started_from_wire};
use super::command::wanted;
use super::execution::delivery;
use super::exit::{ended_by, evidence_from_failure, failure_from_evidence};
use super::policy::{policy_from_wire, policy_to_wire};
use super::process::{SHIM_VERSION_MAX_BYTES, optional_process, pid, process_to_wire, required_process, uuid};
use super::text::{cut_line, line};
use super::time::{duration_to_wire, optional_duration, required_timestamp, timestamp_to_wire};
use super::{WireError, counter, counter_or_zero};
use crate::execution::{ATTEMPTS_MAX, HeldAttempt};
use crate::id::{AgentId, Incarnation, ReportSequence};
use crate::label;
use crate::policy::AgentPolicy;
use crate::report::{FENCE_AFTER, Hello, HelloOrder, Inventory, Report, ReportFact, SURVIVORS_MAX, Survivor};
use crate::session::{CommandId, ShimMessage};
use crate::wire::v1::{self, connect_request::Message, report::Fact};

/// Longest sentence of a shim on why something failed, in bytes: a path and an error's text.
pub const MESSAGE_MAX_BYTES: usize = 1024;
/// Longest name of a surviving process, in bytes; /proc/pid/comm has 15.
pub const COMMAND_MAX_BYTES: usize = 64;

impl TryFrom<v1::ConnectRequest> for ShimMessage {
    type Error = WireError;

    fn try_from(request: v1::ConnectRequest) -> Result<Self, WireError> {
        Ok(match request.message.ok_or_else(|| WireError::missing("message"))? {
            Message::Hello(hello) => Self::Hello(Box::new(
                Hello::try_from(*hello).map_err(|error| error.within("hello"))?,
            )),
            Message::Inventory(inventory) => Self::Inventory(Box::new(
                Inventory::try_from(*inventory).map_err(|error| error.within("inventory"))?,
            )),
            Message::Heartbeat(v1::Heartbeat {}) => Self::Heartbeat,
            Message::Report(report) => Self::Report(Box::new(
                Report::try_from(*report).map_err(|error| error.within("report"))?,
            )),
            Message::Goodbye(v1::Goodbye {}) => Self::Goodbye,
            Message::Activity(activity) => Self::Activity(
                activity
                    .try_into()
                    .map_err(|error: WireError| error.within("activity"))?,
            ),
            Message::Confirmation(v1::Confirmation { command_id }) => {
                Self::Confirmed(counter_or_zero(command_id, "confirmation.command_id", CommandId)?)
            }
            Message::SignalResult(result) => {
                let command = counter_or_zero(result.command_id, "signal_result.command_id", CommandId)?;
                let result = match result.process {
                    Some(process) => {
                        Ok(required_process(Some(process)).map_err(|error| error.within("signal_result"))?)
                    }
                    None => Err(cut_line(&result.error, MESSAGE_MAX_BYTES)),
                };
                Self::SignalResult(command, result)
            }
            Message::OutputPart(part) => Self::Output(
                part.try_into()
                    .map_err(|error: WireError| error.within("output_part"))?,
            ),
        })
    }
}

impl ShimMessage {
    /// As it goes on the stream, message by message: an inventory comes after its reports, which are as many as they are.
    pub fn into_wire(mut self) -> impl Iterator<Item = v1::ConnectRequest> {
        let reports = match &mut self {
            Self::Inventory(inventory) => std::mem::take(&mut inventory.reports),
            Self::Hello(_)
            | Self::Heartbeat
            | Self::Report(_)
            | Self::Goodbye
            | Self::Activity(_)
            | Self::Confirmed(_)
            | Self::SignalResult(..)
            | Self::Output(_) => Vec::new(),
        };
        let before = reports.into_iter().map(|report| Self::Report(Box::new(report)));
        before.chain([self]).map(one_to_wire)
    }
}

fn one_to_wire(message: ShimMessage) -> v1::ConnectRequest {
    let message = {
        match message {
            ShimMessage::Hello(hello) => Message::Hello(Box::new((*hello).into())),
            ShimMessage::Inventory(inventory) => Message::Inventory(Box::new((*inventory).into())),
            ShimMessage::Heartbeat => Message::Heartbeat(v1::Heartbeat {}),
            ShimMessage::Report(report) => Message::Report(Box::new((*report).into())),
            ShimMessage::Goodbye => Message::Goodbye(v1::Goodbye {}),
            ShimMessage::Activity(activity) => Message::Activity(activity.into()),
            ShimMessage::Confirmed(CommandId(command_id)) => Message::Confirmation(v1::Confirmation { command_id }),
            ShimMessage::Output(part) => Message::OutputPart(part.into()),
            ShimMessage::SignalResult(CommandId(command_id), result) => {
                let (process, error) = match result {
                    Ok(process) => (Some(process_to_wire(&process, "")), String::new()),
                    Err(error) => (None, cut_line(&error, MESSAGE_MAX_BYTES)),
                };
                Message::SignalResult(v1::SignalResult {
                    command_id,
                    process,
                    error,
                })
            }
        }
    };
    v1::ConnectRequest { message: Some(message) }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = WireError;

    fn try_from(hello: v1::Hello) -> Result<Self, WireError> {
        label::check(&hello.labels).map_err(|error| WireError::new("labels", error.to_string()))?;
        let policy = match &hello.policy {
            Some(policy) => policy_from_wire(policy).map_err(|error| error.within("policy"))?,
            None => AgentPolicy::default(),
        };
        let host = hello.host.ok_or_else(|| WireError::missing("host"))?;
        Ok(Self {
            agent: AgentId::from_name(&hello.agent).map_err(|error| WireError::new("agent", error.to_string()))?,
            shim_version: line(hello.shim_version, "shim_version", SHIM_VERSION_MAX_BYTES)?,
            instance: uuid(&hello.instance, "instance")?,
            host: host.try_into().map_err(|error: WireError| error.within("host"))?,
            marker: uuid(&hello.marker, "marker")?,
            labels: hello.labels,
            policy,
            fence_after: fence_after(hello.fence_after)?,
            order: HelloOrder {
                life: hello.life,
                stream: hello.stream,
            },
            launch: hello.launch.map(Into::into),
            delivery: delivery(hello.delivery)?,
        })
    }
}

fn fence_after(duration: Option<prost_types::Duration>) -> Result<Option<Duration>, WireError> {
    const FIELD: &str = "fence_after";
    let duration = optional_duration(duration, FIELD)?;
    match duration {
        Some(other) if !FENCE_AFTER.contains(&other) => Err(WireError::new(FIELD, "is not between 1s and 30days")),
        Some(_) | None => Ok(duration),
    }
}

impl From<Hello> for v1::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            agent: hello.agent.name(),
            shim_version: hello.shim_version,
            instance: hello.instance.to_string(),
            host: Some(hello.host.into()),
            marker: hello.marker.to_string(),
            labels: hello.labels,
            policy: Some(policy_to_wire(&hello.policy)),
            fence_after: hello.fence_after.map(duration_to_wire),
            life: hello.order.life,
            stream: hello.order.stream,
            launch: hello.launch.map(Into::into),
            delivery: v1::Delivery::from(hello.delivery).into(),
        }
    }
}

impl TryFrom<v1::Inventory> for Inventory {
    type Error = WireError;

    fn try_from(inventory: v1::Inventory) -> Result<Self, WireError> {
        let count = inventory.attempts.len();
        if count > ATTEMPTS_MAX {
            let problem = format!("{count} attempts are more than {ATTEMPTS_MAX}");
            return Err(WireError::new("attempts", problem));
        }
        let attempts = inventory.attempts.into_iter().enumerate().map(|(index, held)| {
            HeldAttempt::try_from(held).map_err(|error| error.within(&format!("attempts[{index}]")))
        });
        let child = inventory.child.map(TryInto::try_into).transpose();
        Ok(Self {
            last_incarnation: counter_or_zero(inventory.last_incarnation, "last_incarnation", Incarnation::new)?,
            child: child.map_err(|error: WireError| error.within("child"))?,
            quarantined: Some(counter_or_zero(inventory.quarantined, "quarantined", Incarnation::new)?)
                .filter(|incarnation| *incarnation > Incarnation::ZERO),
            attempts: attempts.collect::<Result<_, _>>()?,
            reports: Vec::new(),
            wanted: wanted(inventory.wanted)?,
        })
    }
}

impl From<Inventory> for v1::Inventory {
    fn from(inventory: Inventory) -> Self {
        Self {
            last_incarnation: inventory.last_incarnation.get(),
            child: inventory.child.map(Into::into),
            quarantined: inventory.quarantined.map_or(0, Incarnation::get),
            attempts: inventory.attempts.into_iter().map(Into::into).collect(),
            wanted: v1::Wanted::from(inventory.wanted).into(),
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = WireError;

    fn try_from(report: v1::Report) -> Result<Self, WireError> {
        let fact = match report.fact.ok_or_else(|| WireError::missing("fact"))? {
            Fact::Recovering(v1::Recovering { attempts }) => ReportFact::Recovering { attempts },
            Fact::Spawned(spawned) => {
                ReportFact::Spawned(optional_process(spawned.process).map_err(|error| error.within("spawned"))?)
            }
            Fact::MainProcess(main) => {
                ReportFact::MainProcess(required_process(main.process).map_err(|error| error.within("main_process"))?)
            }
            Fact::Ready(v1::Ready {}) => ReportFact::Ready,
            Fact::Stopping(v1::Stopping {}) => ReportFact::Stopping,
            Fact::Exited(exited) => {
                let ended_by = ended_by(exited.ended_by).map_err(|error| error.within("exited"))?;
                let evidence = evidence_from_failure(exited.evidence.unwrap_or_default(), ended_by)
                    .map_err(|error| error.within("exited.evidence"))?;
                ReportFact::Exited(Box::new(evidence))
            }
            Fact::SpawnFailed(failed) => ReportFact::SpawnFailed(cut_line(&failed.message, MESSAGE_MAX_BYTES)),
            Fact::Survived(survived) => {
                let named = survived.survivors.into_iter().take(SURVIVORS_MAX);
                let survivors = named.map(survivor).collect::<Result<_, _>>();
                ReportFact::Survived(survivors.map_err(|error| error.within("survived.survivors"))?)
            }
            Fact::AttemptAccepted(accepted) => ReportFact::AttemptAccepted(
                attempt(accepted.attempt).map_err(|error| error.within("attempt_accepted"))?,
            ),
            Fact::AttemptStarted(started) => {
                started_from_wire(started).map_err(|error| error.within("attempt_started"))?
            }
            Fact::AttemptFinished(finished) => {
                finished_from_wire(*finished).map_err(|error| error.within("attempt_finished"))?
            }
        };
        Ok(Self {
            sequence: counter(report.sequence, "sequence", ReportSequence::new)?,
            time: required_timestamp(report.time, "time")?,
            incarnation: counter(report.incarnation, "incarnation", Incarnation::new)?,
            fact,
        })
    }
}

impl From<Report> for v1::Report {
    fn from(report: Report) -> Self {
        let fact = match report.fact {
            ReportFact::Recovering { attempts } => Fact::Recovering(v1::Recovering { attempts }),
            ReportFact::Spawned(process) => Fact::Spawned(v1::Spawned {
                process: process.map(|process| process_to_wire(&process, "")),
            }),
            ReportFact::MainProcess(process) => Fact::MainProcess(v1::MainProcess {
                process: Some(process_to_wire(&process, "")),
            }),
            ReportFact::Ready => Fact::Ready(v1::Ready {}),
            ReportFact::Stopping => Fact::Stopping(v1::Stopping {}),
            ReportFact::Exited(evidence) => Fact::Exited(v1::Exited {
                evidence: Some(failure_from_evidence(&evidence)),
                ended_by: v1::EndedBy::from(evidence.ended_by).into(),
            }),
            ReportFact::SpawnFailed(message) => Fact::SpawnFailed(v1::SpawnFailed { message }),
            ReportFact::Survived(survivors) => Fact::Survived(v1::Survived {
                survivors: survivors
                    .into_iter()
                    .take(SURVIVORS_MAX)
                    .map(survivor_to_wire)
                    .collect(),
            }),
            ReportFact::AttemptAccepted(attempt) => Fact::AttemptAccepted(v1::AttemptAccepted {
                attempt: Some(attempt.into()),
            }),
            ReportFact::AttemptStarted(attempt, process) => Fact::AttemptStarted(v1::AttemptStarted {
                attempt: Some(attempt.into()),
                process: process.map(|process| process_to_wire(&process, "")),
            }),
            ReportFact::AttemptFinished(attempt, result) => {
                Fact::AttemptFinished(Box::new(finished_to_wire(attempt, *result)))
            }
        };
        Self {
            sequence: report.sequence.get(),
            time: Some(timestamp_to_wire(report.time)),
            incarnation: report.incarnation.get(),
            fact: Some(fact),
        }
    }
}

fn survivor_to_wire(survivor: Survivor) -> v1::Survivor {
    v1::Survivor {
        pid: survivor.pid,
        command: survivor.command,
        pidfd_inode: survivor.pidfd_inode.unwrap_or(0),
        start_time_ticks: survivor.start_time_ticks,
    }
}

fn survivor(survivor: v1::Survivor) -> Result<Survivor, WireError> {
    Ok(Survivor {
        pid: pid(survivor.pid)?,
        pidfd_inode: (survivor.pidfd_inode != 0).then_some(survivor.pidfd_inode),
        start_time_ticks: survivor.start_time_ticks,
        command: cut_line(&survivor.command, COMMAND_MAX_BYTES),
    })
}

#[cfg(test)]
mod tests {
    use super::super::COUNTER_MAX;
    use super::super::activity::tests::any_activity;
    use super::super::attempt::tests::{any_attempt_fact, any_held};
    use super::super::exit::tests::any_evidence;
    use super::super::launch::tests::any_launch;
    use super::super::policy::tests::any_policy;
    use super::super::process::tests::{any_child, any_host, any_process};
    use super::*;
    use crate::execution::Delivery;
    use crate::id::{Marker, ShimInstance};
    use crate::session::Wanted;
    use crate::time::Timestamp;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_report() -> impl Strategy<Value = Report> {
        let inode = proptest::option::of(1..=u64::MAX);
        let survivors = vec(
            (1..=i32::MAX as u32, inode, any::<u64>(), "[a-z]{0,15}"),
            0..=SURVIVORS_MAX,
        );
        let survivor = |(pid, pidfd_inode, start_time_ticks, command)| Survivor {
            pid,
            pidfd_inode,
            start_time_ticks,
            command,
        };
        let fact = prop_oneof![
            any::<u32>().prop_map(|attempts| ReportFact::Recovering { attempts }),
            proptest::option::of(any_process()).prop_map(ReportFact::Spawned),
            any_process().prop_map(ReportFact::MainProcess),
            Just(ReportFact::Ready),
            Just(ReportFact::Stopping),
            any_evidence().prop_map(|evidence| ReportFact::Exited(Box::new(evidence))),
            "[ -~]{0,80}".prop_map(ReportFact::SpawnFailed),
            survivors.prop_map(move |all| ReportFact::Survived(all.into_iter().map(survivor).collect())),
            any_attempt_fact(),
        ];
        (1..=COUNTER_MAX, any::<u64>(), 1..=COUNTER_MAX, fact).prop_map(|(sequence, time, incarnation, fact)| Report {
            sequence: ReportSequence::new(sequence),
            time: Timestamp::from_unix_nanos(time),
            incarnation: Incarnation::new(incarnation),
            fact,
        })
    }

    fn any_hello() -> impl Strategy<Value = Hello> {
        let labels = proptest::collection::btree_map("[a-z][a-z0-9_-]{0,10}", "[ -~]{0,20}", 0..5);
        let ids = (any::<u128>(), any::<u128>());
        let fence = proptest::option::of((1_000_000_000u64..=1_000_000_000_000).prop_map(Duration::from_nanos));
        (
            "[a-z0-9]{1,20}",
            any_host(),
            labels,
            any_policy(),
            ids,
            fence,
            any_launch(),
        )
            .prop_map(|(agent, host, labels, policy, ids, fence_after, launch)| Hello {
                agent: AgentId::new(&agent).expect("within the alphabet"),
                shim_version: "0.1.0".into(),
                instance: ShimInstance::from_u128(ids.0),
                host,
                marker: Marker::from_u128(ids.1),
                labels,
                policy,
                fence_after,
                order: HelloOrder { life: 3, stream: 7 },
                launch: Some(launch),
                delivery: Delivery::Pull,
            })
    }

    fn any_inventory() -> impl Strategy<Value = Inventory> {
        let child = proptest::option::of(any_child());
        let quarantined = proptest::option::of((1..=COUNTER_MAX).prop_map(Incarnation::new));
        let held = (vec(any_held(), 0..4), vec(any_report(), 0..4));
        (0..=COUNTER_MAX, child, quarantined, held).prop_map(
            |(last_incarnation, child, quarantined, (attempts, reports))| Inventory {
                last_incarnation: Incarnation::new(last_incarnation),
                child,
                quarantined,
                attempts,
                reports,
                wanted: if last_incarnation % 2 == 0 {
                    Wanted::Run
                } else {
                    Wanted::Rest
                },
            },
        )
    }

    fn any_message() -> impl Strategy<Value = ShimMessage> {
        let signalled = prop_oneof![any_process().prop_map(Ok), "[ -~]{0,40}".prop_map(Err)];
        prop_oneof![
            any_hello().prop_map(|hello| ShimMessage::Hello(Box::new(hello))),
            any_inventory().prop_map(|inventory| ShimMessage::Inventory(Box::new(inventory))),
            Just(ShimMessage::Heartbeat),
            any_report().prop_map(|report| ShimMessage::Report(Box::new(report))),
            Just(ShimMessage::Goodbye),
            any_activity().prop_map(ShimMessage::Activity),
            (0..=COUNTER_MAX).prop_map(|id| ShimMessage::Confirmed(CommandId(id))),
            (0..=COUNTER_MAX, signalled).prop_map(|(id, result)| ShimMessage::SignalResult(CommandId(id), result)),
        ]
    }

    proptest! {
        #[test]
        fn messages_round_trip(message in any_message()) {
            let mut reports = Vec::new();
            let mut heard = None;
            let single = !matches!(message, ShimMessage::Inventory(_));
            for request in message.clone().into_wire() {
                match ShimMessage::try_from(request) {
                    Ok(ShimMessage::Report(report)) if !single => reports.push(*report),
                    other => heard = Some(other),
                }
            }
            if let Some(Ok(ShimMessage::Inventory(inventory))) = &mut heard {
                inventory.reports = reports;
            }
            prop_assert_eq!(heard, Some(Ok(message)));
        }
    }

    fn hello() -> v1::Hello {
        let id = Marker::from_u128(1).to_string();
        v1::Hello {
            agent: "agents/a".into(),
            instance: id.clone(),
            marker: id.clone(),
            host: Some(v1::Host {
                name: "h".into(),
                machine_id: String::new(),
                boot_id: id,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn errors_name_the_field() {
        let field = |change: fn(&mut v1::Hello)| {
            let mut hello = hello();
            change(&mut hello);
            let message = Some(Message::Hello(Box::new(hello)));
            ShimMessage::try_from(v1::ConnectRequest { message })
                .err()
                .map(|error| error.field)
        };
        let is = |change, expected: &str| assert_eq!(field(change).as_deref(), Some(expected));
        assert_eq!(field(|_| ()), None);
        is(|hello| hello.agent = "a".into(), "hello.agent");
        is(|hello| hello.host = None, "hello.host");
        is(|hello| hello.shim_version = "v".repeat(65), "hello.shim_version");
        is(|hello| hello.marker.clear(), "hello.marker");
        is(
            |hello| hello.fence_after = Some(prost_types::Duration::default()),
            "hello.fence_after",
        );
        is(|hello| _ = hello.labels.insert("A".into(), "b".into()), "hello.labels");
        let empty = ShimMessage::try_from(v1::ConnectRequest { message: None });
        assert_eq!(empty, Err(WireError::missing("message")));
    }

    #[test]
    fn errors_name_the_field_of_an_inventory() {
        let is = |inventory: v1::Inventory, expected: &str| {
            let message = Some(Message::Inventory(Box::new(inventory)));
            let refused = ShimMessage::try_from(v1::ConnectRequest { message });
            assert_eq!(refused.err().map(|error| error.field).as_deref(), Some(expected));
        };
        let inventory = v1::Inventory::default;
        is(
            v1::Inventory {
                last_incarnation: u64::MAX,
                ..inventory()
            },
            "inventory.last_incarnation",
        );
        is(
            v1::Inventory {
                quarantined: u64::MAX,
                ..inventory()
            },
            "inventory.quarantined",
        );
        is(
            v1::Inventory {
                attempts: vec![v1::HeldAttempt::default(); ATTEMPTS_MAX + 1],
                ..inventory()
            },
            "inventory.attempts",
        );
        is(
            v1::Inventory {
                attempts: vec![v1::HeldAttempt::default()],
                ..inventory()
            },
            "inventory.attempts[0].attempt",
        );
        is(
            v1::Inventory {
                child: Some(v1::Child::default()),
                ..inventory()
            },
            "inventory.child.incarnation",
        );
    }

    #[test]
    fn evidence_is_cut_not_refused() {
        let survivors = vec![
            v1::Survivor {
                pid: 7,
                command: "x\n".repeat(100),
                ..Default::default()
            };
            100
        ];
        let report = v1::Report {
            sequence: 1,
            time: Some(prost_types::Timestamp::default()),
            incarnation: 1,
            fact: Some(Fact::Survived(v1::Survived { survivors })),
        };
        let Ok(Report {
            fact: ReportFact::Survived(kept),
            ..
        }) = Report::try_from(report)
        else {
            panic!("cut, not refused");
        };
        assert_eq!(kept.len(), SURVIVORS_MAX);
        assert!(kept[0].command.len() <= COMMAND_MAX_BYTES && !kept[0].command.contains('\n'));
    }
}
