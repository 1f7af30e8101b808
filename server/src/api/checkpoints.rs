//! `rekindle.v1.CheckpointService`.

use std::sync::Arc;

use rekindle::checkpoint::CheckpointId;
use rekindle::id::AgentId;
use rekindle::wire::v1;
use rekindle::wire::v1::checkpoint_service_server::CheckpointService;
use rekindle_server_core::checkpoint::CheckpointRecord;
use rekindle_server_core::effect::{Answer, CheckpointError, RequestError};
use rekindle_server_core::input::Request as MachineRequest;
use tonic::{Code, Request, Response, Status};

use super::agents::mismatched;
use super::page::{Page, bad_token};
use super::view;
use crate::handle::{BodyError, Handle};
use crate::snapshot::Snapshot;
use crate::status::{checkpoint_refused, invalid, refused, rich, unreadable};

/// The service.
pub(super) struct Checkpoints {
    handle: Handle,
}

impl Checkpoints {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

fn checkpoint_name(name: &str) -> Result<(AgentId, CheckpointId), Status> {
    CheckpointId::from_name(name).map_err(|error| invalid("name", error.to_string()))
}

/// A checkpoint as it is shown, but for its body.
fn shown(record: &CheckpointRecord, snapshot: &Snapshot) -> v1::Checkpoint {
    let line = snapshot.agents.get(&record.agent).map(|agent| &agent.checkpoint_line);
    let newest = snapshot.checkpoints_of(&record.agent).next();
    let open = newest.filter(|newest| line.is_some_and(|line| line.offers(newest)));
    view::checkpoint(record, open.map(|open| open.id))
}

fn no_body(record: &CheckpointRecord, error: &BodyError) -> Status {
    match error {
        BodyError::Unreadable(error) => unreadable(error),
        BodyError::Gone => not_found(&record.agent, record.id),
        BodyError::Damaged { .. } => {
            let message = format!("{}: {error}", record.id.name(&record.agent));
            rich(Code::DataLoss, "CHECKPOINT_DAMAGED", message, [])
        }
    }
}

fn not_found(agent: &AgentId, id: CheckpointId) -> Status {
    let agent = agent.clone();
    checkpoint_refused(&CheckpointError::NotFound { agent, id })
}

#[tonic::async_trait]
impl CheckpointService for Checkpoints {
    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let (agent, id) = checkpoint_name(&request.into_inner().name)?;
        let snapshot = self.handle.snapshot();
        let record = snapshot.checkpoints.get(&(agent.clone(), id));
        let record: &Arc<CheckpointRecord> = record.ok_or_else(|| not_found(&agent, id))?;
        let body = self.handle.checkpoint_body(&agent, id).await;
        let body = body.map_err(|error| no_body(record, &error))?;
        let checkpoint = Some(v1::Checkpoint {
            body: body.as_bytes().to_vec(),
            ..shown(record, &snapshot)
        });
        Ok(Response::new(v1::GetCheckpointResponse { checkpoint }))
    }

    async fn list_checkpoints(
        &self,
        request: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<v1::ListCheckpointsResponse>, Status> {
        let v1::ListCheckpointsRequest {
            parent,
            page_size,
            page_token,
        } = request.into_inner();
        let page = Page::parse(page_size, &page_token, &parent)?;
        let agent = AgentId::from_name(&parent).map_err(|error| invalid("parent", error.to_string()))?;
        let snapshot = self.handle.snapshot();
        if !snapshot.agents.contains_key(&agent) {
            return Err(refused(&RequestError::NotFound(agent)));
        }
        let after: Option<CheckpointId> = match &page.after {
            Some(after) => Some(after.parse().map_err(|_| bad_token())?),
            None => None,
        };
        let rest = |record: &&Arc<CheckpointRecord>| after.is_none_or(|after| record.id < after);
        let mut left = snapshot.checkpoints_of(&agent).filter(rest).peekable();
        // An agent has few, so that no page is too large for an answer.
        let records: Vec<&Arc<CheckpointRecord>> = left.by_ref().take(page.size).collect();
        let last = records.last().map(|record| record.id.to_string());
        let more = left.peek().and(last);
        Ok(Response::new(v1::ListCheckpointsResponse {
            checkpoints: records.into_iter().map(|record| shown(record, &snapshot)).collect(),
            next_page_token: more.map(|last| page.next(&last)).unwrap_or_default(),
        }))
    }

    async fn delete_checkpoint(
        &self,
        request: Request<v1::DeleteCheckpointRequest>,
    ) -> Result<Response<v1::DeleteCheckpointResponse>, Status> {
        let (agent, id) = checkpoint_name(&request.into_inner().name)?;
        let delete = MachineRequest::DeleteCheckpoint { agent, id };
        let Answer::CheckpointDeleted(deleted) = self.handle.call(delete, None).await? else {
            return Err(mismatched());
        };
        deleted.map_err(|error| checkpoint_refused(&error))?;
        Ok(Response::new(v1::DeleteCheckpointResponse {}))
    }
}
