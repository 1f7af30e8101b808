//! Executions, for people.

use std::time::SystemTime;

use rekindle::wire::v1::{self, ExecutionState, FailureCause};

use super::ExecutionName;
use crate::agents;
use crate::failure::Failure;
use crate::output::{Cell, Output, Style};
use crate::time;

const NONE: &str = "-";
/// Most lines of a message, and of an output, that are shown with everything else.
const EXCERPT_LINES: usize = 12;

/// One line for each execution: agent by agent, and the newest last.
pub(super) fn executions(mut executions: Vec<v1::Execution>, output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    executions.sort_by_cached_key(|execution| {
        let agent = ExecutionName::of(execution).map(|name| name.agent().clone()).ok();
        let created = execution.create_time.unwrap_or_default();
        (agent, created.seconds, created.nanos)
    });
    let rows: Vec<_> = executions.iter().map(|execution| row(execution, now)).collect();
    let heading = [
        "EXECUTION",
        "STATE",
        "ATTEMPT",
        "PRIORITY",
        "CREATED",
        "TOOK",
        "FAILURE",
    ];
    output.table(heading, &rows)
}

fn row(execution: &v1::Execution, now: SystemTime) -> [Cell; 7] {
    let state = execution.state();
    [
        short_name(execution).into(),
        Cell::styled(&standing(execution), state_style(state)),
        execution.attempt.to_string().into(),
        execution.priority.to_string().into(),
        time::ago(execution.create_time.as_ref(), now).into(),
        took(execution, now).unwrap_or(NONE.to_owned()).into(),
        execution
            .failure
            .as_ref()
            .map_or(NONE.to_owned(), agents::failure_summary)
            .into(),
    ]
}

/// As every command takes it.
fn short_name(execution: &v1::Execution) -> String {
    ExecutionName::of(execution).map_or_else(|_| execution.name.clone(), |name| name.to_string())
}

/// Its state, and whether that is to end.
fn standing(execution: &v1::Execution) -> String {
    let state = state_word(execution.state());
    if execution.cancelling {
        format!("{state}, ending")
    } else {
        state.to_owned()
    }
}

/// From the start of the newest attempt to its end, or until now.
fn took(execution: &v1::Execution, now: SystemTime) -> Option<String> {
    let start = execution.start_time.as_ref()?;
    let end = execution.end_time.unwrap_or_else(|| now.into());
    time::between(start, &end).map(time::short)
}

/// Everything about one execution.
pub(super) fn execution(execution: &v1::Execution, name: &ExecutionName, output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    output.line(&[
        Cell::styled(&execution.name, Style::Strong),
        "  ".into(),
        Cell::styled(&standing(execution), state_style(execution.state())),
    ])?;
    agents::pairs(facts(execution, now), output)?;
    if let Some(failure) = &execution.failure {
        heading("Failure", output)?;
        let cause = cause_word(failure.cause());
        output.line(&[format!("  {cause}: {}", agents::failure_summary(failure)).into()])?;
        for line in failure.stderr_tail.lines() {
            output.line(&[Cell::styled("  stderr | ", Style::Dim), line.into()])?;
        }
    }
    let message: Vec<_> = execution.message.lines().collect();
    let (shown, more) = message.split_at(message.len().min(EXCERPT_LINES));
    if !shown.is_empty() {
        heading("Message", output)?;
        lines(shown, output)?;
    }
    if !more.is_empty() {
        remark(&format!("{} more lines; --output json has them", more.len()), output)?;
    }
    let written: Vec<_> = execution.output.lines().collect();
    let (before, shown) = written.split_at(written.len().saturating_sub(EXCERPT_LINES));
    if !shown.is_empty() {
        heading("Output", output)?;
    }
    if !before.is_empty() {
        let line = format!(
            "{} lines before; `rekindle executions output {name}` has them",
            before.len()
        );
        remark(&line, output)?;
    }
    lines(shown, output)
}

fn heading(text: &str, output: Output) -> Result<(), Failure> {
    output.line(&["".into()])?;
    output.line(&[Cell::styled(text, Style::Strong)])
}

fn lines(lines: &[&str], output: Output) -> Result<(), Failure> {
    for line in lines {
        output.line(&["  ".into(), (*line).into()])?;
    }
    Ok(())
}

fn remark(text: &str, output: Output) -> Result<(), Failure> {
    output.line(&[Cell::styled(&format!("  ... {text}"), Style::Dim)])
}

fn facts(execution: &v1::Execution, now: SystemTime) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        facts.extend(
            value
                .filter(|value| !value.is_empty())
                .map(|value| (name.to_owned(), value)),
        );
    };
    let local = |time: &Option<prost_types::Timestamp>| time.as_ref().map(time::local);
    let attempt = match execution.attempt {
        0 => None,
        attempt => Some(format!("{attempt}, incarnation {}", execution.incarnation)),
    };
    add("attempt", attempt);
    add(
        "process",
        execution
            .process
            .as_ref()
            .map(|process| format!("pid {} on {}", process.pid, process.host)),
    );
    add("took", took(execution, now));
    add("timeout", execution.timeout.as_ref().map(time::short_wire));
    let start_within = execution.schedule_to_start_timeout.as_ref();
    add("start within", start_within.map(time::short_wire));
    add("priority", Some(execution.priority.to_string()));
    add("created", local(&execution.create_time));
    add("dispatched", local(&execution.dispatch_time));
    add("accepted", local(&execution.accept_time));
    add("started", local(&execution.start_time));
    add("ended", local(&execution.end_time));
    let kept = if execution.output_truncated {
        ", the end of it"
    } else {
        ""
    };
    let bytes = execution.output.len();
    add("output", (bytes > 0).then(|| format!("{bytes} bytes{kept}")));
    add("does again", Some(execution.redrive_of.clone()));
    add("done again as", Some(execution.redriven_as.clone()));
    add("uid", Some(execution.uid.clone()));
    add("etag", Some(execution.etag.clone()));
    facts
}

/// The word of the design for a state.
pub(super) fn state_word(state: ExecutionState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("EXECUTION_STATE_").unwrap_or(name)
}

/// The word of the design for a cause.
pub(super) fn cause_word(cause: FailureCause) -> &'static str {
    let name = cause.as_str_name();
    name.strip_prefix("FAILURE_CAUSE_").unwrap_or(name)
}

/// How a state stands out.
fn state_style(state: ExecutionState) -> Style {
    match state {
        ExecutionState::Succeeded => Style::Good,
        ExecutionState::Dispatched | ExecutionState::Accepted | ExecutionState::Running => Style::Busy,
        ExecutionState::Failed | ExecutionState::TimedOut | ExecutionState::Lost | ExecutionState::DeadLetter => {
            Style::Bad
        }
        ExecutionState::Unspecified | ExecutionState::Queued | ExecutionState::Cancelled => Style::Dim,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn failed() -> v1::Execution {
        v1::Execution {
            name: "agents/planner/executions/e-1".to_owned(),
            uid: "0197".to_owned(),
            state: ExecutionState::Failed.into(),
            timeout: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            attempt: 2,
            incarnation: 7,
            priority: 5,
            output: "half of it\n".to_owned(),
            output_truncated: true,
            failure: Some(v1::Failure {
                cause: FailureCause::Exited.into(),
                exit_code: Some(3),
                ..v1::Failure::default()
            }),
            create_time: at(1_000),
            start_time: at(1_010),
            end_time: at(1_052),
            redrive_of: "agents/planner/executions/e-0".to_owned(),
            ..v1::Execution::default()
        }
    }

    #[test]
    fn a_row_and_the_facts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_060);
        let text = |cells: [Cell; 7]| cells.map(|cell| cell.text().to_owned());
        assert_eq!(
            text(row(&failed(), now)),
            ["planner/e-1", "FAILED", "2", "5", "1m ago", "42s", "exit code 3"]
        );
        let running = v1::Execution {
            name: "agents/planner/executions/e-2".to_owned(),
            state: ExecutionState::Running.into(),
            attempt: 1,
            cancelling: true,
            start_time: at(1_055),
            ..v1::Execution::default()
        };
        assert_eq!(
            text(row(&running, now)),
            ["planner/e-2", "RUNNING, ending", "1", "0", "-", "5s", "-"]
        );
        let facts = facts(&failed(), now);
        let fact = |name: &str| {
            facts
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(fact("attempt"), Some("2, incarnation 7"));
        assert_eq!(fact("took"), Some("42s"));
        assert_eq!(fact("timeout"), Some("5m"));
        assert_eq!(fact("output"), Some("11 bytes, the end of it"));
        assert_eq!(fact("does again"), Some("agents/planner/executions/e-0"));
        assert_eq!(fact("done again as"), None);
        assert_eq!(fact("start within"), None);
    }
}
