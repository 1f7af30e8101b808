//! `rekindle.v1.AgentService`.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use rekindle::convert::AgentPatch;
use rekindle::id::AgentId;
use rekindle::wire::v1;
use rekindle::wire::v1::agent_service_server::AgentService;
use rekindle_server_core::effect::{Answer, RequestError};
use rekindle_server_core::explain::{self, Link};
use rekindle_server_core::input::{
    DeleteRequest, Force, Missing, Request as MachineRequest, UpdateMode, UpdateRequest,
};
use rekindle_server_core::record::AgentRecord;
use tonic::{Request, Response, Status};

use super::operations::{self, Answered, agent_name};
use super::page::{PAGE_MAX_BYTES, Page, bad_token};
use super::subject::{AgentSubject, filter};
use super::{deadline, processes, view};
use crate::handle::Handle;
use crate::status::{defect, invalid, refused, unparsed};

/// The service.
pub(super) struct Agents {
    handle: Handle,
}

impl Agents {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    fn find(&self, name: &str) -> Result<Arc<AgentRecord>, Status> {
        let id = agent_name(name)?;
        let found = self.handle.snapshot().agents.get(&id).cloned();
        found.ok_or_else(|| refused(&RequestError::NotFound(id)))
    }

    /// At most a page of what passes the filter, and the token of the next page.
    fn list(&self, filter_text: &str, page: &Page) -> Result<(Vec<v1::Agent>, String), Status> {
        let filter = filter::<AgentSubject<'_>>(filter_text)?;
        let snapshot = self.handle.snapshot();
        let from = match &page.after {
            Some(after) => Bound::Excluded(AgentId::new(after).map_err(|_| bad_token())?),
            None => Bound::Unbounded,
        };
        let mut shown = Vec::new();
        let mut room = PAGE_MAX_BYTES;
        let mut last: Option<&AgentId> = None;
        for (id, record) in snapshot.agents.range((from, Bound::Unbounded)) {
            if !filter.matches(&AgentSubject {
                record,
                handle: &self.handle,
            }) {
                continue;
            }
            let item = view::agent(record, &self.handle);
            let size = prost::Message::encoded_len(&item);
            if shown.len() == page.size || size > room {
                return Ok((shown, last.map(|id| page.next(id.as_str())).unwrap_or_default()));
            }
            room -= size;
            shown.push(item);
            last = Some(id);
        }
        Ok((shown, String::new()))
    }

    async fn operate(&self, request: MachineRequest, wait: Duration) -> Result<Answered, Status> {
        let Answer::Operation(answer) = self.handle.call(request, Some(wait)).await? else {
            return Err(mismatched());
        };
        let answer = answer.map_err(|error| refused(&error))?;
        Ok(operations::answered(answer, &self.handle))
    }
}

/// The machine answers each request by its own kind of answer.
pub(super) fn mismatched() -> Status {
    defect("the answer is to another question")
}

pub(super) fn etag(text: &str, field: &str) -> Result<Option<u64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || invalid(field, "is not an etag that this server gave; read it again");
    text.parse().map(Some).map_err(|_| wrong())
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn get_agent(&self, request: Request<v1::GetAgentRequest>) -> Result<Response<v1::GetAgentResponse>, Status> {
        let record = self.find(&request.into_inner().name)?;
        Ok(Response::new(v1::GetAgentResponse {
            agent: Some(view::agent(&record, &self.handle)),
        }))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(request.page_size, &request.page_token, &request.filter)?;
        let (agents, next_page_token) = self.list(&request.filter, &page)?;
        Ok(Response::new(v1::ListAgentsResponse {
            agents,
            next_page_token,
        }))
    }

    async fn update_agent(
        &self,
        request: Request<v1::UpdateAgentRequest>,
    ) -> Result<Response<v1::UpdateAgentResponse>, Status> {
        let request = request.into_inner();
        let agent = request.agent.ok_or_else(|| invalid("agent", "must be given"))?;
        let id = AgentId::from_name(&agent.name).map_err(|error| invalid("agent.name", error.to_string()))?;
        let patch = AgentPatch::from_wire(&agent, request.update_mask.as_ref()).map_err(unparsed)?;
        let update = MachineRequest::Update(Box::new(UpdateRequest {
            agent: id,
            policy: patch.policy,
            labels: patch.labels,
            etag: etag(&agent.etag, "agent.etag")?,
            missing: if request.allow_missing {
                Missing::Create
            } else {
                Missing::Fail
            },
            mode: if request.validate_only {
                UpdateMode::ValidateOnly
            } else {
                UpdateMode::Apply
            },
        }));
        let Answer::Updated(updated) = self.handle.call(update, None).await? else {
            return Err(mismatched());
        };
        let record = updated.map_err(|error| refused(&error))?;
        Ok(Response::new(v1::UpdateAgentResponse {
            agent: Some(view::agent(&record, &self.handle)),
        }))
    }

    async fn delete_agent(
        &self,
        request: Request<v1::DeleteAgentRequest>,
    ) -> Result<Response<v1::DeleteAgentResponse>, Status> {
        let request = request.into_inner();
        let delete = MachineRequest::Delete(DeleteRequest {
            agent: agent_name(&request.name)?,
            etag: etag(&request.etag, "etag")?,
            force: if request.force { Force::Yes } else { Force::No },
        });
        let Answer::Deleted(deleted) = self.handle.call(delete, None).await? else {
            return Err(mismatched());
        };
        deleted.map_err(|error| refused(&error))?;
        Ok(Response::new(v1::DeleteAgentResponse {}))
    }

    async fn restart_agent(
        &self,
        request: Request<v1::RestartAgentRequest>,
    ) -> Result<Response<v1::RestartAgentResponse>, Status> {
        let wait = deadline::wait(request.metadata());
        let run = operations::restart(request.into_inner())?;
        let Answered {
            agent,
            previous_state,
            outcome,
            detail,
            cancelled_executions,
            checkpoint,
            save_outcome,
        } = self.operate(MachineRequest::Run(run), wait).await?;
        Ok(Response::new(v1::RestartAgentResponse {
            agent,
            previous_state,
            outcome,
            detail,
            cancelled_executions,
            checkpoint,
            save_outcome,
        }))
    }

    async fn start_agent(
        &self,
        request: Request<v1::StartAgentRequest>,
    ) -> Result<Response<v1::StartAgentResponse>, Status> {
        let wait = deadline::wait(request.metadata());
        let run = operations::start(request.into_inner())?;
        let Answered {
            agent,
            previous_state,
            outcome,
            detail,
            cancelled_executions,
            checkpoint,
            save_outcome,
        } = self.operate(MachineRequest::Run(run), wait).await?;
        Ok(Response::new(v1::StartAgentResponse {
            agent,
            previous_state,
            outcome,
            detail,
            cancelled_executions,
            checkpoint,
            save_outcome,
        }))
    }

    async fn stop_agent(
        &self,
        request: Request<v1::StopAgentRequest>,
    ) -> Result<Response<v1::StopAgentResponse>, Status> {
        let wait = deadline::wait(request.metadata());
        let stop = operations::stop(request.into_inner())?;
        let Answered {
            agent,
            previous_state,
            outcome,
            detail,
            cancelled_executions,
            checkpoint,
            save_outcome,
        } = self.operate(MachineRequest::Stop(stop), wait).await?;
        Ok(Response::new(v1::StopAgentResponse {
            agent,
            previous_state,
            outcome,
            detail,
            cancelled_executions,
            checkpoint,
            save_outcome,
        }))
    }

    async fn signal_agent(
        &self,
        request: Request<v1::SignalAgentRequest>,
    ) -> Result<Response<v1::SignalAgentResponse>, Status> {
        let wait = deadline::wait(request.metadata());
        let signal = operations::signal(&request.into_inner())?;
        let Answer::Signalled(signalled) = self.handle.call(MachineRequest::Signal(signal), Some(wait)).await? else {
            return Err(mismatched());
        };
        let answer = signalled.map_err(|error| refused(&error))?;
        Ok(Response::new(operations::signalled(&answer)))
    }

    async fn explain_agent(
        &self,
        request: Request<v1::ExplainAgentRequest>,
    ) -> Result<Response<v1::ExplainAgentResponse>, Status> {
        let record = self.find(&request.into_inner().name)?;
        let link = match self.handle.live(&record.id, record.epoch) {
            Some(_) => Link::Up,
            None => Link::Down,
        };
        let queued = self.handle.snapshot().executions.queued(&record.id);
        let snapshot = self.handle.snapshot();
        let checkpoint = snapshot.checkpoints_of(&record.id).next();
        let now = self.handle.clock().now().wall;
        let workflows = snapshot
            .workflows
            .after(None)
            .filter(|workflow| workflow.spec.agent == record.id);
        let explanation = explain::explain(&record, link, queued, checkpoint.map(|newest| &**newest), now)
            .with_workflows(&record, workflows.map(|workflow| &**workflow));
        let facts = explanation.facts.into_iter();
        Ok(Response::new(v1::ExplainAgentResponse {
            agent: Some(view::agent(&record, &self.handle)),
            summary: explanation.summary,
            facts: facts
                .map(|fact| v1::Fact {
                    name: fact.name.to_owned(),
                    value: fact.value,
                })
                .collect(),
        }))
    }

    async fn list_processes(
        &self,
        request: Request<v1::ListProcessesRequest>,
    ) -> Result<Response<v1::ListProcessesResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(processes::list(&self.handle, &request)?))
    }
}
