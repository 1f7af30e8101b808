//! Workflows, for people.

use std::time::SystemTime;

use rekindle::wire::v1;
use rekindle::wire::v1::trigger::Kind;
use rekindle::workflow::WorkflowId;

use super::NO_WORKFLOW;
use crate::agents;
use crate::executions::ExecutionName;
use crate::failure::Failure;
use crate::output::{Cell, Output, Style};
use crate::time;

const NONE: &str = "-";

/// Most lines of a message that are shown with everything else.
const EXCERPT_LINES: usize = 12;

/// One line for each workflow.
pub(super) fn workflows(workflows: &[v1::Workflow], output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    let rows: Vec<_> = workflows.iter().map(|workflow| row(workflow, now)).collect();
    let heading = ["WORKFLOW", "AGENT", "STATE", "TRIGGER", "NEXT", "WAITING", "LAST ERROR"];
    output.table(heading, &rows)
}

fn row(workflow: &v1::Workflow, now: SystemTime) -> [Cell; 7] {
    let runner = workflow.runner.clone().unwrap_or_default();
    let next = runner.next_fire_time.as_ref().map(|next| time::until(next, now));
    [
        bare(&workflow.name).into(),
        bare(&workflow.agent).into(),
        Cell::styled(state_word(runner.state()), state_style(runner.state())),
        trigger(workflow).into(),
        next.unwrap_or(NONE.to_owned()).into(),
        runner.pending.to_string().into(),
        if runner.last_error.is_empty() {
            NONE.into()
        } else {
            Cell::styled(&runner.last_error, Style::Bad)
        },
    ]
}

/// A resource name, as every command takes it.
fn bare(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, id)| id)
}

/// Everything about one workflow.
pub(super) fn workflow(workflow: &v1::Workflow, output: Output) -> Result<(), Failure> {
    let now = SystemTime::now();
    let state = workflow
        .runner
        .as_ref()
        .map_or(v1::RunnerState::Unspecified, v1::Runner::state);
    output.line(&[
        Cell::styled(&workflow.name, Style::Strong),
        "  ".into(),
        Cell::styled(state_word(state), state_style(state)),
    ])?;
    agents::pairs(facts(workflow, now), output)?;
    let lines: Vec<_> = workflow.message.lines().collect();
    let (shown, more) = lines.split_at(lines.len().min(EXCERPT_LINES));
    if !shown.is_empty() {
        output.line(&["".into()])?;
        output.line(&[Cell::styled("Message", Style::Strong)])?;
    }
    for line in shown {
        output.line(&["  ".into(), (*line).into()])?;
    }
    if !more.is_empty() {
        let remark = format!("  ... {} more lines; --output json has them", more.len());
        output.line(&[Cell::styled(&remark, Style::Dim)])?;
    }
    Ok(())
}

fn facts(workflow: &v1::Workflow, now: SystemTime) -> Vec<(String, String)> {
    let runner = workflow.runner.clone().unwrap_or_default();
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        let told = value.filter(|value| !value.is_empty());
        facts.extend(told.map(|value| (name.to_owned(), value)));
    };
    add("agent", Some(bare(&workflow.agent).to_owned()));
    add("trigger", Some(trigger(workflow)));
    add("waits for", Some(runner.waiting_for.clone()));
    add(
        "since",
        runner
            .since
            .as_ref()
            .map(|since| format!("{}, {}", time::local(since), time::ago(Some(since), now))),
    );
    let next = runner.next_fire_time.as_ref();
    add(
        "next",
        next.map(|next| format!("{}, {}", time::local(next), time::until(next, now))),
    );
    add("last error", Some(runner.last_error.clone()));
    add(
        "waiting",
        (runner.pending > 0).then(|| match runner.pending {
            1 => "1 fire".to_owned(),
            more => format!("{more} fires"),
        }),
    );
    let executions: Vec<_> = runner.executions.iter().map(|name| short(name)).collect();
    add("executions", Some(executions.join(", ")));
    add("timeout", workflow.timeout.as_ref().map(time::short_wire));
    add("misfire", Some(word(workflow.misfire().as_str_name(), "MISFIRE_")));
    add("overlap", Some(word(workflow.overlap().as_str_name(), "OVERLAP_")));
    add("expires after", workflow.expires_after.as_ref().map(time::short_wire));
    add("created", workflow.create_time.as_ref().map(time::local));
    add("updated", workflow.update_time.as_ref().map(time::local));
    add("uid", Some(workflow.uid.clone()));
    add("etag", Some(workflow.etag.clone()));
    facts
}

/// `AGENT/EXECUTION`.
fn short(name: &str) -> String {
    let execution = v1::Execution {
        name: name.to_owned(),
        ..v1::Execution::default()
    };
    ExecutionName::of(&execution).map_or_else(|_| name.to_owned(), |name| name.to_string())
}

/// What makes it fire, in a few words.
fn trigger(workflow: &v1::Workflow) -> String {
    let Some(kind) = workflow.trigger.as_ref().and_then(|trigger| trigger.kind.as_ref()) else {
        return NONE.to_owned();
    };
    match kind {
        Kind::Interval(interval) => {
            let every = interval.every.as_ref().map(time::short_wire).unwrap_or_default();
            format!("every {every}")
        }
        Kind::Cron(cron) => format!("{} in {}", cron.expression, cron.time_zone),
        Kind::OneShot(once) => format!("once, {}", once.at.as_ref().map(time::local).unwrap_or_default()),
        Kind::Manual(_) => "manual".to_owned(),
        Kind::Webhook(_) => "webhook".to_owned(),
        Kind::AgentEvent(event) => {
            let types: Vec<_> = event
                .types()
                .map(|kind| word(kind.as_str_name(), "EVENT_TYPE_"))
                .collect();
            format!("{} of {}", types.join(" or "), bare(&event.agent))
        }
        Kind::Completion(completion) => {
            let states = completion.states();
            let states: Vec<_> = states
                .map(|state| word(state.as_str_name(), "EXECUTION_STATE_"))
                .collect();
            format!("after {} is {}", bare(&completion.workflow), states.join(" or "))
        }
    }
}

/// How its runner stands, in a few words.
pub(super) fn standing(workflow: &v1::Workflow) -> String {
    let runner = workflow.runner.clone().unwrap_or_default();
    let state = state_word(runner.state());
    if runner.waiting_for.is_empty() {
        state.to_owned()
    } else {
        format!("{state} for {}", runner.waiting_for)
    }
}

/// What came of a trigger, in one sentence.
pub(super) fn fired(name: &WorkflowId, answer: &v1::TriggerWorkflowResponse) -> Result<String, Failure> {
    let fire = answer.fire.as_ref().ok_or(NO_WORKFLOW)?;
    let number = fire.number;
    Ok(match &answer.execution {
        Some(execution) => format!("{name}: fire {number} is {}", ExecutionName::of(execution)?),
        None if answer.skipped.is_empty() => format!("{name}: fire {number} waits for its turn"),
        None => format!("{name}: fire {number} was skipped: {}", answer.skipped),
    })
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

fn state_word(state: v1::RunnerState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("RUNNER_STATE_").unwrap_or(name)
}

/// How a state stands out.
fn state_style(state: v1::RunnerState) -> Style {
    match state {
        v1::RunnerState::Armed => Style::Good,
        v1::RunnerState::InFlight | v1::RunnerState::Waiting => Style::Busy,
        v1::RunnerState::Disarmed | v1::RunnerState::Unspecified => Style::Dim,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_and_the_facts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let workflow = v1::Workflow {
            name: "workflows/nightly".to_owned(),
            agent: "agents/planner".to_owned(),
            trigger: Some(v1::Trigger {
                kind: Some(Kind::Cron(v1::trigger::Cron {
                    expression: "30 2 * * *".to_owned(),
                    time_zone: "Europe/Berlin".to_owned(),
                })),
            }),
            runner: Some(v1::Runner {
                state: v1::RunnerState::Waiting.into(),
                waiting_for: "agents/planner to be RUNNING; it is CRASHED".to_owned(),
                since: at(940),
                next_fire_time: at(1_041),
                pending: 2,
                executions: vec!["agents/planner/executions/e-1".to_owned()],
                ..v1::Runner::default()
            }),
            ..v1::Workflow::default()
        };
        assert_eq!(
            row(&workflow, now).map(|cell| cell.text().to_owned()),
            [
                "nightly",
                "planner",
                "WAITING",
                "30 2 * * * in Europe/Berlin",
                "in 41s",
                "2",
                "-"
            ]
        );
        let facts = facts(&workflow, now);
        let fact = |name: &str| {
            facts
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(fact("waits for"), Some("agents/planner to be RUNNING; it is CRASHED"));
        assert_eq!(fact("waiting"), Some("2 fires"));
        assert_eq!(fact("executions"), Some("planner/e-1"));
        assert!(fact("since").is_some_and(|since| since.ends_with("1m ago")));
        assert_eq!(fact("last error"), None);
        assert_eq!(
            standing(&workflow),
            "WAITING for agents/planner to be RUNNING; it is CRASHED"
        );
    }

    #[test]
    fn every_trigger_is_told_in_a_few_words() {
        use v1::trigger;
        let of = |kind| {
            trigger(&v1::Workflow {
                trigger: Some(v1::Trigger { kind: Some(kind) }),
                ..v1::Workflow::default()
            })
        };
        let every = Some(prost_types::Duration { seconds: 90, nanos: 0 });
        assert_eq!(of(Kind::Interval(trigger::Interval { every })), "every 1m30s");
        assert_eq!(of(Kind::Manual(trigger::Manual {})), "manual");
        assert_eq!(of(Kind::Webhook(trigger::Webhook {})), "webhook");
        let event = trigger::AgentEvent {
            agent: "agents/a".to_owned(),
            types: vec![v1::EventType::AgentCrashed.into(), v1::EventType::AgentStopped.into()],
        };
        assert_eq!(of(Kind::AgentEvent(event)), "AGENT_CRASHED or AGENT_STOPPED of a");
        let completion = trigger::Completion {
            workflow: "workflows/first".to_owned(),
            states: vec![v1::ExecutionState::Succeeded.into()],
        };
        assert_eq!(of(Kind::Completion(completion)), "after first is SUCCEEDED");
        assert!(of(Kind::OneShot(trigger::OneShot { at: None })).starts_with("once"));
    }

    #[test]
    fn what_a_trigger_came_to() {
        let name = WorkflowId::new("w").expect("valid");
        let of = |execution: &str, skipped: &str| {
            let execution = (!execution.is_empty()).then(|| v1::Execution {
                name: execution.to_owned(),
                ..v1::Execution::default()
            });
            let answer = v1::TriggerWorkflowResponse {
                fire: Some(v1::Fire {
                    number: 7,
                    ..v1::Fire::default()
                }),
                execution,
                skipped: skipped.to_owned(),
            };
            fired(&name, &answer).expect("whole")
        };
        assert_eq!(of("agents/a/executions/e", ""), "w: fire 7 is a/e");
        assert_eq!(of("", ""), "w: fire 7 waits for its turn");
        assert_eq!(of("", "one goes on"), "w: fire 7 was skipped: one goes on");
    }
}
