//! Room in memory for what shims tell: all that their sessions have read, and that is not durable yet.
//!
//! ```text
//! session: reads a message ──take, grow──> Held, with the message ──> driver ──> commit ──> dropped
//! ```
//!
//! After an outage thousands of shims tell the results of hours at once, faster than a disk takes them. A session that finds
//! no room reads on when there is some; until then HTTP/2's windows keep the rest at its shim. Beside the room each session
//! has in its hand the one message that it waits with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rekindle::execution::{ATTEMPTS_MAX, OUTPUT_MAX_BYTES};
use rekindle::report::INVENTORY_REPORTS_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all sessions: as much as eight batches gather, so that no disk waits for streams, and little beside what the
/// connections of a fleet take that could fill it.
const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// What room is counted in. What is smaller takes none: how many of those there are has bounds of its own.
const UNIT_BYTES: usize = 1024;

/// Most bytes of a report without its output: two tails of an evidence, a message, and names.
const REPORT_REST_MAX_BYTES: usize = 16 * 1024;

/// Bytes that may come before one inventory: the output of each attempt that a shim may hold, and the rest of its reports.
pub const INVENTORY_MAX_BYTES: usize = ATTEMPTS_MAX * OUTPUT_MAX_BYTES + INVENTORY_REPORTS_MAX * REPORT_REST_MAX_BYTES;

/// The room of all sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Room {
    shared: Arc<Semaphore>,
    /// For one at a time who goes on past the room.
    past: Arc<Semaphore>,
    /// How many wait for room.
    waiting: Arc<AtomicUsize>,
}

/// Room that is taken, until dropped.
#[derive(Debug, Default)]
pub struct Held {
    shared: Option<OwnedSemaphorePermit>,
    past: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(ROOM_BYTES)
    }
}

impl Room {
    /// Of so many bytes. The longest message must fit.
    pub fn new(bytes: usize) -> Self {
        Self {
            shared: Arc::new(Semaphore::new(bytes / UNIT_BYTES)),
            past: Arc::new(Semaphore::new(1)),
            waiting: Arc::default(),
        }
    }

    /// Whether somebody waits for room that others hold.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Room for a message of so many bytes, if there is some and nobody waits for it.
    pub fn try_take(&self, bytes: usize) -> Option<Held> {
        let units = units(bytes);
        if units == 0 {
            return Some(Held::default());
        }
        let permit = self.shared.clone().try_acquire_many_owned(units).ok()?;
        Some(Held {
            shared: Some(permit),
            past: None,
        })
    }

    /// Room for so many bytes more, once there is some. Can be dropped and called again.
    ///
    /// Who gathers holds some while it waits for more, and others may hold the rest and wait likewise. So one at a time goes on
    /// past the room, by an inventory at most, and gives back all that it holds when that is durable.
    pub async fn grow(&self, held: &mut Held, bytes: usize) {
        let units = units(bytes);
        if units == 0 || held.past.is_some() {
            return;
        }
        if let Ok(permit) = self.shared.clone().try_acquire_many_owned(units) {
            return held.add(permit);
        }
        let _waiting = Waiting::among(&self.waiting);
        tokio::select! {
            biased;
            permit = self.shared.clone().acquire_many_owned(units) => held.add(permit.expect("nobody closes it")),
            past = self.past.clone().acquire_owned() => held.past = Some(past.expect("nobody closes it")),
        }
    }
}

impl Held {
    /// Whether it is no room at all.
    pub fn is_empty(&self) -> bool {
        self.shared.is_none() && self.past.is_none()
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.shared {
            Some(before) => before.merge(permit),
            none @ None => *none = Some(permit),
        }
    }
}

/// One who waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn units(bytes: usize) -> u32 {
    match bytes {
        0..UNIT_BYTES => 0,
        // More than there is would wait for ever; the largest message is far below 4 TiB.
        _ => u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KIB: usize = 1024;

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, future).await.expect("it comes soon")
    }

    #[test]
    fn the_longest_inventory_and_the_longest_message_fit() {
        const { assert!(INVENTORY_MAX_BYTES <= ROOM_BYTES) }
    }

    #[test]
    fn what_is_small_takes_no_room() {
        let room = Room::new(KIB);
        let all = room.try_take(KIB).expect("there is room");
        assert!(!all.is_empty());
        assert!(room.try_take(KIB - 1).is_some_and(|held| held.is_empty()));
        assert!(room.try_take(KIB).is_none());
        drop(all);
        assert!(room.try_take(KIB).is_some());
    }

    #[tokio::test]
    async fn those_who_wait_for_one_anothers_room_all_come_to_their_end() {
        let room = Room::new(4 * KIB);
        let gather = || {
            let room = room.clone();
            async move {
                let mut held = Held::default();
                for _ in 0..4 {
                    room.grow(&mut held, KIB).await;
                    // The others take what is left.
                    tokio::task::yield_now().await;
                }
            }
        };
        let all: Vec<_> = (0..10).map(|_| tokio::spawn(gather())).collect();
        for one in all {
            soon(one).await.expect("no panic");
        }
        assert!(room.try_take(4 * KIB).is_some(), "all is given back");
    }

    #[tokio::test]
    async fn one_at_a_time_goes_on_past_the_room() {
        let room = Room::new(KIB);
        let _all = room.try_take(KIB).expect("there is room");
        let (mut first, mut second) = (Held::default(), Held::default());
        for _ in 0..3 {
            soon(room.grow(&mut first, KIB)).await;
        }
        assert!(!room.is_wanted());
        {
            let mut waiting = std::pin::pin!(room.grow(&mut second, KIB));
            assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
            assert!(room.is_wanted());
        }
        assert!(!room.is_wanted(), "who gave up waits no more");
        drop(first);
        soon(room.grow(&mut second, KIB)).await;
        assert!(!second.is_empty());
    }
}
