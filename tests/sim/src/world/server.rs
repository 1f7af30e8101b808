//! The server: the real machine under a model of its driver, on a disk that may fail.
//!
//! The driver keeps the real one's rule: what a step persists is gathered into a batch, the batch is flushed, and then
//! its effects are carried out, while further steps gather the next.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::execution::ExecutionState;
use rekindle::id::{AgentId, Marker};
use rekindle::time::{MonoTime, Now};
use rekindle_server_core::effect::{Effect, Outcome};
use rekindle_server_core::input::{CallId, Input, Request};
use rekindle_server_core::machine::Machine;
use rekindle_server_core::record::{Context, Record};

use super::World;
use crate::disk::Disk;
use crate::fault::Fault;
use crate::host::WallOffset;
use crate::mutation::Mutation;
use crate::queue::{Event, Life, OrderIx, StreamIx};
use crate::stream::{ClientEnd, Down, ServerEnd};

/// Time between two beats of a shim.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// A pause that is shorter is not noticed, as in the real driver.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// How late the timers of a server come that is wrong on purpose.
const TIMERS_LATE: Duration = Duration::from_secs(2);

/// The server, whether it runs or not.
pub(crate) struct Server {
    pub(crate) life: Life,
    pub(crate) disk: Disk,
    pub(crate) wall: WallOffset,
    pub(crate) running: Option<Running>,
    /// What a disk that forgets would give back.
    unsynced: Disk,
    /// An earlier state of the disk.
    pub(super) copy: Option<Disk>,
    /// It does not run until then, and why.
    still: Option<Still>,
    /// Who was welcomed last.
    pub(super) held_by: BTreeMap<AgentId, Marker>,
    /// Time that the server's monotonic clock has not counted.
    slept: Duration,
    /// Time in which it did not run, although its clock did.
    paused: Duration,
    /// Since when it runs without a break.
    pub(super) awake_since: Duration,
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
    pub(super) floor: MonoTime,
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
            copy: None,
            still: None,
            held_by: BTreeMap::new(),
            slept: Duration::ZERO,
            paused: Duration::ZERO,
            awake_since: Duration::ZERO,
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

    pub(super) fn when(&self, mono: MonoTime) -> Duration {
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

    pub(super) fn now(&self, now: Duration) -> Now {
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
        self.server.awake_since = self.now;
        if self.mutation == Mutation::StoreForgets {
            self.server.disk = self.server.unsynced.clone();
        }
        let mut records = self.server.disk.load();
        self.oracle.recovered(&self.server.disk, self.server.now(self.now));
        if self.mutation == Mutation::BudgetForgotten {
            for agent in &mut records.agents {
                agent.budget = rekindle::recovery::Budget::default();
            }
        }
        if self.mutation == Mutation::GivenForgotten {
            for execution in &mut records.executions {
                if execution.state.is_held() {
                    execution.state = ExecutionState::Queued;
                    execution.attempt = 0;
                }
            }
        }
        if self.mutation == Mutation::HostsForgotten {
            records.hosts.clear();
        }
        self.forget_flows(&mut records);
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
        if let Input::Requested {
            request: Request::CancelExecution(cancel),
            ..
        } = &input
        {
            // Its name may have been used again since somebody sent it.
            self.oracle.cancel_asked(&cancel.agent, &cancel.id);
        }
        if let Input::Requested {
            request: Request::Run(run),
            ..
        } = &input
            && run.context == Context::Fresh
        {
            self.oracle.begins_anew(&run.agent);
        }
        let outcome = running.machine.step(now, input);
        if let Err(violation) = running.machine.check() {
            self.oracle.core(format!("the server's machine: {violation}"));
        }
        self.gather(outcome);
    }

    fn gather(&mut self, mut outcome: Outcome) {
        self.trace.note(self.now, || format!("server -> {outcome:?}"));
        self.oracle.flows_make_room(&outcome);
        self.judge_silence(&outcome);
        self.judge_work(&outcome);
        self.judge_returns(&outcome);
        self.oracle.stepped(&outcome, self.server.now(self.now), self.now);
        self.judge_offers(&outcome);
        for fault in std::mem::take(&mut self.oracle.work.news) {
            self.fired(fault);
        }
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
        self.judge_workflows();
    }

    fn arm_server(&mut self) {
        let Some(running) = &self.server.running else { return };
        let Some((at, _)) = running.machine.deadline() else {
            return;
        };
        let late = if self.mutation == Mutation::ServerTimersLate {
            TIMERS_LATE
        } else {
            Duration::ZERO
        };
        let at = self.server.when(at).max(self.now) + late;
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
        self.judge_durable_states(batch);
        self.judge_durable_work(batch);
        self.server.disk.apply(batch);
        self.judge_outputs(batch);
        for record in batch {
            self.oracle.durable(record);
        }
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
        self.server.awake_since = self.now;
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
}
