//! Which checkpoint a life is handed: the arithmetic that both halves go by.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Checkpoint, CheckpointId, Flags, Standing, is_poison};
use crate::execution::ExecutionId;
use crate::id::Incarnation;

/// What is known of an agent's newest checkpoint, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Which one.
    pub id: CheckpointId,
    /// Whether it is offered.
    pub standing: Standing,
    /// What the next life should know.
    pub flags: Flags,
    /// Crashes in a row of lives that had read it.
    pub crashes: u32,
}

/// The newest checkpoint that a shim's state directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCheckpoint {
    /// What was saved.
    pub checkpoint: Arc<Checkpoint>,
    /// Whether it is offered.
    pub standing: Standing,
    /// What the next life should know.
    pub flags: Flags,
    /// Crashes in a row of lives that had read it.
    pub crashes: u32,
}

impl CheckpointState {
    /// Of one that has just been saved.
    pub fn saved(id: CheckpointId) -> Self {
        Self {
            id,
            standing: Standing::Open,
            flags: Flags::default(),
            crashes: 0,
        }
    }
}

impl HeldCheckpoint {
    /// What was saved, and how it stands.
    pub fn new(checkpoint: Arc<Checkpoint>, state: CheckpointState) -> Self {
        Self {
            checkpoint,
            standing: state.standing,
            flags: state.flags,
            crashes: state.crashes,
        }
    }

    /// Without its content.
    pub fn state(&self) -> CheckpointState {
        CheckpointState {
            id: self.checkpoint.id,
            standing: self.standing,
            flags: self.flags.clone(),
            crashes: self.crashes,
        }
    }
}

/// The server's newest checkpoint, as it goes with the order to begin a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCheckpoint {
    /// Which one, and how it stands.
    pub state: CheckpointState,
    /// What was saved; `None` where the shim has shown that it holds that.
    pub content: Option<Arc<Checkpoint>>,
}

/// What a life begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunContext {
    /// Nothing: what is open is closed.
    Fresh,
    /// The newest checkpoint.
    Resume(Box<Resumption>),
}

/// What a life is handed that goes on: the server's newest checkpoint, or a newer one of the shim's, if that is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumption {
    /// The server's, where it has one.
    pub offered: Option<OfferedCheckpoint>,
    /// Tasks that end with the order; at most [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX). A checkpoint of one of them is closed,
    /// however late it was saved.
    pub closed_tasks: Vec<ExecutionId>,
    /// Where the agent was elsewhere since, the newest life before that: what such a life has saved, and the server does not
    /// have, came too late. 0 for none.
    pub late_through: Incarnation,
}

impl Default for RunContext {
    fn default() -> Self {
        Self::Resume(Box::default())
    }
}

/// What two halves know together of the newest checkpoint: the newer one by its id. Of the same one, that it is open no more,
/// whoever says so (where both do, the server); what flags it, whoever knows; and the larger count of crashes.
pub fn merged(own: Option<CheckpointState>, servers: Option<CheckpointState>) -> Option<CheckpointState> {
    let (own, servers) = match (own, servers) {
        (Some(own), Some(servers)) => (own, servers),
        (one, None) | (None, one) => return one,
    };
    match own.id.cmp(&servers.id) {
        Ordering::Greater => return Some(own),
        Ordering::Less => return Some(servers),
        Ordering::Equal => {}
    }
    let standing = if servers.standing.is_open() {
        own.standing
    } else {
        servers.standing
    };
    let flags = if own.flags.unclean || servers.flags.unclean {
        Flags::unclean(own.flags.in_flight.into_iter().chain(servers.flags.in_flight))
    } else {
        Flags::default()
    };
    Some(CheckpointState {
        id: own.id,
        standing,
        flags,
        crashes: own.crashes.max(servers.crashes),
    })
}

/// How the newest checkpoint stands when a life is about to begin with it: what has crashed too many is set aside.
pub const fn standing_at_run(standing: Standing, crashes: u32, poison_after: u32) -> Standing {
    match standing {
        Standing::Open if is_poison(crashes, poison_after) => Standing::SetAside,
        Standing::Open | Standing::Closed(_) | Standing::SetAside => standing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::ClosedBy;

    fn state(number: u32, standing: Standing) -> CheckpointState {
        CheckpointState {
            standing,
            ..CheckpointState::saved(CheckpointId::new(Incarnation::new(7), number))
        }
    }

    #[test]
    fn the_newer_one_counts() {
        let own = state(2, Standing::Open);
        let servers = CheckpointState {
            crashes: 2,
            ..state(1, Standing::SetAside)
        };
        assert_eq!(merged(Some(own.clone()), Some(servers.clone())), Some(own.clone()));
        assert_eq!(merged(Some(servers.clone()), Some(own.clone())), Some(own.clone()));
        assert_eq!(merged(Some(own.clone()), None), Some(own.clone()));
        assert_eq!(merged(None, Some(own.clone())), Some(own));
        assert_eq!(merged(None, None), None);
    }

    #[test]
    fn of_the_same_one_what_is_over_stays_over() {
        let standing = |own, servers| merged(Some(state(1, own)), Some(state(1, servers))).map(|both| both.standing);
        let (agent, task) = (Standing::Closed(ClosedBy::Agent), Standing::Closed(ClosedBy::Task));
        assert_eq!(standing(Standing::Open, Standing::Open), Some(Standing::Open));
        assert_eq!(
            standing(agent, Standing::Open),
            Some(agent),
            "finished work is not revived"
        );
        assert_eq!(standing(Standing::Open, task), Some(task));
        assert_eq!(standing(agent, task), Some(task), "the server's word");
    }

    #[test]
    fn of_the_same_one_flags_and_crashes_add_up_to_what_is_known() {
        let execution = |id: &str| ExecutionId::new(id).expect("valid");
        let flagged = |executions: &[&str], crashes| CheckpointState {
            flags: Flags::unclean(executions.iter().copied().map(execution)),
            crashes,
            ..state(1, Standing::Open)
        };
        let own = flagged(&["a", "b"], 1);
        let both = merged(Some(own.clone()), Some(flagged(&["b", "c"], 2))).expect("one");
        assert_eq!(both, flagged(&["a", "b", "c"], 2));
        let one = merged(Some(own.clone()), Some(state(1, Standing::Open)));
        assert_eq!(one, Some(own));
    }

    #[test]
    fn what_has_crashed_too_many_is_set_aside() {
        let closed = Standing::Closed(ClosedBy::Fresh);
        assert_eq!(standing_at_run(Standing::Open, 1, 2), Standing::Open);
        assert_eq!(standing_at_run(Standing::Open, 2, 2), Standing::SetAside);
        assert_eq!(standing_at_run(Standing::Open, 2, 0), Standing::Open);
        assert_eq!(standing_at_run(closed, 9, 2), closed);
    }
}
