//! I12: nobody is called silent who was heard, or whom the server was not there to hear.

use std::time::Duration;

use rekindle::id::AgentId;
use rekindle::state::FailureCause;
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::record::{AgentRecord, Record, StateReason};

use super::{Invariant, Oracle};

impl Oracle {
    /// A server has started: until `aware`, in time that it was there to hear, nobody is silent.
    pub(crate) fn server_started(&mut self, agents: impl IntoIterator<Item = AgentId>, aware: Duration) {
        self.contact = agents.into_iter().map(|agent| (agent, aware)).collect();
    }

    /// An agent's shim could be heard at this time.
    pub(crate) fn heard(&mut self, agent: &AgentId, aware: Duration) {
        let contact = self.contact.entry(agent.clone()).or_default();
        *contact = aware.max(*contact);
    }

    /// Whether somebody is called silent.
    pub(crate) fn is_about_silence(outcome: &Outcome) -> bool {
        outcome.persist.iter().any(|record| match record {
            Record::Event(event) => matches!(event.kind, EventKind::AgentUnreachable | EventKind::AgentCrashed),
            Record::Agent(_)
            | Record::AgentDeleted(_)
            | Record::EventsTrimmed { .. }
            | Record::Request(_)
            | Record::RequestForgotten { .. } => false,
        })
    }

    /// Checks every verdict of silence. A beat may be missing `beat` before the silence began.
    pub(crate) fn silence(&mut self, outcome: &Outcome, aware: Duration, lease: Duration, beat: Duration) {
        for record in &outcome.persist {
            let (agent, least) = match record {
                Record::Event(event) if event.kind == EventKind::AgentUnreachable => {
                    let Event { agent: Some(agent), .. } = &**event else { continue };
                    (agent, lease)
                }
                Record::Agent(record) if is_timed_out(record) => (&record.id, record.policy.heartbeat_timeout.max(lease)),
                Record::Event(_)
                | Record::Agent(_)
                | Record::AgentDeleted(_)
                | Record::EventsTrimmed { .. }
                | Record::Request(_)
                | Record::RequestForgotten { .. } => continue,
            };
            let heard = self.contact.get(agent).copied().unwrap_or_default();
            let silent = aware.saturating_sub(heard);
            if silent + beat < least {
                let what = format!("{agent} is called silent after {silent:?}");
                return self.fail(Invariant::I12, what);
            }
        }
    }
}

fn is_timed_out(record: &AgentRecord) -> bool {
    record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout) && record.state_since == record.updated
}
