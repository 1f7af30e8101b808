//! `rekindle workflows`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use rekindle::execution::ExecutionState;
use rekindle::id::{AgentId, RequestId};
use rekindle::wire::v1;
use rekindle::workflow::{AgentEventKind, FireKey, WorkflowId};

use super::duration_on_wire;
use super::executions::state;

const CREATE_EXAMPLES: &str = "\
Examples:
  rekindle workflows create report --agent planner-1 --every 1h --message 'write the report'
  rekindle workflows create nightly --agent planner-1 --cron '30 2 * * MON-FRI' --time-zone Europe/Berlin --message - < task.md
  rekindle workflows create deploys --agent planner-1 --webhook --message 'look at this deploy: {payload}'
  rekindle workflows create mourner --agent planner-1 --on-agent planner-2 --on-event AGENT_CRASHED --message '{payload}'
  rekindle workflows create second --agent planner-1 --after first --message 'go on'";

/// What to do with workflows.
#[derive(Debug, Subcommand)]
pub(crate) enum Workflows {
    /// Make a workflow: a trigger that gives an agent work
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<Create>),
    /// Show one workflow in full
    #[command(visible_alias = "show", after_help = "Example:\n  rekindle workflows get nightly")]
    Get(NamedWorkflow),
    /// List workflows
    #[command(
        after_help = "Examples:\n  rekindle workflows list --agent planner-1\n  rekindle workflows list --filter \
                            'runner.state = WAITING'"
    )]
    List(List),
    /// Change what is given of a workflow, and leave the rest
    #[command(
        after_help = "Examples:\n  rekindle workflows update nightly --cron '0 3 * * *' --overlap skip\n  rekindle \
                            workflows update deploys --rotate-secret"
    )]
    Update(Box<Update>),
    /// Let a workflow fire again
    #[command(after_help = "Example:\n  rekindle workflows enable nightly")]
    Enable(NamedWorkflow),
    /// Keep a workflow, and let it fire no more
    #[command(after_help = "Example:\n  rekindle workflows disable nightly")]
    Disable(NamedWorkflow),
    /// Fire a workflow by hand, whatever its trigger
    #[command(
        after_help = "Examples:\n  rekindle workflows trigger nightly\n  rekindle workflows trigger deploys --payload \
                            - < deploy.json"
    )]
    Trigger(TriggerNow),
    /// Forget a workflow, and what waits of it; its executions go on
    #[command(after_help = "Example:\n  rekindle workflows delete nightly")]
    Delete(Delete),
}

/// One workflow.
#[derive(Debug, Args)]
pub(crate) struct NamedWorkflow {
    /// The workflow, with or without `workflows/`
    #[arg(value_name = "WORKFLOW")]
    pub(crate) name: WorkflowId,
}

/// Create.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("kind").args(KINDS).required(true))]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) workflow: NamedWorkflow,
    /// The agent that does the work, with or without `agents/`; it need not exist yet
    #[arg(long)]
    pub(crate) agent: AgentId,
    /// What the agent is asked to do; `-` reads it from stdin. What comes with a trigger takes the place of `{payload}`
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: String,
    #[command(flatten)]
    pub(crate) trigger: TriggerOf,
    #[command(flatten)]
    pub(crate) policies: Policies,
    /// Make it without letting it fire
    #[arg(long)]
    pub(crate) disabled: bool,
    /// The same id twice is one workflow [default: a random one]
    #[arg(long, value_name = "ID", value_parser = RequestId::new)]
    pub(crate) request_id: Option<RequestId>,
}

/// Update.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("kind").args(KINDS))]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) workflow: NamedWorkflow,
    /// The agent that does the work from here on
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// What the agent is asked to do from here on; `-` reads it from stdin
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) trigger: TriggerOf,
    #[command(flatten)]
    pub(crate) policies: Policies,
    /// Make a webhook's secret anew; the one before is refused from here on
    #[arg(long)]
    pub(crate) rotate_secret: bool,
    /// Refuse unless the workflow's etag is this one
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
}

/// The arguments of which each is a trigger.
const KINDS: [&str; 7] = ["every", "cron", "at", "manual", "webhook", "on_agent", "after"];

/// What an argument that goes with one trigger conflicts with: that it requires the one is not looked at beside another.
fn others(kind: &str) -> impl Iterator<Item = &'static str> {
    KINDS.into_iter().filter(move |other| *other != kind)
}

/// What makes it fire: one of these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Trigger")]
pub(crate) struct TriggerOf {
    /// Again and again, each time so much time has passed
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
    pub(crate) every: Option<prost_types::Duration>,
    /// At the times of a cron expression: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: Option<String>,
    /// The time zone of --cron, as the IANA database calls it [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron", conflicts_with_all = others("cron"))]
    pub(crate) time_zone: Option<String>,
    /// Once, at this time (RFC 3339), for example 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) at: Option<prost_types::Timestamp>,
    /// By `rekindle workflows trigger` alone
    #[arg(long)]
    pub(crate) manual: bool,
    /// By an HTTP POST that knows a secret, which is told once
    #[arg(long)]
    pub(crate) webhook: bool,
    /// By what happens to this agent
    #[arg(long, value_name = "AGENT", requires = "on_event")]
    pub(crate) on_agent: Option<AgentId>,
    /// What has to happen to it, with commas between several
    #[arg(long, value_name = "TYPE", value_delimiter = ',', requires = "on_agent", conflicts_with_all = others("on_agent"),
          value_parser = event)]
    pub(crate) on_event: Vec<AgentEventKind>,
    /// When an execution of this workflow has ended
    #[arg(long, value_name = "WORKFLOW")]
    pub(crate) after: Option<WorkflowId>,
    /// How it has to end, with commas between several [default: SUCCEEDED]
    #[arg(long, value_name = "STATE", value_delimiter = ',', requires = "after", conflicts_with_all = others("after"),
          value_parser = state)]
    pub(crate) after_state: Vec<ExecutionState>,
}

impl TriggerOf {
    /// The one that was given, if any.
    pub(crate) fn to_wire(&self) -> Option<v1::Trigger> {
        use v1::trigger::{self, Kind};
        let kind = if let Some(every) = self.every {
            Kind::Interval(trigger::Interval { every: Some(every) })
        } else if let Some(expression) = &self.cron {
            Kind::Cron(trigger::Cron {
                expression: expression.clone(),
                time_zone: self.time_zone.clone().unwrap_or_default(),
            })
        } else if let Some(at) = self.at {
            Kind::OneShot(trigger::OneShot { at: Some(at) })
        } else if self.manual {
            Kind::Manual(trigger::Manual {})
        } else if self.webhook {
            Kind::Webhook(trigger::Webhook {})
        } else if let Some(agent) = &self.on_agent {
            Kind::AgentEvent(trigger::AgentEvent {
                agent: agent.name(),
                types: self
                    .on_event
                    .iter()
                    .map(|kind| v1::EventType::from(*kind).into())
                    .collect(),
            })
        } else if let Some(workflow) = &self.after {
            let states = self.after_state.iter();
            Kind::Completion(trigger::Completion {
                workflow: workflow.name(),
                states: states.map(|state| v1::ExecutionState::from(*state).into()).collect(),
            })
        } else {
            return None;
        };
        Some(v1::Trigger { kind: Some(kind) })
    }
}

/// What becomes of fires that cannot go at once.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policies")]
pub(crate) struct Policies {
    /// Time from the start of an attempt to its end, past which it is ended [default: the agent's message_timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
    pub(crate) timeout: Option<prost_types::Duration>,
    /// What becomes of points of a schedule while the agent is away [default: once]
    #[arg(long, value_enum)]
    pub(crate) misfire: Option<Misfire>,
    /// What becomes of a fire while an execution goes on [default: queue]
    #[arg(long, value_enum)]
    pub(crate) overlap: Option<Overlap>,
    /// Time from a fire, past which its work is not begun any more [default: it waits for as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
    pub(crate) expires_after: Option<prost_types::Duration>,
}

/// What becomes of points of a schedule that the agent was not there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Misfire {
    /// They are skipped
    Skip,
    /// The newest waits for the agent
    Once,
    /// Each of them waits
    All,
}

impl From<Misfire> for v1::Misfire {
    fn from(misfire: Misfire) -> Self {
        match misfire {
            Misfire::Skip => Self::Skip,
            Misfire::Once => Self::Once,
            Misfire::All => Self::All,
        }
    }
}

/// What becomes of a fire while an execution of the same workflow goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlap {
    /// It is skipped
    Skip,
    /// It waits for its turn
    Queue,
    /// The execution is cancelled, then it goes
    CancelRunning,
}

impl From<Overlap> for v1::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Queue => Self::Queue,
            Overlap::CancelRunning => Self::CancelRunning,
        }
    }
}

/// Which workflows.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this agent's
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// Only those that match, in AIP-160's syntax; over name, agent, enabled, trigger, runner.state and runner.pending
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
}

/// Trigger.
#[derive(Debug, Args)]
pub(crate) struct TriggerNow {
    #[command(flatten)]
    pub(crate) workflow: NamedWorkflow,
    /// What takes the place of `{payload}` in its message; `-` reads it from stdin
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) payload: String,
    /// The same id twice is one fire, while that waits, runs or has succeeded [default: a random one]
    #[arg(long, value_name = "ID", value_parser = FireKey::new)]
    pub(crate) request_id: Option<FireKey>,
}

/// Delete.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) workflow: NamedWorkflow,
    /// Refuse unless the workflow's etag is this one
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) etag: String,
}

/// A time, with its offset from UTC.
fn instant(text: &str) -> Result<prost_types::Timestamp, String> {
    let instant: jiff::Timestamp = text
        .trim()
        .parse()
        .map_err(|_| "write a time with its offset, for example 2027-01-01T00:00:00Z or 2027-01-01T01:00+01:00")?;
    Ok(prost_types::Timestamp {
        seconds: instant.as_second(),
        nanos: instant.subsec_nanosecond(),
    })
}

/// A turn of an agent's life, in any case, with or without `AGENT_`, with `-` or `_` between its words.
fn event(text: &str) -> Result<AgentEventKind, String> {
    let word = text.trim().replace('-', "_").to_ascii_uppercase();
    let whole = AgentEventKind::parse(&word).or_else(|| AgentEventKind::parse(&format!("AGENT_{word}")));
    whole.ok_or_else(|| {
        let all: Vec<_> = AgentEventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("it must be one of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_people_write_them() {
        for kind in AgentEventKind::ALL {
            assert_eq!(event(kind.as_str()), Ok(*kind));
        }
        assert_eq!(event("taken-over"), Ok(AgentEventKind::TakenOver));
        assert!(event("died").is_err_and(|error| error.contains("AGENT_CRASHED")));
        let at = |text| instant(text).map(|at| (at.seconds, at.nanos));
        assert_eq!(at("1970-01-01T01:00:00.5+01:00"), Ok((0, 500_000_000)));
        assert!(at("tomorrow").is_err());
        assert!(at("2027-01-01T00:00:00").is_err(), "of which zone?");
    }
}
