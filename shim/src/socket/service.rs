//! `rekindle.agent.v1.WorkService`: parses what the agent sends, once, into calls that are valid.

use std::sync::Arc;
use std::time::Duration;

use rekindle::activity::BlockedOn;
use rekindle::convert::{duration_from_wire, duration_to_wire};
use rekindle::execution::{ExecutionId, OUTPUT_MAX_BYTES, Output};
use rekindle::exit::{TAIL_MAX_BYTES, last_bytes};
use rekindle::id::AgentId;
use rekindle::wire::agent_v1::{self as wire, work_service_server::WorkService};
use rekindle_shim_core::{About, Word};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::requests::{Asked, Call, Given};
use super::status::{ask_refused, ending, invalid, unparsed, word_refused};
use crate::redaction::Redaction;

/// Longest wait that is taken from a caller who names one.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Shortest wait: who does not want to wait at all still gets what is there, once the driver has looked.
const WAIT_MIN: Duration = Duration::from_millis(250);

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    agent: AgentId,
    redaction: Arc<Redaction>,
    calls: mpsc::Sender<Call>,
}

impl Service {
    pub(super) fn new(agent: AgentId, redaction: Arc<Redaction>, calls: mpsc::Sender<Call>) -> Self {
        Self {
            agent,
            redaction,
            calls,
        }
    }

    /// Waits for work, as long as somebody waits for the answer.
    async fn ask(&self, wait: Option<Duration>) -> Result<Option<Given>, Status> {
        let (reply, answer) = oneshot::channel::<Asked>();
        let asked = async {
            self.calls.send(Call::Ask { reply }).await.map_err(|_| ending())?;
            answer.await.map_err(|_| ending())?.map_err(ask_refused)
        };
        match wait {
            // What comes too late is dropped with the future, and so goes back.
            Some(wait) => timeout(wait, asked).await.unwrap_or(Ok(None)),
            None => asked.await,
        }
    }

    async fn say(&self, about: About, word: Word) -> Result<(), Status> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Say { about, word, reply };
        self.calls.send(call).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?.map_err(word_refused)
    }

    /// Which attempt a caller names; 0 is none.
    fn about(&self, execution: &str, attempt: u32) -> Result<About, Status> {
        match (self.execution(execution)?, attempt) {
            (None, 0) => Ok(About::Only),
            (None, _) => Err(invalid("attempt", "must be 0 where no execution is named")),
            (Some(execution), 0) => Ok(About::Execution(execution)),
            (Some(execution), number) => Ok(About::Attempt { execution, number }),
        }
    }

    /// The execution that a caller names, by its full name or by its bare id.
    fn execution(&self, name: &str) -> Result<Option<ExecutionId>, Status> {
        let failed = |error: rekindle::execution::ExecutionNameError| invalid("execution", &error.to_string());
        if name.is_empty() {
            return Ok(None);
        }
        if !name.contains('/') {
            return ExecutionId::new(name).map(Some).map_err(failed);
        }
        let (agent, id) = ExecutionId::from_name(name).map_err(failed)?;
        if agent == self.agent {
            Ok(Some(id))
        } else {
            let problem = format!(
                "is one of {}, and this is the socket of {}",
                agent.name(),
                self.agent.name()
            );
            Err(invalid("execution", &problem))
        }
    }

    async fn output(&self, text: &str, dropped: u64) -> Result<Output, Status> {
        let bytes = text.len();
        if bytes > OUTPUT_MAX_BYTES {
            let problem = format!(
                "has {bytes} bytes, and at most {OUTPUT_MAX_BYTES} are taken; send the last part of it, or put it into a file"
            );
            return Err(invalid("output", &problem));
        }
        let text = self.redaction.apply_in_turns(text, 0).await;
        // What stands for a match may be longer than the match.
        let kept = last_bytes(&text, OUTPUT_MAX_BYTES);
        Ok(Output {
            text: kept.into(),
            dropped: dropped.saturating_add((text.len() - kept.len()) as u64),
        })
    }

    /// What the agent says for people: evidence is cut, not refused.
    async fn remark(&self, text: &str) -> String {
        let text = self.redaction.apply_in_turns(text, 0).await;
        last_bytes(&text, TAIL_MAX_BYTES).to_owned()
    }
}

#[tonic::async_trait]
impl WorkService for Service {
    async fn next(&self, request: Request<wire::NextRequest>) -> Result<Response<wire::NextResponse>, Status> {
        // The rest of the request, its turn included, goes here.
        let wait = request.into_inner().wait;
        let wait = wait.map(|wait| duration_from_wire(wait, "wait").map_err(|error| unparsed(&error)));
        let wait = wait.transpose()?.map(|wait| wait.max(WAIT_MIN));
        if wait.is_some_and(|wait| wait > WAIT_MAX) {
            let longest = rekindle::duration::show(WAIT_MAX);
            return Err(invalid(
                "wait",
                &format!("must be at most {longest}; ask again after that"),
            ));
        }
        let Some(given) = self.ask(wait).await? else {
            return Ok(Response::new(wire::NextResponse::default()));
        };
        let assignment = wire::Assignment {
            execution: given.attempt.execution.name(&self.agent),
            attempt: given.attempt.number,
            message: given.message.as_ref().to_owned(),
            timeout: Some(duration_to_wire(given.timeout)),
        };
        let assignment = Some(assignment);
        let mut response = Response::new(wire::NextResponse { assignment });
        response.extensions_mut().insert(Arc::new(given.receipt));
        Ok(response)
    }

    async fn complete(
        &self,
        request: Request<wire::CompleteRequest>,
    ) -> Result<Response<wire::CompleteResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let about = self.about(&said.execution, said.attempt)?;
        let output = self.output(&said.output, said.output_dropped).await?;
        self.say(about, Word::Done { output }).await?;
        Ok(Response::new(wire::CompleteResponse {}))
    }

    async fn fail(&self, request: Request<wire::FailRequest>) -> Result<Response<wire::FailResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let about = self.about(&said.execution, said.attempt)?;
        let output = self.output(&said.output, said.output_dropped).await?;
        let message = self.remark(&said.message).await;
        self.say(about, Word::Failed { message, output }).await?;
        Ok(Response::new(wire::FailResponse {}))
    }

    async fn report_progress(
        &self,
        request: Request<wire::ReportProgressRequest>,
    ) -> Result<Response<wire::ReportProgressResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let about = self.about(&said.execution, said.attempt)?;
        let text = self.remark(&said.text).await;
        tracing::debug!(execution = said.execution, text, "the agent reports progress");
        self.say(about, Word::Progress { text }).await?;
        Ok(Response::new(wire::ReportProgressResponse {}))
    }

    async fn block(&self, request: Request<wire::BlockRequest>) -> Result<Response<wire::BlockResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let about = self.about(&said.execution, said.attempt)?;
        let on = match wire::BlockReason::try_from(said.reason) {
            Ok(wire::BlockReason::Approval) => BlockedOn::Approval,
            Ok(wire::BlockReason::Quota) => BlockedOn::Quota,
            Ok(wire::BlockReason::User) => BlockedOn::User,
            Ok(wire::BlockReason::Unspecified) => return Err(invalid("reason", "must be given")),
            Err(_) => {
                let problem = format!("{} is no value of this enum", said.reason);
                return Err(invalid("reason", &problem));
            }
        };
        tracing::debug!(execution = said.execution, ?on, "the agent is blocked");
        self.say(about, Word::Blocked(on)).await?;
        Ok(Response::new(wire::BlockResponse {}))
    }

    async fn unblock(&self, request: Request<wire::UnblockRequest>) -> Result<Response<wire::UnblockResponse>, Status> {
        let (_, _turn, said) = request.into_parts();
        let about = self.about(&said.execution, said.attempt)?;
        self.say(about, Word::Moves).await?;
        Ok(Response::new(wire::UnblockResponse {}))
    }
}
