//! Why a shim's stream ends.

use rekindle_server_core::effect::{Disconnect, Refusal};
use tonic::{Code, Status};

use crate::status::rich;

/// Another shim holds the agent, or there is no room for one more.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Held {
            agent,
            holder,
            silent_for,
        } => {
            let seconds = silent_for.unwrap_or_default().as_secs();
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
            let metadata = [
                ("agent", agent.name()),
                ("host", holder.name.clone()),
                ("last_heartbeat", seconds.to_string()),
            ];
            rich(Code::FailedPrecondition, "AGENT_HELD", message, metadata)
        }
        Refusal::Stale => rich(Code::Aborted, "SESSION_REPLACED", refusal.to_string(), []),
        Refusal::BootOver { host } => {
            let message = format!(
                "{refusal}; and if it is one host that has not rebooted since, the server was misled: delete all agents of \
                 that host, or reboot it"
            );
            rich(Code::Aborted, "BOOT_OVER", message, [("host", host.clone())])
        }
        Refusal::TooManyAgents { limit } => {
            let message = format!("{refusal}; delete agents that are gone");
            rich(
                Code::ResourceExhausted,
                "TOO_MANY_AGENTS",
                message,
                [("limit", limit.to_string())],
            )
        }
    }
}

/// A stream is ended that was welcomed, or broke the protocol.
pub(super) fn disconnected(cause: &Disconnect) -> Status {
    let (code, reason) = match cause {
        Disconnect::Replaced => (Code::Aborted, "SESSION_REPLACED"),
        Disconnect::Protocol(_) => (Code::InvalidArgument, "PROTOCOL_ERROR"),
        Disconnect::Overdue => (Code::Unavailable, "START_OVERDUE"),
        Disconnect::Left => (Code::Cancelled, "SHIM_LEFT"),
        Disconnect::LeaseExpired => (Code::Unavailable, "LEASE_EXPIRED"),
    };
    rich(code, reason, cause.to_string(), [])
}
