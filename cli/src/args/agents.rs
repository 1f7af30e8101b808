//! `rekindle agents`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rekindle::id::{AgentId, RequestId};

use super::{duration_on_wire, timeout};

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
                            --grace-period 0s --reason 'new model' --timeout 30s\n  rekindle agents restart planner-1 \
                            --context fresh"
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
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
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
    /// What the new life goes on from
    #[arg(long, value_enum, default_value_t = StartContext::Resume)]
    pub(crate) context: StartContext,
    /// What to wait for
    #[arg(long, value_enum, default_value_t = StartWait::Ready)]
    pub(crate) wait: StartWait,
}

/// What a new life goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartContext {
    /// The agent's checkpoint, where one is open
    Resume,
    /// Nothing: the checkpoint that is open is closed
    Fresh,
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
