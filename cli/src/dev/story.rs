//! What happens to the agent, in lines for people.

use prost_types::Timestamp;
use rekindle::wire::v1::{self, EventType as T};

use crate::output::{Cell, Style};
use crate::{agents, events, time};

/// Most lines of evidence that are shown of one crash.
const EVIDENCE_LINES: usize = 5;

/// Tells of events, and remembers what an interval needs.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// When the agent crashed, until it is ready again, or nothing is on its way to that.
    crashed: Option<Timestamp>,
}

impl Story {
    /// The lines for one event, with the evidence of a crash; none for what only a machine wants to know.
    pub(super) fn tell(&mut self, event: &v1::Event, failure: Option<&v1::Failure>) -> Vec<Vec<Cell>> {
        let kind = event.r#type();
        if ends_recovery(kind) {
            self.crashed = None;
        }
        let word = match kind {
            T::Unspecified
            | T::AgentRegistered
            | T::AgentStarting
            | T::RecoveryStarted
            | T::RecoverySucceeded
            | T::ExecutionDispatched
            | T::ExecutionAccepted
            | T::ServerStarted => return Vec::new(),
            T::AgentReady => return vec![self.ready(event)],
            T::AgentCrashed => return self.crash(event, failure),
            T::AgentStarted => "started",
            T::AgentUnreachable => "unreachable",
            T::AgentReconnected => "reconnected",
            T::AgentRestarted => "restarted",
            T::AgentStopping => "stopping",
            T::AgentStopped => "stopped",
            T::AgentTerminated => "gave up",
            T::AgentQuarantined => "quarantined",
            T::AgentTakenOver => "taken over",
            T::AgentDeleted => "deleted",
            T::RecoveryScheduled => "waiting",
            T::RecoveryExhausted => "exhausted",
            T::ExecutionQueued => "queued",
            T::ExecutionRunning => "working",
            T::ExecutionSucceeded => "done",
            T::ExecutionFailed => "failed",
            T::ExecutionCancelled => "cancelled",
            T::ExecutionTimedOut => "timed out",
            T::ExecutionLost => "lost",
            T::ExecutionDeadLetter => "dead letter",
            T::ExecutionVerdictsHeld => "alarm",
            T::ExecutionDisowned => "disowned",
            T::ExecutionStranded => "stranded",
            T::ExecutionQuarantined => "not ended",
            T::WorkflowCreated => "workflow",
            T::WorkflowUpdated => "changed",
            T::WorkflowDeleted => "deleted",
            T::WorkflowArmed => "armed",
            T::WorkflowDisarmed => "disarmed",
            T::WorkflowTriggered => "triggered",
            T::WorkflowSkipped => "skipped",
            T::WorkflowExpired => "expired",
            T::CheckpointSaved => "saved",
            T::CheckpointHandedOver => "handed over",
            T::CheckpointClosed => "closed",
            T::CheckpointSetAside => "set aside",
            T::HostRebooted => "rebooted",
            T::ServerPaused => "paused",
        };
        vec![line(event, word, &events::sentence(event))]
    }

    fn ready(&mut self, event: &v1::Event) -> Vec<Cell> {
        let took = self
            .crashed
            .take()
            .zip(event.time)
            .and_then(|(from, to)| time::between(&from, &to));
        match took {
            Some(took) => {
                let text = format!("in {} ms, incarnation {}", took.as_millis(), event.incarnation);
                line(event, "recovered", &text)
            }
            None => line(event, "ready", &format!("incarnation {}", event.incarnation)),
        }
    }

    fn crash(&mut self, event: &v1::Event, failure: Option<&v1::Failure>) -> Vec<Vec<Cell>> {
        self.crashed = event.time;
        let Some(failure) = failure else {
            return vec![line(event, "crashed", &event.message)];
        };
        let mut lines = vec![line(event, "crashed", &agents::failure_summary(failure))];
        let evidence: Vec<&str> = failure.stderr_tail.lines().collect();
        for text in &evidence[evidence.len().saturating_sub(EVIDENCE_LINES)..] {
            lines.push(vec![Cell::styled(&format!("{:27}{text}", ""), Style::Bad)]);
        }
        lines
    }
}

/// Whether a life that is ready after this is no recovery from a crash before it: an operator's order, or none at all.
fn ends_recovery(kind: T) -> bool {
    match kind {
        T::AgentReconnected | T::AgentStopped | T::AgentTerminated | T::AgentQuarantined | T::AgentDeleted => true,
        T::Unspecified
        | T::AgentRegistered
        | T::AgentStarting
        | T::AgentStarted
        | T::AgentReady
        | T::AgentCrashed
        | T::AgentUnreachable
        | T::AgentRestarted
        | T::AgentStopping
        | T::AgentTakenOver
        | T::RecoveryScheduled
        | T::RecoveryStarted
        | T::RecoverySucceeded
        | T::RecoveryExhausted
        | T::ExecutionQueued
        | T::ExecutionDispatched
        | T::ExecutionAccepted
        | T::ExecutionRunning
        | T::ExecutionSucceeded
        | T::ExecutionFailed
        | T::ExecutionCancelled
        | T::ExecutionTimedOut
        | T::ExecutionLost
        | T::ExecutionDeadLetter
        | T::ExecutionVerdictsHeld
        | T::ExecutionDisowned
        | T::ExecutionStranded
        | T::ExecutionQuarantined
        | T::WorkflowCreated
        | T::WorkflowUpdated
        | T::WorkflowDeleted
        | T::WorkflowArmed
        | T::WorkflowDisarmed
        | T::WorkflowTriggered
        | T::WorkflowSkipped
        | T::WorkflowExpired
        | T::CheckpointSaved
        | T::CheckpointHandedOver
        | T::CheckpointClosed
        | T::CheckpointSetAside
        | T::HostRebooted
        | T::ServerStarted
        | T::ServerPaused => false,
    }
}

fn line(event: &v1::Event, word: &str, text: &str) -> Vec<Cell> {
    let time = event.time.as_ref().map(time::of_day).unwrap_or_default();
    vec![
        Cell::styled(&format!("{time:14}"), Style::Dim),
        Cell::styled(&format!("{word:13}"), events::style(event.r#type())),
        text.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: T, millis: i32, incarnation: u64) -> v1::Event {
        v1::Event {
            time: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: millis * 1_000_000,
            }),
            r#type: kind.into(),
            incarnation,
            message: "as the server says".to_owned(),
            ..v1::Event::default()
        }
    }

    fn told(story: &mut Story, event: &v1::Event, failure: Option<&v1::Failure>) -> Vec<String> {
        let lines = story.tell(event, failure).into_iter();
        lines
            .map(|cells| cells.iter().skip(1).map(Cell::text).collect())
            .collect()
    }

    #[test]
    fn a_recovery_is_timed_once() {
        let mut story = Story::default();
        assert_eq!(
            told(&mut story, &event(T::AgentReady, 0, 1), None),
            ["ready        incarnation 1"]
        );
        let failure = v1::Failure {
            signal: Some(11),
            stderr_tail: "a\nb\nc\nd\ne\nf\n".to_owned(),
            ..v1::Failure::default()
        };
        let lines = story.tell(&event(T::AgentCrashed, 100, 1), Some(&failure));
        assert_eq!(lines.len(), 1 + EVIDENCE_LINES);
        assert!(told(&mut story, &event(T::AgentStarting, 101, 2), None).is_empty());
        assert_eq!(
            told(&mut story, &event(T::AgentReady, 106, 2), None),
            ["recovered    in 6 ms, incarnation 2"]
        );
        assert_eq!(
            told(&mut story, &event(T::AgentReady, 200, 3), None),
            ["ready        incarnation 3"]
        );
    }

    #[test]
    fn a_start_after_the_end_of_a_recovery_is_none() {
        for end in [
            T::AgentReconnected,
            T::AgentStopped,
            T::AgentTerminated,
            T::AgentQuarantined,
            T::AgentDeleted,
        ] {
            let mut story = Story::default();
            told(&mut story, &event(T::AgentCrashed, 0, 1), None);
            told(&mut story, &event(end, 100, 1), None);
            let ready = told(&mut story, &event(T::AgentReady, 900, 2), None);
            assert_eq!(ready, ["ready        incarnation 2"], "{end:?}");
        }
    }

    #[test]
    fn without_evidence_the_event_speaks() {
        let mut story = Story::default();
        let lines = told(&mut story, &event(T::AgentCrashed, 0, 1), None);
        assert_eq!(lines, ["crashed      as the server says"]);
    }
}
