//! Attempts on the shim's stream: what a shim is given, and what it tells of it.

use super::execution::verdict;
use super::exit::{ended_by, evidence_from_failure, failure_from_evidence};
use super::process::{optional_process, uuid};
use super::time::{duration_to_wire, required_duration};
use super::{WireError, known};
use crate::execution::{
    AttemptId, AttemptPhase, AttemptResult, Dispatch, ExecutionId, HeldAttempt, MESSAGE_MAX_BYTES, OUTPUT_MAX_BYTES,
    Output,
};
use crate::exit::{EndedBy, last_bytes, printable_tail};
use crate::id::ExecutionUid;
use crate::report::ReportFact;
use crate::wire::v1;

pub(super) fn attempt(attempt: Option<v1::Attempt>) -> Result<AttemptId, WireError> {
    let attempt = attempt.ok_or_else(|| WireError::missing("attempt"))?;
    if attempt.number == 0 {
        return Err(WireError::new("attempt.number", "is missing; the first is 1"));
    }
    let execution =
        ExecutionId::new(&attempt.execution).map_err(|error| WireError::new("attempt.execution", error.to_string()))?;
    // Refused, a shim that was given it without one could not even tell that it has it.
    let uid = match attempt.uid.as_str() {
        "" => ExecutionUid::UNKNOWN,
        text => uuid(text, "attempt.uid")?,
    };
    Ok(AttemptId {
        execution,
        uid,
        number: attempt.number,
    })
}

impl From<AttemptId> for v1::Attempt {
    fn from(attempt: AttemptId) -> Self {
        Self {
            execution: attempt.execution.into(),
            number: attempt.number,
            uid: attempt.uid.to_string(),
        }
    }
}

pub(super) fn dispatch_from_wire(dispatch: v1::Dispatch) -> Result<Dispatch, WireError> {
    let bytes = dispatch.message.len();
    if bytes > MESSAGE_MAX_BYTES {
        let problem = format!("has {bytes} bytes, and at most {MESSAGE_MAX_BYTES} are taken");
        return Err(WireError::new("message", problem));
    }
    Ok(Dispatch {
        attempt: attempt(dispatch.attempt)?,
        message: dispatch.message,
        timeout: required_duration(dispatch.timeout, "timeout")?,
    })
}

impl From<Dispatch> for v1::Dispatch {
    fn from(dispatch: Dispatch) -> Self {
        Self {
            attempt: Some(dispatch.attempt.into()),
            message: dispatch.message,
            timeout: Some(duration_to_wire(dispatch.timeout)),
        }
    }
}

impl TryFrom<v1::HeldAttempt> for HeldAttempt {
    type Error = WireError;

    fn try_from(held: v1::HeldAttempt) -> Result<Self, WireError> {
        Ok(Self {
            attempt: attempt(held.attempt)?,
            phase: match known(held.phase, "phase")? {
                v1::AttemptPhase::Unspecified => return Err(WireError::missing("phase")),
                v1::AttemptPhase::Accepted => AttemptPhase::Accepted,
                v1::AttemptPhase::Running => AttemptPhase::Running,
                v1::AttemptPhase::Ending => AttemptPhase::Ending,
            },
        })
    }
}

impl From<HeldAttempt> for v1::HeldAttempt {
    fn from(held: HeldAttempt) -> Self {
        let phase = match held.phase {
            AttemptPhase::Accepted => v1::AttemptPhase::Accepted,
            AttemptPhase::Running => v1::AttemptPhase::Running,
            AttemptPhase::Ending => v1::AttemptPhase::Ending,
        };
        Self {
            attempt: Some(held.attempt.into()),
            phase: phase.into(),
        }
    }
}

pub(super) fn started_from_wire(started: v1::AttemptStarted) -> Result<ReportFact, WireError> {
    Ok(ReportFact::AttemptStarted(
        attempt(started.attempt)?,
        optional_process(started.process)?,
    ))
}

pub(super) fn finished_from_wire(finished: v1::AttemptFinished) -> Result<ReportFact, WireError> {
    let ended_by = ended_by(finished.ended_by)?;
    let evidence = finished
        .evidence
        .map(|evidence| evidence_from_failure(evidence, ended_by));
    let text = last_bytes(&finished.output, OUTPUT_MAX_BYTES);
    let cut = (finished.output.len() - text.len()) as u64;
    let result = AttemptResult {
        verdict: verdict(finished.verdict)?,
        message: printable_tail(&finished.message),
        evidence: evidence
            .transpose()
            .map_err(|error| error.within("evidence"))?
            .map(Box::new),
        output: Output {
            text: text.into(),
            dropped: finished.output_dropped.saturating_add(cut),
        },
    };
    Ok(ReportFact::AttemptFinished(
        attempt(finished.attempt)?,
        Box::new(result),
    ))
}

pub(super) fn finished_to_wire(attempt: AttemptId, result: AttemptResult) -> v1::AttemptFinished {
    let ended_by = result
        .evidence
        .as_ref()
        .map_or(EndedBy::Itself, |evidence| evidence.ended_by);
    v1::AttemptFinished {
        attempt: Some(attempt.into()),
        verdict: v1::Verdict::from(result.verdict).into(),
        message: printable_tail(&result.message),
        evidence: result.evidence.as_deref().map(failure_from_evidence),
        ended_by: v1::EndedBy::from(ended_by).into(),
        output: result.output.text.as_ref().to_owned(),
        output_dropped: result.output.dropped,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::exit::tests::any_evidence;
    use super::super::process::tests::any_process;
    use super::*;
    use crate::execution::Verdict;
    use proptest::prelude::*;
    use std::time::Duration;

    pub(in super::super) fn any_attempt() -> impl Strategy<Value = AttemptId> {
        let id = "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?";
        (id, any::<u128>(), 1..=u32::MAX).prop_map(|(id, uid, number)| AttemptId {
            execution: ExecutionId::new(&id).expect("the pattern is the alphabet"),
            uid: ExecutionUid::from_u128(uid),
            number,
        })
    }

    pub(in super::super) fn any_held() -> impl Strategy<Value = HeldAttempt> {
        let phase = prop_oneof![
            Just(AttemptPhase::Accepted),
            Just(AttemptPhase::Running),
            Just(AttemptPhase::Ending),
        ];
        (any_attempt(), phase).prop_map(|(attempt, phase)| HeldAttempt { attempt, phase })
    }

    pub(in super::super) fn any_attempt_fact() -> impl Strategy<Value = ReportFact> {
        let verdict = prop_oneof![
            Just(Verdict::Succeeded),
            Just(Verdict::Failed),
            Just(Verdict::SpawnFailed),
            Just(Verdict::TimedOut),
            Just(Verdict::Cancelled),
            Just(Verdict::Interrupted),
            Just(Verdict::NotBegun),
        ];
        let evidence = proptest::option::of(any_evidence().prop_map(Box::new));
        let result = (verdict, "[a-z ]{0,40}", evidence, ".{0,40}", any::<u64>()).prop_map(
            |(verdict, message, evidence, text, dropped)| AttemptResult {
                verdict,
                message,
                evidence,
                output: Output {
                    text: text.into(),
                    dropped,
                },
            },
        );
        prop_oneof![
            any_attempt().prop_map(ReportFact::AttemptAccepted),
            (any_attempt(), proptest::option::of(any_process()))
                .prop_map(|(attempt, process)| ReportFact::AttemptStarted(attempt, process)),
            (any_attempt(), result)
                .prop_map(|(attempt, result)| ReportFact::AttemptFinished(attempt, Box::new(result))),
        ]
    }

    pub(in super::super) fn any_dispatch() -> impl Strategy<Value = Dispatch> {
        (any_attempt(), ".{0,40}", any::<u32>()).prop_map(|(attempt, message, millis)| Dispatch {
            attempt,
            message,
            timeout: Duration::from_millis(millis.into()),
        })
    }

    #[test]
    fn output_that_is_too_long_keeps_its_end() {
        let finished = v1::AttemptFinished {
            attempt: Some(v1::Attempt {
                execution: "e".into(),
                number: 1,
                ..Default::default()
            }),
            verdict: v1::Verdict::Succeeded.into(),
            // The cut would fall into the first character.
            output: format!("ä{}", "x".repeat(OUTPUT_MAX_BYTES - 1)),
            output_dropped: 5,
            ..Default::default()
        };
        let Ok(ReportFact::AttemptFinished(_, result)) = finished_from_wire(finished) else {
            panic!("cut, not refused");
        };
        assert_eq!(
            (result.output.text.len(), result.output.dropped),
            (OUTPUT_MAX_BYTES - 1, 7)
        );
    }

    #[test]
    fn an_attempt_without_its_uid_is_taken_and_one_with_another_text_is_not() {
        let of = |uid: &str| {
            attempt(Some(v1::Attempt {
                execution: "e".into(),
                number: 1,
                uid: uid.into(),
            }))
        };
        assert_eq!(of("").map(|attempt| attempt.uid), Ok(ExecutionUid::UNKNOWN));
        assert_eq!(
            of("nightly").map_err(|error| error.field),
            Err("attempt.uid".to_owned())
        );
    }

    #[test]
    fn errors_name_the_field() {
        let nameless = v1::Attempt {
            execution: String::new(),
            number: 1,
            ..Default::default()
        };
        assert_eq!(
            attempt(Some(nameless)).map_err(|error| error.field),
            Err("attempt.execution".to_owned())
        );
        assert_eq!(attempt(None).map_err(|error| error.field), Err("attempt".to_owned()));
        let long = v1::Dispatch {
            message: "x".repeat(MESSAGE_MAX_BYTES + 1),
            ..Default::default()
        };
        assert_eq!(
            dispatch_from_wire(long).map_err(|error| error.field),
            Err("message".to_owned())
        );
    }
}
