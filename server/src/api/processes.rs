//! ListProcesses: the process of each agent, and of each of its executions, that has one of its own.

use std::ops::Bound;

use rekindle::execution::ExecutionId;
use rekindle::id::AgentId;
use rekindle::wire::v1;
use rekindle_server_core::record::AgentRecord;
use tonic::Status;

use super::page::{PAGE_MAX_BYTES, Page, bad_token};
use super::subject::{AgentSubject, filter};
use super::view;
use crate::handle::Handle;
use crate::snapshot::Snapshot;

/// The last row of the page before: agents come in the order of their ids, each with its own process before those of its
/// executions.
struct Cursor {
    agent: AgentId,
    /// `None`: the agent's own process.
    execution: Option<ExecutionId>,
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, Status> {
        let (agent, execution) = match AgentId::from_name(text) {
            Ok(agent) => (agent, None),
            Err(_) => {
                let (agent, execution) = ExecutionId::from_name(text).map_err(|_| bad_token())?;
                (agent, Some(execution))
            }
        };
        Ok(Self { agent, execution })
    }

    /// The cursor of a row.
    fn at(row: &v1::AgentProcess) -> &str {
        match row.execution.as_str() {
            "" => &row.agent,
            execution => execution,
        }
    }
}

/// A page of the processes of those agents that pass the filter.
pub(super) fn list(handle: &Handle, request: &v1::ListProcessesRequest) -> Result<v1::ListProcessesResponse, Status> {
    let page = Page::parse(request.page_size, &request.page_token, &request.filter)?;
    let filter = filter::<AgentSubject<'_>>(&request.filter)?;
    let after = page.after.as_deref().map(Cursor::parse).transpose()?;
    let snapshot = handle.snapshot();
    let from = match &after {
        Some(after) => Bound::Included(after.agent.clone()),
        None => Bound::Unbounded,
    };
    let agents = snapshot
        .agents
        .range((from, Bound::Unbounded))
        .map(|(_, record)| record);
    let passing = agents.filter(|record| filter.matches(&AgentSubject { record, handle }));
    let rows = passing.flat_map(|record| rows_of(handle, &snapshot, record, after.as_ref()));
    let mut processes: Vec<v1::AgentProcess> = Vec::new();
    let mut room = PAGE_MAX_BYTES;
    for row in rows {
        let size = prost::Message::encoded_len(&row);
        if processes.len() == page.size || size > room {
            let last = processes.last().map(Cursor::at);
            let next_page_token = last.map(|last| page.next(last)).unwrap_or_default();
            return Ok(v1::ListProcessesResponse {
                processes,
                next_page_token,
            });
        }
        room -= size;
        processes.push(row);
    }
    Ok(v1::ListProcessesResponse {
        processes,
        next_page_token: String::new(),
    })
}

/// The rows of one agent that come after a cursor.
fn rows_of(
    handle: &Handle,
    snapshot: &Snapshot,
    record: &AgentRecord,
    after: Option<&Cursor>,
) -> impl Iterator<Item = v1::AgentProcess> {
    let here = after.filter(|after| after.agent == record.id);
    let own = match here {
        Some(_) => None,
        None => view::agent_process(record, handle),
    };
    let seen = here.and_then(|here| here.execution.as_ref());
    let executions = snapshot.executions.with_process(&record.id, seen);
    let of_executions: Vec<v1::AgentProcess> = executions
        .filter_map(|execution| view::execution_process(record, execution, handle))
        .collect();
    own.into_iter().chain(of_executions)
}
