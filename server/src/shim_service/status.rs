//! Why a shim's stream ends, as statuses with `google.rpc` details.

use std::collections::HashMap;
use std::time::Duration;

use rekindle_server_core::effect::{Disconnect, Fence, Refusal};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every reason (google.rpc.ErrorInfo).
const DOMAIN: &str = "rekindle";

/// Another shim holds the agent, or there is no room for one more.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Held { agent, holder, silent_for, fence } => {
            let seconds = silent_for.as_secs();
            let heard = match seconds {
                0 => "just now".to_owned(),
                seconds => format!("{seconds} s ago"),
            };
            let message = format!(
                "{} is held by a shim on {}, last heard {heard}; stop that shim, or take the agent over with \
                 RestartAgent and force",
                agent.name(),
                holder.name
            );
            let metadata = HashMap::from([
                ("agent".to_owned(), agent.name()),
                ("host".to_owned(), holder.name.clone()),
                ("last_heartbeat".to_owned(), format!("{seconds}")),
                ("fence".to_owned(), (*fence == Fence::Yes).to_string()),
            ]);
            status(Code::FailedPrecondition, "AGENT_HELD", message, metadata)
        }
        Refusal::TooManyAgents { limit } => {
            let metadata = HashMap::from([("limit".to_owned(), limit.to_string())]);
            let message = format!("{refusal}; delete agents that are gone");
            status(Code::ResourceExhausted, "TOO_MANY_AGENTS", message, metadata)
        }
    }
}

/// A stream that was welcomed is ended.
pub(super) fn disconnected(cause: &Disconnect) -> Status {
    let (code, reason) = match cause {
        Disconnect::Replaced => (Code::Aborted, "SESSION_REPLACED"),
        Disconnect::Protocol(_) => (Code::InvalidArgument, "PROTOCOL_ERROR"),
        Disconnect::LeaseExpired => (Code::Unavailable, "LEASE_EXPIRED"),
    };
    status(code, reason, cause.to_string(), HashMap::new())
}

fn status(code: Code, reason: &str, message: String, metadata: HashMap<String, String>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    if code == Code::Unavailable {
        details.set_retry_info(Some(Duration::ZERO));
    }
    Status::with_error_details(code, message, details)
}
