//! What a life was given, so that a late word on one attempt is not taken for one on the next.

use std::collections::BTreeSet;

use rekindle::execution::{AttemptId, ExecutionId};

/// Executions that are remembered of one life: far more than come twice before the first is forgotten, in some 100 KiB.
const REMEMBERED_MAX: usize = 1024;

/// Whether a life was given an execution before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It has had this attempt at it alone.
    Once,
    /// It has had an earlier one, or may have.
    Again,
}

/// The executions that a life was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given {
    executions: BTreeSet<ExecutionId>,
    memory: Memory,
}

/// Whether all of them are remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Memory {
    #[default]
    Whole,
    Partial,
}

impl Given {
    /// Of a life that an earlier shim has given its work, as far as is known.
    pub(super) fn to_a_life_that_goes_on() -> Self {
        Self {
            executions: BTreeSet::new(),
            memory: Memory::Partial,
        }
    }

    /// The life is given an attempt.
    pub(super) fn take(&mut self, attempt: &AttemptId) -> Delivered {
        if self.executions.len() == REMEMBERED_MAX {
            self.executions.clear();
            self.memory = Memory::Partial;
        }
        let is_known = !self.executions.insert(attempt.execution.clone());
        match self.memory {
            Memory::Partial if attempt.number > 1 => Delivered::Again,
            Memory::Whole | Memory::Partial if is_known => Delivered::Again,
            Memory::Whole | Memory::Partial => Delivered::Once,
        }
    }

    /// The attempt did not reach the life.
    pub(super) fn take_back(&mut self, attempt: &AttemptId, delivered: Delivered) {
        match delivered {
            Delivered::Once => {
                self.executions.remove(&attempt.execution);
            }
            Delivered::Again => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rekindle::id::ExecutionUid;

    use super::*;

    fn attempt(execution: usize, number: u32) -> AttemptId {
        let execution = ExecutionId::new(&format!("e{execution}")).expect("valid");
        AttemptId {
            execution,
            uid: ExecutionUid::from_u128(1),
            number,
        }
    }

    #[test]
    fn what_comes_again_is_told_from_what_comes_first() {
        let mut given = Given::default();
        assert_eq!(
            given.take(&attempt(1, 2)),
            Delivered::Once,
            "an earlier life had the first"
        );
        assert_eq!(given.take(&attempt(1, 3)), Delivered::Again);
        let once = given.take(&attempt(2, 1));
        given.take_back(&attempt(2, 1), once);
        assert_eq!(given.take(&attempt(2, 2)), Delivered::Once);
    }

    #[test]
    fn what_may_have_been_forgotten_counts_as_had() {
        let mut given = Given::default();
        for number in 0..=REMEMBERED_MAX {
            assert_eq!(given.take(&attempt(number, 1)), Delivered::Once);
        }
        assert_eq!(given.take(&attempt(0, 2)), Delivered::Again);
        assert_eq!(given.take(&attempt(REMEMBERED_MAX + 1, 1)), Delivered::Once);
        let mut given = Given::to_a_life_that_goes_on();
        assert_eq!(given.take(&attempt(1, 1)), Delivered::Once);
        assert_eq!(given.take(&attempt(2, 2)), Delivered::Again);
    }
}
