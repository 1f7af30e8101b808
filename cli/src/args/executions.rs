//! `rekindle run` and `rekindle executions`.

use std::time::Duration;

use clap::{Args, Subcommand};
use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, RequestId};

use super::{duration_on_wire, timeout};
use crate::executions::ExecutionName;

/// Where everything goes.
const OUTPUT: &str = "\
The agent's output goes to stdout as it comes, and everything else to stderr. On a terminal, control characters of the \
output are shown escaped; a pipe gets them as they are. With --output json, stdout gets the execution alone, once it is \
over.";

const RUN_EXAMPLES: &str = "\
Examples:
  rekindle run planner-1 'sort the inbox'
  rekindle run planner-1 - --timeout 10m < task.md
  rekindle run planner-1 'sort the inbox' --detach";

/// How a result becomes an exit code.
const RESULT_CODES: &str = "\
Exit codes, by the result:
  0  SUCCEEDED
  1  FAILED, CANCELLED, LOST or DEAD_LETTER
  6  TIMED_OUT, or it goes on without this command";

/// Give an agent a message.
#[derive(Debug, Args)]
#[command(
    after_help = format!("{RUN_EXAMPLES}\n\n{RESULT_CODES}"),
    after_long_help = format!("{OUTPUT}\n\n{RUN_EXAMPLES}\n\n{RESULT_CODES}")
)]
pub(crate) struct Run {
    /// The agent, with or without `agents/`
    pub(crate) agent: AgentId,
    /// What it is asked to do; `-` reads it from stdin
    pub(crate) message: String,
    /// Time from the start of an attempt to its end, past which it is ended [default: the agent's message_timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
    pub(crate) timeout: Option<prost_types::Duration>,
    /// Time to its start, past which it is not done any more [default: it waits for as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
    pub(crate) schedule_to_start_timeout: Option<prost_types::Duration>,
    /// The higher, the earlier among those that wait; -100 to 100
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    pub(crate) priority: i32,
    /// The execution's id [default: one that the server gives]
    #[arg(long, value_name = "ID", value_parser = ExecutionId::new)]
    pub(crate) id: Option<ExecutionId>,
    /// The same id twice is one execution [default: a random one]
    #[arg(long, value_name = "ID", value_parser = RequestId::new)]
    pub(crate) request_id: Option<RequestId>,
    /// Print the execution's name once it is queued, and do not wait
    #[arg(long)]
    pub(crate) detach: bool,
    /// Cancel the work when this command is interrupted, instead of leaving it to go on
    #[arg(long, conflicts_with = "detach")]
    pub(crate) cancel_on_interrupt: bool,
}

/// What to do with executions.
#[derive(Debug, Subcommand)]
pub(crate) enum Executions {
    /// List executions
    #[command(
        after_help = "Examples:\n  rekindle executions list planner-1 --state queued,running\n  rekindle \
                            executions list --state dead-letter\n  rekindle executions list --filter 'attempt > 1'"
    )]
    List(List),
    /// Show one execution in full
    #[command(
        visible_alias = "show",
        after_help = "Example:\n  rekindle executions get planner-1/mail-7"
    )]
    Get(NamedExecution),
    /// Print the output of an execution, and nothing else
    #[command(after_help = "Example:\n  rekindle executions output planner-1/mail-7 > report.md")]
    Output(NamedExecution),
    /// Wait for the result of an execution, as `rekindle run` does
    #[command(after_help = format!("Example:\n  rekindle executions watch planner-1/mail-7\n\n{RESULT_CODES}"))]
    Watch(NamedExecution),
    /// End an execution, and say whether that or its own end came first
    #[command(after_help = "Example:\n  rekindle executions cancel planner-1/mail-7 --reason 'wrong inbox'")]
    Cancel(Cancel),
    /// Queue the message of an execution that is over once more
    #[command(after_help = "Example:\n  rekindle executions redrive planner-1/mail-7")]
    Redrive(Redrive),
}

/// Which executions.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this agent's
    pub(crate) agent: Option<AgentId>,
    /// Only those in one of these states, with commas between them
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    pub(crate) state: Vec<ExecutionState>,
    /// Only those that match, in AIP-160's syntax; over name, state, attempt, incarnation and cancelling
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
}

/// One execution.
#[derive(Debug, Args)]
pub(crate) struct NamedExecution {
    /// The execution, as AGENT/EXECUTION or by its resource name
    #[arg(value_name = "AGENT/EXECUTION")]
    pub(crate) name: ExecutionName,
}

/// Cancel.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    pub(crate) execution: NamedExecution,
    /// Why; shown in events
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Time between the stop signal and SIGKILL, this once; 0s kills at once
    #[arg(long, value_name = "DURATION", value_parser = duration_on_wire)]
    pub(crate) grace_period: Option<prost_types::Duration>,
    /// How long to wait for the end [default: the server's limit]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
}

/// Redrive.
#[derive(Debug, Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    pub(crate) execution: NamedExecution,
    /// The id of the new execution [default: one that the server gives]
    #[arg(long, value_name = "ID", value_parser = ExecutionId::new)]
    pub(crate) id: Option<ExecutionId>,
    /// The same id twice is one execution [default: a random one]
    #[arg(long, value_name = "ID", value_parser = RequestId::new)]
    pub(crate) request_id: Option<RequestId>,
}

/// A state, in any case, with `-` or `_` between its words.
pub(super) fn state(text: &str) -> Result<ExecutionState, String> {
    let word = text.trim().replace('-', "_").to_ascii_uppercase();
    let found = ExecutionState::ALL.into_iter().find(|state| state.as_str() == word);
    found.ok_or_else(|| {
        let all = ExecutionState::ALL.map(ExecutionState::as_str);
        format!("it must be one of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_people_write_them() {
        for state_of in ExecutionState::ALL {
            assert_eq!(state(state_of.as_str()), Ok(state_of));
        }
        assert_eq!(state("dead-letter"), Ok(ExecutionState::DeadLetter));
        assert!(state("done").is_err_and(|error| error.contains("SUCCEEDED")));
    }
}
