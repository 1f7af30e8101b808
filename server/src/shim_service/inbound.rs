//! The reading half of a session: from a shim's stream to the driver.
//!
//! It is read to its end at once: h2 ends a connection on which small frames pile up unread. Only where there is no
//! [`Room`] for what a shim tells it is not read on for a while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rekindle::convert::WireError;
use rekindle::id::AgentId;
use rekindle::report::{INVENTORY_REPORTS_MAX, Inventory};
use rekindle::session::ShimMessage;
use rekindle::wire::v1;
use rekindle_server_core::effect::Disconnect;
use rekindle_server_core::input::{Input, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use crate::driver::{Message, SessionLink, ToShim};
use crate::handle::{Handle, Unavailable};
use crate::lease::Lease;
use crate::room::{Held, INVENTORY_MAX_BYTES, Room};

/// Facts of one shim that wait for a busy driver: its inventory, and as many reports as a shim that is not acknowledged
/// stops at.
const FACTS_MAX: usize = 1 + INVENTORY_REPORTS_MAX;

/// Time for a stream's first message. A healthy shim sends it with the request.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from the welcome, and from each report that comes before it, to the inventory: nothing is concluded about an agent
/// meanwhile, and beats alone must not hold it so. A healthy shim says it at once, or when the child has begun that it is
/// spawning; a slow link is given the time anew for each report that it brings, of which there are few.
const INVENTORY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of reports for which a shim is given the time anew while others wait for the room that it holds with them: a link
/// of 512 kbit/s goes on, and a peer that trickles does not hold up the fleet.
const PACE_BYTES: usize = 640 * 1024;

/// How often a lease is renewed whose session waits for the server: a third of the shortest that there is.
const RENEWAL: Duration = Duration::from_secs(1);

/// The reading half of one session.
pub(super) struct Inbound<S> {
    pub(super) session: SessionId,
    pub(super) handle: Handle,
    pub(super) room: Room,
    pub(super) stream: S,
}

/// A message, and what it takes on the wire.
struct Told {
    message: ShimMessage,
    bytes: usize,
}

impl<S> Inbound<S>
where
    S: Stream<Item = Result<v1::ConnectRequest, Status>> + Unpin,
{
    pub(super) async fn run(mut self, out: mpsc::Sender<ToShim>, peer: Arc<str>) {
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, self.next()).await {
            Ok(Some(Ok(Told {
                message: ShimMessage::Hello(hello),
                ..
            }))) => hello,
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
    async fn read(&mut self, agent: &AgentId, lease: &Lease, out: &mpsc::WeakSender<ToShim>) -> Option<String> {
        let (inventory, held) = match self.inventory(lease).await? {
            Ok(told) => told,
            Err(problem) => return Some(problem),
        };
        let session = self.session;
        self.handle.outputs().connected(agent, session, out.clone());
        let input = Input::ShimInventoried { session, inventory };
        let mut waiting = VecDeque::from([Message::Told { input, held }]);
        let problem = self.listen(agent, lease, &mut waiting).await;
        // What was said before the end is not lost with it: a goodbye comes together with the end of its stream.
        // A driver that has ended takes nothing more.
        let _ = hand_over(&self.handle, &mut waiting).await;
        problem
    }

    /// What the shim holds, which it says before anything else but beats, after what it has to report; an error where it
    /// does not; `None` at the stream's end.
    async fn inventory(&mut self, lease: &Lease) -> Option<Result<(Box<Inventory>, Held), String>> {
        let mut deadline = Instant::now() + INVENTORY_TIMEOUT;
        let mut reports = Vec::new();
        let mut held = Held::default();
        let mut gathered = 0;
        let mut since_deadline = 0;
        loop {
            let Ok(next) = tokio::time::timeout_at(deadline, self.next()).await else {
                return Some(Err(no_inventory()));
            };
            let Told { message, bytes } = match next? {
                Ok(told) => told,
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
                ShimMessage::Report(_) if gathered + bytes > INVENTORY_MAX_BYTES => {
                    return Some(Err(format!(
                        "more than {INVENTORY_MAX_BYTES} bytes of reports came before the inventory"
                    )));
                }
                ShimMessage::Report(report) => {
                    let asked = Instant::now();
                    self.wait_for(lease, self.room.grow(&mut held, bytes)).await;
                    // That was the server's own time.
                    deadline += asked.elapsed();
                    gathered += bytes;
                    since_deadline += bytes;
                    if since_deadline >= PACE_BYTES || held.is_empty() || !self.room.is_wanted() {
                        deadline = Instant::now() + INVENTORY_TIMEOUT;
                        since_deadline = 0;
                    }
                    reports.push(*report);
                }
                ShimMessage::Inventory(inventory) => {
                    return Some(Ok((Box::new(Inventory { reports, ..*inventory }), held)));
                }
                ShimMessage::Hello(_)
                | ShimMessage::Goodbye
                | ShimMessage::Activity(_)
                | ShimMessage::Confirmed(_)
                | ShimMessage::SignalResult(..)
                | ShimMessage::Checkpoint(_)
                | ShimMessage::Output(_) => {
                    return Some(Err(
                        "the first message after the welcome must be inventory, or the reports before it".to_owned(),
                    ));
                }
            }
        }
    }

    /// While the driver's queue is full, facts wait here and beats go on to be heard: a busy server judges nobody silent.
    async fn listen(&mut self, agent: &AgentId, lease: &Lease, waiting: &mut VecDeque<Message>) -> Option<String> {
        let handle = self.handle.clone();
        loop {
            let Told { message, bytes } = tokio::select! {
                place = handle.reserve(), if !waiting.is_empty() => {
                    let Ok(place) = place else { return None };
                    if let Some(message) = waiting.pop_front() {
                        place.send(message);
                    }
                    continue;
                }
                told = self.next() => match told? {
                    Ok(told) => told,
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
                ShimMessage::Checkpoint(held) => Input::ShimSaved { session, held },
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
            let Ok(held) = self.room_for(bytes, lease, waiting).await else {
                return None;
            };
            waiting.push_back(Message::Told { input, held });
        }
    }

    /// Room for one fact. Where there is none the session's earlier facts go to the driver first: what they hold is given back
    /// only when they are durable.
    async fn room_for(
        &self,
        bytes: usize,
        lease: &Lease,
        waiting: &mut VecDeque<Message>,
    ) -> Result<Held, Unavailable> {
        if let Some(held) = self.room.try_take(bytes) {
            return Ok(held);
        }
        let taken = async {
            hand_over(&self.handle, waiting).await?;
            let mut held = Held::default();
            self.room.grow(&mut held, bytes).await;
            Ok(held)
        };
        self.wait_for(lease, taken).await
    }

    /// Waits for the server's own sake: nobody is silent who is not listened to. The stream is not read meanwhile. What
    /// piles up is a beat now and then, of which h2 bears thousands, and frames that are as long as the windows let them be.
    async fn wait_for<T>(&self, lease: &Lease, what: impl Future<Output = T>) -> T {
        let mut renewal = tokio::time::interval(RENEWAL);
        tokio::pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                _ = renewal.tick() => lease.renew(self.handle.clock().mono()),
            }
        }
    }

    /// The next message; an error where it is none; `None` at the stream's end, however it came.
    async fn next(&mut self) -> Option<Result<Told, String>> {
        match self.stream.next().await? {
            Ok(message) => {
                let bytes = message.encoded_len();
                let message = ShimMessage::try_from(message).map_err(|error: WireError| error.to_string());
                Some(message.map(|message| Told { message, bytes }))
            }
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

/// Gives the driver all that waits for it.
async fn hand_over(handle: &Handle, waiting: &mut VecDeque<Message>) -> Result<(), Unavailable> {
    while !waiting.is_empty() {
        let place = handle.reserve().await?;
        if let Some(message) = waiting.pop_front() {
            place.send(message);
        }
    }
    Ok(())
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
        "no inventory came within {} s of the welcome, or of the last report before it (the last {} KiB of reports, where \
         others wait for the memory); look at the shim's log, how busy its host and its link are, and whether the file \
         system hangs that the agent's program is on",
        INVENTORY_TIMEOUT.as_secs(),
        PACE_BYTES / 1024
    )
}

fn is_malformed(code: Code) -> bool {
    matches!(
        code,
        Code::Internal | Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument
    )
}

#[cfg(test)]
mod tests;
