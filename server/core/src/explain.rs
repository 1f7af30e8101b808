//! Why an agent is as it is, and what happens next, with the numbers: ExplainAgent.
//!
//! A pure function of the record and the time. It decides nothing: what it tells of the recovery is what
//! [`AgentRecord::recovery_verdict`] decides by. Labels and last lines stay out of it: either may hold a secret.

mod checkpoint;
mod span;
mod workflows;

use std::time::Duration;

use rekindle::policy::{RebootPolicy, RestartPolicy};
use rekindle::recovery::{Spends, Verdict};
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle::time::Timestamp;

use crate::checkpoint::CheckpointRecord;
use crate::record::{AgentProcess, AgentRecord, OperationKind, StateReason};
use span::Span;

/// Whether the agent's shim is connected right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// Why an agent is as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// One sentence: what is, why, and what happens next.
    pub summary: String,
    /// What the sentence rests on, most telling first.
    pub facts: Vec<Fact>,
}

/// One thing that a decision rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// How it stands.
    pub value: String,
}

/// Explains an agent as it stands at `now`, with so many executions that are QUEUED for it, and its newest checkpoint.
pub fn explain(
    record: &AgentRecord,
    link: Link,
    queued: usize,
    newest: Option<&CheckpointRecord>,
    now: Timestamp,
) -> Explanation {
    let case = Case { record, link, now };
    let (mut summary, mut facts) = (case.summary(), case.facts());
    if queued > 0 && record.takes_no_messages() {
        let value = format!(
            "{queued} queued, and the shim takes none: start it with --delivery per-message, pull or stdin, or cancel them"
        );
        summary += &format!("; executions: {value}");
        facts.push(Fact {
            name: "executions",
            value,
        });
    }
    if let Some(value) = checkpoint::what_is_next(record, newest, now) {
        let name = "checkpoint";
        facts.push(Fact { name, value });
    }
    Explanation { summary, facts }
}

/// What the life of an agent is.
enum HasProcess {
    /// A process.
    ItsOwn,
    /// That its shim takes messages, and runs a process for each.
    OnePerMessage,
}

struct Case<'a> {
    record: &'a AgentRecord,
    link: Link,
    now: Timestamp,
}

impl Case<'_> {
    fn summary(&self) -> String {
        match self.record.state {
            AgentState::Pending => self.pending(),
            AgentState::Starting => self.starting(),
            AgentState::Running => self.running(),
            AgentState::Unreachable => format!(
                "the shim on {} is silent{}; {} is presumed alive and left alone; it counts as crashed after {} of \
                 silence, unless the shim returns{}",
                self.host(),
                self.silence(),
                self.process(),
                Span(self.record.policy.heartbeat_timeout),
                self.order()
            ),
            AgentState::Crashed => self.down("crashed"),
            AgentState::Stopping => self.stopping(),
            AgentState::Stopped => self.stopped(),
            AgentState::Terminated => {
                let hopeless = [FailureCause::Config, FailureCause::Auth].map(StateReason::Failure);
                let why = if hopeless.contains(&self.record.reason) {
                    "no restart can help".to_owned()
                } else {
                    self.attempts()
                };
                let failure = self.last_failure();
                format!("not restarted: {why}; RestartAgent or StartAgent begins anew; {failure}")
            }
            AgentState::Quarantined => format!(
                "not restarted: {} outlived SIGKILL on {}; end them there, or use RestartAgent with force",
                self.survivors(),
                self.host()
            ),
        }
    }

    fn pending(&self) -> String {
        match self.record.desired {
            Desired::Running => format!(
                "no shim has ever connected for this agent; start rekindle-shim --agent {} on its host",
                self.record.id
            ),
            Desired::Stopped => "no shim has ever connected for this agent, and it shall not run".to_owned(),
        }
    }

    fn starting(&self) -> String {
        let incarnation = self.record.incarnation;
        if self.record.is_spawned() {
            return match self.has_process() {
                HasProcess::ItsOwn => format!(
                    "incarnation {incarnation} runs as {}, and is not ready yet",
                    self.process()
                ),
                HasProcess::OnePerMessage => format!(
                    "incarnation {incarnation} has begun on {}, and does not take messages yet",
                    self.host()
                ),
            };
        }
        match self.link {
            Link::Up => format!("incarnation {incarnation} is ordered, and its shim has not told of the process yet"),
            Link::Down => format!(
                "incarnation {incarnation} is ordered, and starts once {} connects",
                self.shim()
            ),
        }
    }

    fn running(&self) -> String {
        let mut text = match self.has_process() {
            HasProcess::ItsOwn => format!("runs as {} and is ready, for {}", self.process(), self.in_state()),
            HasProcess::OnePerMessage => format!(
                "is ready to take messages on {}, each in a process of its own, for {}",
                self.host(),
                self.in_state()
            ),
        };
        let budget = self.record.budget;
        if budget.attempts > 0 {
            let stable_after = Span(self.record.policy.stable_after);
            text += &format!(
                "; {}, and the count returns to zero after {stable_after} of running",
                self.attempts()
            );
        }
        if self.link == Link::Down {
            text += "; its shim's stream is down, and nothing follows before the lease has run out";
        }
        text + &self.order()
    }

    /// What an operator ordered of an agent whose shim is away, to be put behind a sentence.
    fn order(&self) -> String {
        match &self.record.operation {
            Some(operation) => format!(
                "; the {} that an operator ordered waits until {} connects",
                operation.kind.as_str(),
                self.shim()
            ),
            None => String::new(),
        }
    }

    fn stopping(&self) -> String {
        let operation = self.record.operation.as_ref();
        let grace = operation
            .and_then(|operation| operation.grace)
            .unwrap_or(self.record.policy.stop_grace);
        let mut text = match self.link {
            Link::Up if self.record.reason == StateReason::Agent => format!(
                "{} is ending by itself; SIGKILL comes {}, unless it asks for more time",
                self.process(),
                self.due_in(grace)
            ),
            Link::Up => format!(
                "{} is being ended; SIGKILL comes {}",
                self.process(),
                self.due_in(grace)
            ),
            Link::Down => format!("{} is to be ended, once {} connects", self.process(), self.shim()),
        };
        if let Some(operation) = operation
            && operation.kind != OperationKind::Stop
        {
            text += &format!("; then incarnation {} starts", operation.target);
        }
        text
    }

    fn stopped(&self) -> String {
        match self.record.reason {
            StateReason::Reboot => match self.record.policy.on_reboot {
                RebootPolicy::Start => self.down("gone with a reboot of its host"),
                RebootPolicy::Stay => {
                    "gone with a reboot of its host, and on_reboot is STAY; StartAgent starts it".to_owned()
                }
            },
            StateReason::ShimStopped => self.down("its shim was told to stop"),
            StateReason::Repeat => self.down("finished, and its policy repeats it"),
            StateReason::Finished => {
                "finished with a clean exit, which its policy does not repeat; StartAgent starts it again".to_owned()
            }
            StateReason::Operator
            | StateReason::None
            | StateReason::Failure(_)
            | StateReason::Recovery
            | StateReason::FirstStart
            | StateReason::AwaitingShim
            | StateReason::LeaseExpired
            | StateReason::Survivors
            | StateReason::Agent => self.down("stopped"),
        }
    }

    /// An agent without a life that is known to go on, in `condition`: what brings it back.
    fn down(&self, condition: &str) -> String {
        let record = self.record;
        if let Some(operation) = &record.operation {
            let verb = operation.kind.as_str();
            return match self.link {
                Link::Up => format!("{condition}; the {verb} that an operator ordered is under way"),
                Link::Down => format!("{condition}{}", self.order()),
            };
        }
        if record.desired == Desired::Stopped {
            return format!("{condition}, and it shall not run; StartAgent starts it");
        }
        if record.process.is_some() {
            return format!(
                "not restarted: the shim on {} has been silent past {}, and nobody has proven {} dead; it goes on when \
                 the shim returns, or by RestartAgent with force",
                self.host(),
                Span(record.policy.heartbeat_timeout),
                self.process()
            );
        }
        match record.recovery_verdict() {
            Some(Verdict::Restart {
                at,
                spends: Spends::Nothing,
            }) if at > self.now => format!(
                "{condition}; not restarted: {}, {} left; it spends no attempt",
                if record.reason == StateReason::Failure(FailureCause::Quota) {
                    "parked, as something is used up"
                } else {
                    "cooldown"
                },
                Span(at.saturating_since(self.now))
            ),
            Some(Verdict::Restart { at, .. }) if at > self.now => format!(
                "not restarted: cooldown, {} left, {}; {}",
                Span(at.saturating_since(self.now)),
                self.attempts(),
                self.last_failure()
            ),
            Some(Verdict::Restart { .. }) => match self.link {
                Link::Up => format!("{condition}; the restart is due, {}", self.attempts()),
                Link::Down => format!(
                    "not restarted: {condition}, and it waits until {} connects",
                    self.shim()
                ),
            },
            Some(Verdict::Hopeless) => format!("not restarted: no restart can help; {}", self.last_failure()),
            Some(Verdict::Exhausted) => format!("not restarted: {}; {}", self.attempts(), self.last_failure()),
            Some(Verdict::LeftToOperators) => {
                format!(
                    "not restarted: its policy leaves that to operators; StartAgent does it; {}",
                    self.last_failure()
                )
            }
            Some(Verdict::Finished) | None => format!("{condition}; StartAgent starts it"),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let record = self.record;
        let mut facts = Vec::new();
        let mut fact = |name, value: String| facts.push(Fact { name, value });
        let reason = record.reason.as_str();
        let because = if reason.is_empty() {
            String::new()
        } else {
            format!(", {reason}")
        };
        fact("state", format!("{}{because}, for {}", record.state, self.in_state()));
        let desired = match record.desired {
            Desired::Running => "RUNNING",
            Desired::Stopped => "STOPPED",
        };
        fact("desired_state", desired.to_owned());
        if let Some(operation) = &record.operation {
            let goal = match operation.kind {
                OperationKind::Restart | OperationKind::Start => "to run",
                OperationKind::Stop => "to end",
            };
            fact(
                "operation",
                format!("{}, incarnation {} {goal}", operation.kind.as_str(), operation.target),
            );
        }
        if let Some(at) = record.next_attempt() {
            fact(
                "next_attempt",
                if at > self.now {
                    format!("in {}", Span(at.saturating_since(self.now)))
                } else {
                    "due".into()
                },
            );
        }
        fact("attempts", self.attempts());
        fact("restart_policy", self.restart_policy());
        if let Some(failure) = &record.last_failure {
            let ago = Span(self.now.saturating_since(failure.time));
            fact(
                "last_failure",
                format!(
                    "{} in incarnation {}, {ago} ago: {}",
                    failure.cause, failure.incarnation, failure.message
                ),
            );
        }
        fact("incarnation", record.incarnation.to_string());
        if record.process.is_some() {
            let process = match self.has_process() {
                HasProcess::ItsOwn => self.process(),
                HasProcess::OnePerMessage => format!("one for each message, on {}", self.host()),
            };
            fact("process", process);
        }
        if let Some(holder) = &record.holder {
            let link = match self.link {
                Link::Up => "connected",
                Link::Down => "not connected",
            };
            let fence = match holder.fence_after {
                Some(after) => format!(", ends its child after {} without a server", Span(after)),
                None => String::new(),
            };
            fact("shim", format!("on {}, {link}{fence}", holder.host.name));
        }
        facts
    }

    fn restart_policy(&self) -> String {
        let policy = &self.record.policy;
        let when = match policy.restart {
            RestartPolicy::OnFailure => "ON_FAILURE",
            RestartPolicy::Always => "ALWAYS",
            RestartPolicy::Never => return "NEVER".to_owned(),
        };
        format!(
            "{when}, cooldown {}, stable after {}",
            Span(policy.cooldown),
            Span(policy.stable_after)
        )
    }

    fn attempts(&self) -> String {
        format!(
            "{} of {} attempts used",
            self.record.budget.attempts, self.record.policy.max_attempts
        )
    }

    fn last_failure(&self) -> String {
        match &self.record.last_failure {
            Some(failure) => format!("last failure: {}", failure.message),
            None => "no failure is known".to_owned(),
        }
    }

    fn survivors(&self) -> String {
        const NAMED_MAX: usize = 3;
        let all = self
            .record
            .last_failure
            .as_ref()
            .map(|failure| failure.survivors.as_slice())
            .unwrap_or_default();
        if all.is_empty() {
            return "processes of the old tree".to_owned();
        }
        let named: Vec<String> = all
            .iter()
            .take(NAMED_MAX)
            .map(|survivor| format!("pid {} ({})", survivor.pid, survivor.command))
            .collect();
        let more = if all.len() > NAMED_MAX { " and others" } else { "" };
        format!("{}{more}", named.join(", "))
    }

    /// What lives, as a subject or an object.
    fn process(&self) -> String {
        match &self.record.process {
            Some(AgentProcess {
                identity: Some(identity),
                host,
                ..
            }) => format!("pid {} on {host}", identity.pid),
            Some(AgentProcess {
                identity: None,
                incarnation,
                host,
            }) => format!("incarnation {incarnation} on {host}"),
            None => "the old process".to_owned(),
        }
    }

    fn has_process(&self) -> HasProcess {
        match &self.record.process {
            Some(AgentProcess { identity: None, .. }) => HasProcess::OnePerMessage,
            Some(AgentProcess { identity: Some(_), .. }) | None => HasProcess::ItsOwn,
        }
    }

    fn host(&self) -> &str {
        self.record
            .holder
            .as_ref()
            .map_or("an unknown host", |holder| holder.host.name.as_str())
    }

    fn shim(&self) -> String {
        match &self.record.holder {
            Some(holder) => format!("the shim on {}", holder.host.name),
            None => "a shim".to_owned(),
        }
    }

    /// For how long the shim has not been heard, to be put behind a sentence.
    fn silence(&self) -> String {
        let heard = self.record.holder.as_ref().and_then(|holder| holder.last_heard);
        heard.map_or_else(String::new, |heard| {
            format!(", for {}", Span(self.now.saturating_since(heard)))
        })
    }

    fn age(&self) -> Duration {
        self.now.saturating_since(self.record.state_since)
    }

    fn in_state(&self) -> Span {
        Span(self.age())
    }

    /// When `limit`, counted from the state's beginning, is over.
    fn due_in(&self, limit: Duration) -> String {
        let left = limit.saturating_sub(self.age());
        if left.is_zero() {
            "any moment".to_owned()
        } else {
            format!("in {}", Span(left))
        }
    }
}

#[cfg(test)]
mod tests;
