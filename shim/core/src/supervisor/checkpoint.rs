//! Checkpoints: what the agent saves, and what the next life is handed of it.

use rekindle::checkpoint::HeldCheckpoint;

use super::Supervisor;
use crate::effect::{CheckpointAnswer, CheckpointRefused, Effect};
use crate::input::RequestNumber;
use crate::tree::TreeId;

impl Supervisor {
    /// What the process that is run as this tree goes on with: asked for when `Spawn` or `SpawnAttempt` is carried out.
    pub const fn handed_over(&self, _tree: &TreeId) -> Option<HeldCheckpoint> {
        None
    }

    pub(super) fn refuse_checkpoint(&mut self, request: RequestNumber) {
        let answer: Result<CheckpointAnswer, _> = Err(CheckpointRefused::NotRunning);
        self.effects.push(Effect::AnswerCheckpoint { request, answer });
    }
}
