//! `rekindle run`: gives an agent a message, and waits for the result.

use std::io::Read;

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::wire::v1;
use tokio::signal::unix::SignalKind;

use crate::args::Run;
use crate::connection::Connection;
use crate::executions::{OnInterrupt, Show, create, wait};
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::json;
use crate::output::Output;
use crate::retry;

/// The message that stands for what is on stdin.
const STDIN: &str = "-";

/// Runs the command.
pub(crate) async fn run(run: Run, server: String, output: Output) -> Result<(), Failure> {
    let message = match run.message.as_str() {
        STDIN => read(std::io::stdin().lock())?,
        message => message.to_owned(),
    };
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

/// A message from a program or a file.
fn read(input: impl Read) -> Result<String, Failure> {
    let mut message = Vec::new();
    // One byte more than is taken tells that there are more.
    let mut input = input.take(MESSAGE_MAX_BYTES as u64 + 1);
    let read = input.read_to_end(&mut message);
    read.map_err(|error| Failure::Message(format!("cannot read the message from stdin: {error}")))?;
    if message.len() > MESSAGE_MAX_BYTES {
        return Err(Failure::Message(format!(
            "the message has more than {MESSAGE_MAX_BYTES} bytes; put it into a file that a shorter one names"
        )));
    }
    String::from_utf8(message).map_err(|_| Failure::Message("the message is no UTF-8".to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_or_refused() {
        assert_eq!(
            read(&b"sort\nthe inbox\n"[..]).expect("it is fine"),
            "sort\nthe inbox\n"
        );
        let longest = vec![b'x'; MESSAGE_MAX_BYTES];
        assert_eq!(read(longest.as_slice()).expect("it is fine").len(), MESSAGE_MAX_BYTES);
        for wrong in [vec![b'x'; MESSAGE_MAX_BYTES + 1], vec![0xff]] {
            let failure = read(wrong.as_slice()).expect_err("it cannot be sent");
            assert_eq!(failure.exit_code(), 2, "{failure}");
        }
    }
}
