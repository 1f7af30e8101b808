//! The command line of `rekindle`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rekindle::duration;
use rekindle::id::{AgentId, RequestId};

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
numbers are numbers, times are RFC 3339, durations are seconds (\"1.500s\"). Events are one object per line.";

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
}

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// List agents
    #[command(
        after_help = "Examples:\n  rekindle agents list\n  rekindle agents list --filter 'state = CRASHED AND \
                            labels.team = \"search\"'"
    )]
    List(Selection),
    /// Show one agent in full
    Get(Named),
    /// End what runs, prove it dead, and start it anew; works from every state
    #[command(
        after_help = "Examples:\n  rekindle agents restart planner-1\n  rekindle agents restart planner-1 \
                            --grace-period 0s --reason 'new model' --timeout 30s"
    )]
    Restart(Start),
    /// Start an agent that is down; one that runs is restarted, unless --only-if-down
    #[command(after_help = "Example:\n  rekindle agents start planner-1 --only-if-down")]
    Start(Start),
    /// End what runs; the agent stays down until it is started
    #[command(after_help = "Example:\n  rekindle agents stop planner-1 --reason 'host goes away'")]
    Stop(Stop),
    /// Send a signal to an agent's process, after its identity was checked
    #[command(after_help = "Example:\n  rekindle agents signal planner-1 HUP")]
    Signal(Signal),
    /// Say why an agent is as it is, and what happens next
    Explain(Named),
    /// List the process of every agent that has one
    Processes(Selection),
    /// Forget an agent whose shim is gone
    Delete(Delete),
}

/// Which agents.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Only those that match, in AIP-160's syntax; over name, state, state_reason, desired_state, ready,
    /// connection.connected, connection.host, incarnation and labels.KEY
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
}

/// One agent.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The agent, with or without `agents/`
    #[arg(value_name = "AGENT")]
    pub(crate) name: AgentId,
}

/// What restart, start and stop have in common.
#[derive(Debug, Args)]
pub(crate) struct Operation {
    #[command(flatten)]
    pub(crate) agent: Named,
    /// Why; shown in events
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// The same id twice is one operation [default: a random one]
    #[arg(long, value_name = "ID", value_parser = RequestId::new)]
    pub(crate) request_id: Option<RequestId>,
    /// Refuse unless the agent's incarnation is this one
    #[arg(long, value_name = "N")]
    pub(crate) expected_incarnation: Option<u64>,
    /// Time between the stop signal and SIGKILL, this once; 0s kills at once
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    pub(crate) grace_period: Option<prost_types::Duration>,
    /// How long to wait for the end [default: the server's limit]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
}

/// Restart or start.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) operation: Operation,
    /// Do nothing when the agent runs, starts, or is UNREACHABLE and so presumed to run
    #[arg(long)]
    pub(crate) only_if_down: bool,
    /// Start although the old processes could not be proven dead, and let another host take over from a silent shim
    #[arg(long)]
    pub(crate) force: bool,
    /// What to wait for
    #[arg(long, value_enum, default_value_t = StartWait::Ready)]
    pub(crate) wait: StartWait,
}

/// What a restart or start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartWait {
    /// The order is durable
    Accepted,
    /// The process has been spawned
    Started,
    /// The process is ready
    Ready,
}

/// Stop.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) operation: Operation,
    /// What to wait for
    #[arg(long, value_enum, default_value_t = StopWait::Stopped)]
    pub(crate) wait: StopWait,
}

/// What a stop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StopWait {
    /// The order is durable
    Accepted,
    /// All processes of the agent are proven dead
    Stopped,
}

/// Signal.
#[derive(Debug, Args)]
pub(crate) struct Signal {
    #[command(flatten)]
    pub(crate) agent: Named,
    /// The signal's name, such as HUP or USR1
    pub(crate) signal: String,
    /// Refuse unless the agent's incarnation is this one
    #[arg(long, value_name = "N")]
    pub(crate) expected_incarnation: Option<u64>,
}

/// Delete.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) agent: Named,
    /// Refuse unless the agent's etag is this one
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
    /// Delete although a process may live, because its shim is silent
    #[arg(long)]
    pub(crate) force: bool,
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
    /// Only those that match, in AIP-160's syntax; over type, agent, sequence, incarnation and attributes.KEY
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

/// A grace that the wire can hold. How long it may be is the server's to say.
fn grace(text: &str) -> Result<prost_types::Duration, String> {
    let grace = duration::parse(text).map_err(|error| error.to_string())?;
    prost_types::Duration::try_from(grace)
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
        assert_eq!(grace("0s").map(|grace| grace.seconds), Ok(0));
        assert_eq!(grace(&format!("{seconds}s")).map(|grace| grace.seconds), Ok(i64::MAX));
        assert!(grace(&format!("{}s", seconds + 1)).is_err());
        assert!(grace("soon").is_err());
        assert_eq!(timeout("99999999s"), Ok(TIMEOUT_MAX));
        assert!(timeout("100000000s").is_err());
    }
}
