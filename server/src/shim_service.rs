//! `rekindle.v1.ShimService`: one task per session, between a shim's stream and the driver.
//!
//! The inbound side is read to its end at once: h2 ends a connection on which small frames pile up unread. Beats are
//! written to the lease and go no further.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rekindle::convert::WireError;
use rekindle::execution::ATTEMPTS_MAX;
use rekindle::id::AgentId;
use rekindle::policy::MAX_CONCURRENT_MAX;
use rekindle::report::{INVENTORY_REPORTS_MAX, Inventory};
use rekindle::session::ShimMessage;
use rekindle::wire::v1;
use rekindle_server_core::effect::Disconnect;
use rekindle_server_core::input::{Input, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::driver::{Message, SessionLink, ToShim};
use crate::handle::Handle;

mod outbound;
mod status;

/// Messages to one shim that wait to be sent: a handful, as many executions as an agent can be given at once, an end for
/// each that a shim can have, and an acknowledgement of each report that it stops at. A full queue means that the shim does
/// not read; it is then made to connect again. What is not used of it takes no memory.
const OUTBOX_MAX: usize = 32 + MAX_CONCURRENT_MAX as usize + ATTEMPTS_MAX + INVENTORY_REPORTS_MAX;

/// Facts of one shim that wait for a busy driver: its inventory, and as many reports as a shim that is not acknowledged
/// stops at.
const FACTS_MAX: usize = 1 + INVENTORY_REPORTS_MAX;

/// Time for a stream's first message. A healthy shim sends it with the request.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from the welcome to the inventory: nothing is concluded about an agent meanwhile, and beats alone must not hold it
/// so. A healthy shim says it at once, or when the child has begun that it is spawning.
const INVENTORY_TIMEOUT: Duration = Duration::from_secs(10);

/// The service.
pub struct Shims {
    handle: Handle,
    heartbeat_interval: Duration,
    next_session: AtomicU64,
}

impl Shims {
    /// Serves shims, telling each to beat once per interval.
    pub fn new(handle: Handle, heartbeat_interval: Duration) -> Self {
        Self {
            handle,
            heartbeat_interval,
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

/// The reading half of one session.
struct Inbound {
    session: SessionId,
    handle: Handle,
    stream: Streaming<v1::ConnectRequest>,
}

impl Inbound {
    async fn run(mut self, out: mpsc::Sender<ToShim>, peer: Arc<str>) {
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, self.next()).await {
            Ok(Some(Ok(ShimMessage::Hello(hello)))) => hello,
            Ok(Some(Ok(_other))) => return self.reject(&out, "the first message must be hello".to_owned()).await,
            Ok(Some(Err(problem))) => return self.reject(&out, problem).await,
            Ok(None) => return,
            Err(_elapsed) => return self.reject(&out, no_hello()).await,
        };
        let agent = hello.agent.clone();
        let (lease, granted) = oneshot::channel();
        let (open, ended) = oneshot::channel();
        // Only the driver holds the way to the shim, so that the stream ends when the driver lets go of it.
        let protocol = out.downgrade();
        let link = SessionLink {
            out,
            lease,
            open,
            peer: peer.clone(),
        };
        let connected = Message::Connected {
            session: self.session,
            hello,
            link,
        };
        if self.handle.send(connected).await.is_err() {
            return;
        }
        let Ok(lease) = granted.await else { return };
        tracing::info!(%agent, %peer, "a shim connected");
        let problem = tokio::select! {
            problem = self.read(&agent, &lease, &protocol) => problem,
            _ = ended => None,
        };
        self.handle.outputs().disconnected(&agent, self.session);
        if let Some(problem) = problem {
            tracing::warn!(%agent, %peer, problem, "a shim broke the protocol");
            if let Some(out) = protocol.upgrade() {
                // Where the queue is full the stream ends without its reason.
                let _ = out.try_send(ToShim::Disconnect(Disconnect::Protocol(problem)));
            }
        }
        tracing::info!(%agent, %peer, "a shim's stream ended");
        let closed = Input::SessionClosed {
            session: self.session,
            last_heard: lease.last_heard(),
        };
        // A driver that has ended has no sessions to close.
        let _ = self.handle.send(Message::Input(closed)).await;
    }

    /// Reads until the stream ends; what was wrong, where the shim broke the protocol.
    async fn read(
        &mut self,
        agent: &AgentId,
        lease: &crate::lease::Lease,
        out: &mpsc::WeakSender<ToShim>,
    ) -> Option<String> {
        let inventory = match tokio::time::timeout(INVENTORY_TIMEOUT, self.inventory(lease)).await {
            Ok(Some(Ok(inventory))) => inventory,
            Ok(Some(Err(problem))) => return Some(problem),
            Ok(None) => return None,
            Err(_elapsed) => return Some(no_inventory()),
        };
        let session = self.session;
        self.handle.outputs().connected(agent, session, out.clone());
        let mut waiting = VecDeque::from([Input::ShimInventoried { session, inventory }]);
        let problem = self.listen(agent, lease, &mut waiting).await;
        // What was said before the end is not lost with it: a goodbye comes together with the end of its stream.
        for input in waiting {
            if self.handle.send(Message::Input(input)).await.is_err() {
                break;
            }
        }
        problem
    }

    /// What the shim holds, which it says before anything else but beats, after what it has to report; an error where it
    /// does not; `None` at the stream's end.
    async fn inventory(&mut self, lease: &crate::lease::Lease) -> Option<Result<Box<Inventory>, String>> {
        let mut reports = Vec::new();
        loop {
            let message = match self.next().await? {
                Ok(message) => message,
                Err(problem) => return Some(Err(problem)),
            };
            lease.renew(self.handle.clock().mono());
            match message {
                ShimMessage::Heartbeat => {}
                ShimMessage::Report(_) if reports.len() == INVENTORY_REPORTS_MAX => {
                    return Some(Err(format!(
                        "more than {INVENTORY_REPORTS_MAX} reports came before the inventory"
                    )));
                }
                ShimMessage::Report(report) => reports.push(*report),
                ShimMessage::Inventory(inventory) => {
                    return Some(Ok(Box::new(Inventory { reports, ..*inventory })));
                }
                ShimMessage::Hello(_)
                | ShimMessage::Goodbye
                | ShimMessage::Activity(_)
                | ShimMessage::Confirmed(_)
                | ShimMessage::SignalResult(..)
                | ShimMessage::Output(_) => {
                    return Some(Err(
                        "the first message after the welcome must be inventory, or the reports before it".to_owned(),
                    ));
                }
            }
        }
    }

    /// While the driver's queue is full, facts wait here and beats go on to be heard: a busy server judges nobody silent.
    async fn listen(
        &mut self,
        agent: &AgentId,
        lease: &crate::lease::Lease,
        waiting: &mut VecDeque<Input>,
    ) -> Option<String> {
        let handle = self.handle.clone();
        loop {
            let message = tokio::select! {
                place = handle.reserve(), if !waiting.is_empty() => {
                    let Ok(place) = place else { return None };
                    if let Some(input) = waiting.pop_front() {
                        place.send(Message::Input(input));
                    }
                    continue;
                }
                message = self.next() => match message? {
                    Ok(message) => message,
                    Err(problem) => return Some(problem),
                },
            };
            lease.renew(self.handle.clock().mono());
            let session = self.session;
            let input = match message {
                ShimMessage::Heartbeat => continue,
                // For readers alone: it is neither durable nor decided by.
                ShimMessage::Activity(activity) => {
                    handle.does(agent, session, activity);
                    continue;
                }
                // For watchers alone, too.
                ShimMessage::Output(part) => {
                    handle.outputs().arrived(agent, part);
                    continue;
                }
                ShimMessage::Hello(_) => return Some("hello came twice".to_owned()),
                ShimMessage::Inventory(_) => return Some("inventory came twice".to_owned()),
                ShimMessage::Report(report) => Input::ShimReported {
                    session,
                    report: *report,
                },
                ShimMessage::Goodbye => Input::ShimLeft { session },
                ShimMessage::Confirmed(command) => Input::ShimConfirmed { session, command },
                ShimMessage::SignalResult(command, result) => Input::ShimSignalled {
                    session,
                    command,
                    result,
                },
            };
            if waiting.len() == FACTS_MAX {
                return Some(format!("more than {FACTS_MAX} facts wait for the server"));
            }
            waiting.push_back(input);
        }
    }

    /// The next message; an error where it is none; `None` at the stream's end, however it came.
    async fn next(&mut self) -> Option<Result<ShimMessage, String>> {
        match self.stream.message().await {
            Ok(Some(message)) => Some(ShimMessage::try_from(message).map_err(|error: WireError| error.to_string())),
            Ok(None) => None,
            // A message that cannot be decoded, or is too large, is the shim's fault; anything else is the network's.
            Err(status) => is_malformed(status.code()).then(|| Err(status.message().to_owned())),
        }
    }

    async fn reject(&self, out: &mpsc::Sender<ToShim>, problem: String) {
        tracing::warn!(problem, "a stream was rejected");
        // The stream may be gone already.
        let _ = out.send(ToShim::Disconnect(Disconnect::Protocol(problem))).await;
    }
}

fn no_hello() -> String {
    format!(
        "no hello came within {} s; look whether a rekindle-shim is at the other end, how busy its host is, and whether a \
         proxy in between holds back what it says",
        HELLO_TIMEOUT.as_secs()
    )
}

fn no_inventory() -> String {
    format!(
        "no inventory came within {} s of the welcome; look at the shim's log, how busy its host is, and whether the file \
         system hangs that the agent's program is on",
        INVENTORY_TIMEOUT.as_secs()
    )
}

fn is_malformed(code: Code) -> bool {
    matches!(
        code,
        Code::Internal | Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument
    )
}
