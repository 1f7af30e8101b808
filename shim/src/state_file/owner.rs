//! Whose a state file is, and how it is named for that.

use rekindle::execution::{AttemptId, ExecutionId};
use rekindle::id::Incarnation;
use rekindle_shim_core::TreeId;

/// How the names of all state files end.
const SUFFIX: &str = ".json";

/// Whose a state file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The life.
    pub(crate) incarnation: Incarnation,
    /// The execution and the attempt, of a process that was run for a message.
    pub(crate) message: Option<(ExecutionId, u32)>,
}

impl Owner {
    /// Of the processes of a tree.
    pub(crate) fn of_tree(tree: &TreeId, incarnation: Incarnation) -> Self {
        let message = match tree {
            TreeId::Life(_) => None,
            TreeId::Attempt(AttemptId { execution, number, .. }) => Some((execution.clone(), *number)),
        };
        Self { incarnation, message }
    }

    /// Whether the processes of a tree are told of it.
    pub(super) fn is_of(&self, tree: &TreeId) -> bool {
        match (tree, &self.message) {
            (TreeId::Life(incarnation), None) => self.incarnation == *incarnation,
            (TreeId::Attempt(attempt), Some((execution, number))) => {
                attempt.execution == *execution && attempt.number == *number
            }
            (TreeId::Life(_), Some(_)) | (TreeId::Attempt(_), None) => false,
        }
    }

    /// The name of its file.
    pub(super) fn name(&self) -> String {
        let incarnation = self.incarnation;
        match &self.message {
            None => format!("{incarnation}{SUFFIX}"),
            Some((execution, number)) => format!("{incarnation}.{execution}.{number}{SUFFIX}"),
        }
    }

    /// The life of which a file of this name is, or what somebody has left who was about to write it: `7.json.new`.
    pub(super) fn life_of(name: &str) -> Option<Incarnation> {
        let (number, _) = name.split_once('.')?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| number.parse().ok().map(Incarnation::new))?
    }

    /// Whose file has this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.strip_suffix(SUFFIX)?;
        let (incarnation, message) = match name.split_once('.') {
            None => (name, None),
            Some((incarnation, message)) => {
                let (execution, number) = message.rsplit_once('.')?;
                (
                    incarnation,
                    Some((ExecutionId::new(execution).ok()?, number.parse().ok()?)),
                )
            }
        };
        Some(Self {
            incarnation: Incarnation::new(incarnation.parse().ok()?),
            message,
        })
    }
}
