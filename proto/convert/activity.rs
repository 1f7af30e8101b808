//! What an agent says that it is doing.

use super::text::cut_line;
use super::{WireError, known};
use crate::activity::{Activity, ActivityState, BlockedOn, STATUS_MAX_BYTES};
use crate::wire::v1;

/// Writes what an agent says; `None` where it has said nothing.
pub fn activity_to_wire(activity: &Activity) -> Option<v1::Activity> {
    (*activity != Activity::default()).then(|| activity.clone().into())
}

impl From<Activity> for v1::Activity {
    fn from(activity: Activity) -> Self {
        let (state, reason) = match activity.state {
            ActivityState::Unsaid => (v1::ActivityState::Unspecified, v1::BlockedReason::Unspecified),
            ActivityState::Idle => (v1::ActivityState::Idle, v1::BlockedReason::Unspecified),
            ActivityState::Busy => (v1::ActivityState::Busy, v1::BlockedReason::Unspecified),
            ActivityState::Blocked(on) => (
                v1::ActivityState::Blocked,
                match on {
                    BlockedOn::Approval => v1::BlockedReason::Approval,
                    BlockedOn::Quota => v1::BlockedReason::Quota,
                    BlockedOn::User => v1::BlockedReason::User,
                },
            ),
        };
        Self {
            state: state.into(),
            blocked_reason: reason.into(),
            status: cut_line(&activity.status, STATUS_MAX_BYTES),
        }
    }
}

impl TryFrom<v1::Activity> for Activity {
    type Error = WireError;

    fn try_from(activity: v1::Activity) -> Result<Self, WireError> {
        let state = match known(activity.state, "state")? {
            v1::ActivityState::Unspecified => ActivityState::Unsaid,
            v1::ActivityState::Idle => ActivityState::Idle,
            v1::ActivityState::Busy => ActivityState::Busy,
            v1::ActivityState::Blocked => {
                ActivityState::Blocked(match known(activity.blocked_reason, "blocked_reason")? {
                    v1::BlockedReason::Unspecified => return Err(WireError::missing("blocked_reason")),
                    v1::BlockedReason::Approval => BlockedOn::Approval,
                    v1::BlockedReason::Quota => BlockedOn::Quota,
                    v1::BlockedReason::User => BlockedOn::User,
                })
            }
        };
        Ok(Self {
            state,
            status: cut_line(&activity.status, STATUS_MAX_BYTES),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn any_activity() -> impl Strategy<Value = Activity> {
        let state = prop_oneof![
            Just(ActivityState::Unsaid),
            Just(ActivityState::Idle),
            Just(ActivityState::Busy),
            Just(ActivityState::Blocked(BlockedOn::Approval)),
            Just(ActivityState::Blocked(BlockedOn::Quota)),
            Just(ActivityState::Blocked(BlockedOn::User)),
        ];
        (state, "[ -~]{0,40}").prop_map(|(state, status)| Activity { state, status })
    }

    #[test]
    fn nothing_said_is_absent_and_blocked_has_a_reason() {
        assert_eq!(activity_to_wire(&Activity::default()), None);
        let blocked = v1::Activity {
            state: v1::ActivityState::Blocked.into(),
            ..Default::default()
        };
        assert_eq!(
            Activity::try_from(blocked).err(),
            Some(WireError::missing("blocked_reason"))
        );
    }
}
