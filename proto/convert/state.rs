//! The enums of states and causes.

use super::{WireError, known};
use crate::state::{AgentState, Desired, FailureCause};
use crate::wire::v1;

impl From<AgentState> for v1::AgentState {
    fn from(state: AgentState) -> Self {
        match state {
            AgentState::Pending => Self::Pending,
            AgentState::Starting => Self::Starting,
            AgentState::Running => Self::Running,
            AgentState::Unreachable => Self::Unreachable,
            AgentState::Crashed => Self::Crashed,
            AgentState::Stopping => Self::Stopping,
            AgentState::Stopped => Self::Stopped,
            AgentState::Terminated => Self::Terminated,
            AgentState::Quarantined => Self::Quarantined,
        }
    }
}

impl TryFrom<v1::AgentState> for AgentState {
    type Error = WireError;

    fn try_from(state: v1::AgentState) -> Result<Self, WireError> {
        Ok(match state {
            v1::AgentState::Unspecified => return Err(WireError::missing("state")),
            v1::AgentState::Pending => Self::Pending,
            v1::AgentState::Starting => Self::Starting,
            v1::AgentState::Running => Self::Running,
            v1::AgentState::Unreachable => Self::Unreachable,
            v1::AgentState::Crashed => Self::Crashed,
            v1::AgentState::Stopping => Self::Stopping,
            v1::AgentState::Stopped => Self::Stopped,
            v1::AgentState::Terminated => Self::Terminated,
            v1::AgentState::Quarantined => Self::Quarantined,
        })
    }
}

impl From<Desired> for v1::DesiredState {
    fn from(desired: Desired) -> Self {
        match desired {
            Desired::Running => Self::Running,
            Desired::Stopped => Self::Stopped,
        }
    }
}

impl TryFrom<v1::DesiredState> for Desired {
    type Error = WireError;

    fn try_from(desired: v1::DesiredState) -> Result<Self, WireError> {
        match desired {
            v1::DesiredState::Unspecified => Err(WireError::missing("desired_state")),
            v1::DesiredState::Running => Ok(Self::Running),
            v1::DesiredState::Stopped => Ok(Self::Stopped),
        }
    }
}

impl From<FailureCause> for v1::FailureCause {
    fn from(cause: FailureCause) -> Self {
        match cause {
            FailureCause::Exited => Self::Exited,
            FailureCause::Signaled => Self::Signaled,
            FailureCause::SpawnFailed => Self::SpawnFailed,
            FailureCause::StartTimeout => Self::StartTimeout,
            FailureCause::HeartbeatTimeout => Self::HeartbeatTimeout,
            FailureCause::ShimLost => Self::ShimLost,
            FailureCause::Fenced => Self::Fenced,
            FailureCause::Survivors => Self::Survivors,
            FailureCause::OomKilled => Self::OomKilled,
            FailureCause::WatchdogTimeout => Self::WatchdogTimeout,
            FailureCause::Stalled => Self::Stalled,
            FailureCause::Quota => Self::Quota,
            FailureCause::Config => Self::Config,
            FailureCause::Auth => Self::Auth,
            FailureCause::MessageTimeout => Self::MessageTimeout,
            FailureCause::MessageCancelled => Self::MessageCancelled,
            FailureCause::Reported => Self::Reported,
            FailureCause::Lost => Self::Lost,
            FailureCause::Interrupted => Self::Interrupted,
            FailureCause::QueueTimeout => Self::QueueTimeout,
            FailureCause::MessageLost => Self::MessageLost,
        }
    }
}

impl TryFrom<v1::FailureCause> for FailureCause {
    type Error = WireError;

    fn try_from(cause: v1::FailureCause) -> Result<Self, WireError> {
        Ok(match cause {
            v1::FailureCause::Unspecified => return Err(WireError::missing("cause")),
            v1::FailureCause::Exited => Self::Exited,
            v1::FailureCause::Signaled => Self::Signaled,
            v1::FailureCause::SpawnFailed => Self::SpawnFailed,
            v1::FailureCause::StartTimeout => Self::StartTimeout,
            v1::FailureCause::HeartbeatTimeout => Self::HeartbeatTimeout,
            v1::FailureCause::ShimLost => Self::ShimLost,
            v1::FailureCause::Fenced => Self::Fenced,
            v1::FailureCause::Survivors => Self::Survivors,
            v1::FailureCause::OomKilled => Self::OomKilled,
            v1::FailureCause::WatchdogTimeout => Self::WatchdogTimeout,
            v1::FailureCause::Stalled => Self::Stalled,
            v1::FailureCause::Quota => Self::Quota,
            v1::FailureCause::Config => Self::Config,
            v1::FailureCause::Auth => Self::Auth,
            v1::FailureCause::MessageTimeout => Self::MessageTimeout,
            v1::FailureCause::MessageCancelled => Self::MessageCancelled,
            v1::FailureCause::Reported => Self::Reported,
            v1::FailureCause::Lost => Self::Lost,
            v1::FailureCause::Interrupted => Self::Interrupted,
            v1::FailureCause::QueueTimeout => Self::QueueTimeout,
            v1::FailureCause::MessageLost => Self::MessageLost,
        })
    }
}

impl AgentState {
    /// Reads the number that a message's field carries.
    ///
    /// # Errors
    /// When it is no state, or none is given.
    pub fn from_wire(number: i32) -> Result<Self, WireError> {
        known::<v1::AgentState>(number, "state")?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for state in AgentState::ALL {
            assert_eq!(AgentState::try_from(v1::AgentState::from(state)), Ok(state));
            assert_eq!(AgentState::from_wire(v1::AgentState::from(state) as i32), Ok(state));
            assert_eq!(
                v1::AgentState::from(state).as_str_name(),
                format!("AGENT_STATE_{}", state.as_str())
            );
        }
        for desired in [Desired::Running, Desired::Stopped] {
            assert_eq!(Desired::try_from(v1::DesiredState::from(desired)), Ok(desired));
        }
        for cause in FailureCause::ALL {
            assert_eq!(FailureCause::try_from(v1::FailureCause::from(cause)), Ok(cause));
            assert_eq!(
                v1::FailureCause::from(cause).as_str_name(),
                format!("FAILURE_CAUSE_{}", cause.as_str())
            );
        }
        assert!(AgentState::from_wire(0).is_err() && AgentState::from_wire(99).is_err());
    }
}
