//! The driver: hands facts to the machine, makes what it persists durable, then does what it asks for.
//!
//! ```text
//! sessions, calls ──messages──> driver ──batch──> committer (thread) ──durable──> driver ──> snapshot published,
//!                                 │ steps the machine meanwhile, gathering the next batch        effects carried out
//! ```
//!
//! One rule: nothing is answered, commanded or shown to a reader before its record is durable. A commit that fails
//! ends the driver, and with it the server, and so does a read that a command waits for.

mod sessions;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rekindle::time::{MonoTime, Now};
use rekindle_server_core::effect::{Answer, Effect, Outcome};
use rekindle_server_core::input::{CallId, Input, Request, SessionId};
use rekindle_server_core::machine::{Machine, Policy};
use rekindle_server_core::record::{Record, Records};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::committer::{CommitError, Committer};
use crate::handle::{Handle, LiveSessions, ServerInfo};
use crate::lease::LeaseTable;
use crate::room::Held;
use crate::snapshot::{Snapshot, Subscriptions, Workflows};
use crate::store::{Store, StoreError};

use sessions::Sessions;
pub use sessions::{SessionLink, ToShim};

/// Messages that wait for the driver. Senders wait when it is full, and so does what they read: a step takes some
/// microseconds, so this is some milliseconds of work.
const MESSAGES_MAX: usize = 4096;

/// Messages that are taken in one turn, so that timers and commits get theirs.
const MESSAGES_PER_TURN: usize = 256;

/// Records that one batch gathers while another is under way; past that, messages wait.
const BATCH_MAX: usize = 4096;

/// Bytes of messages, outputs and checkpoints that one batch gathers; past that, messages to the driver wait. The last one may add as
/// much as an inventory has.
const BATCH_TEXT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How often leases are looked at: what a silence is told too late by, at most.
const LEASE_SCAN: Duration = Duration::from_millis(50);

/// A turn that comes later than this after the one before means that the server itself did not run. Twenty scans:
/// far more than a busy scheduler takes, far less than a lease.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What the driver is told.
pub enum Message {
    /// A stream's first message.
    Connected {
        /// The stream.
        session: SessionId,
        /// What the shim said.
        hello: Box<rekindle::report::Hello>,
        /// How the shim is reached.
        link: SessionLink,
    },
    /// A fact.
    Input(Input),
    /// A fact that a shim told.
    Told {
        /// The fact.
        input: Input,
        /// The room that it takes until it is durable.
        held: Held,
    },
    /// A command waits for what the store did not give back.
    Unreadable(StoreError),
    /// A question that wants an answer.
    Call {
        /// The call.
        call: CallId,
        /// The question.
        request: Request,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
}

/// Steps whose outcomes are not durable yet.
#[derive(Default)]
struct Gathered {
    persist: Vec<Record>,
    then: Vec<Effect>,
    text_bytes: usize,
    held: Vec<Held>,
}

/// What waits for the commit under way.
struct Pending {
    then: Vec<Effect>,
    /// Given back with it.
    _held: Vec<Held>,
}

/// What a record weighs beyond the few kilobytes that each may have.
fn text_bytes(record: &Record) -> usize {
    match record {
        Record::ExecutionMessage { text, .. } => text.len(),
        Record::ExecutionOutput { text, .. } => text.len(),
        Record::WorkflowMessage { text, .. } | Record::FirePayload { text, .. } => text.len(),
        Record::CheckpointContent { checkpoint, .. } => checkpoint.size_bytes(),
        Record::Agent(_)
        | Record::AgentDeleted(_)
        | Record::Event(_)
        | Record::EventsTrimmed { .. }
        | Record::Request(_)
        | Record::RequestForgotten { .. }
        | Record::Host(_)
        | Record::HostForgotten(_)
        | Record::Checkpoint(_)
        | Record::CheckpointForgotten { .. }
        | Record::Execution(_)
        | Record::ExecutionForgotten { .. }
        | Record::Workflow(_)
        | Record::FirePayloadForgotten { .. }
        | Record::WorkflowDeleted(_) => 0,
    }
}

impl Gathered {
    fn add(&mut self, outcome: Outcome) {
        self.text_bytes += outcome.persist.iter().map(text_bytes).sum::<usize>();
        self.persist.extend(outcome.persist);
        self.then.extend(outcome.then);
    }

    fn has_room(&self) -> bool {
        self.persist.len() < BATCH_MAX && self.text_bytes < BATCH_TEXT_MAX_BYTES
    }

    fn is_empty(&self) -> bool {
        self.persist.is_empty() && self.then.is_empty() && self.held.is_empty()
    }
}

/// Why the driver, and with it the server, has to end.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// What was decided is not durable.
    #[error("nothing more can be made durable")]
    Commit(#[from] CommitError),
    /// What is durable cannot be had.
    #[error("the store could not be read; mend its disk, and start rekindle-server again")]
    Read(#[source] StoreError),
}

/// See the module's documentation.
pub struct Driver {
    machine: Machine,
    policy: Policy,
    clock: Clock,
    committer: Committer,
    messages: mpsc::Receiver<Message>,
    snapshot: Arc<Snapshot>,
    publish: watch::Sender<Arc<Snapshot>>,
    subscriptions: Subscriptions,
    calls: HashMap<CallId, oneshot::Sender<Answer>>,
    sessions: Sessions,
    leases: LeaseTable,
    gathered: Gathered,
    /// `None` when no commit is under way.
    waiting: Option<Pending>,
    last_turn: MonoTime,
}

impl Driver {
    /// Recovers the machine from what is durable.
    ///
    /// # Errors
    /// The committing thread could not be started.
    pub fn new(
        policy: Policy,
        seed: u64,
        records: Records,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> std::io::Result<(Self, Handle)> {
        let now = clock.now();
        let mut snapshot = Snapshot::default();
        if let Some((first, last)) = records.events {
            (snapshot.first_event, snapshot.last_event) = (first, last);
        }
        snapshot.agents = records
            .agents
            .iter()
            .map(|agent| (agent.id.clone(), Arc::new(agent.clone())))
            .collect();
        snapshot.executions.extend(records.executions.iter().cloned());
        snapshot.checkpoints = records
            .checkpoints
            .iter()
            .map(|checkpoint| ((checkpoint.agent.clone(), checkpoint.id), Arc::new(checkpoint.clone())))
            .collect();
        snapshot.workflows = Workflows::of(&records);
        let (machine, outcome) = Machine::recover(policy, seed, records, now);
        let mut gathered = Gathered::default();
        gathered.add(outcome);

        let snapshot = Arc::new(snapshot);
        let (publish, snapshots) = watch::channel(snapshot.clone());
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let live = LiveSessions::default();
        let info = ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            start_time: now.wall,
            adoption_end: now.wall.saturating_add(policy.adoption_window),
        };
        let subscriptions = Subscriptions::default();
        let of_readers = subscriptions.clone();
        let handle = Handle::new(sender, snapshots, of_readers, live.clone(), store.clone(), clock, info);
        let driver = Self {
            machine,
            policy,
            clock,
            committer: Committer::start(store)?,
            messages,
            snapshot,
            publish,
            subscriptions,
            calls: HashMap::new(),
            sessions: Sessions::new(live),
            leases: LeaseTable::default(),
            gathered,
            waiting: None,
            last_turn: now.mono,
        };
        Ok((driver, handle))
    }

    /// Runs until every handle is dropped, or the store fails.
    ///
    /// # Errors
    /// A commit failed, or a read that a command waits for. The process must end.
    pub async fn run(mut self) -> Result<(), DriverError> {
        let mut scan = tokio::time::interval(LEASE_SCAN);
        scan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.begin_commit();
            let committing = self.waiting.is_some();
            let room = self.gathered.has_room();
            let deadline = self
                .machine
                .deadline()
                .filter(|_| room)
                .map(|(at, _)| self.clock.instant(at).into());
            tokio::select! {
                biased;
                ended = self.committer.ended(), if committing => self.committed(&ended?),
                _ = scan.tick() => {
                    let now = self.turn();
                    self.scan_leases(now);
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(far)), if deadline.is_some() => {
                    let now = self.turn();
                    self.step(now, Input::Tick);
                }
                message = self.messages.recv(), if room => {
                    let Some(message) = message else { return Ok(()) };
                    let now = self.turn();
                    self.take(now, message)?;
                    self.take_more(now)?;
                }
            }
        }
    }

    /// Starts a turn: reads the clocks, and finds out whether the server was paused.
    fn turn(&mut self) -> Now {
        let now = self.clock.now();
        let gap = now.mono.saturating_since(self.last_turn);
        self.last_turn = now.mono;
        if gap >= PAUSE_MIN {
            self.leases.renew_all(now.mono);
            self.committer.extend(gap);
            self.step(now, Input::Paused { gap });
        }
        now
    }

    /// Takes what else waits, as far as one turn and one batch go.
    fn take_more(&mut self, now: Now) -> Result<(), DriverError> {
        for _ in 1..MESSAGES_PER_TURN {
            if !self.gathered.has_room() {
                break;
            }
            let Ok(message) = self.messages.try_recv() else { break };
            self.take(now, message)?;
        }
        Ok(())
    }

    fn take(&mut self, now: Now, message: Message) -> Result<(), DriverError> {
        match message {
            Message::Connected { session, hello, link } => {
                self.sessions.open(session, link);
                self.step(now, Input::ShimConnected { session, hello });
            }
            Message::Input(input) => {
                if let Input::SessionClosed { session, .. } = &input {
                    self.close(*session);
                }
                if let Input::CallAbandoned { call } = &input {
                    self.calls.remove(call);
                }
                self.step(now, input);
            }
            Message::Told { input, held } => {
                if !held.is_empty() {
                    self.gathered.held.push(held);
                }
                self.step(now, input);
            }
            Message::Unreadable(error) => return Err(DriverError::Read(error)),
            Message::Call { call, request, reply } => {
                self.calls.insert(call, reply);
                self.step(now, Input::Requested { call, request });
            }
        }
        Ok(())
    }

    fn scan_leases(&mut self, now: Now) {
        let limit = now.mono.as_nanos().saturating_sub(duration_nanos(self.policy.lease));
        for (session, last_heard) in self.leases.expired(MonoTime::from_nanos(limit)) {
            self.step(now, Input::LeaseExpired { session, last_heard });
        }
    }

    fn step(&mut self, now: Now, input: Input) {
        let outcome = self.machine.step(now, input);
        self.gathered.add(outcome);
    }

    fn begin_commit(&mut self) {
        while self.waiting.is_none() && !self.gathered.is_empty() {
            let Gathered {
                persist, then, held, ..
            } = std::mem::take(&mut self.gathered);
            if persist.is_empty() {
                self.carry_out(then);
            } else {
                self.committer.begin(persist);
                self.waiting = Some(Pending { then, _held: held });
            }
        }
    }

    fn committed(&mut self, durable: &[Record]) {
        Arc::make_mut(&mut self.snapshot).apply(durable);
        self.publish.send_replace(self.snapshot.clone());
        self.subscriptions.wake(durable);
        if let Some(pending) = self.waiting.take() {
            self.carry_out(pending.then);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let now = self.clock.now();
        for effect in effects {
            if let Effect::Reply { call, answer } = effect {
                if let Some(reply) = self.calls.remove(&call) {
                    // A caller that has hung up needs no answer.
                    let _ = reply.send(answer);
                }
                continue;
            }
            let Some(input) = self.sessions.carry_out(effect, &mut self.leases, now.mono) else {
                continue;
            };
            for input in input {
                self.step(now, input);
            }
        }
    }

    fn close(&mut self, session: SessionId) {
        self.sessions.close(session, &mut self.leases);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.subscriptions.end();
    }
}

fn far() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}

fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
