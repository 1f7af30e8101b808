//! The command that saves for an agent which is about to be ended.

use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::id::Incarnation;
use rekindle_shim_core::Input;

use super::Driver;
use crate::process::{CheckpointCommand, CommandEnd, Purpose};

impl Driver {
    /// Runs it beside the life's process. Where it cannot run the life is ended as one that saves by its signal.
    pub(super) fn run_checkpoint_command(&mut self, incarnation: Incarnation, within: Duration) {
        let started = self.start_checkpoint_command(incarnation);
        let within = rekindle::duration::show(within);
        match started {
            Ok(()) => {
                tracing::info!(%incarnation, within, "the checkpoint command runs, before the agent's processes are ended")
            }
            Err(why) => {
                tracing::error!(%incarnation, "the checkpoint command does not run, and the agent may not save: {why}");
                self.facts.push_back(Input::CheckpointCommandDone { incarnation });
            }
        }
    }

    fn start_checkpoint_command(&mut self, incarnation: Incarnation) -> Result<(), String> {
        let command = self.checkpoint_command.as_ref().ok_or("there is none")?;
        let life = self.children.of_life(incarnation).ok_or("nothing runs")?;
        let file = self.state_files.of_life(incarnation);
        let birth = self.birth(incarnation, Purpose::CheckpointCommand, file);
        let (outputs, tree) = (&mut self.outputs, &self.tree);
        let spawned = CheckpointCommand::spawn(&self.program, command, &birth, life, outputs, tree);
        self.saving = Some(spawned.map_err(|error| self.redaction.apply(&error.to_string()))?);
        Ok(())
    }

    /// It has had its time.
    pub(super) fn end_checkpoint_command(&self, incarnation: Incarnation) {
        if let Some(command) = self
            .saving
            .as_ref()
            .filter(|command| command.incarnation() == incarnation)
        {
            tracing::warn!(%incarnation, "the checkpoint command has taken half of the grace, and is killed");
            command.kill();
        }
    }

    /// It is dead.
    pub(super) fn bury_checkpoint_command(&mut self) -> Option<Input> {
        let command = self.saving.take()?;
        let incarnation = command.incarnation();
        let CommandEnd { status, stderr_tail } = command.bury();
        match status {
            ExitStatus::Exited(0) => tracing::info!(%incarnation, "the checkpoint command is done"),
            ExitStatus::Exited(_) | ExitStatus::Signaled { .. } | ExitStatus::Unknown => tracing::warn!(
                %incarnation,
                stderr_tail,
                "the checkpoint command {status}: what the agent has saved before is kept"
            ),
        }
        Some(Input::CheckpointCommandDone { incarnation })
    }
}
