//! Checkpoints, for people.

use std::time::SystemTime;

use rekindle::wire::v1::{self, CheckpointClosedBy, CheckpointState};

use crate::agents;
use crate::failure::Failure;
use crate::output::{Cell, Output, Style};
use crate::time;

const NONE: &str = "-";
/// Most lines of a body that are shown with everything else.
const EXCERPT_LINES: usize = 12;

/// One line for each checkpoint, in the server's order.
pub(super) fn checkpoints(checkpoints: &[v1::Checkpoint], output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    let rows: Vec<_> = checkpoints.iter().map(|checkpoint| row(checkpoint, now)).collect();
    let heading = ["CHECKPOINT", "STATE", "SAVED", "TASK", "STAGE", "BODY", "CRASHES"];
    output.table(heading, &rows)
}

fn row(checkpoint: &v1::Checkpoint, now: SystemTime) -> [Cell; 7] {
    let or_none = |text: &str| if text.is_empty() { NONE } else { text }.into();
    [
        short_name(checkpoint).into(),
        Cell::styled(&standing(checkpoint), style(checkpoint.state())),
        time::ago(checkpoint.create_time.as_ref(), now).into(),
        or_none(&checkpoint.task_id),
        or_none(&checkpoint.stage),
        format!("{} bytes", checkpoint.body_bytes).into(),
        checkpoint.crashes.to_string().into(),
    ]
}

/// As every command takes it.
pub(super) fn short_name(checkpoint: &v1::Checkpoint) -> &str {
    checkpoint.name.rsplit('/').next().unwrap_or_default()
}

/// Whether a life gets it, and why not.
pub(super) fn standing(checkpoint: &v1::Checkpoint) -> String {
    let state = checkpoint.state().as_str_name();
    let state = state.strip_prefix("CHECKPOINT_STATE_").unwrap_or(state);
    match checkpoint.closed_by() {
        CheckpointClosedBy::Unspecified => state.to_owned(),
        CheckpointClosedBy::Agent => format!("{state} by the agent"),
        CheckpointClosedBy::Task => format!("{state} with its task"),
        CheckpointClosedBy::Fresh => format!("{state} by a fresh start"),
    }
}

fn style(state: CheckpointState) -> Style {
    match state {
        CheckpointState::Open => Style::Good,
        CheckpointState::SetAside => Style::Bad,
        CheckpointState::Superseded | CheckpointState::Closed => Style::Dim,
        CheckpointState::Unspecified => Style::Plain,
    }
}

/// Everything about one checkpoint.
pub(super) fn checkpoint(checkpoint: &v1::Checkpoint, output: Output) -> Result<(), Failure> {
    output.line(&[
        Cell::styled(&checkpoint.name, Style::Strong),
        "  ".into(),
        Cell::styled(&standing(checkpoint), style(checkpoint.state())),
    ])?;
    agents::pairs(facts(checkpoint), output)?;
    body(checkpoint, output)
}

fn facts(checkpoint: &v1::Checkpoint) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            facts.push((name.to_owned(), value.to_owned()));
        }
    };
    add("task", &checkpoint.task_id);
    add("issue", &checkpoint.issue);
    add("workspace", &checkpoint.workspace);
    add("branch", &checkpoint.branch);
    add("stage", &checkpoint.stage);
    for reference in &checkpoint.memory_refs {
        add("memory", reference);
    }
    for (key, value) in &checkpoint.values {
        add("value", &format!("{key}={value}"));
    }
    let saved = checkpoint.create_time.as_ref().map(time::local).unwrap_or_default();
    add("saved", &format!("{saved}, by incarnation {}", checkpoint.incarnation));
    if checkpoint.unclean {
        add("unclean", "its life did not end well, and may have done more");
    }
    for execution in &checkpoint.in_flight {
        add("in flight", execution);
    }
    if checkpoint.crashes > 0 {
        add(
            "crashes",
            &format!("{} in a row of lives that had read it", checkpoint.crashes),
        );
    }
    facts
}

fn body(checkpoint: &v1::Checkpoint, output: Output) -> Result<(), Failure> {
    if checkpoint.body.is_empty() {
        return Ok(());
    }
    output.line(&["".into()])?;
    output.line(&[Cell::styled(
        &format!("Body, {} bytes", checkpoint.body.len()),
        Style::Strong,
    )])?;
    let Ok(text) = std::str::from_utf8(&checkpoint.body) else {
        return remark("it is no text; --body FILE writes it to a file", output);
    };
    let lines: Vec<_> = text.lines().collect();
    let (shown, more) = lines.split_at(lines.len().min(EXCERPT_LINES));
    for line in shown {
        output.line(&["  ".into(), (*line).into()])?;
    }
    if more.is_empty() {
        return Ok(());
    }
    remark(
        &format!("{} more lines; --body FILE writes them to a file", more.len()),
        output,
    )
}

fn remark(text: &str, output: Output) -> Result<(), Failure> {
    output.line(&[Cell::styled(&format!("  ... {text}"), Style::Dim)])
}
