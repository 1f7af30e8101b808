//! Leases, as the real driver keeps them: who is heard, who is silent, and since when.
//!
//! Beats are no events of this world: a stream is heard for as long as nothing is in its way.

use std::time::Duration;

use rekindle::time::MonoTime;
use rekindle_server_core::effect::Outcome;
use rekindle_server_core::input::{Input, SessionId};

use super::World;
use super::server::HEARTBEAT;
use crate::oracle::Oracle;
use crate::queue::{Event, StreamIx};
use crate::stream::{Lease, ServerEnd};

/// Time between two looks at the leases, and then some.
const SCAN: Duration = Duration::from_millis(100);

impl World {
    pub(super) fn note_contact(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        if stream.server == ServerEnd::Held && stream.mute.is_none() {
            let aware = self.server.aware(self.now);
            self.oracle.heard(&self.shims[stream.shim.0].agent, aware);
        }
    }

    /// The newest beat, or word, of a stream's shim.
    pub(super) fn last_heard(&self, ix: StreamIx) -> MonoTime {
        let stream = &self.streams[ix.0];
        let last = stream.mute.unwrap_or_else(|| self.server.mono(self.now));
        let beats = last.saturating_since(stream.heard).as_secs() / HEARTBEAT.as_secs();
        stream
            .heard
            .saturating_add(HEARTBEAT * u32::try_from(beats).unwrap_or(u32::MAX))
    }

    pub(super) fn lease_scan(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        let over = stream.server != ServerEnd::Held || stream.server_life != self.server.life || stream.mute.is_none();
        let Some(running) = self.server.running.as_ref().filter(|_| !over) else {
            return;
        };
        let until = self.server.stands_still_until();
        if until > self.now {
            return self.queue.push(until + Duration::from_millis(20), Event::LeaseScan(ix));
        }
        let lease = self.swarm.machine.lease;
        let last_heard = self.last_heard(ix);
        let due = last_heard.max(running.floor).saturating_add(lease);
        if due >= self.server.mono(self.now) {
            let at = self.server.when(due).max(self.now) + Duration::from_millis(20);
            return self.queue.push(at, Event::LeaseScan(ix));
        }
        self.streams[ix.0].lease = Lease::Expired;
        self.server_step(Input::LeaseExpired {
            session: SessionId(ix.0 as u64),
            last_heard,
        });
        self.server_turns();
    }

    /// Who counts as silent must have been silent, while the server was there to hear.
    pub(super) fn judge_silence(&mut self, outcome: &Outcome) {
        if !Oracle::is_about_silence(outcome) {
            return;
        }
        let aware = self.server.aware(self.now);
        for ix in 0..self.streams.len() {
            let stream = &self.streams[ix];
            if stream.server == ServerEnd::Held && stream.mute.is_none() && stream.server_life == self.server.life {
                self.oracle.heard(&self.shims[stream.shim.0].agent, aware);
            }
        }
        let lease = self.swarm.machine.lease;
        self.oracle.silence(outcome, aware, lease, HEARTBEAT + SCAN);
    }
}
