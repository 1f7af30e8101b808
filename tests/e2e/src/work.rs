//! Executions: made, waited for, and read, over the API.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use rekindle::wire::v1;
use tonic::{Code, Status};
use v1::{EventType, Execution, ExecutionState, FailureCause};

use crate::client::{Client, name};
use crate::history::History;
use crate::tools;
use crate::wait::{eventually, until_answered};
use crate::world::World;

/// A script for messages that are names of files in the world: it is done when there is such a file.
pub fn until_file(world: &World) -> String {
    let directory = world.path("");
    format!(
        "read -r file; while ! [ -e {}/$file ]; do sleep 0.02; done; echo done",
        directory.display()
    )
}

/// A script of an agent that asks for its work again and again, and does with each `$message` what `work` says; there it
/// speaks to its shim by `self`, as in `self done`.
pub fn pulls(work: &str) -> String {
    let rekindle = tools::under_test("rekindle-under-test");
    format!(
        "self() {{ {} self \"$@\"; }}\nwhile :; do message=$(self next) || continue\n{work}\ndone",
        rekindle.display()
    )
}

/// Lets the messages end that wait for the file `name` by [`until_file`].
///
/// # Panics
/// When the world's directory takes no file.
pub fn open_gate(world: &World, name: &str) {
    fs::write(world.path(name), "").expect("the world's directory takes a file");
}

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

/// A time that the server must have told.
///
/// # Panics
/// When it has not.
pub fn time(time: Option<prost_types::Timestamp>) -> SystemTime {
    time.expect("it is told").try_into().expect("in range")
}

/// How long its newest attempt took, as it is recorded.
///
/// # Panics
/// When it has not begun, or goes on.
pub fn lasted(execution: &Execution) -> Duration {
    let (start, end) = (time(execution.start_time), time(execution.end_time));
    end.duration_since(start).unwrap_or_default()
}

/// Why an execution failed.
///
/// # Panics
/// When it did not.
pub fn cause(execution: &Execution) -> FailureCause {
    execution.failure.as_ref().expect("it failed").cause()
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

    /// CreateExecution with a message and a limit of its own.
    ///
    /// # Panics
    /// When it fails.
    pub async fn give_for(&mut self, agent: &str, message: &str, limit: Duration) -> Execution {
        let given = self.give_with(agent, message, |request| {
            let limit = limit.try_into().expect("in range");
            request.execution.get_or_insert_default().timeout = Some(limit);
        });
        given.await.expect("CreateExecution succeeds")
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
    /// After [`LIMIT`](crate::wait::LIMIT), or when the server answers with an error that waiting cannot mend.
    pub async fn until_execution(&mut self, name: &str, wanted: impl Fn(&Execution) -> bool) -> Execution {
        let passing = [Code::Unavailable, Code::Cancelled];
        until_answered(name, &passing, async || self.execution(name).await, wanted).await
    }

    /// Waits until the execution runs, and says its process.
    ///
    /// # Panics
    /// As [`Self::until_execution`] does, or when it runs without a process of its own.
    pub async fn pid_of(&mut self, name: &str) -> u32 {
        let running = self.until_execution(name, in_state(ExecutionState::Running)).await;
        running.process.expect("a message has a process").pid
    }

    /// Waits for an event of this type, of whomever, and gives the history with it.
    ///
    /// # Panics
    /// After [`LIMIT`](crate::wait::LIMIT).
    pub async fn until_told(&mut self, kind: EventType) -> History {
        eventually(kind.as_str_name(), async || {
            let history = self.history().await;
            history.0.iter().any(|event| event.r#type() == kind).then_some(history)
        })
        .await
    }

    /// CancelExecution by name alone.
    pub async fn cancel(&mut self, execution: &str) -> Result<v1::CancelExecutionResponse, Status> {
        let request = v1::CancelExecutionRequest {
            name: execution.to_owned(),
            ..Default::default()
        };
        Ok(self.executions.cancel_execution(request).await?.into_inner())
    }

    /// RedriveExecution by name alone.
    ///
    /// # Panics
    /// When it fails.
    pub async fn redrive(&mut self, execution: &str) -> Execution {
        let request = v1::RedriveExecutionRequest {
            name: execution.to_owned(),
            ..Default::default()
        };
        let answer = self.executions.redrive_execution(request).await;
        let answer = answer.expect("RedriveExecution succeeds").into_inner();
        answer.execution.expect("the answer has an execution")
    }

    /// An agent's executions, without their texts.
    ///
    /// # Panics
    /// When ListExecutions fails.
    pub async fn executions_of(&mut self, agent: &str) -> Vec<Execution> {
        let mut request = v1::ListExecutionsRequest {
            parent: name(agent),
            page_size: 1000,
            ..Default::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.executions.list_executions(request.clone()).await;
            let page = page.expect("ListExecutions succeeds").into_inner();
            all.extend(page.executions);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// How many of an agent's executions are in each state.
    ///
    /// # Panics
    /// When ListExecutions fails.
    pub async fn states(&mut self, agent: &str) -> BTreeMap<ExecutionState, usize> {
        let mut states = BTreeMap::new();
        for execution in self.executions_of(agent).await {
            *states.entry(execution.state()).or_insert(0) += 1;
        }
        states
    }
}
