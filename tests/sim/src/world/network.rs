//! The network: streams are opened, carry words in order, and end; each end learns of that in its own time, or never.

use std::time::Duration;

use rekindle::session::{LINK_LOSS_MAX, ServerMessage, ShimMessage};
use rekindle_server_core::input::{Input, SessionId};
use rekindle_shim_core::Input as ShimFact;

use super::World;
use crate::fault::Fault;
use crate::host::Up as HostUp;
use crate::queue::{Event, HostIx, Life, ShimIx, StreamIx};
use crate::shim::{KeepsLink, Linked};
use crate::stream::{ClientEnd, Down, Fence, FinEarly, Inventoried, Lease, ServerEnd, Stream, Up, Welcomed};

/// Longest wait between two attempts to connect, as the shim has it.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Longest time from Hello to Welcome, as the shim has it.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest time that a message is late.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(20);

impl World {
    /// A shim tries to open a stream.
    pub(super) fn dial(&mut self, ix: ShimIx, life: Life) {
        let shim = &self.shims[ix.0];
        let host = shim.host;
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::Dial(ix, life));
        }
        let Some(running) = shim.running.as_ref().filter(|_| shim.life == life) else {
            return;
        };
        if running.stream.is_some() || running.keeps_link == KeepsLink::NotYet {
            return;
        }
        let deaf = self.hosts[host.0].deaf_up.max(self.hosts[host.0].deaf_down) > self.now;
        if deaf || !self.server.accepts() {
            return self.dial_again(ix);
        }
        let stream = StreamIx(self.streams.len());
        self.streams.push(Stream::new(ix, life, self.server.life));
        if let Some(running) = &mut self.shims[ix.0].running {
            running.stream = Some(stream);
        }
        self.after(WELCOME_TIMEOUT, Event::WelcomeLate(stream));
        self.shim_step(ix, ShimFact::LinkOpened);
    }

    /// After a wait that grows from failure to failure.
    pub(super) fn dial_again(&mut self, ix: ShimIx) {
        let life = self.shims[ix.0].life;
        let Some(running) = &mut self.shims[ix.0].running else {
            return;
        };
        let longest = Duration::from_millis(100)
            .saturating_mul(1 << running.attempts.min(6))
            .min(BACKOFF_MAX);
        running.attempts += 1;
        let wait = self.dice.between(&(Duration::from_millis(1)..longest));
        self.after(wait, Event::Dial(ix, life));
    }

    fn latency(&mut self) -> Duration {
        let latency = self.dice.between(&self.swarm.network.latency);
        if self.misfortune(self.swarm.network.delayed) {
            self.fired(Fault::MessageDelayed);
            return latency + self.dice.between(&(Duration::from_millis(500)..DELAY_MAX));
        }
        latency
    }

    pub(super) fn send_up(&mut self, ix: StreamIx, words: Up) {
        let latency = self.latency();
        let stream = &mut self.streams[ix.0];
        stream.up.push_back(words);
        stream.up_at = stream.up_at.max(self.now + latency);
        self.queue.push(stream.up_at, Event::ReachesServer(ix));
    }

    pub(super) fn send_down(&mut self, ix: StreamIx, words: Down) {
        let latency = self.latency();
        let stream = &mut self.streams[ix.0];
        stream.down.push_back(words);
        stream.down_at = stream.down_at.max(self.now + latency);
        self.queue.push(stream.down_at, Event::ReachesShim(ix));
    }

    pub(super) fn shim_says(&mut self, ix: ShimIx, message: ShimMessage) {
        let Some(stream) = self.stream_of_shim(ix) else { return };
        if matches!(message, ShimMessage::Hello(_)) {
            self.streams[stream.0].greeted_after = self.shims[ix.0].journal.last_incarnation;
        }
        self.send_up(stream, Up::Says(message));
    }

    pub(super) fn reaches_server(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        if stream.server_life != self.server.life || stream.server == ServerEnd::Closed {
            return;
        }
        let host = &self.hosts[self.shims[stream.shim.0].host.0];
        let until = host.deaf_up.max(self.server.stands_still_until());
        if until > self.now {
            return self.queue.push(until, Event::ReachesServer(ix));
        }
        let Some(words) = self.streams[ix.0].up.pop_front() else {
            return;
        };
        let state = self.streams[ix.0].server;
        if let Up::Says(message) = &words {
            self.witness_words(self.streams[ix.0].shim, message);
        }
        let session = SessionId(ix.0 as u64);
        match (state, words) {
            (ServerEnd::Unheard, Up::Says(ShimMessage::Hello(hello))) => {
                self.streams[ix.0].server = ServerEnd::Judged;
                if self.streams[ix.0].client == ClientEnd::Closed && self.has_later_stream(ix) {
                    self.fired(Fault::Reordered);
                }
                if self.has_gone_on_alone(ix) {
                    self.fired(Fault::HelloOutlived);
                }
                self.server_step(Input::ShimConnected { session, hello });
            }
            (ServerEnd::Unheard, Up::Fin) => self.streams[ix.0].server = ServerEnd::Closed,
            (ServerEnd::Judged, Up::Fin) => self.streams[ix.0].fin_early = FinEarly::Yes,
            (ServerEnd::Held, Up::Fin) => self.session_ends(ix),
            (ServerEnd::Held, Up::Says(ShimMessage::Inventory(inventory))) => {
                self.streams[ix.0].inventoried = Inventoried::Yes;
                self.server_step(Input::ShimInventoried { session, inventory });
            }
            (ServerEnd::Held, Up::Says(message)) => {
                if self.streams[ix.0].inventoried == Inventoried::No {
                    self.oracle.core(format!("{message:?} is said before the inventory"));
                }
                let input = match message {
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
                    ShimMessage::Hello(_)
                    | ShimMessage::Inventory(_)
                    | ShimMessage::Heartbeat
                    | ShimMessage::Activity(_)
                    | ShimMessage::Output(_) => return,
                    ShimMessage::Checkpoint(held) => Input::ShimSaved { session, held },
                };
                self.server_step(input);
            }
            // A shim says nothing before its welcome but hello.
            (ServerEnd::Unheard | ServerEnd::Judged | ServerEnd::Closed, _) => {}
        }
        self.server_turns();
    }

    /// Whether a shim that says hello by a stream has begun a life by itself since.
    fn has_gone_on_alone(&self, ix: StreamIx) -> bool {
        let stream = &self.streams[ix.0];
        let shim = &self.shims[stream.shim.0];
        let alone = shim
            .running
            .as_ref()
            .is_some_and(|running| running.linked == Linked::No);
        alone && shim.life == stream.shim_life && shim.journal.last_incarnation > stream.greeted_after
    }

    fn has_later_stream(&self, ix: StreamIx) -> bool {
        let shim = self.streams[ix.0].shim;
        self.streams[ix.0 + 1..]
            .iter()
            .any(|later| later.shim == shim && later.server != ServerEnd::Unheard)
    }

    pub(super) fn reaches_shim(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        let (shim, life) = (stream.shim, stream.shim_life);
        if stream.client == ClientEnd::Closed || self.shims[shim.0].life != life {
            return;
        }
        let deaf = self.hosts[self.shims[shim.0].host.0].deaf_down;
        let until = self.hindered(shim, life).unwrap_or_default().max(deaf);
        if until > self.now {
            return self.queue.push(until, Event::ReachesShim(ix));
        }
        let Some(words) = self.streams[ix.0].down.pop_front() else {
            return;
        };
        match words {
            Down::Says(ServerMessage::Welcome(welcome)) => {
                self.streams[ix.0].welcomed = Welcomed::Yes;
                if let Some(running) = &mut self.shims[shim.0].running {
                    running.attempts = 0;
                }
                self.shim_step(shim, ShimFact::Welcomed(welcome));
            }
            Down::Says(ServerMessage::Acknowledge(through)) => self.shim_step(shim, ShimFact::Acknowledged(through)),
            // No core sees output.
            Down::Says(ServerMessage::Follow(_)) => {}
            Down::Says(ServerMessage::CheckpointKept(kept)) => self.shim_step(shim, ShimFact::CheckpointAnswered(kept)),
            Down::Says(ServerMessage::Command(id, command)) => self.shim_step(shim, ShimFact::Commanded(id, command)),
            Down::Refusal(fence) => {
                match fence {
                    Fence::No | Fence::Yes => self.fired(Fault::RivalRefused),
                    Fence::Starts => {}
                }
                self.link_ends(ix, fence);
            }
            Down::Fin => self.link_ends(ix, Fence::No),
        }
    }

    /// The shim finds its stream gone, or gives it up.
    pub(super) fn link_ends(&mut self, ix: StreamIx, fence: Fence) {
        let (shim, life) = (self.streams[ix.0].shim, self.streams[ix.0].shim_life);
        self.close_client(ix);
        if self.shims[shim.0].life != life {
            return;
        }
        let fact = match fence {
            Fence::No => ShimFact::LinkLost,
            Fence::Starts => ShimFact::ClaimDoubted,
            Fence::Yes => ShimFact::ClaimLost,
        };
        self.shim_step(shim, fact);
        if self.shims[shim.0].life == life {
            self.dial_again(shim);
        }
    }

    /// The shim's end is closed. What it said before may arrive all the same.
    pub(super) fn close_client(&mut self, ix: StreamIx) {
        let stream = &mut self.streams[ix.0];
        if stream.client == ClientEnd::Closed {
            return;
        }
        stream.client = ClientEnd::Closed;
        stream.down.clear();
        let shim = stream.shim;
        if let Some(running) = &mut self.shims[shim.0].running
            && running.stream == Some(ix)
        {
            running.stream = None;
        }
        if self.misfortune(self.swarm.network.lingers) {
            self.streams[ix.0].up_at = self.now + self.dice.millis(100..20_000);
        }
        self.send_up(ix, Up::Fin);
        self.heed(ix);
    }

    pub(super) fn gives_up(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        if stream.client == ClientEnd::Closed {
            return;
        }
        let (shim, life) = (stream.shim, stream.shim_life);
        if let Some(until) = self.hindered(shim, life) {
            return self.queue.push(until + LINK_LOSS_MAX, Event::GivesUp(ix));
        }
        if self.is_cut(ix) {
            self.link_ends(ix, Fence::No);
        }
    }

    /// Whether a ping on the stream would have no answer.
    fn is_cut(&self, ix: StreamIx) -> bool {
        let stream = &self.streams[ix.0];
        let host = &self.hosts[self.shims[stream.shim.0].host.0];
        let dead = stream.server == ServerEnd::Closed || stream.server_life != self.server.life;
        dead || host.deaf_up > self.now || host.deaf_down > self.now || self.server.stands_still_until() > self.now
    }

    pub(super) fn welcome_late(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        if stream.client == ClientEnd::Closed || stream.welcomed == Welcomed::Yes {
            return;
        }
        let (shim, life) = (stream.shim, stream.shim_life);
        if let Some(until) = self.hindered(shim, life) {
            return self.queue.push(until, Event::WelcomeLate(ix));
        }
        self.link_ends(ix, Fence::No);
    }

    /// Every open stream of a host may have become silent, or be heard again.
    pub(super) fn heed_host(&mut self, host: HostIx) {
        for ix in 0..self.streams.len() {
            if self.shims[self.streams[ix].shim.0].host == host {
                self.heed(StreamIx(ix));
            }
        }
    }

    /// Finds out whether the server hears beats on a stream.
    pub(super) fn heed(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        let over = stream.server != ServerEnd::Held || stream.lease == Lease::Expired;
        if over || stream.server_life != self.server.life {
            return;
        }
        let shim = &self.shims[stream.shim.0];
        let host = &self.hosts[shim.host.0];
        let frozen = shim.running.as_ref().is_none_or(|running| running.frozen.is_some());
        let beats = stream.client == ClientEnd::Open
            && shim.life == stream.shim_life
            && !frozen
            && host.up == HostUp::Runs
            && host.deaf_up <= self.now;
        let mono = self.server.mono(self.now);
        match (beats, stream.mute) {
            (false, None) => {
                let agent = shim.agent.clone();
                self.streams[ix.0].mute = Some(mono);
                let aware = self.server.aware(self.now);
                self.oracle.heard(&agent, aware);
                let scan = self.swarm.machine.lease + self.dice.millis(0..50);
                self.after(scan, Event::LeaseScan(ix));
            }
            (true, Some(_)) => {
                self.streams[ix.0].mute = None;
                self.streams[ix.0].heard = mono;
            }
            (true, None) | (false, Some(_)) => {}
        }
    }

    /// Both ends of a host's streams find that nothing gets through: the shim's after a while, the server's by lease.
    pub(super) fn streams_cut(&mut self, host: HostIx, until: Duration) {
        let longest = LINK_LOSS_MAX;
        for ix in 0..self.streams.len() {
            let stream = &self.streams[ix];
            if stream.client == ClientEnd::Open && self.shims[stream.shim.0].host == host {
                let at = self.now + self.dice.between(&(longest / 2..longest));
                if at < until {
                    self.queue.push(at, Event::GivesUp(StreamIx(ix)));
                }
            }
        }
    }
}
