//! The writing half of a session: what the driver has for a shim, as it goes on the stream.

use std::time::Duration;

use rekindle::execution::{AttemptId, Dispatch};
use rekindle::id::AgentId;
use rekindle::session::{Command, ServerMessage, Welcome};
use rekindle::wire::v1;
use rekindle_server_core::input::{Input, SessionId};
use tonic::Status;

use super::status;
use crate::driver::{Message, ToShim};
use crate::handle::{Handle, MessageError};

/// A message as it goes to the shim; `None` where there is none to go.
pub(super) async fn response(
    session: SessionId,
    message: ToShim,
    heartbeat_interval: Duration,
    handle: &Handle,
) -> Result<Option<v1::ConnectResponse>, Status> {
    let message = match message {
        ToShim::Welcome {
            epoch,
            policy,
            acknowledged,
            standing,
        } => {
            let policy = *policy;
            ServerMessage::Welcome(Box::new(Welcome {
                epoch,
                heartbeat_interval,
                policy,
                acknowledged,
                standing,
                checkpoints: rekindle::session::CheckpointStock::NotTaken,
            }))
        }
        ToShim::Acknowledge(through) => ServerMessage::Acknowledge(through),
        ToShim::Follow(follow) => ServerMessage::Follow(follow),
        ToShim::Command(id, command) => ServerMessage::Command(id, command),
        ToShim::Dispatch {
            id,
            agent,
            attempt,
            timeout,
        } => {
            let Some(message) = message_of(session, &agent, &attempt, handle).await else {
                return Ok(None);
            };
            let dispatch = Dispatch {
                attempt,
                message,
                timeout,
            };
            ServerMessage::Command(id, Command::Dispatch(Box::new(dispatch)))
        }
        ToShim::Refuse(refusal) => {
            let status = status::refused(&refusal);
            tracing::info!(reason = status.message(), "a shim was refused");
            return Err(status);
        }
        ToShim::Disconnect(cause) => return Err(status::disconnected(&cause)),
    };
    Ok(Some(message.into()))
}

/// What an attempt's agent is asked to do. Where the message is lost the execution fails, and the stream goes on: it would
/// be no better read for the shim's coming back. Where the store cannot be read nothing is lost yet, and nothing is known:
/// that ends the server, as a commit does that fails.
async fn message_of(session: SessionId, agent: &AgentId, attempt: &AttemptId, handle: &Handle) -> Option<String> {
    let fact = match handle.message(agent, &attempt.execution).await {
        Ok(message) => return Some(message),
        Err(MessageError::Unreadable(error)) => Message::Unreadable(error),
        Err(error @ (MessageError::Damaged(_) | MessageError::Missing)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(%agent, %attempt, error, "an execution fails, as its message is lost");
            let attempt = attempt.clone();
            Message::Input(Input::MessageLost { session, attempt })
        }
    };
    // A driver that has ended leaves the attempt to its successor.
    let _ = handle.send(fact).await;
    None
}
