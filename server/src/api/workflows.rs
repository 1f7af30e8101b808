//! `rekindle.v1.WorkflowService`.

mod request;
mod view;

use std::sync::Arc;

use rekindle::wire::v1;
use rekindle::wire::v1::workflow_service_server::WorkflowService;
use rekindle::workflow::{SecretHash, WorkflowId};
use rekindle_server_core::effect::{Answer, TriggerOutcome, WorkflowAnswer, WorkflowError};
use rekindle_server_core::input::{Request as MachineRequest, UpdateMode};
use rekindle_server_core::workflow::WorkflowRecord;
use tonic::{Code, Request, Response, Status};

use super::agents::mismatched;
use super::page::{PAGE_MAX_BYTES, Page, bad_token};
use super::subject::{WorkflowSubject, filter};
use crate::handle::Handle;
use crate::snapshot::Snapshot;
use crate::status::{invalid, rich, workflow_refused};
use crate::webhook::secret;

/// The service.
pub(super) struct Workflows {
    handle: Handle,
}

/// A secret that was made for a call, and what the machine is given of it.
struct Secret {
    text: String,
    hash: SecretHash,
}

impl Secret {
    fn make() -> Result<Self, Status> {
        let text = secret::make().map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the system has no randomness to give"
            );
            let message = "the system has no randomness to give for a secret";
            rich(Code::Unavailable, "NO_RANDOMNESS", message, [])
        })?;
        let hash = secret::hash(&text);
        Ok(Self { text, hash })
    }

    /// The secret, where the workflow has come to have it: what was only checked has come to have nothing.
    fn told_of(self, workflow: &WorkflowRecord, was_checked: bool) -> String {
        match !was_checked && workflow.secret == Some(self.hash) {
            true => self.text,
            false => String::new(),
        }
    }
}

impl Workflows {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    fn find(&self, name: &str, snapshot: &Snapshot) -> Result<Arc<WorkflowRecord>, Status> {
        let id = workflow_name(name, "name")?;
        let found = snapshot.workflows.get(&id).cloned();
        found.ok_or_else(|| workflow_refused(&WorkflowError::NotFound(id)))
    }

    /// A workflow with its message. What of it is not the call's own is as readers see it.
    fn shown(&self, record: &WorkflowRecord, message: &str) -> v1::Workflow {
        v1::Workflow {
            message: message.to_owned(),
            ..view::workflow(record, &self.handle.snapshot())
        }
    }

    async fn change(&self, request: MachineRequest) -> Result<WorkflowAnswer, Status> {
        let Answer::Workflow(answer) = self.handle.call(request, None).await? else {
            return Err(mismatched());
        };
        answer.map_err(|error| workflow_refused(&error))
    }

    /// At most a page of what passes the filter, and the token of the next page.
    fn list(&self, filter_text: &str, page: &Page) -> Result<(Vec<v1::Workflow>, String), Status> {
        let filter = filter::<WorkflowSubject<'_>>(filter_text)?;
        let snapshot = self.handle.snapshot();
        let after = page.after.as_deref().map(WorkflowId::new).transpose();
        let after = after.map_err(|_| bad_token())?;
        let mut shown = Vec::new();
        let mut room = PAGE_MAX_BYTES;
        let mut last: Option<&WorkflowId> = None;
        for record in snapshot.workflows.after(after) {
            let subject = WorkflowSubject {
                record,
                snapshot: &snapshot,
            };
            if !filter.matches(&subject) {
                continue;
            }
            let item = view::workflow(record, &snapshot);
            let size = prost::Message::encoded_len(&item);
            if shown.len() == page.size || size > room {
                return Ok((shown, last.map(|id| page.next(id.as_str())).unwrap_or_default()));
            }
            room -= size;
            shown.push(item);
            last = Some(&record.id);
        }
        Ok((shown, String::new()))
    }
}

fn workflow_name(name: &str, field: &str) -> Result<WorkflowId, Status> {
    WorkflowId::from_name(name).map_err(|error| invalid(field, error.to_string()))
}

#[tonic::async_trait]
impl WorkflowService for Workflows {
    async fn create_workflow(
        &self,
        request: Request<v1::CreateWorkflowRequest>,
    ) -> Result<Response<v1::CreateWorkflowResponse>, Status> {
        let secret = Secret::make()?;
        let create = request::create(request.into_inner(), secret.hash)?;
        let was_checked = create.mode == UpdateMode::ValidateOnly;
        let answer = self.change(MachineRequest::CreateWorkflow(Box::new(create))).await?;
        Ok(Response::new(v1::CreateWorkflowResponse {
            workflow: Some(self.shown(&answer.workflow, &answer.message)),
            webhook_secret: secret.told_of(&answer.workflow, was_checked),
        }))
    }

    async fn get_workflow(
        &self,
        request: Request<v1::GetWorkflowRequest>,
    ) -> Result<Response<v1::GetWorkflowResponse>, Status> {
        let snapshot = self.handle.snapshot();
        let record = self.find(&request.into_inner().name, &snapshot)?;
        let message = snapshot.workflows.message(&record.id);
        Ok(Response::new(v1::GetWorkflowResponse {
            workflow: Some(v1::Workflow {
                message: message.map(|message| message.to_string()).unwrap_or_default(),
                ..view::workflow(&record, &snapshot)
            }),
        }))
    }

    async fn list_workflows(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token, &request.filter)?;
        let (workflows, next_page_token) = self.list(&request.filter, &page)?;
        Ok(Response::new(v1::ListWorkflowsResponse {
            workflows,
            next_page_token,
        }))
    }

    async fn update_workflow(
        &self,
        request: Request<v1::UpdateWorkflowRequest>,
    ) -> Result<Response<v1::UpdateWorkflowResponse>, Status> {
        let secret = Secret::make()?;
        let update = request::update(request.into_inner(), secret.hash)?;
        let was_checked = update.mode == UpdateMode::ValidateOnly;
        let answer = self.change(MachineRequest::UpdateWorkflow(Box::new(update))).await?;
        Ok(Response::new(v1::UpdateWorkflowResponse {
            workflow: Some(self.shown(&answer.workflow, &answer.message)),
            webhook_secret: secret.told_of(&answer.workflow, was_checked),
        }))
    }

    async fn delete_workflow(
        &self,
        request: Request<v1::DeleteWorkflowRequest>,
    ) -> Result<Response<v1::DeleteWorkflowResponse>, Status> {
        let delete = MachineRequest::DeleteWorkflow(request::delete(&request.into_inner())?);
        let Answer::WorkflowDeleted(answer) = self.handle.call(delete, None).await? else {
            return Err(mismatched());
        };
        answer.map_err(|error| workflow_refused(&error))?;
        Ok(Response::new(v1::DeleteWorkflowResponse {}))
    }

    async fn trigger_workflow(
        &self,
        request: Request<v1::TriggerWorkflowRequest>,
    ) -> Result<Response<v1::TriggerWorkflowResponse>, Status> {
        let trigger = MachineRequest::TriggerWorkflow(request::trigger(request.into_inner())?);
        let Answer::Triggered(answer) = self.handle.call(trigger, None).await? else {
            return Err(mismatched());
        };
        let answer = answer.map_err(|error| workflow_refused(&error))?;
        let (execution, skipped) = match &answer.outcome {
            TriggerOutcome::Pending => (None, String::new()),
            TriggerOutcome::Execution(execution) => (Some(super::view::execution(execution)), String::new()),
            TriggerOutcome::Skipped(why) => (None, why.clone()),
        };
        Ok(Response::new(v1::TriggerWorkflowResponse {
            fire: Some(v1::Fire {
                number: answer.fire.get(),
                key: answer.key.as_str().to_owned(),
            }),
            execution,
            skipped,
        }))
    }
}
