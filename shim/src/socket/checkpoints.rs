//! `rekindle.agent.v1.CheckpointService`: parses what the agent sends, once, into calls that are valid.

use rekindle::checkpoint::{CheckpointBody, CheckpointDraft, CheckpointError, CheckpointFields, HeldCheckpoint};
use rekindle::convert::timestamp_to_wire;
use rekindle::id::Incarnation;
use rekindle::wire::agent_v1::{self as wire, checkpoint_service_server::CheckpointService};
use rekindle_shim_core::{CheckpointAnswer, TaskIs};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use super::requests::{Call, CheckpointWord};
use super::status::{checkpoint_refused, ending, invalid};

/// The service.
#[derive(Debug)]
pub(super) struct Checkpoints {
    calls: mpsc::Sender<Call>,
}

impl Checkpoints {
    pub(super) const fn new(calls: mpsc::Sender<Call>) -> Self {
        Self { calls }
    }

    /// Says it, and waits for the answer.
    async fn say(&self, incarnation: u64, word: CheckpointWord) -> Result<CheckpointAnswer, Status> {
        let incarnation = Some(incarnation).filter(|number| *number != 0).map(Incarnation::new);
        let (reply, answer) = oneshot::channel();
        let call = Call::Checkpoint {
            incarnation,
            word,
            reply,
        };
        self.calls.send(call).await.map_err(|_| ending())?;
        match answer.await.map_err(|_| ending())? {
            Ok(answer) => Ok(answer),
            Err(refused) => checkpoint_refused(refused).map_or(Ok(CheckpointAnswer::Done), Err),
        }
    }
}

#[tonic::async_trait]
impl CheckpointService for Checkpoints {
    async fn save(&self, request: Request<wire::SaveRequest>) -> Result<Response<wire::SaveResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let state = said.state.ok_or_else(|| invalid("state", "must be given"))?;
        let fields = CheckpointFields::new(CheckpointDraft {
            task_id: state.task_id,
            issue: state.issue,
            workspace: state.workspace,
            branch: state.branch,
            stage: state.stage,
            memory_refs: state.memory_refs,
            values: state.values,
        });
        let body = CheckpointBody::new(state.body);
        let word = CheckpointWord::Save {
            fields: fields.map_err(|error| refused(&error))?,
            body: body.map_err(|error| refused(&error))?,
            task: TaskIs::GoingOn,
        };
        let checkpoint = match self.say(said.incarnation, word).await? {
            CheckpointAnswer::Saved(id) => id.to_string(),
            CheckpointAnswer::Loaded(_) | CheckpointAnswer::Done => String::new(),
        };
        Ok(Response::new(wire::SaveResponse { checkpoint }))
    }

    async fn load(&self, request: Request<wire::LoadRequest>) -> Result<Response<wire::LoadResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let checkpoint = match self.say(said.incarnation, CheckpointWord::Load).await? {
            CheckpointAnswer::Loaded(held) => held.as_ref().map(loaded),
            CheckpointAnswer::Saved(_) | CheckpointAnswer::Done => None,
        };
        Ok(Response::new(wire::LoadResponse { checkpoint }))
    }

    async fn confirm(&self, request: Request<wire::ConfirmRequest>) -> Result<Response<wire::ConfirmResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        self.say(said.incarnation, CheckpointWord::Confirm).await?;
        Ok(Response::new(wire::ConfirmResponse {}))
    }

    async fn close(&self, request: Request<wire::CloseRequest>) -> Result<Response<wire::CloseResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        self.say(said.incarnation, CheckpointWord::Close).await?;
        Ok(Response::new(wire::CloseResponse {}))
    }
}

fn refused(error: &CheckpointError) -> Status {
    invalid(&format!("state.{}", error.field), &error.problem)
}

fn loaded(held: &HeldCheckpoint) -> wire::LoadedCheckpoint {
    let checkpoint = &held.checkpoint;
    let fields = checkpoint.fields.clone().into_draft();
    wire::LoadedCheckpoint {
        checkpoint: checkpoint.id.to_string(),
        state: Some(wire::ActiveState {
            task_id: fields.task_id,
            issue: fields.issue,
            workspace: fields.workspace,
            branch: fields.branch,
            stage: fields.stage,
            memory_refs: fields.memory_refs,
            values: fields.values,
            body: checkpoint.body.as_bytes().to_vec(),
        }),
        save_time: Some(timestamp_to_wire(checkpoint.saved)),
        unclean: held.flags.unclean,
        in_flight: held.flags.in_flight.iter().map(ToString::to_string).collect(),
    }
}
