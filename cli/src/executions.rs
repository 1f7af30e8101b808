//! `rekindle executions`: looks at the work of agents, and operates it.

mod name;
mod operate;
mod outcome;
mod progress;
mod queue;
mod remarks;
mod screen;
mod show;
mod transcript;
mod watch;

use rekindle::execution::ExecutionState;
use rekindle::wire::v1;
use serde_json::json;
use tokio::signal::unix::SignalKind;

use crate::args::{Executions, List};
use crate::connection::{Connection, PAGE_SIZE};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::json;
use crate::output::Output;

pub(crate) use name::ExecutionName;
pub(crate) use operate::create;
pub(crate) use outcome::{End, Unsuccessful};
pub(crate) use watch::{OnInterrupt, Show, wait};

/// The parent that means the executions of all agents (AIP-159).
const ALL: &str = "agents/-";

/// Runs one of the subcommands.
pub(crate) async fn run(command: Executions, server: String, output: Output) -> Result<(), Failure> {
    let connection = Connection::open(&server).await?;
    match command {
        Executions::List(selection) => list(&selection, &connection, output).await,
        Executions::Get(named) => get(&named.name, &connection, output).await,
        Executions::Output(named) => print_output(&named.name, &connection, output).await,
        Executions::Watch(named) => watch(named.name, (server, connection), output).await,
        Executions::Cancel(cancel) => operate::cancel(cancel, &connection, output).await,
        Executions::Redrive(redrive) => operate::redrive(redrive, &connection, output).await,
    }
}

async fn list(selection: &List, server: &Connection, output: Output) -> Result<(), Failure> {
    let parent = selection.agent.as_ref().map_or(ALL.to_owned(), |agent| agent.name());
    let filter = filter(&selection.state, &selection.filter);
    let mut executions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListExecutionsRequest {
            parent: parent.clone(),
            page_size: PAGE_SIZE,
            page_token,
            filter: filter.clone(),
        };
        let page = server.executions().list_executions(request).await?.into_inner();
        executions.extend(page.executions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if output.is_json() {
        let executions: Vec<_> = executions
            .iter()
            .map(|execution| json::of("Execution", execution))
            .collect();
        return output.json(&json!({ "executions": executions }));
    }
    show::executions(executions, output)
}

/// What must hold of a state, and of everything else.
fn filter(states: &[ExecutionState], filter: &str) -> String {
    let states: Vec<_> = states.iter().map(|state| format!("state = {state}")).collect();
    let states = states.join(" OR ");
    match (states.as_str(), filter) {
        ("", filter) => filter.to_owned(),
        (states, "") => states.to_owned(),
        (states, filter) => format!("({states}) AND ({filter})"),
    }
}

async fn fetch(name: &ExecutionName, server: &Connection) -> Result<v1::Execution, Failure> {
    let request = v1::GetExecutionRequest { name: name.resource() };
    let answer = server.executions().get_execution(request).await?.into_inner();
    answer.execution.ok_or(Failure::Answer("has no execution"))
}

async fn get(name: &ExecutionName, server: &Connection, output: Output) -> Result<(), Failure> {
    let execution = fetch(name, server).await?;
    if output.is_json() {
        return output.json(&json::of("Execution", &execution));
    }
    show::execution(&execution, name, output)
}

async fn print_output(name: &ExecutionName, server: &Connection, output: Output) -> Result<(), Failure> {
    let execution = fetch(name, server).await?;
    if output.is_json() {
        return output.json(&json!({
            "name": execution.name,
            "output": execution.output,
            "output_truncated": execution.output_truncated,
        }));
    }
    if outcome::result(&execution, name).is_none() {
        let state = show::state_word(execution.state());
        eprintln!("{name} is {state}; `rekindle executions watch {name}` shows its output as it comes");
    }
    if execution.output_truncated {
        eprintln!("the beginning is missing: only the last part of a long output is kept");
    }
    screen::print(&execution.output)
}

async fn watch(name: ExecutionName, server: (String, Connection), output: Output) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen(&[SignalKind::interrupt(), SignalKind::terminate()])?;
    let show = if output.is_json() { Show::Updates } else { Show::Text };
    wait(name, show, OnInterrupt::Leave, server, &mut interrupts, output).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let states = [ExecutionState::Queued, ExecutionState::DeadLetter];
        assert_eq!(filter(&[], ""), "");
        assert_eq!(filter(&[], "attempt > 1"), "attempt > 1");
        assert_eq!(filter(&states[..1], ""), "state = QUEUED");
        assert_eq!(
            filter(&states, "attempt > 1"),
            "(state = QUEUED OR state = DEAD_LETTER) AND (attempt > 1)"
        );
    }
}
