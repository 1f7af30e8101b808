//! What follows for an agent as it stands, derived from its record alone: no deadline is ever stored.

use rekindle::execution::Delivery;
use rekindle::exit::ExitClass;
use rekindle::id::Incarnation;
use rekindle::policy::RebootPolicy;
use rekindle::recovery::{self, Pause, Spends, Verdict};
use rekindle::session::Wanted;
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle::time::Timestamp;

use crate::record::{AgentRecord, OperationKind, StateReason};

/// Whether an agent needs the recovery.
enum Need {
    Nothing,
    /// A start that no budget and no pause holds up.
    Start,
    /// A start after an end of this class, as budget and cooldown allow.
    Paced(ExitClass),
}

impl AgentRecord {
    /// What the automatic recovery will do, once a shim is there to do it; `None` where it has nothing to do.
    pub fn recovery_verdict(&self) -> Option<Verdict> {
        match self.recovery_need() {
            Need::Nothing => None,
            Need::Start => Some(Verdict::Restart {
                at: self.state_since,
                spends: Spends::Nothing,
            }),
            Need::Paced(class) => Some(self.verdict_on(class)),
        }
    }

    /// Whether its shim, the newest that is known, hands it no messages.
    pub fn takes_no_messages(&self) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|holder| holder.delivery == Delivery::None)
    }

    /// The pause before the next attempt, in full.
    pub(crate) fn recovery_pause(&self) -> Pause {
        match self.recovery_need() {
            Need::Paced(class) => recovery::pause(&self.policy, self.budget, class, self.state_since, self.salt()),
            Need::Nothing | Need::Start => Pause::NONE,
        }
    }

    /// What the recovery will do, and the pause before it in full: the time in a verdict alone would hide a change of the
    /// pause where the wall clock has jumped past it.
    pub(crate) fn recovery_plan(&self) -> (Option<Verdict>, Pause) {
        (self.recovery_verdict(), self.recovery_pause())
    }

    fn recovery_need(&self) -> Need {
        if self.desired == Desired::Stopped || self.operation.is_some() || self.process.is_some() {
            return Need::Nothing;
        }
        match (self.state, self.reason) {
            (AgentState::Pending, _) | (AgentState::Stopped, StateReason::ShimStopped) => Need::Start,
            (AgentState::Stopped, StateReason::Reboot) => match self.policy.on_reboot {
                RebootPolicy::Start => Need::Start,
                RebootPolicy::Stay => Need::Nothing,
            },
            (AgentState::Stopped, StateReason::Repeat) => Need::Paced(ExitClass::Clean),
            (AgentState::Crashed, StateReason::Failure(FailureCause::Fenced)) => Need::Start,
            (AgentState::Crashed, StateReason::Failure(FailureCause::MessageCancelled)) => {
                Need::Paced(ExitClass::Interrupted)
            }
            (AgentState::Crashed, StateReason::Failure(FailureCause::HeartbeatTimeout)) => Need::Nothing,
            (AgentState::Crashed, StateReason::Failure(FailureCause::Config)) => Need::Paced(ExitClass::Config),
            (AgentState::Crashed, StateReason::Failure(FailureCause::Auth)) => Need::Paced(ExitClass::Auth),
            (AgentState::Crashed, StateReason::Failure(FailureCause::Quota)) => Need::Paced(ExitClass::Quota {
                until: self.parked_until.unwrap_or(self.state_since),
            }),
            (AgentState::Crashed, _) => Need::Paced(ExitClass::Crash),
            (
                AgentState::Starting
                | AgentState::Running
                | AgentState::Unreachable
                | AgentState::Stopping
                | AgentState::Stopped
                | AgentState::Terminated
                | AgentState::Quarantined,
                _,
            ) => Need::Nothing,
        }
    }

    /// The number of the next life: above every one that stands for a life already (I1).
    pub(crate) fn next_incarnation(&self) -> Incarnation {
        self.incarnation.max(self.used_elsewhere).next()
    }

    /// The newest number, where an order gave it to a life that never began as the one before could not be ended: should
    /// the order still arrive, or a shim that is left alone go on with it, that is the same life.
    pub(crate) fn unbegun(&self) -> Option<Incarnation> {
        let failed = self.last_failure.as_ref()?.incarnation;
        let after_failure = self.state == AgentState::Crashed && failed < self.incarnation;
        (after_failure && self.process.is_none() && self.incarnation > self.used_elsewhere).then_some(self.incarnation)
    }

    /// When the next automatic restart is due, where one is.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        match self.recovery_verdict()? {
            Verdict::Restart { at, .. } => Some(at),
            Verdict::Exhausted | Verdict::Hopeless | Verdict::Finished | Verdict::LeftToOperators => None,
        }
    }

    /// Whether the newest incarnation runs, and said that it is ready.
    pub fn is_ready(&self) -> bool {
        self.state == AgentState::Running
    }

    /// Whether the process of the newest order exists.
    pub fn is_spawned(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.incarnation == self.incarnation)
    }

    /// Whether a life of it has begun, as far as is known, whose end nobody has proven.
    pub(crate) fn may_live(&self) -> bool {
        match self.state {
            AgentState::Starting
            | AgentState::Running
            | AgentState::Unreachable
            | AgentState::Stopping
            | AgentState::Quarantined => true,
            AgentState::Crashed => self.reason == StateReason::Failure(FailureCause::HeartbeatTimeout),
            AgentState::Pending | AgentState::Stopped | AgentState::Terminated => false,
        }
    }

    /// The incarnation that an operator's restart or start shall bring, while it goes on.
    pub(crate) fn run_order(&self) -> Option<Incarnation> {
        let operation = self.operation.as_ref()?;
        match operation.kind {
            OperationKind::Restart | OperationKind::Start => Some(operation.target),
            OperationKind::Stop => None,
        }
    }

    /// The newest life that has been, or is: not one that is only ordered.
    pub(crate) fn past(&self) -> Incarnation {
        let over = match self.state {
            AgentState::Crashed => self.reason != StateReason::Failure(FailureCause::HeartbeatTimeout),
            AgentState::Pending | AgentState::Running | AgentState::Stopped | AgentState::Terminated => true,
            AgentState::Starting | AgentState::Unreachable | AgentState::Stopping | AgentState::Quarantined => false,
        };
        if over || self.is_spawned() {
            self.incarnation
        } else {
            Incarnation::new(self.incarnation.get().saturating_sub(1))
        }
    }

    pub(crate) fn verdict_on(&self, class: ExitClass) -> Verdict {
        recovery::verdict(&self.policy, self.budget, class, self.state_since, self.salt())
    }

    /// Whether a shim that is left alone may start the agent again by the policy.
    pub(crate) fn wanted(&self) -> Wanted {
        if self.goes_on() && self.desired == Desired::Running {
            Wanted::Run
        } else {
            Wanted::Rest
        }
    }

    /// Whether the state is one that a shim which is left alone may begin a life from.
    pub(crate) fn goes_on(&self) -> bool {
        match self.state {
            AgentState::Pending
            | AgentState::Starting
            | AgentState::Running
            | AgentState::Unreachable
            | AgentState::Crashed => true,
            AgentState::Stopping => self.run_order().is_some() || self.reason == StateReason::Agent,
            AgentState::Stopped => self.reason == StateReason::Repeat,
            AgentState::Terminated | AgentState::Quarantined => false,
        }
    }

    /// Makes the jitter of different agents differ.
    pub(crate) fn salt(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "any 64 of the random bits will do")]
        let low = self.uid.as_u128() as u64;
        low
    }
}
