//! What agents save: what each process has in mind, the file that it may write, and the state directory's newest.

use std::collections::BTreeSet;

use rekindle::checkpoint::{CheckpointBody, CheckpointDraft, CheckpointFields, HeldCheckpoint};
use rekindle::execution::ExecutionId;
use rekindle::id::Incarnation;
use rekindle_shim_core::{RequestNumber, TaskIs, TreeId};

use crate::queue::{HostIx, ShimIx, Uid};

/// One process of an agent that saves, or goes on with what was saved.
#[derive(Debug)]
pub(crate) struct Mind {
    pub(crate) host: HostIx,
    pub(crate) shim: ShimIx,
    pub(crate) incarnation: Incarnation,
    pub(crate) tree: TreeId,
    /// What it was handed.
    pub(crate) handed: Option<HeldCheckpoint>,
    /// It has asked its shim for something.
    pub(crate) waits: Option<RequestNumber>,
    /// What it has written into its state file last.
    pub(crate) file: Option<Saved>,
    /// The newest of those that its shim has taken.
    pub(crate) taken: Option<Token>,
    /// That its shim has been told of, and has not answered.
    pub(crate) told: Option<Token>,
    /// The newest of those that its shim has refused.
    pub(crate) refused: Option<Token>,
    /// Nobody can know any more that its file is there.
    pub(crate) excused: bool,
}

/// Tells one save from every other of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// What is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) token: Token,
    pub(crate) fields: CheckpointFields,
    pub(crate) body: CheckpointBody,
    pub(crate) task: TaskIs,
}

impl Saved {
    /// What says by itself which one it is.
    pub(crate) fn new(token: Token, task_id: &str, task: TaskIs) -> Self {
        let fields = CheckpointFields::new(CheckpointDraft {
            task_id: task_id.to_owned(),
            stage: token.0.to_string(),
            values: [("token".to_owned(), token.0.to_string())].into(),
            memory_refs: vec![format!("memory/{}", token.0)],
            ..CheckpointDraft::default()
        });
        Self {
            token,
            fields: fields.expect("within its limits"),
            body: CheckpointBody::new(token.0.to_be_bytes().to_vec()).expect("short"),
            task,
        }
    }
}

/// What a process of an agent thinks of next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thought {
    /// It looks at what it was handed.
    Reads,
    Saves,
    Confirms,
    Closes,
    /// It speaks for a life that is over.
    SpeaksForAnother,
}

/// Who asked a shim for something about checkpoints, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) uid: Uid,
    pub(crate) by: AskBy,
    /// The life that was named.
    pub(crate) named: Option<Incarnation>,
    pub(crate) what: AskWhat,
}

/// By which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskBy {
    Socket,
    File,
    /// The checkpoint command, which is no process of ours.
    Command,
}

/// For what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskWhat {
    Save(Token, TaskIs),
    Load,
    Confirm,
    Close,
}

/// What is on a state directory's disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct StateDir {
    pub(crate) newest: Option<HeldCheckpoint>,
    pub(crate) previous: Option<HeldCheckpoint>,
}

impl StateDir {
    /// One is written, whole, and the one before it is kept.
    pub(crate) fn write(&mut self, held: HeldCheckpoint) {
        self.previous = self.newest.replace(held);
    }
}

/// What a shim's driver has under way.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    pub(crate) held: Option<HeldCheckpoint>,
    /// Lives of which the shim was told that they have looked at what they were handed.
    pub(crate) told_read: BTreeSet<Incarnation>,
}

/// The execution that a text names, if it names one.
pub(crate) fn task_of(fields: &CheckpointFields) -> Option<ExecutionId> {
    ExecutionId::new(&fields.task_id).ok()
}
