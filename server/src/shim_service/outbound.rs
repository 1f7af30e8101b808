//! The writing half of a session: what the driver has for a shim, as it goes on the stream.

use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::RunContext;
use rekindle::execution::{AttemptId, Dispatch};
use rekindle::id::AgentId;
use rekindle::session::{CheckpointStock, Command, ServerMessage, Welcome};
use rekindle::wire::v1;
use rekindle_server_core::input::{Input, SessionId};
use tonic::Status;

use super::status;
use crate::driver::{Message, ToShim};
use crate::handle::{BodyError, Handle, MessageError};

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
            checkpoint,
        } => {
            let policy = *policy;
            ServerMessage::Welcome(Box::new(Welcome {
                epoch,
                heartbeat_interval,
                policy,
                acknowledged,
                standing,
                checkpoints: CheckpointStock::Newest(checkpoint.map(|newest| *newest)),
            }))
        }
        ToShim::Acknowledge(through) => ServerMessage::Acknowledge(through),
        ToShim::Follow(follow) => ServerMessage::Follow(follow),
        ToShim::CheckpointKept(kept) => ServerMessage::CheckpointKept(kept),
        ToShim::Command(id, command) => ServerMessage::Command(id, command),
        ToShim::HandOver { id, agent, command } => {
            let Some(command) = with_body(&agent, command, handle).await else {
                return Ok(None);
            };
            ServerMessage::Command(id, command)
        }
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

/// An order to run, with the whole of the checkpoint that it offers. Where that is lost the life begins without: it would be
/// offered no better with a later one. A store that cannot be read ends the server, as below.
async fn with_body(agent: &AgentId, command: Command, handle: &Handle) -> Option<Command> {
    let Command::Run {
        incarnation,
        grace,
        context: RunContext::Resume(mut resume),
    } = command
    else {
        return Some(command);
    };
    if let Some(offered) = &mut resume.offered {
        let id = offered.state.id;
        match handle.checkpoint_body(agent, id).await {
            Ok(body) => {
                if let Some(content) = &mut offered.content {
                    Arc::make_mut(content).body = body;
                }
            }
            Err(BodyError::Unreadable(error)) => {
                // A driver that has ended leaves the order to its successor.
                let _ = handle.send(Message::Unreadable(error)).await;
                return None;
            }
            Err(error @ (BodyError::Gone | BodyError::Damaged { .. })) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%agent, checkpoint = %id, error, "a life begins without the checkpoint, as that is lost");
                offered.content = None;
            }
        }
    }
    let context = RunContext::Resume(resume);
    Some(Command::Run {
        incarnation,
        grace,
        context,
    })
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
