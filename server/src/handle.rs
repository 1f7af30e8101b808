//! The driver, as the gRPC services see it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rekindle::activity::Activity;
use rekindle::checkpoint::{CheckpointBody, CheckpointId};
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Epoch, Sequence};
use rekindle::time::{MonoTime, Timestamp};
use rekindle_server_core::effect::Answer;
use rekindle_server_core::event::Event;
use rekindle_server_core::input::{CallId, Input, Request, SessionId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::driver::Message;
use crate::lease::Lease;
use crate::output::Outputs;
use crate::snapshot::{Snapshot, Subscription, Subscriptions};
use crate::store::{Store, StoreDescription, StoreError, Text};

/// Reads what is durable, and asks for what is not yet. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    messages: mpsc::Sender<Message>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    subscriptions: Subscriptions,
    live: LiveSessions,
    outputs: Outputs,
    store: Arc<dyn Store>,
    clock: Clock,
    info: ServerInfo,
    next_call: AtomicU64,
}

/// What does not change while the server runs.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// The server's version.
    pub version: &'static str,
    /// When it started.
    pub start_time: Timestamp,
    /// Until then, or until its shim has reported, nobody is judged silent.
    pub adoption_end: Timestamp,
}

/// The driver has ended, and the server with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is ending; try again when it is back")]
pub struct Unavailable;

/// Why the message of an execution cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The store could not be read.
    #[error("the store cannot be read")]
    Unreadable(#[source] StoreError),
    /// The store has something else in its place.
    #[error("the store has the message damaged; restore the data directory from a backup, or give the message anew")]
    Damaged(#[source] StoreError),
    /// The store has the execution without it.
    #[error("the store does not have the message; restore the data directory from a backup, or give the message anew")]
    Missing,
}

impl From<StoreError> for MessageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::Damaged(error),
            StoreError::Poisoned { .. }
            | StoreError::RecordTooLarge { .. }
            | StoreError::EventOutOfSequence { .. }
            | StoreError::NewestEventTrimmed { .. }
            | StoreError::Encode { .. }
            | StoreError::Io { .. }
            | StoreError::Engine { .. }
            | StoreError::BlobWritten { .. }
            | StoreError::Panicked { .. } => Self::Unreadable(error),
        }
    }
}

/// Why the body of a checkpoint cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The store could not be read.
    #[error("the store cannot be read")]
    Unreadable(#[source] StoreError),
    /// The checkpoint was forgotten meanwhile.
    #[error("the checkpoint is gone; ListCheckpoints shows those that are kept")]
    Gone,
    /// The store has another length of it than was written.
    #[error(
        "the store has {found} bytes of the checkpoint's body, and {written} were written; restore the data directory"
    )]
    Damaged {
        /// What it has.
        found: usize,
        /// What it should have.
        written: u64,
    },
}

/// An open session, as readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The shim's address.
    pub peer: String,
    /// When it was last heard.
    pub last_heard: Timestamp,
    /// What the agent says that it is doing.
    pub activity: Activity,
}

/// Every open session by its agent, shared with the driver, which alone writes.
#[derive(Debug, Clone, Default)]
pub struct LiveSessions(Arc<RwLock<HashMap<AgentId, LiveSession>>>);

#[derive(Debug, Clone)]
struct LiveSession {
    session: SessionId,
    epoch: Epoch,
    peer: Arc<str>,
    lease: Lease,
    activity: Arc<Mutex<Activity>>,
}

impl LiveSessions {
    /// A session was welcomed.
    pub fn insert(&self, agent: AgentId, session: SessionId, epoch: Epoch, peer: Arc<str>, lease: Lease) {
        let session = LiveSession {
            session,
            epoch,
            peer,
            lease,
            activity: Arc::default(),
        };
        self.write().insert(agent, session);
    }

    /// The agent of an open session says that it is doing this.
    pub fn does(&self, agent: &AgentId, session: SessionId, activity: Activity) {
        let sessions = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(live) = sessions.get(agent).filter(|live| live.session == session) {
            *live.activity.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = activity;
        }
    }

    /// A session has ended; a newer one of the same agent stays.
    pub fn remove(&self, agent: &AgentId, epoch: Epoch) {
        let mut sessions = self.write();
        if sessions.get(agent).is_some_and(|session| session.epoch == epoch) {
            sessions.remove(agent);
        }
    }

    /// When the shim whose stream is open was last heard.
    pub fn last_heard(&self, agent: &AgentId) -> Option<MonoTime> {
        let sessions = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        sessions.get(agent).map(|session| session.lease.last_heard())
    }

    fn get(&self, agent: &AgentId, epoch: Epoch) -> Option<LiveSession> {
        let sessions = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        sessions.get(agent).filter(|session| session.epoch == epoch).cloned()
    }

    fn len(&self) -> usize {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<AgentId, LiveSession>> {
        // Nothing panics between the writes of one update, so a poisoned map is whole.
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Handle {
    pub(crate) fn new(
        messages: mpsc::Sender<Message>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        subscriptions: Subscriptions,
        live: LiveSessions,
        store: Arc<dyn Store>,
        clock: Clock,
        info: ServerInfo,
    ) -> Self {
        let next_call = AtomicU64::new(1);
        Self {
            shared: Arc::new(Shared {
                messages,
                snapshots,
                subscriptions,
                live,
                outputs: Outputs::default(),
                store,
                clock,
                info,
                next_call,
            }),
        }
    }

    /// Asks the machine, and waits for its answer. After `deadline` the machine answers how it stands by then. A
    /// caller that drops the future has hung up: what it asked for goes on.
    ///
    /// # Errors
    /// The driver has ended.
    pub async fn call(&self, request: Request, deadline: Option<Duration>) -> Result<Answer, Unavailable> {
        let call = CallId(self.shared.next_call.fetch_add(1, Ordering::Relaxed));
        let (reply, mut answer) = oneshot::channel();
        self.send(Message::Call { call, request, reply }).await?;
        let mut hang_up = HangUp {
            messages: Some(self.shared.messages.clone()),
            call,
        };
        if let Some(deadline) = deadline {
            match tokio::time::timeout(deadline, &mut answer).await {
                Ok(answered) => {
                    hang_up.messages = None;
                    return answered.map_err(|_| Unavailable);
                }
                Err(_elapsed) => self.send(Message::Input(Input::CallExpired { call })).await?,
            }
        }
        let answered = answer.await;
        hang_up.messages = None;
        answered.map_err(|_| Unavailable)
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshots.borrow().clone()
    }

    /// The newest snapshot, and every later one that the receiver is in time for.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.snapshots.clone()
    }

    /// Wakes who follows one execution, and only when that has changed.
    pub fn subscribe(&self, agent: &AgentId, id: &ExecutionId) -> Subscription {
        self.shared.subscriptions.subscribe(agent, id)
    }

    /// The open session of an agent, if it is the one of this epoch.
    pub fn live(&self, agent: &AgentId, epoch: Epoch) -> Option<Live> {
        let session = self.shared.live.get(agent, epoch)?;
        let last_heard = self.shared.clock.wall_of(session.lease.last_heard());
        Some(Live {
            peer: session.peer.to_string(),
            last_heard,
            activity: session
                .activity
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        })
    }

    /// The agent of an open session says that it is doing this.
    pub fn does(&self, agent: &AgentId, session: SessionId, activity: Activity) {
        self.shared.live.does(agent, session, activity);
    }

    /// What running executions write, for those who watch.
    pub fn outputs(&self) -> &Outputs {
        &self.shared.outputs
    }

    /// How many agents' shims are connected.
    pub fn connected(&self) -> usize {
        self.shared.live.len()
    }

    /// At most `limit` durable events after a sequence, oldest first. Those that were trimmed are missing.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn events(&self, after: Sequence, limit: usize) -> Result<Vec<Arc<Event>>, StoreError> {
        let snapshot = self.snapshot();
        if let Some(events) = snapshot.recent_after(after, limit) {
            return Ok(events);
        }
        let (store, through) = (self.shared.store.clone(), snapshot.last_event);
        let events = blocking(move || store.events(after, through, limit)).await?;
        Ok(events.into_iter().map(Arc::new).collect())
    }

    /// A text of an execution; empty where there is none.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn text(&self, agent: &AgentId, id: &ExecutionId, text: Text) -> Result<String, StoreError> {
        let (store, agent, id) = (self.shared.store.clone(), agent.clone(), id.clone());
        blocking(move || store.text(&agent, &id, text)).await
    }

    /// What the agent of an execution is asked to do.
    ///
    /// # Errors
    /// It cannot be read, or is not there.
    pub async fn message(&self, agent: &AgentId, id: &ExecutionId) -> Result<String, MessageError> {
        let message = self.text(agent, id, Text::Message).await?;
        // No execution is made without one.
        Some(message)
            .filter(|message| !message.is_empty())
            .ok_or(MessageError::Missing)
    }

    /// The body of a checkpoint that is kept, whole (I8).
    ///
    /// # Errors
    /// It cannot be read, or is not there.
    pub async fn checkpoint_body(&self, agent: &AgentId, id: CheckpointId) -> Result<CheckpointBody, BodyError> {
        let key = (agent.clone(), id);
        let find = |snapshot: &Snapshot| snapshot.checkpoints.get(&key).map(|record| record.body_bytes);
        let written = find(&self.snapshot()).ok_or(BodyError::Gone)?;
        let (store, agent) = (self.shared.store.clone(), agent.clone());
        let body = blocking(move || store.checkpoint_body(&agent, id)).await;
        let body = body.map_err(BodyError::Unreadable)?;
        let found = body.len();
        match CheckpointBody::new(body) {
            Ok(body) if found as u64 == written => Ok(body),
            Ok(_) | Err(_) if find(&self.snapshot()).is_none() => Err(BodyError::Gone),
            Ok(_) | Err(_) => Err(BodyError::Damaged { found, written }),
        }
    }

    /// What the store says of itself.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn store(&self) -> Result<StoreDescription, StoreError> {
        let store = self.shared.store.clone();
        blocking(move || store.describe()).await
    }

    /// What does not change while the server runs.
    pub fn info(&self) -> &ServerInfo {
        &self.shared.info
    }

    /// The server's clocks.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// A place in the driver's queue. Can be dropped and asked for again.
    pub(crate) async fn reserve(&self) -> Result<mpsc::Permit<'_, Message>, Unavailable> {
        self.shared.messages.reserve().await.map_err(|_| Unavailable)
    }

    pub(crate) async fn send(&self, message: Message) -> Result<(), Unavailable> {
        self.shared.messages.send(message).await.map_err(|_| Unavailable)
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(read).await {
        Ok(value) => value,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Tells the driver that nobody waits any more, unless the call was answered.
struct HangUp {
    messages: Option<mpsc::Sender<Message>>,
    call: CallId,
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(messages) = self.messages.take() {
            // Where the queue is full, the answer goes to nobody; that costs a place in the machine until then.
            let _ = messages.try_send(Message::Input(Input::CallAbandoned { call: self.call }));
        }
    }
}
