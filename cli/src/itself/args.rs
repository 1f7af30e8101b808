//! The command line of `rekindle self`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rekindle::duration;

use super::checkpoint::{Life, Load, Save};

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

const SAVE_HELP: &str = "\
What is not said is not in it: nothing is kept of what was saved before. Once it returns, the state is durable on the
host, and on its way to the server; the agent's next life gets it, on whatever host, until it is closed.

An agent that survives any death, whole:
  eval \"$(rekindle self load --export)\"
  for step in 1 2 3; do
      if [ \"$step\" -le \"${REKINDLE_STAGE:-0}\" ]; then continue; fi
      work-on \"$step\"
      rekindle self save --task-id nightly --stage \"$step\"
  done
  rekindle self close";

const LOAD_HELP: &str = "\
Where nothing is open, prints nothing, and exits with 3.

With --export, for `eval \"$(rekindle self load --export)\"`: REKINDLE_CHECKPOINT, REKINDLE_TASK_ID, REKINDLE_ISSUE,
REKINDLE_WORKSPACE, REKINDLE_BRANCH, REKINDLE_STAGE, REKINDLE_MEMORY_REFS (one a line), REKINDLE_UNCLEAN (1),
REKINDLE_IN_FLIGHT (with blanks between), and REKINDLE_VALUE_KEY for each KEY that was --set; those that the state has not
are unset, all of them where nothing is open. Bodies come by --body alone.";

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
    /// Save a whole new state, for the next life of the agent
    #[command(after_help = SAVE_HELP)]
    Save(Save),
    /// Print what an earlier life has saved, or this one, as JSON
    #[command(after_help = LOAD_HELP)]
    Load(Load),
    /// Say that this life goes on from what it was handed: what ends it later is not blamed on that
    Confirm(Life),
    /// Say that what was saved is of no more use, as its task is over
    Close(Life),
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
