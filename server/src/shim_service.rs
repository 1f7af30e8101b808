//! `rekindle.v1.ShimService`: one task per session, between a shim's stream and the driver.
//!
//! The inbound side is read to its end at once: h2 ends a connection on which small frames pile up unread. Beats are
//! written to the lease and go no further.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekindle::execution::ATTEMPTS_MAX;
use rekindle::policy::MAX_CONCURRENT_MAX;
use rekindle::report::INVENTORY_REPORTS_MAX;
use rekindle::wire::v1;
use rekindle_server_core::input::SessionId;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::handle::Handle;
use crate::room::Room;

use inbound::Inbound;

mod inbound;
mod outbound;
mod status;

/// Messages to one shim that wait to be sent: a handful, as many executions as an agent can be given at once, an end for
/// each that a shim can have, and an acknowledgement of each report that it stops at. A full queue means that the shim does
/// not read; it is then made to connect again. What is not used of it takes no memory.
const OUTBOX_MAX: usize = 32 + MAX_CONCURRENT_MAX as usize + ATTEMPTS_MAX + INVENTORY_REPORTS_MAX;

/// The service.
pub struct Shims {
    handle: Handle,
    heartbeat_interval: Duration,
    room: Room,
    next_session: AtomicU64,
}

impl Shims {
    /// Serves shims, telling each to beat once per interval.
    pub fn new(handle: Handle, heartbeat_interval: Duration) -> Self {
        Self {
            handle,
            heartbeat_interval,
            room: Room::default(),
            next_session: AtomicU64::new(1),
        }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<v1::ConnectResponse, Status>> + Send>>;

#[tonic::async_trait]
impl v1::shim_service_server::ShimService for Shims {
    type ConnectStream = Responses;

    async fn connect(
        &self,
        request: Request<Streaming<v1::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let peer: Arc<str> = request
            .remote_addr()
            .map_or_else(String::new, |peer| peer.to_string())
            .into();
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let (out, outbox) = mpsc::channel(OUTBOX_MAX);
        let inbound = Inbound {
            session,
            handle: self.handle.clone(),
            room: self.room.clone(),
            stream: request.into_inner(),
        };
        tokio::spawn(inbound.run(out, peer));
        let (interval, handle) = (self.heartbeat_interval, self.handle.clone());
        let responses = ReceiverStream::new(outbox).then(move |message| {
            let handle = handle.clone();
            async move {
                handle.outputs().sent(session);
                outbound::response(session, message, interval, &handle).await
            }
        });
        // What cannot be told a shim is left out.
        Ok(Response::new(Box::pin(responses.filter_map(Result::transpose))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::INVENTORY_MAX_BYTES;

    const LIMITS: &str = include_str!("../../docs/limits.md");
    const PROTOCOL: &str = include_str!("../../proto/rekindle/v1/shim_service.proto");

    #[test]
    fn the_documents_name_the_limits_that_are_kept() {
        let mebibytes = INVENTORY_MAX_BYTES >> 20;
        assert_eq!(mebibytes << 20, INVENTORY_MAX_BYTES, "a whole number, to be told");
        for (document, says) in [
            (
                LIMITS,
                format!("| reports before one inventory | {INVENTORY_REPORTS_MAX}: "),
            ),
            (LIMITS, format!("that a shim may hold; {mebibytes} MiB |")),
            (LIMITS, format!("| messages that wait for one shim | {OUTBOX_MAX} |")),
            (
                PROTOCOL,
                format!("at most {INVENTORY_REPORTS_MAX}, and then `inventory`"),
            ),
        ] {
            assert!(document.contains(&says), "{says}");
        }
    }
}
