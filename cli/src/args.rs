//! The command line of `rekindle`.

mod agents;
mod checkpoint;
mod executions;
mod workflows;

pub(crate) use agents::{Agents, Delete, Selection, Signal, Start, StartContext, StartWait, Stop, StopWait};
pub(crate) use checkpoint::{Action, Checkpoint};
pub(crate) use executions::{Cancel, Executions, List, Redrive, Run};
pub(crate) use workflows::{
    Create as CreateWorkflow, Delete as DeleteWorkflow, List as WorkflowList, Policies, TriggerNow,
    Update as UpdateWorkflow, Workflows,
};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rekindle::duration;
use rekindle::id::AgentId;

use crate::itself::Itself;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed
  2  usage
  3  not found
  4  cannot reach the server
  5  denied
  6  timed out, or still going on";

const JSON: &str = "\
With --output json, answers have the fields of the API (package rekindle.v1) under the names of its proto files. \
Every field is always there: what is absent is null. Enums are the bare words of the documentation (\"RUNNING\"), \
numbers are numbers, times are RFC 3339, durations are seconds (\"1.500s\"). Events, and what `executions watch` \
tells, are one object per line.";

/// Operate a fleet of agents, or try Rekindle out with `rekindle dev`.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, after_help = EXIT_CODES, after_long_help = format!("{JSON}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    /// The server's address
    #[arg(
        long,
        global = true,
        env = "REKINDLE_SERVER",
        default_value = "http://127.0.0.1:7420",
        value_name = "URL"
    )]
    pub(crate) server: String,
    /// What answers look like
    #[arg(long, global = true, env = "REKINDLE_OUTPUT", value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What answers look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns, for people
    Table,
    /// JSON, for programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at agents, and operate them
    #[command(subcommand, visible_alias = "agent")]
    Agents(Agents),
    /// Give an agent a message, and wait for the result
    Run(Run),
    /// Look at the work of agents, and operate it
    #[command(subcommand, visible_alias = "execution")]
    Executions(Executions),
    /// Look at what gives agents their work by itself, and operate it
    #[command(subcommand, visible_alias = "workflow")]
    Workflows(Workflows),
    /// Look at what an agent has saved, and what its next life gets
    #[command(visible_alias = "checkpoints")]
    Checkpoint(Checkpoint),
    /// Show what happened, and what happens
    Events(Events),
    /// Count all agents, and say how the server does
    Fleet,
    /// Print the completions of a shell
    #[command(
        after_help = "Example:\n  rekindle completions bash > ~/.local/share/bash-completion/completions/rekindle"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Start a server, a shim and an agent on this machine, and show live what happens
    Dev(Dev),
    /// Take work and say what comes of it, as the program that a rekindle-shim runs
    #[command(subcommand, name = "self")]
    Itself(Itself),
}

/// Events.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rekindle events --follow\n  rekindle events --after 1000 --filter 'type = \
                        AGENT_CRASHED'\n  rekindle events --follow --output json | jq .message"
)]
pub(crate) struct Events {
    /// Go on with what happens from now on, over restarts of the server, until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Begin after this sequence number; 0 is the oldest event that is kept
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) after: Option<u64>,
    /// Only those that match, in AIP-160's syntax; over type, agent, execution, workflow, sequence,
    /// incarnation and attributes.KEY
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
}

/// A whole Rekindle on one machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rekindle dev\n  rekindle dev -- ./my-agent --verbose\n  rekindle dev --listen \
                        127.0.0.1:0 --data-dir ./state -- python3 agent.py"
)]
pub(crate) struct Dev {
    /// Where the server listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Keep data and logs here [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The agent's name [default: the program's]
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<AgentId>,
    /// Time between two automatic restarts; the first comes at once
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) cooldown: Duration,
    /// Automatic restarts before the agent is given up
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) max_attempts: u32,
    /// Time of running after which the count of attempts returns to zero
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) stable_after: Duration,
    /// The agent's program and its arguments [default: a sample agent that now and then crashes]
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Longest timeout: what gRPC's eight digits can say in seconds, some three years.
const TIMEOUT_MAX: Duration = Duration::from_secs(99_999_999);

/// A duration that the wire can hold. How long it may be is the server's to say.
fn duration_on_wire(text: &str) -> Result<prost_types::Duration, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    prost_types::Duration::try_from(duration)
        .map_err(|_| "it is longer than any agent lives; write for example 10s".into())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration::parse(text).map_err(|error| error.to_string())?;
    if timeout > TIMEOUT_MAX {
        return Err(format!("it must be at most {}", duration::show(TIMEOUT_MAX)));
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_wire_cannot_hold_is_refused() {
        let seconds = i64::MAX.unsigned_abs();
        assert_eq!(duration_on_wire("0s").map(|grace| grace.seconds), Ok(0));
        assert_eq!(
            duration_on_wire(&format!("{seconds}s")).map(|grace| grace.seconds),
            Ok(i64::MAX)
        );
        assert!(duration_on_wire(&format!("{}s", seconds + 1)).is_err());
        assert!(duration_on_wire("soon").is_err());
        assert_eq!(timeout("99999999s"), Ok(TIMEOUT_MAX));
        assert!(timeout("100000000s").is_err());
    }
}
