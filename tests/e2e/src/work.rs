//! Executions: made, waited for, and read, over the API.

use std::time::{Duration, Instant};

use rekindle::wire::v1;
use tonic::{Code, Status};
use v1::{Execution, ExecutionState};

use crate::client::{Client, name};
use crate::wait::LIMIT;

/// Whether an execution is in this state.
pub fn in_state(state: ExecutionState) -> impl Fn(&Execution) -> bool {
    move |execution| execution.state() == state
}

/// Whether an execution is over.
pub fn is_over(execution: &Execution) -> bool {
    match execution.state() {
        ExecutionState::Unspecified
        | ExecutionState::Queued
        | ExecutionState::Dispatched
        | ExecutionState::Accepted
        | ExecutionState::Running => false,
        ExecutionState::Succeeded
        | ExecutionState::Failed
        | ExecutionState::Cancelled
        | ExecutionState::TimedOut
        | ExecutionState::Lost
        | ExecutionState::DeadLetter => true,
    }
}

impl Client {
    /// CreateExecution with a message alone.
    ///
    /// # Panics
    /// When it fails.
    pub async fn give(&mut self, agent: &str, message: &str) -> Execution {
        self.give_with(agent, message, |_| ())
            .await
            .expect("CreateExecution succeeds")
    }

    /// CreateExecution.
    pub async fn give_with(
        &mut self,
        agent: &str,
        message: &str,
        change: impl FnOnce(&mut v1::CreateExecutionRequest),
    ) -> Result<Execution, Status> {
        let mut request = v1::CreateExecutionRequest {
            parent: name(agent),
            execution: Some(Execution {
                message: message.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        change(&mut request);
        let answer = self.executions.create_execution(request).await?.into_inner();
        answer
            .execution
            .ok_or_else(|| Status::internal("the answer has no execution"))
    }

    /// The execution as it is.
    pub async fn execution(&mut self, name: &str) -> Result<Execution, Status> {
        let request = v1::GetExecutionRequest { name: name.to_owned() };
        let answer = self.executions.get_execution(request).await?.into_inner();
        answer
            .execution
            .ok_or_else(|| Status::internal("the answer has no execution"))
    }

    /// Waits until the execution is as `wanted`, over outages of the server.
    ///
    /// # Panics
    /// After [`LIMIT`], or when the server answers with an error that waiting cannot mend.
    pub async fn until_execution(&mut self, name: &str, wanted: impl Fn(&Execution) -> bool) -> Execution {
        let begin = Instant::now();
        loop {
            let seen = self.execution(name).await;
            match &seen {
                Ok(found) if wanted(found) => return found.clone(),
                Ok(_) => {}
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Cancelled) => {}
                Err(status) => panic!("GetExecution: {status:?}"),
            }
            assert!(
                begin.elapsed() < LIMIT,
                "{name} is not as wanted after {LIMIT:?}: {seen:#?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// CancelExecution by name alone.
    pub async fn cancel(&mut self, execution: &str) -> Result<v1::CancelExecutionResponse, Status> {
        let request = v1::CancelExecutionRequest {
            name: execution.to_owned(),
            ..Default::default()
        };
        Ok(self.executions.cancel_execution(request).await?.into_inner())
    }
}
