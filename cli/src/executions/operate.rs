//! `rekindle executions cancel` and `redrive`, and the call that makes an execution: each one request, however often the
//! connection breaks.

use rekindle::wire::v1::{self, CancelOutcome};

use super::ExecutionName;
use super::show::state_word;
use crate::args::{Cancel, Redrive};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::json;
use crate::output::Output;
use crate::retry;

/// Queues a message.
pub(crate) async fn create(
    request: v1::CreateExecutionRequest,
    server: &Connection,
) -> Result<(ExecutionName, v1::Execution), Failure> {
    let answer = retry::send(None, request, async |request| {
        server.executions().create_execution(request).await
    });
    made(answer.await?.execution)
}

/// `rekindle executions redrive`.
pub(super) async fn redrive(redrive: Redrive, server: &Connection, output: Output) -> Result<(), Failure> {
    let old = redrive.execution.name;
    let request = v1::RedriveExecutionRequest {
        name: old.resource(),
        execution_id: redrive.id.map(String::from).unwrap_or_default(),
        request_id: retry::request_id(redrive.request_id.as_ref()),
    };
    let answer = retry::send(None, request, async |request| {
        server.executions().redrive_execution(request).await
    });
    let answer = answer.await?;
    if output.is_json() {
        return output.json(&json::of("RedriveExecutionResponse", &answer));
    }
    let (name, execution) = made(answer.execution)?;
    let state = state_word(execution.state());
    output.line(&[format!("{name}: {state}, does {old} again").into()])
}

fn made(execution: Option<v1::Execution>) -> Result<(ExecutionName, v1::Execution), Failure> {
    let execution = execution.ok_or(Failure::Answer("has no execution"))?;
    Ok((ExecutionName::of(&execution)?, execution))
}

/// `rekindle executions cancel`.
pub(super) async fn cancel(cancel: Cancel, server: &Connection, output: Output) -> Result<(), Failure> {
    let name = cancel.execution.name;
    let request = v1::CancelExecutionRequest {
        name: name.resource(),
        grace_period: cancel.grace_period,
        reason: cancel.reason,
    };
    let answer = retry::send(cancel.timeout, request, async |request| {
        server.executions().cancel_execution(request).await
    });
    let answer = answer.await?;
    let verdict = verdict(&name, &answer);
    let printed = match &verdict {
        _ if output.is_json() => output.json(&json::of("CancelExecutionResponse", &answer)),
        Ok(sentence) => output.line(&[sentence.into()]),
        Err(_) => Ok(()),
    };
    // How it stands outweighs whether anybody reads it.
    verdict.and(printed)
}

/// Orders the end of an execution for one who waits for that elsewhere.
pub(super) async fn ask_for_end(name: ExecutionName, server: Connection) -> Result<(), Failure> {
    let request = v1::CancelExecutionRequest {
        name: name.resource(),
        reason: "`rekindle run` was interrupted".to_owned(),
        ..v1::CancelExecutionRequest::default()
    };
    // What borrows nothing can be given to a task.
    let client = server.executions();
    let answer = retry::send(None, request, move |request| {
        let mut client = client.clone();
        async move { client.cancel_execution(request).await }
    });
    answer.await.map(drop)
}

/// Which came first, in one sentence.
fn verdict(name: &ExecutionName, answer: &v1::CancelExecutionResponse) -> Result<String, Failure> {
    let execution = answer.execution.as_ref().ok_or(Failure::Answer("has no execution"))?;
    let state = state_word(execution.state());
    match answer.outcome() {
        CancelOutcome::Cancelled => Ok(format!("{name}: cancelled")),
        CancelOutcome::AlreadyOver => Ok(format!("{name}: not cancelled, it was {state} first")),
        CancelOutcome::Pending => Err(Failure::Unfinished {
            message: format!("{name} is still {state}; its end is ordered"),
            hint: format!(
                "Its agent's shim is away, or its processes take long to end: `rekindle agents explain {}` says which. \
                 --timeout waits longer.",
                name.agent()
            ),
        }),
        // Also the outcomes that only a later version knows.
        CancelOutcome::Unspecified => Err(Failure::Answer("does not say what came of the cancel")),
    }
}

#[cfg(test)]
mod tests {
    use rekindle::wire::v1::ExecutionState;

    use super::*;

    #[test]
    fn a_cancel_says_which_came_first() {
        let name: ExecutionName = "planner/e-1".parse().expect("valid");
        let of = |state: ExecutionState, outcome: i32| {
            let execution = v1::Execution {
                state: state.into(),
                ..v1::Execution::default()
            };
            verdict(
                &name,
                &v1::CancelExecutionResponse {
                    execution: Some(execution),
                    outcome,
                },
            )
        };
        let said = of(ExecutionState::Cancelled, CancelOutcome::Cancelled.into());
        assert_eq!(said.expect("done"), "planner/e-1: cancelled");
        let said = of(ExecutionState::Succeeded, CancelOutcome::AlreadyOver.into());
        assert_eq!(
            said.expect("done"),
            "planner/e-1: not cancelled, it was SUCCEEDED first"
        );
        let pending = of(ExecutionState::Running, CancelOutcome::Pending.into()).expect_err("it goes on");
        assert_eq!(pending.exit_code(), 6);
        assert_eq!(
            pending.lines(),
            [
                "error: planner/e-1 is still RUNNING; its end is ordered",
                "  Its agent's shim is away, or its processes take long to end: `rekindle agents explain planner` says \
                 which. --timeout waits longer.",
            ]
        );
        for unknown in [0, 1000] {
            let said = of(ExecutionState::Cancelled, unknown);
            assert!(matches!(said, Err(Failure::Answer(_))));
        }
        assert!(matches!(
            verdict(&name, &v1::CancelExecutionResponse::default()),
            Err(Failure::Answer(_))
        ));
    }
}
