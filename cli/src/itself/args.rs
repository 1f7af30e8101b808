//! The command line of `rekindle self`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rekindle::duration;

/// Longest wait that the shim takes.
const WAIT_MAX: Duration = Duration::from_secs(3600);

const NEXT_HELP: &str = "\
Prints the message. When nothing came in time, prints nothing, and exits with 6.

An agent that takes work, whole:
  while true; do
      message=$(rekindle self next) || continue
      if result=$(work-on \"$message\"); then rekindle self done \"$result\"; else rekindle self fail \"exit $?\"; fi
  done

Without --execution, `done` and `fail` are about the only execution that the agent works on. One that works on several at
a time takes `execution` and `attempt` from --output json, and says them by --execution and --attempt, or once for all
that it runs for it by REKINDLE_EXECUTION and REKINDLE_ATTEMPT. A shim that starts anew is waited for.";

const DONE_HELP: &str = "\
Examples:
  rekindle self done 'all tests pass'
  ./work 2>&1 | rekindle self done -

A result on the command line has at most 128 KiB (execve(2)); from standard input it may have any length, and the last
256 KiB are kept.";

/// What to say to the shim that runs this program.
#[derive(Debug, Subcommand)]
pub(crate) enum Itself {
    /// Wait for work, and take it
    #[command(after_help = NEXT_HELP)]
    Next(Next),
    /// Say that an execution is done
    #[command(after_help = DONE_HELP)]
    Done(Done),
    /// Say that it cannot be done
    Fail(Fail),
    /// Say how far it is, to those who wait for the result
    Progress(Progress),
    /// Say that it waits for somebody: its time stands still, for as long as the agent's blocked_limit
    Blocked(Blocked),
    /// Say that it goes on
    Unblocked(About),
}

/// Next.
#[derive(Debug, Args)]
pub(crate) struct Next {
    /// How long to wait
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = wait)]
    pub(super) wait: Duration,
}

/// Which execution.
#[derive(Debug, Args)]
pub(crate) struct About {
    /// The execution, with or without `agents/AGENT/executions/` [default: the only one that the agent works on]
    #[arg(
        long,
        env = "REKINDLE_EXECUTION",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(super) execution: String,
    /// Which attempt at it, as `next --output json` tells [default: the only one that this life of the agent was given]
    #[arg(
        long,
        env = "REKINDLE_ATTEMPT",
        hide_env_values = true,
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(super) attempt: u32,
}

/// Done.
#[derive(Debug, Args)]
pub(crate) struct Done {
    #[command(flatten)]
    pub(super) about: About,
    /// The result, or - to read it from standard input
    #[arg(allow_hyphen_values = true)]
    pub(super) result: Option<OsString>,
}

/// Fail.
#[derive(Debug, Args)]
pub(crate) struct Fail {
    #[command(flatten)]
    pub(super) about: About,
    /// Why
    #[arg(allow_hyphen_values = true)]
    pub(super) message: OsString,
}

/// Progress.
#[derive(Debug, Args)]
pub(crate) struct Progress {
    #[command(flatten)]
    pub(super) about: About,
    /// How far it is, in words
    #[arg(allow_hyphen_values = true)]
    pub(super) text: OsString,
}

/// Blocked.
#[derive(Debug, Args)]
pub(crate) struct Blocked {
    #[command(flatten)]
    pub(super) about: About,
    /// Who or what it waits for
    #[arg(value_enum)]
    pub(super) reason: Reason,
}

/// Who or what an execution waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reason {
    /// Somebody's consent
    Approval,
    /// Something that is used up for a while
    Quota,
    /// Somebody's answer
    User,
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text).map_err(|error| error.to_string())?;
    if wait > WAIT_MAX {
        return Err(format!("it must be at most {}", duration::show(WAIT_MAX)));
    }
    Ok(wait)
}
