//! Errors of the API: statuses with `google.rpc` details (AIP-193).

use std::collections::HashMap;
use std::time::Duration;

use rekindle::convert::{WireError, cut_line};
use rekindle::execution::ExecutionId;
use rekindle::id::AgentId;
use rekindle::workflow::WorkflowId;
use rekindle_server_core::effect::{CheckpointError, ExecutionError, RequestError, WorkflowError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::handle::Unavailable;
use crate::store::StoreError;

/// The domain of every reason (google.rpc.ErrorInfo).
const DOMAIN: &str = "rekindle";

/// Longest message, in bytes. It travels in the trailers twice or thrice, encoded, and C clients refuse trailers of more
/// than 8 KiB; what a caller sent is often part of it.
const MESSAGE_MAX_BYTES: usize = 1024;

/// When a caller should try again while the server comes back: some reconnects' worth.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A status with a stable reason, and what it is about.
pub(crate) fn rich<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    with_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, collect(metadata)),
    )
}

fn with_details(code: Code, message: impl Into<String>, mut details: ErrorDetails) -> Status {
    let message = cut_line(&message.into(), MESSAGE_MAX_BYTES);
    if code == Code::Unavailable {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, message, details)
}

fn collect<const N: usize>(metadata: [(&str, String); N]) -> HashMap<String, String> {
    metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// An argument that cannot be: which field, and what would be right.
pub(crate) fn invalid(field: &str, problem: impl Into<String>) -> Status {
    let problem = cut_line(&problem.into(), MESSAGE_MAX_BYTES);
    let message = format!("{field}: {problem}");
    let mut details = ErrorDetails::with_error_info("INVALID_ARGUMENT", DOMAIN, collect([("field", field.to_owned())]));
    details.add_bad_request_violation(field, problem);
    with_details(Code::InvalidArgument, message, details)
}

impl From<Unavailable> for Status {
    fn from(unavailable: Unavailable) -> Self {
        rich(Code::Unavailable, "SERVER_ENDING", unavailable.to_string(), [])
    }
}

/// An argument that did not parse.
pub(crate) fn unparsed(error: WireError) -> Status {
    invalid(&error.field, error.problem)
}

/// What cannot happen did.
pub(crate) fn defect(what: &str) -> Status {
    rich(
        Code::Internal,
        "DEFECT",
        format!("{what}; this is a defect of the server, please report it"),
        [],
    )
}

/// The store could not be read. The reason is for the log, not for the caller.
pub(crate) fn unreadable(error: &StoreError) -> Status {
    tracing::error!(error = error as &dyn std::error::Error, "a read of the store failed");
    rich(
        Code::Unavailable,
        "STORE_UNREADABLE",
        "the store cannot be read; the server's log says why",
        [],
    )
}

/// Why a request changed nothing.
pub(crate) fn refused(error: &RequestError) -> Status {
    let message = error.to_string();
    match error {
        RequestError::NotFound(agent) => rich(Code::NotFound, "AGENT_NOT_FOUND", message, [("agent", agent.name())]),
        RequestError::EtagMismatch { agent, actual, .. } => rich(
            Code::Aborted,
            "ETAG_MISMATCH",
            message,
            [("agent", agent.name()), ("etag", actual.to_string())],
        ),
        RequestError::IncarnationMismatch { agent, actual, .. } => rich(
            Code::FailedPrecondition,
            "INCARNATION_MISMATCH",
            message,
            [("agent", agent.name()), ("incarnation", actual.to_string())],
        ),
        RequestError::RequestIdReused { agent, .. } => {
            let metadata = collect([("agent", agent.name())]);
            let mut details = ErrorDetails::with_error_info("REQUEST_ID_REUSED", DOMAIN, metadata);
            details.add_bad_request_violation("request_id", message.clone());
            with_details(Code::InvalidArgument, message, details)
        }
        RequestError::Quarantined(agent) => rich(
            Code::FailedPrecondition,
            "AGENT_QUARANTINED",
            message,
            [("agent", agent.name())],
        ),
        RequestError::Active { agent, host, .. } => rich(
            Code::FailedPrecondition,
            "AGENT_ACTIVE",
            message,
            [("agent", agent.name()), ("host", host.clone())],
        ),
        RequestError::NoProcess { agent, .. } => rich(
            Code::FailedPrecondition,
            "NO_PROCESS",
            message,
            [("agent", agent.name())],
        ),
        RequestError::InvalidPolicy(error) => invalid(&format!("agent.policy.{}", error.field), error.problem.clone()),
        RequestError::InvalidLabels(error) => invalid("agent.labels", error.to_string()),
        RequestError::TooManyAgents { limit } => rich(
            Code::ResourceExhausted,
            "TOO_MANY_AGENTS",
            message,
            [("limit", limit.to_string())],
        ),
    }
}

/// Why a call about an execution changed nothing.
pub(crate) fn execution_refused(error: &ExecutionError) -> Status {
    let message = error.to_string();
    let about = |agent: &AgentId, id: &ExecutionId| [("execution", id.name(agent))];
    match error {
        ExecutionError::AgentNotFound(agent) => {
            rich(Code::NotFound, "AGENT_NOT_FOUND", message, [("agent", agent.name())])
        }
        ExecutionError::NotFound { agent, id } => {
            rich(Code::NotFound, "EXECUTION_NOT_FOUND", message, about(agent, id))
        }
        ExecutionError::Exists { agent, id } => {
            rich(Code::AlreadyExists, "EXECUTION_EXISTS", message, about(agent, id))
        }
        ExecutionError::RequestIdReused { agent, used_for } => {
            let metadata = collect(about(agent, used_for));
            let mut details = ErrorDetails::with_error_info("REQUEST_ID_REUSED", DOMAIN, metadata);
            details.add_bad_request_violation("request_id", message.clone());
            with_details(Code::InvalidArgument, message, details)
        }
        ExecutionError::NotOver { agent, id, .. } => rich(
            Code::FailedPrecondition,
            "EXECUTION_NOT_OVER",
            message,
            about(agent, id),
        ),
        ExecutionError::TakesNone(agent) => rich(
            Code::FailedPrecondition,
            "AGENT_TAKES_NO_MESSAGES",
            message,
            [("agent", agent.name())],
        ),
        ExecutionError::QueueFull { agent, limit } => {
            let metadata = collect([("agent", agent.name()), ("queue_limit", limit.to_string())]);
            let mut details = ErrorDetails::with_error_info("QUEUE_FULL", DOMAIN, metadata);
            details.set_retry_info(Some(RETRY_AFTER));
            with_details(Code::ResourceExhausted, message, details)
        }
    }
}

/// Why a call about a checkpoint changed nothing.
pub(crate) fn checkpoint_refused(error: &CheckpointError) -> Status {
    let message = error.to_string();
    match error {
        CheckpointError::NotFound { agent, id } => rich(
            Code::NotFound,
            "CHECKPOINT_NOT_FOUND",
            message,
            [("checkpoint", id.name(agent))],
        ),
    }
}

/// Why a call about a workflow changed nothing.
pub(crate) fn workflow_refused(error: &WorkflowError) -> Status {
    let message = error.to_string();
    let about = |id: &WorkflowId| [("workflow", id.name())];
    let later = |reason: &str, message: String, metadata: HashMap<String, String>| {
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        details.set_retry_info(Some(RETRY_AFTER));
        with_details(Code::ResourceExhausted, message, details)
    };
    match error {
        WorkflowError::NotFound(id) => rich(Code::NotFound, "WORKFLOW_NOT_FOUND", message, about(id)),
        WorkflowError::Exists(id) => rich(Code::AlreadyExists, "WORKFLOW_EXISTS", message, about(id)),
        WorkflowError::EtagMismatch { id, actual, .. } => rich(
            Code::Aborted,
            "ETAG_MISMATCH",
            message,
            [("workflow", id.name()), ("etag", actual.to_string())],
        ),
        WorkflowError::RequestIdReused(id) => {
            let mut details = ErrorDetails::with_error_info("REQUEST_ID_REUSED", DOMAIN, collect(about(id)));
            details.add_bad_request_violation("request_id", message.clone());
            with_details(Code::InvalidArgument, message, details)
        }
        WorkflowError::Invalid(error) => invalid(&format!("workflow.{}", error.field), error.problem.clone()),
        WorkflowError::Schedule(error) => invalid(&format!("workflow.trigger.{}", error.field), error.problem.clone()),
        WorkflowError::TooMany { limit } => rich(
            Code::ResourceExhausted,
            "TOO_MANY_WORKFLOWS",
            message,
            [("limit", limit.to_string())],
        ),
        WorkflowError::TooManyOfAgent { agent, limit } => rich(
            Code::ResourceExhausted,
            "TOO_MANY_WORKFLOWS",
            message,
            [("agent", agent.name()), ("limit", limit.to_string())],
        ),
        WorkflowError::TooManyWaiting { of, limit } => rich(
            Code::ResourceExhausted,
            "TOO_MANY_WORKFLOWS_WAIT",
            message,
            [("waiting_for", of.clone()), ("limit", limit.to_string())],
        ),
        WorkflowError::NoRoom { limit } => later(
            "WORKFLOW_TEXTS_FULL",
            message,
            collect([("limit_bytes", limit.to_string())]),
        ),
        WorkflowError::Disabled(id) => rich(Code::FailedPrecondition, "WORKFLOW_DISABLED", message, about(id)),
        WorkflowError::NoWebhook(id) => rich(Code::FailedPrecondition, "WORKFLOW_HAS_NO_WEBHOOK", message, about(id)),
        WorkflowError::TooManyPending { id, limit } => later(
            "FIRES_FULL",
            message,
            collect([("workflow", id.name()), ("limit", limit.to_string())]),
        ),
        WorkflowError::PayloadTooLong { .. } => invalid("payload", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle::id::{AgentId, Incarnation};

    #[test]
    fn every_error_has_a_reason_and_says_what_to_do() {
        let agent = AgentId::new("a").expect("valid");
        let errors = [
            RequestError::NotFound(agent.clone()),
            RequestError::EtagMismatch {
                agent: agent.clone(),
                expected: 1,
                actual: 2,
            },
            RequestError::IncarnationMismatch {
                agent: agent.clone(),
                expected: Incarnation::new(1),
                actual: Incarnation::new(2),
            },
            RequestError::RequestIdReused {
                agent: agent.clone(),
                id: "r".into(),
                used_for: "stop",
            },
            RequestError::Quarantined(agent.clone()),
            RequestError::Active {
                agent: agent.clone(),
                host: "h".into(),
                connected: false,
            },
            RequestError::NoProcess {
                agent,
                why: "nothing runs".into(),
            },
            RequestError::TooManyAgents { limit: 3 },
        ];
        let table: Vec<String> = errors
            .iter()
            .map(|error| {
                let status = refused(error);
                let details = status.get_error_details();
                let info = details.error_info().expect("every status has its reason");
                assert_eq!(info.domain, DOMAIN);
                format!("{:?} {} {}", status.code(), info.reason, status.message())
            })
            .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn every_error_of_a_workflow_has_a_reason_and_says_what_to_do() {
        let id = WorkflowId::new("w").expect("valid");
        let agent = AgentId::new("a").expect("valid");
        let errors = [
            WorkflowError::NotFound(id.clone()),
            WorkflowError::Exists(id.clone()),
            WorkflowError::EtagMismatch {
                id: id.clone(),
                expected: 1,
                actual: 2,
            },
            WorkflowError::RequestIdReused(id.clone()),
            WorkflowError::Invalid(rekindle::workflow::WorkflowError {
                field: "timeout",
                problem: "is too long".to_owned(),
            }),
            WorkflowError::Schedule(rekindle::workflow::TriggerError {
                field: "cron.expression",
                problem: "never fires".to_owned(),
            }),
            WorkflowError::TooMany { limit: 3 },
            WorkflowError::TooManyOfAgent { agent, limit: 2 },
            WorkflowError::TooManyWaiting {
                of: "workflows/other".to_owned(),
                limit: 4,
            },
            WorkflowError::NoRoom { limit: 9 },
            WorkflowError::Disabled(id.clone()),
            WorkflowError::NoWebhook(id.clone()),
            WorkflowError::TooManyPending {
                id: id.clone(),
                limit: 100,
            },
            WorkflowError::PayloadTooLong { id, limit: 10 },
        ];
        let table = errors.iter().map(|error| {
            let status = workflow_refused(error);
            let details = status.get_error_details();
            let info = details.error_info().expect("every status has its reason");
            assert_eq!(info.domain, DOMAIN);
            format!("{:?} {} {}", status.code(), info.reason, status.message())
        });
        insta::assert_snapshot!(table.collect::<Vec<_>>().join("\n"));
    }
}
