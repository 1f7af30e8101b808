//! Live output: from shims to those who watch, past the machine and the store.
//!
//! ```text
//! shim ──OutputPart──> session task ──arrived──> Outputs ──pieces──> Watchers, each with a queue of its own
//!   ^                                              │
//!   └──────────── Follow, with credit ─────────────┘   as the fastest of them reads
//! ```
//!
//! Nobody waits for anybody: a watcher whose queue is full misses pieces, which the next offset tells it of. A shim sends
//! nothing that nobody watches, and at most its credit ahead of the fastest watcher. What is lost here is lost: the output
//! that counts comes with the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rekindle::execution::{AttemptId, Follow, OUTPUT_MAX_BYTES, OutputPart};
use rekindle::id::AgentId;
use rekindle_server_core::input::SessionId;
use tokio::sync::mpsc;

use crate::driver::ToShim;

/// Bytes that a shim may send ahead: what it keeps of an output, so that a watcher that comes late has all that is left.
const CREDIT: u32 = OUTPUT_MAX_BYTES as u32;

/// Bytes after which the credit is renewed: half of it, so that the shim need not wait for the other half's way.
const RENEWED_AFTER: u64 = CREDIT as u64 / 2;

/// Pieces that wait for one watcher, each of at most 16 KiB: twice the credit.
const PIECES_MAX: usize = 32;

/// Free places from which on a watcher counts as one that reads.
const ROOM_MIN: usize = PIECES_MAX / 2;

/// What is watched, and the shims that can be asked for it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    shims: HashMap<AgentId, Shim>,
    followed: HashMap<AgentId, HashMap<AttemptId, Followed>>,
    /// What had no room in the queue of its session.
    unasked: HashMap<SessionId, Unasked>,
    next_watcher: u64,
}

/// An open session that has told what it has. Only the driver keeps it open.
#[derive(Debug)]
struct Shim {
    session: SessionId,
    out: mpsc::WeakSender<ToShim>,
}

/// What a shim is asked as soon as there is room: the newest for each attempt.
#[derive(Debug)]
struct Unasked {
    agent: AgentId,
    follows: HashMap<AttemptId, Follow>,
}

/// An attempt that somebody watches.
#[derive(Debug, Default)]
struct Followed {
    watchers: Vec<Queue>,
    /// Bytes that came since the shim was given its credit.
    spent: u64,
}

/// The way to one watcher.
#[derive(Debug)]
struct Queue {
    watcher: u64,
    /// Where the newest piece in it ends.
    end: u64,
    pieces: mpsc::Sender<Arc<OutputPart>>,
}

/// One who watches an attempt, until dropped.
#[derive(Debug)]
pub struct Watcher {
    outputs: Outputs,
    agent: AgentId,
    attempt: AttemptId,
    number: u64,
    pieces: mpsc::Receiver<Arc<OutputPart>>,
    /// Where the newest piece that was given ended.
    end: u64,
}

impl Outputs {
    /// A shim can be asked, from here on.
    pub fn connected(&self, agent: &AgentId, session: SessionId, out: mpsc::WeakSender<ToShim>) {
        let mut state = self.state();
        state.shims.insert(agent.clone(), Shim { session, out });
        let followed = state.followed.get_mut(agent);
        let mut asks = Vec::new();
        for (attempt, followed) in followed.into_iter().flatten() {
            // What came by an earlier stream need not come again.
            let end = followed.watchers.iter().map(|queue| queue.end).max();
            asks.push((attempt.clone(), end));
            followed.spent = 0;
        }
        for (attempt, from) in asks {
            state.ask(agent, follow(attempt, from, CREDIT));
        }
    }

    /// A message to a shim has left its queue: what had no room there may have some.
    pub fn sent(&self, session: SessionId) {
        let mut state = self.state();
        let Some(Unasked { agent, follows }) = state.unasked.remove(&session) else {
            return;
        };
        if state.shims.get(&agent).is_some_and(|shim| shim.session == session) {
            for follow in follows.into_values() {
                state.ask(&agent, follow);
            }
        }
    }

    /// A session has ended; a newer one of the same agent stays.
    pub fn disconnected(&self, agent: &AgentId, session: SessionId) {
        let mut state = self.state();
        state.unasked.remove(&session);
        if state.shims.get(agent).is_some_and(|shim| shim.session == session) {
            state.shims.remove(agent);
        }
    }

    /// A piece came. It goes to all who watch and have room, and whose newest is not later.
    pub fn arrived(&self, agent: &AgentId, part: OutputPart) {
        let mut state = self.state();
        let attempt = part.attempt.clone();
        let Some(followed) = state.followed.get_mut(agent).and_then(|of| of.get_mut(&attempt)) else {
            return;
        };
        followed.spent = followed.spent.saturating_add(part.data.len() as u64);
        let part = Arc::new(part);
        for queue in followed.watchers.iter_mut().filter(|queue| queue.end < part.end()) {
            if queue.pieces.try_send(part.clone()).is_ok() {
                queue.end = part.end();
            }
        }
        state.renew(agent, &attempt);
    }

    /// Watches an attempt from the oldest of its output that is left.
    pub fn watch(&self, agent: &AgentId, attempt: &AttemptId) -> Watcher {
        let (pieces, received) = mpsc::channel(PIECES_MAX);
        let mut state = self.state();
        state.next_watcher += 1;
        let number = state.next_watcher;
        let of_agent = state.followed.entry(agent.clone()).or_default();
        let followed = of_agent.entry(attempt.clone()).or_default();
        followed.watchers.push(Queue {
            watcher: number,
            end: 0,
            pieces,
        });
        followed.spent = 0;
        state.ask(agent, follow(attempt.clone(), Some(0), CREDIT));
        drop(state);
        Watcher {
            outputs: self.clone(),
            agent: agent.clone(),
            attempt: attempt.clone(),
            number,
            pieces: received,
            end: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the writes of one change, so a poisoned state is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Asks a shim, or leaves it for when its queue has room. Half of the queue is the driver's: those who watch must not
    /// fill it, as the stream ends whose queue has no room for an order.
    fn ask(&mut self, agent: &AgentId, later: Follow) {
        let Some(shim) = self.shims.get(agent) else { return };
        let Some(out) = shim.out.upgrade() else { return };
        let session = shim.session;
        let of_session = self.unasked.get_mut(&session);
        let earlier = of_session.and_then(|unasked| unasked.follows.remove(&later.attempt));
        let follow = match earlier {
            Some(earlier) => in_place_of(&earlier, later),
            None => later,
        };
        let has_room = out.capacity() > out.max_capacity() / 2;
        if has_room && out.try_send(ToShim::Follow(follow.clone())).is_ok() {
            return;
        }
        let unasked = self.unasked.entry(session).or_insert_with(|| Unasked {
            agent: agent.clone(),
            follows: HashMap::new(),
        });
        unasked.follows.insert(follow.attempt.clone(), follow);
    }

    /// Gives new credit, where half of it is spent and somebody reads.
    fn renew(&mut self, agent: &AgentId, attempt: &AttemptId) {
        let Some(followed) = self.followed.get_mut(agent).and_then(|of| of.get_mut(attempt)) else {
            return;
        };
        let reads = |queue: &Queue| queue.pieces.capacity() >= ROOM_MIN;
        if followed.spent >= RENEWED_AFTER && followed.watchers.iter().any(reads) {
            followed.spent = 0;
            self.ask(agent, follow(attempt.clone(), None, CREDIT));
        }
    }

    fn leave(&mut self, agent: &AgentId, attempt: &AttemptId, watcher: u64) {
        let Some(of_agent) = self.followed.get_mut(agent) else {
            return;
        };
        let Some(followed) = of_agent.get_mut(attempt) else {
            return;
        };
        followed.watchers.retain(|queue| queue.watcher != watcher);
        if !followed.watchers.is_empty() {
            // It may have been the one that read.
            return self.renew(agent, attempt);
        }
        of_agent.remove(attempt);
        if of_agent.is_empty() {
            self.followed.remove(agent);
        }
        self.ask(agent, follow(attempt.clone(), None, 0));
    }
}

const fn follow(attempt: AttemptId, from: Option<u64>, credit: u32) -> Follow {
    Follow { attempt, from, credit }
}

/// What is asked in place of something earlier that was not asked yet: new credit alone says nothing of where to begin.
fn in_place_of(earlier: &Follow, later: Follow) -> Follow {
    let from = match later.credit {
        0 => None,
        _ => later.from.or(earlier.from),
    };
    Follow { from, ..later }
}

impl Watcher {
    /// Which attempt.
    pub fn attempt(&self) -> &AttemptId {
        &self.attempt
    }

    /// The next piece, without what an earlier one had; waits for as long as none comes. Can be dropped and asked for again.
    pub async fn next(&mut self) -> OutputPart {
        loop {
            let Some(part) = self.pieces.recv().await else {
                // Its queue is there for as long as it is itself.
                return std::future::pending().await;
            };
            self.outputs.state().renew(&self.agent, &self.attempt);
            if let Some(part) = self.unseen(&part) {
                return part;
            }
        }
    }

    /// As [`Watcher::next`], where one has come.
    pub fn waiting(&mut self) -> Option<OutputPart> {
        loop {
            let part = self.pieces.try_recv().ok()?;
            if let Some(part) = self.unseen(&part) {
                return Some(part);
            }
        }
    }

    fn unseen(&mut self, part: &OutputPart) -> Option<OutputPart> {
        let seen = usize::try_from(self.end.saturating_sub(part.offset)).ok()?;
        let data = part.data.get(seen..).filter(|data| !data.is_empty())?;
        self.end = part.end();
        Some(OutputPart {
            attempt: part.attempt.clone(),
            kind: part.kind,
            offset: part.offset.saturating_add(seen as u64),
            data: data.to_vec(),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.outputs.state().leave(&self.agent, &self.attempt, self.number);
    }
}

#[cfg(test)]
mod tests;
