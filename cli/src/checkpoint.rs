//! `rekindle checkpoint`: looks at what an agent has saved.

mod show;

use std::io::Write as _;
use std::path::Path;

use rekindle::checkpoint::CheckpointId;
use rekindle::id::AgentId;
use rekindle::wire::v1::{self, CheckpointState};
use serde_json::json;

use crate::args::{Action, Checkpoint};
use crate::connection::{Connection, PAGE_SIZE};
use crate::failure::Failure;
use crate::json;
use crate::output::Output;

/// Runs one of the subcommands.
pub(crate) async fn run(command: Checkpoint, server: &Connection, output: Output) -> Result<(), Failure> {
    let agent = command.agent;
    match command.action {
        None => open(&agent, server, output).await,
        Some(Action::Get { id, body }) => get(&id.name(&agent), body.as_deref(), server, output).await,
        Some(Action::List) => list(&agent, server, output).await,
        Some(Action::Delete { id }) => delete(&agent, id, server, output).await,
    }
}

async fn open(agent: &AgentId, server: &Connection, output: Output) -> Result<(), Failure> {
    let all = fetch_all(agent, server).await?;
    match all
        .iter()
        .find(|checkpoint| checkpoint.state() == CheckpointState::Open)
    {
        Some(open) => get(&open.name, None, server, output).await,
        None => Err(Failure::NoneOpen(none_is_open(agent, all.first()))),
    }
}

fn none_is_open(agent: &AgentId, newest: Option<&v1::Checkpoint>) -> String {
    match newest {
        None => format!("{agent} has saved nothing"),
        Some(newest) => {
            let (id, state) = (show::short_name(newest), show::standing(newest));
            format!("{agent} has no checkpoint that is open; the newest, {id}, is {state}")
        }
    }
}

async fn fetch_all(agent: &AgentId, server: &Connection) -> Result<Vec<v1::Checkpoint>, Failure> {
    let mut checkpoints = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListCheckpointsRequest {
            parent: agent.name(),
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = server.checkpoints().list_checkpoints(request).await?.into_inner();
        checkpoints.extend(page.checkpoints);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(checkpoints);
        }
    }
}

async fn get(name: &str, body: Option<&Path>, server: &Connection, output: Output) -> Result<(), Failure> {
    let request = v1::GetCheckpointRequest { name: name.to_owned() };
    let answer = server.checkpoints().get_checkpoint(request).await?.into_inner();
    let checkpoint = answer.checkpoint.ok_or(Failure::Answer("has no checkpoint"))?;
    if let Some(file) = body {
        write(file, &checkpoint.body)?;
        if file.as_os_str() == "-" {
            return Ok(());
        }
    }
    if output.is_json() {
        return output.json(&json::of("Checkpoint", &checkpoint));
    }
    show::checkpoint(&checkpoint, output)
}

/// Writes a body as it is.
fn write(file: &Path, body: &[u8]) -> Result<(), Failure> {
    if file.as_os_str() == "-" {
        let mut stdout = std::io::stdout().lock();
        return stdout
            .write_all(body)
            .and_then(|()| stdout.flush())
            .map_err(Failure::Output);
    }
    std::fs::write(file, body).map_err(|source| Failure::File {
        path: file.to_owned(),
        source,
    })
}

async fn list(agent: &AgentId, server: &Connection, output: Output) -> Result<(), Failure> {
    let checkpoints = fetch_all(agent, server).await?;
    if output.is_json() {
        let checkpoints: Vec<_> = checkpoints
            .iter()
            .map(|checkpoint| json::of("Checkpoint", checkpoint))
            .collect();
        return output.json(&json!({ "checkpoints": checkpoints }));
    }
    show::checkpoints(&checkpoints, output)
}

async fn delete(agent: &AgentId, id: CheckpointId, server: &Connection, output: Output) -> Result<(), Failure> {
    let name = id.name(agent);
    let request = v1::DeleteCheckpointRequest { name: name.clone() };
    server.checkpoints().delete_checkpoint(request).await?;
    if output.is_json() {
        return output.json(&json!({ "name": name }));
    }
    output.line(&[format!("{agent}: checkpoint {id} is deleted").into()])
}
