//! `rekindle run`: gives an agent a message, and waits for the result.

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::wire::v1;
use tokio::signal::unix::SignalKind;

use crate::args::Run;
use crate::connection::Connection;
use crate::executions::{OnInterrupt, Show, create, wait};
use crate::failure::Failure;
use crate::input;
use crate::interrupts::Interrupts;
use crate::json;
use crate::output::Output;
use crate::retry;

/// Runs the command.
pub(crate) async fn run(run: Run, server: String, output: Output) -> Result<(), Failure> {
    let message = input::text(run.message, "message", MESSAGE_MAX_BYTES)?;
    let connection = Connection::open(&server).await?;
    let request = v1::CreateExecutionRequest {
        parent: run.agent.name(),
        execution_id: run.id.map(String::from).unwrap_or_default(),
        execution: Some(v1::Execution {
            message,
            timeout: run.timeout,
            schedule_to_start_timeout: run.schedule_to_start_timeout,
            priority: run.priority,
            ..v1::Execution::default()
        }),
        request_id: retry::request_id(run.request_id.as_ref()),
    };
    let request_id = request.request_id.clone();
    let mut interrupts = Interrupts::listen(&[SignalKind::interrupt(), SignalKind::terminate()])?;
    let (name, execution) = tokio::select! {
        created = create(request, &connection) => created?,
        () = interrupts.next() => return Err(unanswered(&request_id)),
    };
    if run.detach && output.is_json() {
        return output.json(&json::of("Execution", &execution));
    }
    if run.detach {
        return output.line(&[name.to_string().into()]);
    }
    let show = if output.is_json() { Show::End } else { Show::Text };
    let on_interrupt = if run.cancel_on_interrupt {
        OnInterrupt::Cancel
    } else {
        OnInterrupt::Leave
    };
    eprintln!("{name}");
    wait(name, show, on_interrupt, (server, connection), &mut interrupts, output).await
}

fn unanswered(request_id: &str) -> Failure {
    Failure::Unfinished {
        message: "the server has not answered whether the message is queued".to_owned(),
        hint: format!(
            "`rekindle executions list AGENT` says whether it is. The same command with --request-id {request_id} queues it \
             once, however often it is given."
        ),
    }
}
