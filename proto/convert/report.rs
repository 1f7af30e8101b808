//! A fact that a shim tells of: `Report`.

use super::attempt::{attempt, finished_from_wire, finished_to_wire, started_from_wire};
use super::checkpoint::{asked_save, asked_save_to_wire, checkpoint_id_from_wire};
use super::exit::{ended_by, evidence_from_failure, failure_from_evidence};
use super::process::{optional_process, pid, process_to_wire, required_process};
use super::text::cut_line;
use super::time::{required_timestamp, timestamp_to_wire};
use super::{WireError, counter};
use crate::id::{Incarnation, ReportSequence};
use crate::report::{Report, ReportFact, SURVIVORS_MAX, Survivor};
use crate::wire::v1::{self, report::Fact};

/// Longest sentence of a shim on why something failed, in bytes: a path and an error's text.
pub const MESSAGE_MAX_BYTES: usize = 1024;
/// Longest name of a surviving process, in bytes; /proc/pid/comm has 15.
pub const COMMAND_MAX_BYTES: usize = 64;
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
                let mut evidence = evidence_from_failure(exited.evidence.unwrap_or_default(), ended_by)
                    .map_err(|error| error.within("exited.evidence"))?;
                evidence.asked_save = asked_save(exited.asked_save).map_err(|error| error.within("exited"))?;
                ReportFact::Exited(Box::new(evidence))
            }
            Fact::SpawnFailed(failed) => ReportFact::SpawnFailed(cut_line(&failed.message, MESSAGE_MAX_BYTES)),
            Fact::Survived(survived) => {
                ReportFact::Survived(survivors(survived.survivors).map_err(|error| error.within("survived"))?)
            }
            Fact::AttemptAccepted(accepted) => ReportFact::AttemptAccepted(
                attempt(accepted.attempt).map_err(|error| error.within("attempt_accepted"))?,
            ),
            Fact::AttemptStarted(started) => {
                started_from_wire(started).map_err(|error| error.within("attempt_started"))?
            }
            Fact::AttemptSurvived(survived) => {
                survived_from_wire(survived).map_err(|error| error.within("attempt_survived"))?
            }
            Fact::AttemptFinished(finished) => {
                finished_from_wire(*finished).map_err(|error| error.within("attempt_finished"))?
            }
            Fact::HandedOver(v1::HandedOver { checkpoint }) => {
                ReportFact::HandedOver(checkpoint_id_from_wire(&checkpoint, "handed_over.checkpoint")?)
            }
            Fact::CheckpointRead(v1::CheckpointRead { checkpoint }) => {
                ReportFact::CheckpointRead(checkpoint_id_from_wire(&checkpoint, "checkpoint_read.checkpoint")?)
            }
            Fact::CheckpointConfirmed(v1::CheckpointConfirmed { checkpoint }) => ReportFact::CheckpointConfirmed(
                checkpoint_id_from_wire(&checkpoint, "checkpoint_confirmed.checkpoint")?,
            ),
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
                asked_save: asked_save_to_wire(evidence.asked_save),
            }),
            ReportFact::SpawnFailed(message) => Fact::SpawnFailed(v1::SpawnFailed { message }),
            ReportFact::Survived(survivors) => Fact::Survived(v1::Survived {
                survivors: survivors_to_wire(survivors),
            }),
            ReportFact::AttemptAccepted(attempt) => Fact::AttemptAccepted(v1::AttemptAccepted {
                attempt: Some(attempt.into()),
            }),
            ReportFact::AttemptStarted(attempt, process) => Fact::AttemptStarted(v1::AttemptStarted {
                attempt: Some(attempt.into()),
                process: process.map(|process| process_to_wire(&process, "")),
            }),
            ReportFact::AttemptSurvived(attempt, survivors) => Fact::AttemptSurvived(v1::AttemptSurvived {
                attempt: Some(attempt.into()),
                survivors: survivors_to_wire(survivors),
            }),
            ReportFact::AttemptFinished(attempt, result) => {
                Fact::AttemptFinished(Box::new(finished_to_wire(attempt, *result)))
            }
            ReportFact::HandedOver(id) => Fact::HandedOver(v1::HandedOver {
                checkpoint: id.to_string(),
            }),
            ReportFact::CheckpointRead(id) => Fact::CheckpointRead(v1::CheckpointRead {
                checkpoint: id.to_string(),
            }),
            ReportFact::CheckpointConfirmed(id) => Fact::CheckpointConfirmed(v1::CheckpointConfirmed {
                checkpoint: id.to_string(),
            }),
        };
        Self {
            sequence: report.sequence.get(),
            time: Some(timestamp_to_wire(report.time)),
            incarnation: report.incarnation.get(),
            fact: Some(fact),
        }
    }
}

fn survived_from_wire(survived: v1::AttemptSurvived) -> Result<ReportFact, WireError> {
    Ok(ReportFact::AttemptSurvived(
        attempt(survived.attempt)?,
        survivors(survived.survivors)?,
    ))
}

/// As many as are named: evidence is cut, not refused.
fn survivors(named: Vec<v1::Survivor>) -> Result<Vec<Survivor>, WireError> {
    let survivors = named.into_iter().take(SURVIVORS_MAX).map(survivor);
    survivors
        .collect::<Result<_, _>>()
        .map_err(|error| error.within("survivors"))
}

fn survivors_to_wire(survivors: Vec<Survivor>) -> Vec<v1::Survivor> {
    survivors
        .into_iter()
        .take(SURVIVORS_MAX)
        .map(survivor_to_wire)
        .collect()
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
pub(super) mod tests {
    use super::super::COUNTER_MAX;
    use super::super::attempt::tests::{any_attempt, any_attempt_fact};
    use super::super::checkpoint::tests::{any_asked_save, any_id};
    use super::super::exit::tests::any_evidence;
    use super::super::process::tests::any_process;
    use super::*;
    use crate::time::Timestamp;
    use proptest::collection::vec;
    use proptest::prelude::*;

    pub(in super::super) fn any_report() -> impl Strategy<Value = Report> {
        let inode = proptest::option::of(1..=u64::MAX);
        let survivor = (1..=i32::MAX as u32, inode, any::<u64>(), "[a-z]{0,15}").prop_map(
            |(pid, pidfd_inode, start_time_ticks, command)| Survivor {
                pid,
                pidfd_inode,
                start_time_ticks,
                command,
            },
        );
        let survivors = vec(survivor, 0..=SURVIVORS_MAX);
        let fact = prop_oneof![
            any::<u32>().prop_map(|attempts| ReportFact::Recovering { attempts }),
            proptest::option::of(any_process()).prop_map(ReportFact::Spawned),
            any_process().prop_map(ReportFact::MainProcess),
            Just(ReportFact::Ready),
            Just(ReportFact::Stopping),
            (any_evidence(), any_asked_save()).prop_map(|(mut evidence, asked_save)| {
                evidence.asked_save = asked_save;
                ReportFact::Exited(Box::new(evidence))
            }),
            any_id().prop_map(ReportFact::HandedOver),
            any_id().prop_map(ReportFact::CheckpointRead),
            any_id().prop_map(ReportFact::CheckpointConfirmed),
            "[ -~]{0,80}".prop_map(ReportFact::SpawnFailed),
            survivors.clone().prop_map(ReportFact::Survived),
            (any_attempt(), survivors).prop_map(|(attempt, survivors)| ReportFact::AttemptSurvived(attempt, survivors)),
            any_attempt_fact(),
        ];
        (1..=COUNTER_MAX, any::<u64>(), 1..=COUNTER_MAX, fact).prop_map(|(sequence, time, incarnation, fact)| Report {
            sequence: ReportSequence::new(sequence),
            time: Timestamp::from_unix_nanos(time),
            incarnation: Incarnation::new(incarnation),
            fact,
        })
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
