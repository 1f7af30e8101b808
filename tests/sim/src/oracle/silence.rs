//! I12: nobody is called silent who was heard, or whom the server was not there to hear.

use std::time::Duration;

use rekindle::id::AgentId;
use rekindle::state::FailureCause;
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::event::EventKind;
use rekindle_server_core::record::{AgentRecord, Record, StateReason};

use super::{Invariant, Oracle};

impl Oracle {
    /// A server has started at `aware`, in time that it was there to hear. Nobody was heard yet, and nobody is silent
    /// before the adoption window has passed.
    pub(crate) fn server_started(&mut self, aware: Duration, adoption_window: Duration) {
        self.contact.clear();
        (self.started, self.adoption_window) = (aware, adoption_window);
    }

    /// An agent's shim could be heard at this time.
    pub(crate) fn heard(&mut self, agent: &AgentId, aware: Duration) {
        // What a start allowed counts no more: the shim was there.
        self.contact.insert(agent.clone(), aware);
    }

    /// Whether somebody is called silent.
    pub(crate) fn is_about_silence(outcome: &Outcome) -> bool {
        let is_verdict = |kind| matches!(kind, EventKind::AgentUnreachable | EventKind::AgentCrashed);
        let mut records = outcome.persist.iter();
        records.any(|record| matches!(record, Record::Event(event) if is_verdict(event.kind)))
    }

    /// Checks every verdict of silence. A beat may be missing `beat` before the silence began.
    pub(crate) fn silence(&mut self, outcome: &Outcome, aware: Duration, lease: Duration, beat: Duration) {
        for record in &outcome.persist {
            let Some((agent, least)) = called_silent(record, lease) else {
                continue;
            };
            let (heard, least) = match self.contact.get(agent) {
                Some(heard) => (*heard, least),
                None => (self.started, least.max(self.adoption_window)),
            };
            let silent = aware.saturating_sub(heard);
            if silent + beat < least {
                let what = format!("{agent} is called silent after {silent:?}");
                return self.fail(Invariant::I12, what);
            }
        }
    }
}

/// Who is called silent by what is written, and for how long that must have been so.
fn called_silent(record: &Record, lease: Duration) -> Option<(&AgentId, Duration)> {
    if let Record::Event(event) = record {
        let agent = event.agent.as_ref()?;
        return (event.kind == EventKind::AgentUnreachable).then_some((agent, lease));
    }
    let Record::Agent(record) = record else { return None };
    is_timed_out(record).then(|| (&record.id, record.policy.heartbeat_timeout.max(lease)))
}

fn is_timed_out(record: &AgentRecord) -> bool {
    record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout) && record.state_since == record.updated
}
