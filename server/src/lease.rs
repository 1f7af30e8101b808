//! Leases: one atomic per open session, written by the session's task, scanned by the driver.
//!
//! A heartbeat is one relaxed store. It reaches no lock, no queue, no core and no store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle::time::MonoTime;
use rekindle_server_core::input::SessionId;

/// Cells in one piece of the table; grown by pieces, so that no cell ever moves.
const CHUNK: usize = 1024;

type Chunk = [AtomicU64; CHUNK];

/// A session's cell: when its shim was last heard.
#[derive(Debug, Clone)]
pub struct Lease {
    chunk: Arc<Chunk>,
    place: usize,
}

impl Lease {
    /// The shim was heard.
    pub fn renew(&self, now: MonoTime) {
        self.chunk[self.place].store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When the shim was last heard.
    pub fn last_heard(&self) -> MonoTime {
        MonoTime::from_nanos(self.chunk[self.place].load(Ordering::Relaxed))
    }
}

/// Every open session's cell, dense, so that a scan is a walk over memory. Owned by the driver.
#[derive(Debug, Default)]
pub struct LeaseTable {
    chunks: Vec<Arc<Chunk>>,
    owners: Vec<Option<SessionId>>,
    free: Vec<usize>,
    /// Nobody counts as silent for time before this: the server itself was paused.
    floor: MonoTime,
}

/// The place of a session's cell in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

impl LeaseTable {
    /// Gives a session a cell, renewed at `now`.
    pub fn grant(&mut self, session: SessionId, now: MonoTime) -> (Slot, Lease) {
        if self.free.is_empty() {
            let start = self.owners.len();
            self.chunks.push(Arc::new([const { AtomicU64::new(0) }; CHUNK]));
            self.owners.resize(start + CHUNK, None);
            self.free.extend((start..start + CHUNK).rev());
        }
        let place = self.free.pop().expect("a chunk was just added");
        self.owners[place] = Some(session);
        let lease = Lease {
            chunk: self.chunks[place / CHUNK].clone(),
            place: place % CHUNK,
        };
        lease.renew(now);
        (Slot(place), lease)
    }

    /// Takes a session's cell back.
    pub fn release(&mut self, slot: Slot) {
        if self.owners[slot.0].take().is_some() {
            self.free.push(slot.0);
        }
    }

    /// Renews every lease at once, because the server could not hear anybody.
    pub fn renew_all(&mut self, now: MonoTime) {
        self.floor = now;
    }

    /// The sessions that were last heard before `limit`, and when.
    pub fn expired(&self, limit: MonoTime) -> Vec<(SessionId, MonoTime)> {
        if self.floor >= limit {
            return Vec::new();
        }
        let cells = self.chunks.iter().flat_map(|chunk| chunk.iter());
        self.owners
            .iter()
            .zip(cells)
            .filter_map(|(owner, cell)| {
                let heard = MonoTime::from_nanos(cell.load(Ordering::Relaxed));
                owner.filter(|_| heard < limit).map(|session| (session, heard))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> MonoTime {
        MonoTime::from_nanos(nanos)
    }

    #[test]
    fn only_silent_sessions_expire() {
        let mut table = LeaseTable::default();
        let (silent, _cell) = table.grant(SessionId(1), at(10));
        let (_, beating) = table.grant(SessionId(2), at(10));
        beating.renew(at(100));
        assert_eq!(table.expired(at(50)), [(SessionId(1), at(10))]);
        table.renew_all(at(60));
        assert_eq!(table.expired(at(50)), []);
        table.renew_all(at(0));
        table.release(silent);
        assert_eq!(table.expired(at(50)), []);
        assert_eq!(beating.last_heard(), at(100));
    }

    #[test]
    fn cells_are_used_again() {
        let mut table = LeaseTable::default();
        let slots: Vec<_> = (0..CHUNK as u64).map(|n| table.grant(SessionId(n), at(1)).0).collect();
        assert_eq!(table.chunks.len(), 1);
        table.release(slots[7]);
        let (again, _) = table.grant(SessionId(9999), at(1));
        assert_eq!((again, table.chunks.len()), (slots[7], 1));
    }
}
