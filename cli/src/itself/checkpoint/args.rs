//! The command lines.

use std::path::PathBuf;

use clap::Args;

/// Which life of the agent speaks.
#[derive(Debug, Args)]
pub(crate) struct Life {
    /// The life that this program is of, which its shim has told it
    #[arg(
        long,
        env = "REKINDLE_INCARNATION",
        hide = true,
        default_value_t = 0,
        value_name = "NUMBER"
    )]
    pub(super) incarnation: u64,
}

/// Save.
#[derive(Debug, Args)]
pub(crate) struct Save {
    #[command(flatten)]
    pub(super) life: Life,
    /// The task that it is of; an execution's id says that it is over with the execution [default: the only execution
    /// that the agent works on]
    #[arg(
        long,
        env = "REKINDLE_EXECUTION",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_name = "ID"
    )]
    pub(super) task_id: String,
    /// What the task is about, in an issue tracker for example
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) issue: String,
    /// Where the agent works
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) workspace: String,
    /// The branch that it works on
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) branch: String,
    /// How far it is
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) stage: String,
    /// What it remembers elsewhere; may be given several times
    #[arg(long = "memory-ref", value_name = "REFERENCE")]
    pub(super) memory_refs: Vec<String>,
    /// What else it wants to know; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(super) values: Vec<(String, String)>,
    /// A file with anything in it, or - for standard input; at most 256 KiB
    #[arg(long, value_name = "FILE")]
    pub(super) body: Option<PathBuf>,
}

/// Load.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(super) life: Life,
    /// Print lines for a shell to eval instead of JSON
    #[arg(long)]
    pub(super) export: bool,
    /// Write the body into this file, and leave it out of what is printed; - prints nothing but the body
    #[arg(long, value_name = "FILE")]
    pub(super) body: Option<PathBuf>,
}

/// The value may have any `=` of its own. What a key may be is the shim's to say.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("write KEY=VALUE".to_owned()),
    }
}
