//! `rekindle checkpoint`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rekindle::checkpoint::CheckpointId;
use rekindle::id::AgentId;

const EXAMPLES: &str = "\
Examples:
  rekindle checkpoint planner-1
  rekindle checkpoint planner-1 list
  rekindle checkpoint planner-1 get 7.3 --body state.json
  rekindle checkpoint planner-1 delete 7.3

Exit code 3 means that there is none, or none of this id.";

/// Checkpoints of one agent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Checkpoint {
    /// The agent, with or without `agents/`
    pub(crate) agent: AgentId,
    /// What to do [default: show the one that is open]
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Show one checkpoint in full
    #[command(visible_alias = "show")]
    Get {
        /// The checkpoint, as INCARNATION.NUMBER
        id: CheckpointId,
        /// Write its body here; `-` is standard output, without anything else
        #[arg(long, value_name = "FILE")]
        body: Option<PathBuf>,
    },
    /// List those that are kept, the newest first
    List,
    /// Forget one; where it was open the next life begins without a checkpoint
    Delete {
        /// The checkpoint, as INCARNATION.NUMBER
        id: CheckpointId,
    },
}
