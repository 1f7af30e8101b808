//! `rekindle.v1.ExecutionService`.

mod request;
mod watch;

use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;

use rekindle::execution::{ExecutionId, ExecutionNameError};
use rekindle::id::AgentId;
use rekindle::wire::v1;
use rekindle::wire::v1::execution_service_server::ExecutionService;
use rekindle_server_core::effect::{Answer, CancelOutcome, ExecutionError};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::input::{CreateExecution, Request as MachineRequest};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::agents::mismatched;
use super::page::{PAGE_MAX_BYTES, Page, bad_token};
use super::subject::{ExecutionSubject, filter};
use super::{deadline, view};
use crate::handle::{Handle, MessageError};
use crate::status::{execution_refused, invalid, rich, unreadable};
use crate::store::Text;

/// The parent that means the executions of all agents (AIP-159).
const ALL: &str = "agents/-";

/// The service.
pub(super) struct Executions {
    handle: Handle,
}

impl Executions {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    fn find(&self, name: &str) -> Result<Arc<ExecutionRecord>, Status> {
        let (agent, id) = execution_name(name)?;
        let snapshot = self.handle.snapshot();
        let key = (agent, id);
        let found = snapshot.executions.get(&key).cloned();
        found.ok_or_else(|| {
            let (agent, id) = key;
            execution_refused(&ExecutionError::NotFound { agent, id })
        })
    }

    async fn create(&self, create: CreateExecution) -> Result<v1::Execution, Status> {
        let request = MachineRequest::CreateExecution(Box::new(create));
        let Answer::Execution(answer) = self.handle.call(request, None).await? else {
            return Err(mismatched());
        };
        let record = answer.map_err(|error| execution_refused(&error))?;
        with_texts(&self.handle, &record).await
    }
}

/// An execution with its message and its output.
async fn with_texts(handle: &Handle, record: &ExecutionRecord) -> Result<v1::Execution, Status> {
    let read = async |text| handle.text(&record.agent, &record.id, text).await;
    let message = read(Text::Message).await.map_err(|error| unreadable(&error))?;
    let output = match record.output.kept {
        0 => String::new(),
        _ => read(Text::Output).await.map_err(|error| unreadable(&error))?,
    };
    Ok(v1::Execution {
        message,
        output,
        ..view::execution(record)
    })
}

fn no_message(record: &ExecutionRecord, error: &MessageError) -> Status {
    match error {
        MessageError::Unreadable(error) | MessageError::Damaged(error) => unreadable(error),
        MessageError::Missing => {
            let message = format!("{}: {error}", record.id.name(&record.agent));
            rich(Code::DataLoss, "MESSAGE_LOST", message, [])
        }
    }
}

fn execution_name(name: &str) -> Result<(AgentId, ExecutionId), Status> {
    ExecutionId::from_name(name).map_err(|error: ExecutionNameError| invalid("name", error.to_string()))
}

#[tonic::async_trait]
impl ExecutionService for Executions {
    type WatchExecutionStream = Pin<Box<dyn Stream<Item = Result<v1::WatchExecutionResponse, Status>> + Send>>;

    async fn create_execution(
        &self,
        request: Request<v1::CreateExecutionRequest>,
    ) -> Result<Response<v1::CreateExecutionResponse>, Status> {
        let create = request::create(request.into_inner())?;
        let execution = Some(self.create(create).await?);
        Ok(Response::new(v1::CreateExecutionResponse { execution }))
    }

    async fn get_execution(
        &self,
        request: Request<v1::GetExecutionRequest>,
    ) -> Result<Response<v1::GetExecutionResponse>, Status> {
        let record = self.find(&request.into_inner().name)?;
        let execution = Some(with_texts(&self.handle, &record).await?);
        Ok(Response::new(v1::GetExecutionResponse { execution }))
    }

    async fn list_executions(
        &self,
        request: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<v1::ListExecutionsResponse>, Status> {
        let v1::ListExecutionsRequest {
            parent,
            page_size,
            page_token,
            filter: text,
        } = request.into_inner();
        let page = Page::parse(page_size, &page_token, &format!("{parent} {text}"))?;
        let filter = filter::<ExecutionSubject<'_>>(&text)?;
        let of_agent = match parent.as_str() {
            ALL => None,
            name => Some(AgentId::from_name(name).map_err(|error| invalid("parent", error.to_string()))?),
        };
        let from = match (&page.after, &of_agent) {
            (Some(after), _) => Bound::Excluded(ExecutionId::from_name(after).map_err(|_| bad_token())?),
            (None, Some(agent)) => Bound::Included((agent.clone(), ExecutionId::first())),
            (None, None) => Bound::Unbounded,
        };
        let snapshot = self.handle.snapshot();
        let mut executions = Vec::new();
        let mut next_page_token = String::new();
        let mut room = PAGE_MAX_BYTES;
        let mut last: Option<&ExecutionRecord> = None;
        let within = |record: &ExecutionRecord| of_agent.as_ref().is_none_or(|agent| record.agent == *agent);
        for record in snapshot.executions.from(from) {
            if !within(record) {
                break;
            }
            if !filter.matches(&ExecutionSubject(record)) {
                continue;
            }
            let shown = view::execution(record);
            let size = prost::Message::encoded_len(&shown);
            if executions.len() == page.size || size > room {
                next_page_token = last
                    .map(|last| page.next(&last.id.name(&last.agent)))
                    .unwrap_or_default();
                break;
            }
            room -= size;
            executions.push(shown);
            last = Some(record);
        }
        Ok(Response::new(v1::ListExecutionsResponse {
            executions,
            next_page_token,
        }))
    }

    async fn cancel_execution(
        &self,
        request: Request<v1::CancelExecutionRequest>,
    ) -> Result<Response<v1::CancelExecutionResponse>, Status> {
        let wait = deadline::wait(request.metadata());
        let cancel = MachineRequest::CancelExecution(request::cancel(request.into_inner())?);
        let Answer::Cancelled(answer) = self.handle.call(cancel, Some(wait)).await? else {
            return Err(mismatched());
        };
        let answer = answer.map_err(|error| execution_refused(&error))?;
        let outcome = match answer.outcome {
            CancelOutcome::Cancelled => v1::CancelOutcome::Cancelled,
            CancelOutcome::AlreadyOver => v1::CancelOutcome::AlreadyOver,
            CancelOutcome::Pending => v1::CancelOutcome::Pending,
        };
        Ok(Response::new(v1::CancelExecutionResponse {
            execution: Some(with_texts(&self.handle, &answer.execution).await?),
            outcome: outcome.into(),
        }))
    }

    async fn watch_execution(
        &self,
        request: Request<v1::WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        let record = self.find(&request.into_inner().name)?;
        let updates = watch::watch(self.handle.clone(), record);
        Ok(Response::new(Box::pin(updates)))
    }

    async fn redrive_execution(
        &self,
        request: Request<v1::RedriveExecutionRequest>,
    ) -> Result<Response<v1::RedriveExecutionResponse>, Status> {
        let request = request.into_inner();
        let record = self.find(&request.name)?;
        let message = self.handle.message(&record.agent, &record.id).await;
        let message = message.map_err(|error| no_message(&record, &error))?;
        let create = request::redrive(&request, &record, message)?;
        let execution = Some(self.create(create).await?);
        Ok(Response::new(v1::RedriveExecutionResponse { execution }))
    }
}
