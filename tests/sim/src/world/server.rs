//! The server: the real machine under a model of its driver, on a disk that may fail.
//!
//! The driver keeps the real one's rule: what a step persists is gathered into a batch, the batch is flushed, and then
//! its effects are carried out, while further steps gather the next.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::id::{AgentId, Marker};
use rekindle::session::{ServerMessage, Welcome};
use rekindle::time::{MonoTime, Now};
use rekindle_server_core::effect::{Effect, Fence, Outcome, Refusal};
use rekindle_server_core::input::{CallId, Input, SessionId};
use rekindle_server_core::machine::Machine;
use rekindle_server_core::record::Record;

use super::World;
use crate::disk::Disk;
use crate::fault::Fault;
use crate::host::WallOffset;
use crate::mutation::Mutation;
use crate::oracle::Oracle;
use crate::queue::{Event, Life, OrderIx, ShimIx, StreamIx};
use crate::stream::{ClientEnd, Down, FinEarly, OUTBOX_MAX, ServerEnd};

/// Time between two beats of a shim.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Time between two looks at the leases, and then some.
const SCAN: Duration = Duration::from_millis(100);

/// A pause that is shorter is not noticed, as in the real driver.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The server, whether it runs or not.
pub(crate) struct Server {
    pub(crate) life: Life,
    pub(crate) disk: Disk,
    pub(crate) wall: WallOffset,
    pub(crate) running: Option<Running>,
    /// What a disk that forgets would give back.
    unsynced: Disk,
    /// It does not run until then, and why.
    still: Option<Still>,
    /// Who was welcomed last.
    held_by: BTreeMap<AgentId, Marker>,
    /// Time that the server's monotonic clock has not counted.
    slept: Duration,
    /// Time in which it did not run, although its clock did.
    paused: Duration,
    seed: u64,
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) machine: Machine,
    gathered: Outcome,
    /// The batch under way, and what waits for it.
    flushing: Option<(Vec<Record>, Vec<Effect>)>,
    timer_at: Option<Duration>,
    /// Nobody counts as silent for time before this.
    floor: MonoTime,
    pub(crate) calls: BTreeMap<CallId, OrderIx>,
}

#[derive(Debug, Clone, Copy)]
struct Still {
    since: Duration,
    until: Duration,
    clock: Clock,
}

/// What a server's monotonic clock does while the server does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    GoesOn,
    Stands,
}

impl Server {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            life: Life::default(),
            disk: Disk::default(),
            wall: WallOffset::default(),
            running: None,
            unsynced: Disk::default(),
            still: None,
            held_by: BTreeMap::new(),
            slept: Duration::ZERO,
            paused: Duration::ZERO,
            seed,
        }
    }

    /// Whether a connection would be taken.
    pub(crate) fn accepts(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn stands_still_until(&self) -> Duration {
        self.still.map_or(Duration::ZERO, |still| still.until)
    }

    /// The monotonic clock.
    pub(crate) fn mono(&self, now: Duration) -> MonoTime {
        let standing = match self.still {
            Some(Still {
                since,
                clock: Clock::Stands,
                ..
            }) => now.saturating_sub(since),
            Some(_) | None => Duration::ZERO,
        };
        MonoTime::START.saturating_add(now.saturating_sub(self.slept + standing))
    }

    fn when(&self, mono: MonoTime) -> Duration {
        Duration::from_nanos(mono.as_nanos()) + self.slept
    }

    /// Time in which the server could have heard somebody.
    pub(crate) fn aware(&self, now: Duration) -> Duration {
        let paused = match self.still {
            Some(Still {
                since,
                clock: Clock::GoesOn,
                ..
            }) => now.saturating_sub(since),
            Some(_) | None => Duration::ZERO,
        };
        Duration::from_nanos(self.mono(now).as_nanos()).saturating_sub(self.paused + paused)
    }

    fn now(&self, now: Duration) -> Now {
        Now {
            mono: self.mono(now),
            wall: self.wall.wall(now),
        }
    }
}

impl World {
    pub(super) fn server_starts(&mut self) {
        if self.server.running.is_some() {
            return;
        }
        self.server.life = self.server.life.next();
        if self.mutation == Mutation::StoreForgets {
            self.server.disk = self.server.unsynced.clone();
        }
        let mut records = self.server.disk.load();
        self.oracle.recovered(&self.server.disk);
        if self.mutation == Mutation::BudgetForgotten {
            for agent in &mut records.agents {
                agent.budget = rekindle::recovery::Budget::default();
            }
        }
        let now = self.server.now(self.now);
        let seed = self.server.seed ^ self.server.life.0;
        self.trace.note(self.now, || format!("server starts: {records:?}"));
        let (machine, outcome) = Machine::recover(self.swarm.machine, seed, records, now);
        self.server.running = Some(Running {
            machine,
            gathered: Outcome::default(),
            flushing: None,
            timer_at: None,
            floor: MonoTime::START,
            calls: BTreeMap::new(),
        });
        self.oracle
            .server_started(self.server.aware(self.now), self.swarm.machine.adoption_window);
        self.gather(outcome);
        self.server_turns();
    }

    /// One fact for the machine.
    pub(super) fn server_step(&mut self, input: Input) {
        let now = self.server.now(self.now);
        let Some(running) = &mut self.server.running else {
            return;
        };
        self.trace.note(self.now, || format!("server <- {input:?}"));
        let outcome = running.machine.step(now, input);
        if let Err(violation) = running.machine.check() {
            self.oracle.core(format!("the server's machine: {violation}"));
        }
        self.gather(outcome);
    }

    fn gather(&mut self, mut outcome: Outcome) {
        self.trace.note(self.now, || format!("server -> {outcome:?}"));
        self.judge_silence(&outcome);
        self.oracle.stepped(&outcome, self.server.mono(self.now));
        let Some(running) = &mut self.server.running else {
            return;
        };
        if self.mutation == Mutation::EventLost
            && self.dice.chance(0.02)
            && let Some(last) = outcome
                .persist
                .iter()
                .rposition(|record| matches!(record, Record::Event(_)))
        {
            outcome.persist.remove(last);
        }
        let early = if self.mutation == Mutation::EffectsBeforeFlush {
            std::mem::take(&mut outcome.then)
        } else if self.mutation == Mutation::AcknowledgesBeforeFlush {
            let is_acknowledgement = |effect: &Effect| matches!(effect, Effect::Acknowledge { .. });
            let (acknowledgements, rest) = outcome.then.into_iter().partition(is_acknowledgement);
            outcome.then = rest;
            acknowledgements
        } else {
            Vec::new()
        };
        running.gathered.persist.extend(outcome.persist);
        running.gathered.then.extend(outcome.then);
        self.carry_out(early);
    }

    /// After each event of the server: what was gathered is flushed, and the next deadline is armed.
    pub(super) fn server_turns(&mut self) {
        loop {
            let Some(running) = &mut self.server.running else {
                return;
            };
            if running.flushing.is_some() || (running.gathered.persist.is_empty() && running.gathered.then.is_empty()) {
                break;
            }
            let Outcome { persist, then } = std::mem::take(&mut running.gathered);
            if persist.is_empty() {
                self.carry_out(then);
            } else {
                running.flushing = Some((persist, then));
                let mut wait = self.dice.between(&self.swarm.disk.flush);
                if self.misfortune(self.swarm.disk.slow) {
                    self.fired(Fault::FlushSlow);
                    wait += self.dice.millis(200..5_000);
                }
                self.after(wait, Event::Flushed(self.server.life));
            }
        }
        self.arm_server();
    }

    fn arm_server(&mut self) {
        let Some(running) = &self.server.running else { return };
        let Some((at, _)) = running.machine.deadline() else {
            return;
        };
        let at = self.server.when(at).max(self.now);
        if running.timer_at.is_none_or(|armed| at < armed) {
            let life = self.server.life;
            self.queue.push(at, Event::ServerTimer(life));
            if let Some(running) = &mut self.server.running {
                running.timer_at = Some(at);
            }
        }
    }

    pub(super) fn server_timer(&mut self, life: Life) {
        let until = self.server.stands_still_until();
        let now = self.now;
        let mono = self.server.mono(now);
        let Some(running) = self.server.running.as_mut().filter(|_| self.server.life == life) else {
            return;
        };
        if running.timer_at != Some(now) {
            return;
        }
        if until > now {
            running.timer_at = Some(until);
            return self.queue.push(until, Event::ServerTimer(life));
        }
        running.timer_at = None;
        if running.machine.deadline().is_some_and(|(at, _)| at <= mono) {
            self.server_step(Input::Tick);
        }
        self.server_turns();
    }

    pub(super) fn flushed(&mut self, life: Life) {
        if self.server.life != life || self.server.running.is_none() {
            return;
        }
        let until = self.server.stands_still_until();
        if until > self.now {
            return self.queue.push(until, Event::Flushed(life));
        }
        if self.misfortune(self.swarm.disk.fails) {
            self.fired(Fault::FlushFailed);
            return self.server_dies();
        }
        let Some(running) = &mut self.server.running else {
            return;
        };
        let Some((batch, then)) = running.flushing.take() else {
            return;
        };
        self.make_durable(&batch);
        self.carry_out(then);
        self.server_turns();
    }

    fn make_durable(&mut self, batch: &[Record]) {
        if self.mutation == Mutation::StoreForgets {
            self.server.unsynced = self.server.disk.clone();
        }
        self.server.disk.apply(batch);
        for record in batch {
            self.oracle.durable(record);
        }
        self.judge_durable_states(batch);
    }

    /// SIGKILL, or a flush that failed. The batch under way may be durable, or may not.
    pub(super) fn server_dies(&mut self) {
        let Some(running) = self.server.running.take() else {
            return;
        };
        let flushing = running.flushing.map(|(batch, _)| batch);
        if let Some(batch) = flushing {
            if self.dice.chance(0.5) {
                self.fired(Fault::BatchKept);
                self.make_durable(&batch);
            } else {
                self.fired(Fault::BatchLost);
            }
        } else if !running.gathered.persist.is_empty() {
            self.fired(Fault::BatchLost);
        }
        self.end_stillness();
        for ix in 0..self.streams.len() {
            let open = self.streams[ix].server != ServerEnd::Closed && self.streams[ix].server_life == self.server.life;
            if open {
                self.streams[ix].server = ServerEnd::Closed;
                self.streams[ix].up.clear();
                self.send_down(StreamIx(ix), Down::Fin);
            }
        }
        self.calls_lost(running.calls.into_values().collect());
        let wait = self.dice.millis(200..40_000);
        self.after(wait, Event::ServerStarts);
    }

    /// The server does not run for a while.
    pub(super) fn server_stands_still(&mut self, wait: Duration, clock: Clock) {
        if self.server.running.is_none() || self.server.still.is_some() {
            return;
        }
        let until = self.now + wait;
        self.server.still = Some(Still {
            since: self.now,
            until,
            clock,
        });
        self.queue.push(until, Event::ServerResumes(self.server.life));
        for ix in 0..self.streams.len() {
            let at = self.now + self.dice.millis(5_000..10_000);
            if self.streams[ix].client == ClientEnd::Open && at < until {
                self.queue.push(at, Event::GivesUp(StreamIx(ix)));
            }
        }
    }

    pub(super) fn server_resumes(&mut self, life: Life) {
        if self.server.life != life {
            return;
        }
        let Some(gap) = self.end_stillness() else { return };
        let mono = self.server.mono(self.now);
        if gap >= PAUSE_MIN && self.mutation != Mutation::PauseUnnoticed {
            if let Some(running) = &mut self.server.running {
                running.floor = mono;
            }
            // The turn before the pause was up to one scan earlier.
            let gap = gap + self.dice.millis(0..50);
            self.server_step(Input::Paused { gap });
        }
        self.server_turns();
    }

    /// The gap that the server's clock shows.
    pub(super) fn end_stillness(&mut self) -> Option<Duration> {
        let still = self.server.still.take()?;
        let gap = self.now.saturating_sub(still.since);
        match still.clock {
            Clock::GoesOn => {
                if gap >= PAUSE_MIN {
                    self.server.paused += gap;
                }
                Some(gap)
            }
            Clock::Stands => {
                self.server.slept += gap;
                Some(Duration::ZERO)
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let about = self.about(&effect);
            self.oracle
                .leaves(&effect, &self.server.disk, about.map(|ix| &self.shims[ix.0]));
            match effect {
                Effect::Welcome {
                    session,
                    epoch,
                    policy,
                    acknowledged,
                    standing,
                    ..
                } => {
                    let welcome = Welcome {
                        epoch,
                        heartbeat_interval: HEARTBEAT,
                        policy,
                        acknowledged,
                        standing,
                    };
                    self.welcome(session, welcome);
                }
                Effect::Refuse { session, refusal } => {
                    let down = match refusal {
                        Refusal::Held { fence, .. } => Down::Refusal(fence),
                        Refusal::TooManyAgents { .. } => Down::Refusal(Fence::No),
                        Refusal::Stale => Down::Fin,
                    };
                    self.end_stream(session, down);
                }
                Effect::Disconnect { session, .. } => self.end_stream(session, Down::Fin),
                Effect::Acknowledge { session, through } => {
                    self.tell(session, ServerMessage::Acknowledge(through));
                }
                Effect::Command { session, id, command } => {
                    if !self.tell(session, ServerMessage::Command(id, command)) {
                        self.server_step(Input::CommandLost { command: id });
                    }
                }
                Effect::Reply { call, answer } => self.answered(call, answer),
            }
        }
    }

    /// The shim that an effect is for.
    fn about(&self, effect: &Effect) -> Option<ShimIx> {
        match effect {
            Effect::Welcome { session, .. } | Effect::Acknowledge { session, .. } | Effect::Command { session, .. } => {
                Some(self.streams[stream_of(*session).0].shim)
            }
            Effect::Refuse { .. } | Effect::Disconnect { .. } | Effect::Reply { .. } => None,
        }
    }

    fn welcome(&mut self, session: SessionId, welcome: Welcome) {
        let ix = stream_of(session);
        if self.streams[ix.0].server != ServerEnd::Judged {
            return;
        }
        let shim = &self.shims[self.streams[ix.0].shim.0];
        let held_by = self.server.held_by.insert(shim.agent.clone(), shim.marker);
        if held_by.is_some_and(|marker| marker != shim.marker) {
            self.fired(Fault::RivalAdmitted);
        }
        let mono = self.server.mono(self.now);
        let stream = &mut self.streams[ix.0];
        stream.server = ServerEnd::Held;
        stream.heard = mono;
        if stream.fin_early == FinEarly::Yes {
            return self.session_ends(ix);
        }
        self.send_down(ix, Down::Says(ServerMessage::Welcome(Box::new(welcome))));
        self.heed(ix);
    }

    /// Whether it was said. A stream that cannot take a message is ended.
    fn tell(&mut self, session: SessionId, message: ServerMessage) -> bool {
        let ix = stream_of(session);
        if self.streams[ix.0].server != ServerEnd::Held {
            return false;
        }
        if self.streams[ix.0].down.len() >= OUTBOX_MAX {
            self.session_ends(ix);
            return false;
        }
        self.send_down(ix, Down::Says(message));
        true
    }

    fn end_stream(&mut self, session: SessionId, last: Down) {
        let ix = stream_of(session);
        self.note_contact(ix);
        let stream = &mut self.streams[ix.0];
        if stream.server != ServerEnd::Closed {
            stream.server = ServerEnd::Closed;
            self.send_down(ix, last);
        }
    }

    /// The server sees the end of a stream.
    pub(super) fn session_ends(&mut self, ix: StreamIx) {
        let last_heard = self.last_heard(ix);
        self.note_contact(ix);
        self.streams[ix.0].server = ServerEnd::Closed;
        self.send_down(ix, Down::Fin);
        self.server_step(Input::SessionClosed {
            session: SessionId(ix.0 as u64),
            last_heard,
        });
    }

    fn note_contact(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        if stream.server == ServerEnd::Held && stream.mute.is_none() {
            let aware = self.server.aware(self.now);
            self.oracle.heard(&self.shims[stream.shim.0].agent, aware);
        }
    }

    /// The newest beat, or word, of a stream's shim.
    fn last_heard(&self, ix: StreamIx) -> MonoTime {
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
        self.server_step(Input::LeaseExpired {
            session: SessionId(ix.0 as u64),
            last_heard,
        });
        self.server_turns();
    }

    /// Who counts as silent must have been silent, while the server was there to hear.
    fn judge_silence(&mut self, outcome: &Outcome) {
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

/// Sessions are numbered by their streams.
fn stream_of(session: SessionId) -> StreamIx {
    StreamIx(usize::try_from(session.0).expect("a stream's place"))
}
