//! What follows for an agent as it stands, derived from its record alone: no deadline is ever stored.

use std::time::Duration;

use rekindle::exit::ExitClass;
use rekindle::policy::RebootPolicy;
use rekindle::recovery::{self, Spends, Verdict};
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle::time::Timestamp;

use crate::record::{AgentRecord, OperationKind, StateReason};

/// A pause before an attempt, in full, and what it is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// From the attempt before.
    SinceAttempt(Duration),
    /// From the end of the newest life.
    SinceEnd(Duration),
}

impl Pause {
    pub(crate) const NONE: Self = Self::SinceEnd(Duration::ZERO);

    /// How long it is.
    pub(crate) const fn full(self) -> Duration {
        match self {
            Self::SinceAttempt(full) | Self::SinceEnd(full) => full,
        }
    }
}

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

    /// The pause before the next attempt, in full.
    pub(crate) fn recovery_pause(&self) -> Pause {
        match (self.recovery_need(), self.budget.last_attempt) {
            (Need::Paced(ExitClass::Quota { .. }), _) => match self.recovery_verdict() {
                Some(Verdict::Restart { at, .. }) => Pause::SinceEnd(at.saturating_since(self.state_since)),
                Some(Verdict::Exhausted | Verdict::Hopeless | Verdict::Finished | Verdict::LeftToOperators) | None => {
                    Pause::NONE
                }
            },
            (Need::Paced(_), Some(_)) => Pause::SinceAttempt(recovery::wait_before(
                &self.policy,
                self.budget.attempts.saturating_add(1),
                self.salt(),
            )),
            (Need::Paced(_), None) | (Need::Nothing | Need::Start, _) => Pause::NONE,
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

    /// The incarnation that an operator's restart or start shall bring, while it goes on.
    pub(crate) fn run_order(&self) -> Option<rekindle::id::Incarnation> {
        let operation = self.operation.as_ref()?;
        match operation.kind {
            OperationKind::Restart | OperationKind::Start => Some(operation.target),
            OperationKind::Stop => None,
        }
    }

    pub(crate) fn verdict_on(&self, class: ExitClass) -> Verdict {
        recovery::verdict(&self.policy, self.budget, class, self.state_since, self.salt())
    }

    /// Makes the jitter of different agents differ.
    fn salt(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "any 64 of the random bits will do")]
        let low = self.uid.as_u128() as u64;
        low
    }
}
