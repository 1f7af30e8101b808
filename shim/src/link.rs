//! The link to the server: one stream at a time, opened again for ever.
//!
//! The link beats, notices a dead server, and backs off; what is said on it is the driver's. Each stream has a queue of
//! its own, so that nothing that was meant for one can be said on another.

use std::collections::BTreeSet;
use std::time::Duration;

use rekindle::execution::{OUTPUT_PART_MAX_BYTES, OutputPart};
use rekindle::session::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, ServerMessage, ShimMessage};
use rekindle::wire::v1::shim_service_client::ShimServiceClient;
use rekindle::wire::v1::{ConnectRequest, ConnectResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::refusal::{Fence, Refusal, Trouble};

/// Wait before the second attempt to connect, at most.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// Longest wait between two attempts: a server that returns has its fleet back in seconds.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Longest time for a TCP connection. A host that answers at all does so in a second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time from Hello to Welcome: a server under the load of its whole fleet's return needs some.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// Messages that wait to be said: the outbox at its largest, and as many answers to signals.
const SAY_MAX: usize = 2 * rekindle::report::INVENTORY_REPORTS_MAX;

/// Messages that wait to be said, at which what may be lost waits: all else is behind at most so many of its pieces, which
/// are as long as a window.
const ASIDE_WAITING_MAX: usize = WINDOW_BYTES as usize / OUTPUT_PART_MAX_BYTES;

/// Events that the driver has not taken. A server that says more waits.
const EVENTS_MAX: usize = 16;

/// HTTP/2 windows: far above what the server ever says at once, and small in a fleet's sum.
const WINDOW_BYTES: u32 = 64 * 1024;

/// What the link tells the driver.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A stream is open; this is the way to say something on it.
    Opened(Voice),
    /// The server said this.
    Heard(ServerMessage),
    /// The stream is gone, and so may be the claim on the agent, where the server says so.
    Lost(Fence),
}

/// The way to say something on one stream. The shim's side of the stream ends with it.
#[derive(Debug)]
pub(crate) struct Voice(mpsc::Sender<ConnectRequest>);

/// The stream does not take any more: it is gone, or the server does not read.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Voice {
    /// Says what is sent this way.
    pub(crate) const fn new(say: mpsc::Sender<ConnectRequest>) -> Self {
        Self(say)
    }

    /// Says something, without waiting.
    pub(crate) fn say(&self, message: ShimMessage) -> Result<(), Stuck> {
        message
            .into_wire()
            .try_for_each(|message| self.0.try_send(message).map_err(|_| Stuck))
    }
}

/// The way to say on one stream what may be lost: behind all else, and not for as long as much waits. The stream does not
/// stay for it.
#[derive(Debug, Clone)]
pub(crate) struct Aside(mpsc::WeakSender<ConnectRequest>);

/// Why something was not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSaid {
    /// So much waits to be said.
    Full,
    /// The stream is gone, or about to.
    Gone,
}

impl Voice {
    /// The way for what may be lost.
    pub(crate) fn aside(&self) -> Aside {
        Aside(self.0.downgrade())
    }
}

impl Aside {
    /// Whether the stream is there still.
    pub(crate) fn is_open(&self) -> bool {
        self.0.upgrade().is_some_and(|say| !say.is_closed())
    }

    /// Says a piece of output, without waiting.
    pub(crate) fn say(&self, part: OutputPart) -> Result<(), NotSaid> {
        let say = self.0.upgrade().ok_or(NotSaid::Gone)?;
        if say.max_capacity() - say.capacity() >= ASIDE_WAITING_MAX {
            return Err(NotSaid::Full);
        }
        Voice(say).say(ShimMessage::Output(part)).map_err(|Stuck| NotSaid::Gone)
    }
}

/// A link that is kept for as long as this lives.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's address, with how it is spoken to. `None` where it is no URL, or asks for what there is not.
pub(crate) fn endpoint(url: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(url.to_owned()).ok()?;
    let uri = endpoint.uri();
    if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
        return None;
    }
    Some(
        endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .tcp_nodelay(true),
    )
}

impl Link {
    /// Opens streams from here on, one after the other.
    pub(crate) fn open(endpoint: Endpoint) -> Self {
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        let keeper = Keeper {
            endpoint,
            tell,
            attempts: 0,
            welcomed: None,
            told: BTreeSet::new(),
        };
        Self {
            events,
            task: tokio::spawn(keeper.run()),
        }
    }
}

/// How a session ends.
enum End {
    /// Not as the shim wanted.
    Refused(Refusal),
    /// The shim said its last word, or is gone.
    Finished,
}

impl<R: Into<Refusal>> From<R> for End {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

struct Keeper {
    endpoint: Endpoint,
    tell: mpsc::Sender<LinkEvent>,
    /// Since the last session that lasted.
    attempts: u32,
    /// When the running session was.
    welcomed: Option<Instant>,
    /// What the log says of this outage; empty when all is well.
    told: BTreeSet<Trouble>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let End::Refused(refusal) = self.session().await else {
                return;
            };
            self.complain(&refusal);
            if self.tell.send(LinkEvent::Lost(refusal.fence)).await.is_err() {
                return;
            }
            sleep(self.wait(fastrand::f64())).await;
        }
    }

    /// The wait after the end of a stream. A welcome alone proves nothing: a server that welcomes and fails at once
    /// would be called by its whole fleet without end.
    fn wait(&mut self, share: f64) -> Duration {
        let lasted = self.welcomed.take().is_some_and(|since| since.elapsed() >= BACKOFF_MAX);
        if lasted {
            self.attempts = 0;
        }
        let wait = backoff(self.attempts, share);
        self.attempts = self.attempts.saturating_add(1);
        wait
    }

    /// One stream, from the connection to its end.
    async fn session(&mut self) -> End {
        let channel = match self.endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return Refusal::unreachable(&error).into(),
        };
        let (say, said) = mpsc::channel(SAY_MAX);
        let beats = say.downgrade();
        if self.tell.send(LinkEvent::Opened(Voice::new(say))).await.is_err() {
            return End::Finished;
        }
        let mut client = ShimServiceClient::new(channel);
        let opened = async {
            let mut stream = client.connect(ReceiverStream::new(said)).await?.into_inner();
            let first = stream.message().await?;
            Ok::<_, tonic::Status>((stream, first))
        };
        let (stream, first) = match timeout(WELCOME_TIMEOUT, opened).await {
            Ok(Ok((stream, Some(first)))) => (stream, first),
            Ok(Ok((_, None))) => return Refusal::closed().into(),
            Ok(Err(status)) => return Refusal::from_status(&status).into(),
            Err(_elapsed) => return Refusal::silent().into(),
        };
        match ServerMessage::try_from(first) {
            Ok(ServerMessage::Welcome(welcome)) => {
                self.welcomed = Some(Instant::now());
                self.told.clear();
                let (epoch, standing) = (welcome.epoch.get(), welcome.standing.as_str());
                tracing::info!(server = %self.endpoint.uri(), epoch, standing, "connected");
                let interval = welcome.heartbeat_interval;
                if self
                    .tell
                    .send(LinkEvent::Heard(ServerMessage::Welcome(welcome)))
                    .await
                    .is_err()
                {
                    return End::Finished;
                }
                self.converse(stream, beats, interval).await
            }
            Ok(
                ServerMessage::Acknowledge(_)
                | ServerMessage::Command(..)
                | ServerMessage::Follow(_)
                | ServerMessage::CheckpointKept(_),
            ) => Refusal::nonsense("no welcome came first").into(),
            Err(error) => error.into(),
        }
    }

    /// Hears, and beats, until the stream ends.
    async fn converse(
        &self,
        mut stream: Streaming<ConnectResponse>,
        beats: mpsc::WeakSender<ConnectRequest>,
        interval: Duration,
    ) -> End {
        // Shims that connect at once beat apart.
        let first = Instant::now() + interval.mul_f64(fastrand::f64());
        let mut beat = interval_at(first, interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unknown = Unknown::NotHeard;
        loop {
            tokio::select! {
                heard = stream.message() => {
                    let message = match heard {
                        Ok(Some(ConnectResponse { message: None, .. })) => {
                            unknown.heard();
                            continue;
                        }
                        Ok(Some(message)) => ServerMessage::try_from(message),
                        Ok(None) if beats.upgrade().is_none() => return End::Finished,
                        Ok(None) => return Refusal::closed().into(),
                        Err(status) => return Refusal::from_status(&status).into(),
                    };
                    match message {
                        Ok(message) => if self.tell.send(LinkEvent::Heard(message)).await.is_err() {
                            return End::Finished;
                        },
                        Err(error) => return error.into(),
                    }
                }
                _ = beat.tick() => {
                    // A queue that is full has what proves the shim's life already; one that is gone needs no proof.
                    if let Some(say) = beats.upgrade() {
                        let _ = Voice(say).say(ShimMessage::Heartbeat);
                    }
                }
            }
        }
    }

    /// Logs what is new: an outage is one line for each kind of trouble, however long it lasts.
    fn complain(&mut self, refusal: &Refusal) {
        if self.told.insert(refusal.trouble.clone()) {
            let server = self.endpoint.uri();
            tracing::warn!(%server, "{}; the shim goes on, and tries again", refusal.text);
        }
    }
}

/// Whether a session had a message of a kind that this shim does not know. protobuf reads it as one without content; a
/// server of a later version may send such, and must not rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    NotHeard,
    Heard,
}

impl Unknown {
    /// Logs the first of a session.
    fn heard(&mut self) {
        if *self == Self::NotHeard {
            tracing::warn!("the server said what this shim does not understand; is the shim older than the server?");
            *self = Self::Heard;
        }
    }
}

/// The wait after `attempts` failures in a row, with full jitter: `share` of the longest, from 0 to 1.
fn backoff(attempts: u32, share: f64) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(2u32.saturating_pow(attempts));
    doubled.min(BACKOFF_MAX).mul_f64(share)
}

#[cfg(test)]
mod tests {
    use rekindle::execution::{AttemptId, ExecutionId};
    use rekindle::id::ExecutionUid;

    use super::*;

    #[test]
    fn what_may_be_lost_leaves_room_for_all_else() {
        let (say, mut said) = mpsc::channel(SAY_MAX);
        let voice = Voice(say);
        let aside = voice.aside();
        let piece = || OutputPart {
            attempt: AttemptId {
                execution: ExecutionId::new("e-1").expect("valid"),
                uid: ExecutionUid::from_u128(1),
                number: 1,
            },
            kind: rekindle::execution::OutputKind::Output,
            offset: 0,
            data: vec![b'x'; OUTPUT_PART_MAX_BYTES],
        };
        for _ in 0..ASIDE_WAITING_MAX {
            assert_eq!(aside.say(piece()), Ok(()));
        }
        assert_eq!(aside.say(piece()), Err(NotSaid::Full));
        assert!(voice.say(ShimMessage::Goodbye).is_ok());
        for _ in 0..2 {
            said.try_recv().expect("it waits");
        }
        assert_eq!(aside.say(piece()), Ok(()));
        drop(voice);
        assert!(!aside.is_open());
        assert_eq!(aside.say(piece()), Err(NotSaid::Gone));
    }

    #[test]
    fn backoff_grows_to_its_limit() {
        let waits: Vec<u128> = (0..8).map(|attempts| backoff(attempts, 1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff(u32::MAX, 0.5), BACKOFF_MAX / 2);
    }

    #[test]
    fn only_a_session_that_lasted_makes_up_for_failures() {
        let (tell, _events) = mpsc::channel(1);
        let mut keeper = Keeper {
            endpoint: endpoint("http://127.0.0.1:1").expect("a URL"),
            tell,
            attempts: 0,
            welcomed: None,
            told: BTreeSet::new(),
        };
        let mut after = |lasted: Option<Duration>| {
            keeper.welcomed = lasted.map(|lasted| Instant::now() - lasted);
            keeper.wait(1.0).as_millis()
        };
        let short = Some(BACKOFF_MAX / 2);
        let waits = [
            after(None),
            after(short),
            after(short),
            after(Some(BACKOFF_MAX)),
            after(short),
            after(None),
        ];
        assert_eq!(waits, [100, 200, 400, 100, 200, 400]);
    }
}
