//! Exit evidence, as the part of `Failure` that a shim fills.

use super::time::{duration_to_wire, optional_duration};
use super::{WireError, known};
use crate::checkpoint::AskedSave;
use crate::exit::{EndedBy, ExitEvidence, ExitStatus, printable_tail};
use crate::wire::v1;

/// Writes what is known of an ended life; who asked for the end, and whether it saved when it was asked to, is not part of
/// a `Failure`.
pub fn failure_from_evidence(evidence: &ExitEvidence) -> v1::Failure {
    let (exit_code, signal, core_dumped) = match evidence.status {
        ExitStatus::Exited(code) => (Some(code), None, false),
        ExitStatus::Signaled { signal, core_dumped } => (None, Some(signal), core_dumped),
        ExitStatus::Unknown => (None, None, false),
    };
    v1::Failure {
        exit_code,
        signal,
        core_dumped,
        oom_killed: evidence.oom_killed,
        stderr_tail: printable_tail(&evidence.stderr_tail),
        stdout_tail: printable_tail(&evidence.stdout_tail),
        uptime: Some(duration_to_wire(evidence.uptime)),
        usage: Some(v1::ResourceUsage {
            user_time: Some(duration_to_wire(evidence.user_time)),
            system_time: Some(duration_to_wire(evidence.system_time)),
            max_rss_kib: i64::try_from(evidence.max_rss_kib).unwrap_or(i64::MAX),
        }),
        ..Default::default()
    }
}

/// Reads what is known of an ended life. Last lines that are too long are cut at their beginning.
///
/// # Errors
/// Names the field, relative to the `Failure`.
pub fn evidence_from_failure(failure: v1::Failure, ended_by: EndedBy) -> Result<ExitEvidence, WireError> {
    let status = match (failure.exit_code, failure.signal) {
        (Some(_), Some(_)) => return Err(WireError::new("signal", "an exit has a code or a signal, not both")),
        (Some(code), None) => ExitStatus::Exited(code),
        (None, Some(signal)) => ExitStatus::Signaled {
            signal,
            core_dumped: failure.core_dumped,
        },
        (None, None) => ExitStatus::Unknown,
    };
    let usage = failure.usage.unwrap_or_default();
    let max_rss_kib =
        u64::try_from(usage.max_rss_kib).map_err(|_| WireError::new("usage.max_rss_kib", "must not be negative"))?;
    Ok(ExitEvidence {
        status,
        ended_by,
        oom_killed: failure.oom_killed,
        uptime: optional_duration(failure.uptime, "uptime")?.unwrap_or_default(),
        user_time: optional_duration(usage.user_time, "usage.user_time")?.unwrap_or_default(),
        system_time: optional_duration(usage.system_time, "usage.system_time")?.unwrap_or_default(),
        max_rss_kib,
        stderr_tail: printable_tail(&failure.stderr_tail),
        stdout_tail: printable_tail(&failure.stdout_tail),
        asked_save: AskedSave::NotAsked,
    })
}

impl From<EndedBy> for v1::EndedBy {
    fn from(ended_by: EndedBy) -> Self {
        match ended_by {
            EndedBy::Itself => Self::Unspecified,
            EndedBy::Command => Self::Command,
            EndedBy::ShimStop => Self::ShimStop,
            EndedBy::StartTimeout => Self::StartTimeout,
            EndedBy::Fence => Self::Fence,
            EndedBy::Watchdog => Self::Watchdog,
            EndedBy::Stall => Self::Stall,
            EndedBy::ShimDeath => Self::ShimDeath,
            EndedBy::MessageTimeout => Self::MessageTimeout,
            EndedBy::MessageCancel => Self::MessageCancel,
        }
    }
}

pub(super) fn ended_by(number: i32) -> Result<EndedBy, WireError> {
    Ok(match known(number, "ended_by")? {
        v1::EndedBy::Unspecified => EndedBy::Itself,
        v1::EndedBy::Command => EndedBy::Command,
        v1::EndedBy::ShimStop => EndedBy::ShimStop,
        v1::EndedBy::StartTimeout => EndedBy::StartTimeout,
        v1::EndedBy::Fence => EndedBy::Fence,
        v1::EndedBy::Watchdog => EndedBy::Watchdog,
        v1::EndedBy::Stall => EndedBy::Stall,
        v1::EndedBy::ShimDeath => EndedBy::ShimDeath,
        v1::EndedBy::MessageTimeout => EndedBy::MessageTimeout,
        v1::EndedBy::MessageCancel => EndedBy::MessageCancel,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::exit::TAIL_MAX_BYTES;
    use proptest::prelude::*;
    use std::time::Duration;

    pub(in super::super) fn any_evidence() -> impl Strategy<Value = ExitEvidence> {
        let status = prop_oneof![
            any::<i32>().prop_map(ExitStatus::Exited),
            (any::<i32>(), any::<bool>())
                .prop_map(|(signal, core_dumped)| ExitStatus::Signaled { signal, core_dumped }),
            Just(ExitStatus::Unknown),
        ];
        let ended_by = prop_oneof![
            Just(EndedBy::Itself),
            Just(EndedBy::Command),
            Just(EndedBy::ShimStop),
            Just(EndedBy::StartTimeout),
            Just(EndedBy::Fence),
            Just(EndedBy::Watchdog),
            Just(EndedBy::Stall),
            Just(EndedBy::ShimDeath),
            Just(EndedBy::MessageTimeout),
            Just(EndedBy::MessageCancel)
        ];
        let times = [any::<u64>(), any::<u64>(), any::<u64>()];
        let how = (ended_by, any::<bool>());
        (
            status,
            how,
            times,
            0..=i64::MAX as u64,
            "[ -~\n\t]{0,40}",
            "[ -ÿ]{0,40}".prop_map(|text| text.replace(char::is_control, "")),
        )
            .prop_map(
                |(status, (ended_by, oom_killed), times, max_rss_kib, stderr_tail, stdout_tail)| ExitEvidence {
                    status,
                    ended_by,
                    oom_killed,
                    uptime: Duration::from_nanos(times[0]),
                    user_time: Duration::from_nanos(times[1]),
                    system_time: Duration::from_nanos(times[2]),
                    max_rss_kib,
                    stderr_tail,
                    stdout_tail,
                    asked_save: AskedSave::NotAsked,
                },
            )
    }

    proptest! {
        #[test]
        fn evidence_round_trips(evidence in any_evidence()) {
            let by = ended_by(v1::EndedBy::from(evidence.ended_by).into()).expect("known");
            prop_assert_eq!(evidence_from_failure(failure_from_evidence(&evidence), by), Ok(evidence));
        }
    }

    #[test]
    fn tails_are_cut_and_contradictions_refused() {
        let long = v1::Failure {
            stderr_tail: "ä".repeat(TAIL_MAX_BYTES),
            ..Default::default()
        };
        let read = evidence_from_failure(long, EndedBy::Itself).expect("cut, not refused");
        assert_eq!(read.stderr_tail.len(), TAIL_MAX_BYTES);
        assert_eq!(read.status, ExitStatus::Unknown);
        let colour = v1::Failure {
            stdout_tail: "\u{1b}[31mred\n".into(),
            ..Default::default()
        };
        let read = evidence_from_failure(colour, EndedBy::Itself).expect("replaced, not refused");
        assert_eq!(read.stdout_tail, "\u{fffd}[31mred\n");
        let both = v1::Failure {
            exit_code: Some(1),
            signal: Some(9),
            ..Default::default()
        };
        assert!(evidence_from_failure(both, EndedBy::Itself).is_err());
    }
}
