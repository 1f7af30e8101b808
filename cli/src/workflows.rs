//! `rekindle workflows`: looks at what gives agents their work, and operates it.

mod change;
mod show;

use rekindle::wire::v1;
use rekindle::workflow::WorkflowId;
use serde_json::json;

use crate::args::{WorkflowList, Workflows};
use crate::connection::{Connection, PAGE_SIZE};
use crate::failure::Failure;
use crate::json;
use crate::output::Output;

/// Runs one of the subcommands.
pub(crate) async fn run(command: Workflows, server: &str, output: Output) -> Result<(), Failure> {
    let connection = Connection::open(server).await?;
    let to = (server, &connection);
    match command {
        Workflows::Create(create) => change::create(*create, to, output).await,
        Workflows::Get(named) => get(&named.name, &connection, output).await,
        Workflows::List(selection) => list(&selection, &connection, output).await,
        Workflows::Update(update) => change::update(*update, to, output).await,
        Workflows::Enable(named) => change::toggle(&named.name, true, &connection, output).await,
        Workflows::Disable(named) => change::toggle(&named.name, false, &connection, output).await,
        Workflows::Trigger(trigger) => change::trigger(trigger, &connection, output).await,
        Workflows::Delete(delete) => change::delete(delete, &connection, output).await,
    }
}

async fn get(name: &WorkflowId, server: &Connection, output: Output) -> Result<(), Failure> {
    let request = v1::GetWorkflowRequest { name: name.name() };
    let answer = server.workflows().get_workflow(request).await?.into_inner();
    let workflow = answer.workflow.ok_or(NO_WORKFLOW)?;
    if output.is_json() {
        return output.json(&json::of("Workflow", &workflow));
    }
    show::workflow(&workflow, output)
}

async fn list(selection: &WorkflowList, server: &Connection, output: Output) -> Result<(), Failure> {
    let filter = filter(selection);
    let mut workflows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListWorkflowsRequest {
            page_size: PAGE_SIZE,
            page_token,
            filter: filter.clone(),
        };
        let page = server.workflows().list_workflows(request).await?.into_inner();
        workflows.extend(page.workflows);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if output.is_json() {
        let workflows: Vec<_> = workflows
            .iter()
            .map(|workflow| json::of("Workflow", workflow))
            .collect();
        return output.json(&json!({ "workflows": workflows }));
    }
    show::workflows(&workflows, output)
}

/// What must hold of the agent, and of everything else.
fn filter(selection: &WorkflowList) -> String {
    let agent = selection
        .agent
        .as_ref()
        .map(|agent| format!("agent = \"{}\"", agent.name()));
    match (agent, selection.filter.as_str()) {
        (None, filter) => filter.to_owned(),
        (Some(agent), "") => agent,
        (Some(agent), filter) => format!("{agent} AND ({filter})"),
    }
}

/// An answer that lacks what it is about.
const NO_WORKFLOW: Failure = Failure::Answer("has no workflow");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let of = |agent: Option<&str>, filter: &str| {
            super::filter(&WorkflowList {
                agent: agent.map(|agent| agent.parse().expect("valid")),
                filter: filter.to_owned(),
            })
        };
        assert_eq!(of(None, "enabled = true"), "enabled = true");
        assert_eq!(of(Some("a"), ""), "agent = \"agents/a\"");
        assert_eq!(of(Some("a"), "x OR y"), "agent = \"agents/a\" AND (x OR y)");
    }
}
