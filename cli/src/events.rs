//! `rekindle events`: what happened, and what happens.

use rekindle::wire::v1;
use serde_json::json;

use crate::args::Events;
use crate::connection::{Connection, PAGE_SIZE};
use crate::failure::Failure;
use crate::follow::{Follow, News};
use crate::json;
use crate::output::{Cell, Output, Style};
use crate::time;

/// Runs the command.
pub(crate) async fn run(events: Events, server: String, output: Output) -> Result<(), Failure> {
    if events.follow {
        follow(events, server, output).await
    } else {
        list(events, &Connection::open(&server).await?, output).await
    }
}

async fn list(events: Events, server: &Connection, output: Output) -> Result<(), Failure> {
    let filter = match (events.after, events.filter.as_str()) {
        (None, filter) => filter.to_owned(),
        (Some(after), "") => format!("sequence > {after}"),
        (Some(after), filter) => format!("sequence > {after} AND ({filter})"),
    };
    let mut page_token = String::new();
    loop {
        let request = v1::ListEventsRequest {
            page_size: PAGE_SIZE,
            page_token,
            filter: filter.clone(),
        };
        let page = server.events().list_events(request).await?.into_inner();
        for event in &page.events {
            show(event, output)?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

async fn follow(events: Events, server: String, output: Output) -> Result<(), Failure> {
    let mut follow = Follow::open(server, events.after, events.filter).await?;
    loop {
        match follow.next().await? {
            News::Event(event) => show(&event, output)?,
            News::Gap(gap) if output.is_json() => output.json_line(&json!({ "gap": json::of("Gap", &gap) }))?,
            News::Gap(gap) => {
                let text = format!(
                    "        events {} to {} are no longer kept",
                    gap.from_sequence, gap.to_sequence
                );
                output.line(&[Cell::styled(&text, Style::Busy)])?;
            }
            News::Lost(reason) => eprintln!("{reason}; trying again"),
            News::Back => eprintln!("connected again"),
        }
    }
}

/// Shows one event.
pub(crate) fn show(event: &v1::Event, output: Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json_line(&json::of("Event", event));
    }
    let time = event.time.as_ref().map(time::local).unwrap_or_default();
    let agent = event.agent.strip_prefix("agents/").unwrap_or(&event.agent);
    let agent = match event.incarnation {
        0 => agent.to_owned(),
        incarnation => format!("{agent}#{incarnation}"),
    };
    output.line(&[
        Cell::styled(&format!("{:>6}  {time}  ", event.sequence), Style::Dim),
        Cell::styled(&format!("{:20}  ", word(event.r#type())), style(event.r#type())),
        format!("{agent:20}  ").into(),
        sentence(event).into(),
    ])
}

/// The event's message, behind the execution or the workflow that it is about.
pub(crate) fn sentence(event: &v1::Event) -> String {
    let about = if event.execution.is_empty() {
        &event.workflow
    } else {
        &event.execution
    };
    match about.rsplit_once('/') {
        // What names it already says it itself.
        Some((_, name)) if !event.message.contains(about.as_str()) => format!("{name}: {}", event.message),
        Some(_) | None => event.message.clone(),
    }
}

fn word(kind: v1::EventType) -> &'static str {
    let name = kind.as_str_name();
    name.strip_prefix("EVENT_TYPE_").unwrap_or(name)
}

/// How an event stands out.
pub(crate) fn style(kind: v1::EventType) -> Style {
    use v1::EventType as T;
    match kind {
        T::AgentReady
        | T::AgentReconnected
        | T::AgentRestarted
        | T::RecoverySucceeded
        | T::ExecutionSucceeded
        | T::WorkflowArmed
        | T::CheckpointHandedOver => Style::Good,
        T::AgentCrashed
        | T::AgentTerminated
        | T::AgentQuarantined
        | T::RecoveryExhausted
        | T::ExecutionFailed
        | T::ExecutionTimedOut
        | T::ExecutionLost
        | T::ExecutionDeadLetter
        | T::ExecutionVerdictsHeld
        | T::ExecutionDisowned
        | T::ExecutionStranded
        | T::ExecutionQuarantined
        | T::CheckpointSetAside => Style::Bad,
        T::AgentUnreachable
        | T::AgentTakenOver
        | T::RecoveryScheduled
        | T::RecoveryStarted
        | T::WorkflowDisarmed
        | T::WorkflowSkipped
        | T::WorkflowExpired
        | T::HostRebooted
        | T::ServerPaused => Style::Busy,
        T::Unspecified
        | T::AgentRegistered
        | T::AgentStarting
        | T::AgentStarted
        | T::AgentStopping
        | T::AgentStopped
        | T::AgentDeleted
        | T::ExecutionQueued
        | T::ExecutionDispatched
        | T::ExecutionAccepted
        | T::ExecutionRunning
        | T::ExecutionCancelled
        | T::WorkflowCreated
        | T::WorkflowUpdated
        | T::WorkflowDeleted
        | T::WorkflowTriggered
        | T::CheckpointSaved
        | T::CheckpointClosed
        | T::ServerStarted => Style::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_is_about_comes_first() {
        let of = |execution: &str, workflow: &str, message: &str| {
            sentence(&v1::Event {
                execution: execution.to_owned(),
                workflow: workflow.to_owned(),
                message: message.to_owned(),
                ..v1::Event::default()
            })
        };
        assert_eq!(of("", "", "started"), "started");
        assert_eq!(of("agents/a/executions/e", "workflows/w", "done"), "e: done");
        assert_eq!(of("", "workflows/w", "fire 1 waits"), "w: fire 1 waits");
        assert_eq!(of("", "workflows/w", "workflows/w was made"), "workflows/w was made");
    }
}
