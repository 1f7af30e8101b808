//! The enums of executions.

use super::{WireError, known};
use crate::execution::{Delivery, ExecutionState, Verdict};
use crate::wire::v1;

impl From<ExecutionState> for v1::ExecutionState {
    fn from(state: ExecutionState) -> Self {
        match state {
            ExecutionState::Queued => Self::Queued,
            ExecutionState::Dispatched => Self::Dispatched,
            ExecutionState::Accepted => Self::Accepted,
            ExecutionState::Running => Self::Running,
            ExecutionState::Succeeded => Self::Succeeded,
            ExecutionState::Failed => Self::Failed,
            ExecutionState::Cancelled => Self::Cancelled,
            ExecutionState::TimedOut => Self::TimedOut,
            ExecutionState::Lost => Self::Lost,
            ExecutionState::DeadLetter => Self::DeadLetter,
        }
    }
}

impl From<Verdict> for v1::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Succeeded => Self::Succeeded,
            Verdict::Failed => Self::Failed,
            Verdict::SpawnFailed => Self::SpawnFailed,
            Verdict::TimedOut => Self::TimedOut,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::Interrupted => Self::Interrupted,
            Verdict::NotBegun => Self::NotBegun,
        }
    }
}

pub(super) fn verdict(number: i32) -> Result<Verdict, WireError> {
    Ok(match known(number, "verdict")? {
        v1::Verdict::Unspecified => return Err(WireError::missing("verdict")),
        v1::Verdict::Succeeded => Verdict::Succeeded,
        v1::Verdict::Failed => Verdict::Failed,
        v1::Verdict::SpawnFailed => Verdict::SpawnFailed,
        v1::Verdict::TimedOut => Verdict::TimedOut,
        v1::Verdict::Cancelled => Verdict::Cancelled,
        v1::Verdict::Interrupted => Verdict::Interrupted,
        v1::Verdict::NotBegun => Verdict::NotBegun,
    })
}

impl From<Delivery> for v1::Delivery {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::None => Self::None,
            Delivery::PerMessage => Self::PerMessage,
            Delivery::Pull => Self::Pull,
            Delivery::Stdin => Self::Stdin,
        }
    }
}

pub(super) fn delivery(number: i32) -> Result<Delivery, WireError> {
    Ok(match known(number, "delivery")? {
        v1::Delivery::Unspecified | v1::Delivery::None => Delivery::None,
        v1::Delivery::PerMessage => Delivery::PerMessage,
        v1::Delivery::Pull => Delivery::Pull,
        v1::Delivery::Stdin => Delivery::Stdin,
    })
}
