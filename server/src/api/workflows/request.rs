//! From message to request, with every limit checked.

use rekindle::convert::WorkflowChange;
use rekindle::wire::v1;
use rekindle::workflow::{FireKey, PAYLOAD_MAX_BYTES, SecretHash, WorkflowId};
use rekindle_server_core::input::{
    CreateWorkflow, DeleteWorkflow, Missing, Rotate, TriggerWorkflow, TriggeredBy, UpdateMode, UpdateWorkflow,
};
use tonic::Status;

use super::super::agents::etag;
use super::super::operations::request_id;
use super::workflow_name;
use crate::status::{invalid, unparsed};

pub(super) fn create(request: v1::CreateWorkflowRequest, secret: SecretHash) -> Result<CreateWorkflow, Status> {
    let id = match request.workflow_id.as_str() {
        "" => None,
        id => Some(WorkflowId::new(id).map_err(|error| invalid("workflow_id", error.to_string()))?),
    };
    let workflow = request
        .workflow
        .ok_or_else(|| invalid("workflow", "must be given, with its agent, trigger and message"))?;
    let change = WorkflowChange::from_wire(&workflow, None).map_err(unparsed)?;
    let message = change
        .message
        .ok_or_else(|| invalid("workflow.message", "must not be empty"))?;
    let spec = change.patch.into_spec();
    let spec = spec.map_err(|error| invalid(&format!("workflow.{}", error.field), error.problem))?;
    Ok(CreateWorkflow {
        id,
        spec,
        message,
        secret: Some(secret),
        request_id: request_id(&request.request_id)?,
        mode: mode(request.validate_only),
    })
}

pub(super) fn update(request: v1::UpdateWorkflowRequest, secret: SecretHash) -> Result<UpdateWorkflow, Status> {
    let workflow = request
        .workflow
        .ok_or_else(|| invalid("workflow", "must be given, with its name"))?;
    let change = WorkflowChange::from_wire(&workflow, request.update_mask.as_ref()).map_err(unparsed)?;
    Ok(UpdateWorkflow {
        id: workflow_name(&workflow.name, "workflow.name")?,
        patch: change.patch,
        message: change.message,
        secret: Some(secret),
        rotate: match request.rotate_webhook_secret {
            true => Rotate::Yes,
            false => Rotate::No,
        },
        etag: etag(&workflow.etag, "workflow.etag")?,
        missing: match request.allow_missing {
            true => Missing::Create,
            false => Missing::Fail,
        },
        mode: mode(request.validate_only),
    })
}

pub(super) fn delete(request: &v1::DeleteWorkflowRequest) -> Result<DeleteWorkflow, Status> {
    Ok(DeleteWorkflow {
        id: workflow_name(&request.name, "name")?,
        etag: etag(&request.etag, "etag")?,
    })
}

pub(super) fn trigger(request: v1::TriggerWorkflowRequest) -> Result<TriggerWorkflow, Status> {
    let bytes = request.payload.len();
    if bytes > PAYLOAD_MAX_BYTES {
        let problem = format!(
            "has {bytes} bytes, and at most {PAYLOAD_MAX_BYTES} are taken; put what is longer into a file that it names"
        );
        return Err(invalid("payload", problem));
    }
    let key = match request.request_id.as_str() {
        "" => None,
        id => Some(FireKey::new(id).map_err(|error| invalid("request_id", error.to_string()))?),
    };
    Ok(TriggerWorkflow {
        id: workflow_name(&request.name, "name")?,
        uid: None,
        key,
        payload: request.payload,
        by: TriggeredBy::Call,
    })
}

fn mode(validate_only: bool) -> UpdateMode {
    match validate_only {
        true => UpdateMode::ValidateOnly,
        false => UpdateMode::Apply,
    }
}
