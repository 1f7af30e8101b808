//! `rekindle agents`: looks at agents, and operates them.

mod operate;
mod show;

use rekindle::id::AgentId;
use rekindle::wire::v1;
use serde_json::json;

use crate::args::{Agents, Delete, Selection, Signal};
use crate::connection::{Connection, PAGE_SIZE};
use crate::failure::Failure;
use crate::json;
use crate::output::Output;

pub(crate) use show::{failure_summary, pairs, state_style, state_word};

/// Runs one of the subcommands.
pub(crate) async fn run(command: Agents, server: &Connection, output: Output) -> Result<(), Failure> {
    match command {
        Agents::List(selection) => list(&selection, server, output).await,
        Agents::Get(agent) => get(&agent.name, server, output).await,
        Agents::Restart(start) => operate::restart(start, server, output).await,
        Agents::Start(start) => operate::start(start, server, output).await,
        Agents::Stop(stop) => operate::stop(stop, server, output).await,
        Agents::Signal(signal) => send(signal, server, output).await,
        Agents::Explain(agent) => explain(&agent.name, server, output).await,
        Agents::Processes(selection) => processes(&selection, server, output).await,
        Agents::Delete(delete) => forget(delete, server, output).await,
    }
}

/// One agent, as the server has it.
pub(crate) async fn fetch(name: &AgentId, server: &Connection) -> Result<v1::Agent, Failure> {
    let request = v1::GetAgentRequest { name: name.name() };
    let answer = server.agents().get_agent(request).await?.into_inner();
    answer.agent.ok_or(Failure::Answer("has no agent"))
}

async fn list(selection: &Selection, server: &Connection, output: Output) -> Result<(), Failure> {
    let mut agents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListAgentsRequest {
            page_size: PAGE_SIZE,
            page_token,
            filter: selection.filter.clone(),
        };
        let page = server.agents().list_agents(request).await?.into_inner();
        agents.extend(page.agents);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if output.is_json() {
        let agents: Vec<_> = agents.iter().map(|agent| json::of("Agent", agent)).collect();
        return output.json(&json!({ "agents": agents }));
    }
    show::agents(&agents, output)
}

async fn get(name: &AgentId, server: &Connection, output: Output) -> Result<(), Failure> {
    let agent = fetch(name, server).await?;
    if output.is_json() {
        return output.json(&json::of("Agent", &agent));
    }
    show::agent(&agent, output)
}

async fn explain(name: &AgentId, server: &Connection, output: Output) -> Result<(), Failure> {
    let request = v1::ExplainAgentRequest { name: name.name() };
    let answer = server.agents().explain_agent(request).await?.into_inner();
    if output.is_json() {
        return output.json(&json::of("ExplainAgentResponse", &answer));
    }
    output.line(&[answer.summary.into()])?;
    show::pairs(answer.facts.into_iter().map(|fact| (fact.name, fact.value)), output)
}

async fn processes(selection: &Selection, server: &Connection, output: Output) -> Result<(), Failure> {
    let mut processes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListProcessesRequest {
            page_size: PAGE_SIZE,
            page_token,
            filter: selection.filter.clone(),
        };
        let page = server.agents().list_processes(request).await?.into_inner();
        processes.extend(page.processes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if output.is_json() {
        let processes: Vec<_> = processes
            .iter()
            .map(|process| json::of("AgentProcess", process))
            .collect();
        return output.json(&json!({ "processes": processes }));
    }
    show::processes(&processes, output)
}

async fn send(signal: Signal, server: &Connection, output: Output) -> Result<(), Failure> {
    let request = v1::SignalAgentRequest {
        name: signal.agent.name.name(),
        signal: signal.signal.clone(),
        expected_incarnation: signal.expected_incarnation.unwrap_or_default(),
    };
    let answer = server.agents().signal_agent(request).await?.into_inner();
    if output.is_json() {
        return output.json(&json::of("SignalAgentResponse", &answer));
    }
    let process = answer.process.ok_or(Failure::Answer("has no process"))?;
    let line = format!(
        "{}: sent {} to pid {} on {}",
        signal.agent.name, signal.signal, process.pid, process.host
    );
    output.line(&[line.into()])
}

async fn forget(delete: Delete, server: &Connection, output: Output) -> Result<(), Failure> {
    let request = v1::DeleteAgentRequest {
        name: delete.agent.name.name(),
        etag: delete.etag,
        force: delete.force,
    };
    let answer = server.agents().delete_agent(request).await?.into_inner();
    if output.is_json() {
        return output.json(&json::of("DeleteAgentResponse", &answer));
    }
    output.line(&[format!("{}: deleted", delete.agent.name).into()])
}
