//! Shims: the real supervisor under a model of its driver, from a journal on a disk.

mod leaving;

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::id::{BootId, Incarnation, ShimInstance};
use rekindle::launch::LaunchFields;
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle_shim_core::{
    AsksToSave, Directory, Effect, Handover, Input as ShimFact, Journal, KILL_PROOF, Outcome, Outlives, Settings,
    Supervisor, TreeId,
};

use super::World;
use crate::fault::Fault;
use crate::host::{Branch, GivenUp, Process, Up as HostUp};
use crate::mind::Writing;
use crate::mutation::Mutation;
use crate::queue::{Event, Life, ShimIx};
use crate::shim::{EndAsked, KeepsLink, Leftovers, Linked, Running, StopAsked, Watch, Watched};
use crate::stream::ClientEnd;

/// How soon a shim's driver learns of what the kernel knows, at most.
const SOON: Duration = Duration::from_micros(300);

/// How late the timers of a shim come that is wrong on purpose.
const TIMERS_LATE: Duration = Duration::from_secs(2);

impl World {
    /// Until when a shim cannot do anything; `None` when it can, or is no more.
    pub(super) fn hindered(&self, ix: ShimIx, life: Life) -> Option<Duration> {
        let shim = &self.shims[ix.0];
        let running = shim.running.as_ref().filter(|_| shim.life == life)?;
        let asleep = match self.hosts[shim.host.0].up {
            HostUp::Sleeps { until, .. } => Some(until),
            HostUp::Runs | HostUp::Down => None,
        };
        asleep.max(running.frozen).filter(|until| *until > self.now)
    }

    pub(super) fn shim_starts(&mut self, ix: ShimIx) {
        let shim = &mut self.shims[ix.0];
        let host = &self.hosts[shim.host.0];
        match host.up {
            HostUp::Runs => {}
            // A host that boots starts its shims.
            HostUp::Down => return,
            HostUp::Sleeps { until, .. } => return self.queue.push(until, Event::ShimStarts(ix)),
        }
        if shim.running.is_some() {
            return;
        }
        shim.life = shim.life.next();
        if self.mutation == Mutation::JournalForgotten && shim.life > Life(1) {
            shim.journal = Journal::new(shim.agent.clone(), shim.marker, host.boot_id());
        }
        let mut identity = host.identity();
        if self.mutation == Mutation::BootMistaken {
            identity.boot_id = BootId::from_u128(identity.boot_id.as_u128() + (u128::from(shim.life.0) << 64));
        }
        let nature = &self.swarm.agents[shim.nature];
        let saves = self.swarm.checkpoints.as_ref();
        let by_command = saves.is_some_and(|saves| saves.savers[shim.nature].command.is_some());
        let asks = if by_command {
            AsksToSave::ByCommand
        } else {
            AsksToSave::BySignal
        };
        let settings = Settings {
            shim_version: "sim".to_owned(),
            instance: ShimInstance::from_u128((u128::from(shim.life.0) << 32) + ix.0 as u128),
            host: identity,
            labels: BTreeMap::new(),
            policy: nature.policy.clone(),
            fence_after: nature.fence_after,
            delivery: self.swarm.delivery(shim.nature),
            readiness: nature.readiness,
            on_shim_exit: nature.on_shim_exit,
            asks_to_save: asks,
            launch: LaunchFields::default(),
            directory: Directory::Shims(format!("/life/{}", shim.life.0)),
        };
        let at = host.moment(self.now);
        self.trace
            .note(self.now, || format!("shim {} starts: {:?}", ix.0, shim.journal));
        let contact = match shim.journal.handover {
            Handover::Yes { contact } => contact,
            Handover::No => at.since_boot,
        };
        let journal = shim.journal.clone();
        let held = self.finds_checkpoint(ix);
        let (supervisor, outcome) = Supervisor::recover(settings, journal, held, at);
        let shim = &mut self.shims[ix.0];
        shim.running = Some(Running {
            supervisor,
            keeps_link: KeepsLink::NotYet,
            stream: None,
            attempts: 0,
            watched: None,
            errands: BTreeMap::new(),
            requests: BTreeMap::new(),
            asks: BTreeMap::new(),
            handing: BTreeMap::new(),
            writing: Writing::default(),
            sweeping: None,
            leftovers: Leftovers::No,
            timer_at: None,
            steady_since: self.now,
            frozen: None,
            stop: StopAsked::No,
            linked: Linked::No,
            contact,
        });
        self.first_look_at_files(ix);
        self.obey(ix, outcome);
    }

    /// A fact that is on its way to a shim.
    pub(super) fn shim_hears(&mut self, ix: ShimIx, fact: ShimFact) {
        let wait = self.dice.between(&(Duration::from_micros(20)..SOON));
        let life = self.shims[ix.0].life;
        self.after(wait, Event::ShimLearns(ix, life, Box::new(fact)));
    }

    pub(super) fn shim_learns(&mut self, ix: ShimIx, life: Life, fact: Box<ShimFact>) {
        if self.shims[ix.0].life != life {
            return;
        }
        match self.hindered(ix, life) {
            Some(until) => self.queue.push(until, Event::ShimLearns(ix, life, fact)),
            None => self.shim_step(ix, *fact),
        }
    }

    pub(super) fn shim_step(&mut self, ix: ShimIx, fact: ShimFact) {
        let shim = &mut self.shims[ix.0];
        let at = self.hosts[shim.host.0].moment(self.now);
        let Some(running) = &mut shim.running else { return };
        self.trace.note(self.now, || format!("shim {} <- {fact:?}", ix.0));
        if matches!(fact, ShimFact::Welcomed(_)) {
            (running.linked, running.contact) = (Linked::Yes, at.since_boot);
        } else if matches!(fact, ShimFact::LinkLost | ShimFact::ClaimDoubted | ShimFact::ClaimLost)
            && running.linked == Linked::Yes
        {
            (running.linked, running.contact) = (Linked::No, at.since_boot);
        }
        self.witness_saves(ix, &fact);
        if let ShimFact::TreeGone {
            tree: TreeId::Life(incarnation),
            ..
        } = &fact
        {
            self.oracle.seen_dead(&self.shims[ix.0], *incarnation, self.now);
        }
        let Some(running) = &mut self.shims[ix.0].running else {
            return;
        };
        let outcome = running.supervisor.step(at, fact);
        if let Err(violation) = running.supervisor.check() {
            self.oracle
                .core(format!("the supervisor of shim {}: {violation}", ix.0));
        }
        self.obey(ix, outcome);
    }

    /// What a step decided is written, and then done, unless the shim dies on the way.
    fn obey(&mut self, ix: ShimIx, outcome: Outcome) {
        if outcome.persist.is_none() && outcome.then.is_empty() {
            return self.arm_shim(ix);
        }
        self.trace.note(self.now, || format!("shim {} -> {outcome:?}", ix.0));
        let dies = self.misfortune(self.swarm.shim_dies_in_step);
        if dies && self.dice.chance(0.5) {
            self.fired(Fault::ShimDiedUnwritten);
            return self.shim_dies(ix);
        }
        let life = self.shims[ix.0].life;
        if let Some(journal) = outcome.persist {
            let journal = if self.mutation == Mutation::WorkUnwritten {
                Journal {
                    attempts: Vec::new(),
                    ..journal
                }
            } else {
                journal
            };
            self.shims[ix.0].write(journal);
            self.witness_journal(ix);
            if outcome.outlives == Outlives::TheBoot {
                self.shims[ix.0].synced();
            }
        }
        if dies {
            self.fired(Fault::ShimDiedWritten);
            return self.shim_dies(ix);
        }
        for effect in outcome.then {
            self.shim_carries_out(ix, effect);
            if self.shims[ix.0].life != life || self.shims[ix.0].running.is_none() {
                return;
            }
        }
        self.arm_shim(ix);
    }

    fn shim_carries_out(&mut self, ix: ShimIx, effect: Effect) {
        let life = self.shims[ix.0].life;
        match effect {
            Effect::Adopt { incarnation, child } => self.adopt(ix, incarnation, &child),
            Effect::Upgrade => self.upgrade(ix),
            Effect::Sweep { .. } => self.sweep(ix),
            Effect::Connect => {
                if let Some(running) = &mut self.shims[ix.0].running {
                    running.keeps_link = KeepsLink::Yes;
                }
                self.dial_again(ix);
            }
            Effect::Reconnect => {
                if let Some(stream) = self.stream_of_shim(ix) {
                    self.close_client(stream);
                    self.dial_again(ix);
                }
            }
            // What is told of it from here on concerns nobody.
            Effect::GiveUp | Effect::EndCheckpointCommand { .. } => {}
            Effect::WriteCheckpoint(held) => self.writes_checkpoint(ix, held),
            Effect::RunCheckpointCommand { incarnation, .. } => self.runs_checkpoint_command(ix, incarnation),
            Effect::AnswerCheckpoint { request, answer } => self.checkpoint_answered(ix, request, answer),
            Effect::Spawn { incarnation } => {
                self.life_begins(ix, incarnation);
                self.hands_over(ix, TreeId::Life(incarnation), incarnation);
                let wait = self.dice.millis(1..15);
                self.after(wait, Event::Spawns(ix, life, incarnation));
            }
            Effect::SignalTree { tree, signal } => self.end_tree(ix, &tree, Some(signal)),
            Effect::KillTree { tree } => self.end_tree(ix, &tree, None),
            Effect::AwaitTree { tree } => self.await_tree(ix, &tree),
            Effect::Probe { incarnation } => self.probe(ix, incarnation),
            Effect::NameSurvivors { tree } => {
                let of = self.living_of(ix, &tree);
                let survivors = self.name_survivors(ix, |process| of.contains(&process.uid));
                self.shim_hears(ix, ShimFact::TreeSurvived { tree, survivors });
            }
            Effect::SpawnAttempt {
                attempt, incarnation, ..
            } => {
                self.hands_over(ix, TreeId::Attempt(attempt.clone()), incarnation);
                self.order_task(ix, attempt, incarnation);
            }
            Effect::Give {
                request,
                incarnation,
                attempt,
                ..
            } => self.give(ix, request, incarnation, attempt),
            Effect::Feed {
                incarnation, attempt, ..
            } => self.feed(ix, incarnation, attempt),
            // Nobody watches here.
            Effect::ShowProgress { .. } => {}
            Effect::Answer { request, answer } => self.hand_hears(ix, request, answer),
            Effect::SignalChild {
                command,
                incarnation,
                signal,
            } => {
                let result = self.signal_child(ix, incarnation, signal);
                self.shim_hears(ix, ShimFact::Signalled { command, result });
            }
            Effect::Send(message) => self.shim_says(ix, message),
            Effect::Exit(code) => self.shim_exits(ix, code),
        }
    }

    pub(super) fn stream_of_shim(&self, ix: ShimIx) -> Option<crate::queue::StreamIx> {
        let stream = self.shims[ix.0].running.as_ref()?.stream?;
        (self.streams[stream.0].client == ClientEnd::Open).then_some(stream)
    }

    /// The child that an earlier life left, if it is there.
    fn adopt(&mut self, ix: ShimIx, incarnation: Incarnation, child: &ProcessIdentity) {
        let host = self.shims[ix.0].host;
        let processes = &self.hosts[host.0].processes;
        let found = if self.mutation == Mutation::AdoptsBarePid {
            processes.get(&child.pid)
        } else {
            processes.values().find(|process| {
                process.identity.same_process(child) && process.owner.is_some_and(|owner| owner.shim == ix)
            })
        };
        let Some(found) = found else {
            self.fired(Fault::NotAdopted);
            return self.shim_hears(ix, ShimFact::NotAdopted);
        };
        let watched = Watched {
            incarnation,
            branch: Branch::Life,
            child: found.uid,
            pid: child.pid,
            died: None,
            watch: Watch::No,
            asked: EndAsked::No,
        };
        self.fired(Fault::Adopted);
        let life = self.shims[ix.0].life;
        if let Some(running) = &mut self.shims[ix.0].running {
            running.watched = Some(watched);
        }
        // Told before anything that is seen of it.
        let adopted = Box::new(ShimFact::Adopted { incarnation });
        self.queue.push(self.now, Event::ShimLearns(ix, life, adopted));
    }

    fn sweep(&mut self, ix: ShimIx) {
        let life = self.shims[ix.0].life;
        if self.mutation == Mutation::NotSwept {
            return self.shim_hears(ix, ShimFact::Swept { survivors: Vec::new() });
        }
        let (host, marker) = (self.shims[ix.0].host, self.shims[ix.0].marker);
        let left: Vec<_> = self.hosts[host.0]
            .processes
            .values()
            .filter(|process| process.owner.is_some_and(|owner| owner.marker == marker))
            .map(|process| process.uid)
            .collect();
        if left.is_empty() {
            return self.shim_hears(ix, ShimFact::Swept { survivors: Vec::new() });
        }
        for uid in left {
            self.kill(host, uid);
        }
        let until = self.now + KILL_PROOF;
        if let Some(running) = &mut self.shims[ix.0].running {
            running.sweeping = Some(until);
        }
        self.queue.push(until, Event::SweepEnds(ix, life));
    }

    pub(super) fn sweep_ends(&mut self, ix: ShimIx, life: Life) {
        let shim = &self.shims[ix.0];
        let sweeping = shim.running.as_ref().is_some_and(|running| running.sweeping.is_some());
        if shim.life != life || !sweeping {
            return;
        }
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::SweepEnds(ix, life));
        }
        self.swept(ix);
    }

    /// The sweep is over, whoever is left.
    pub(super) fn swept(&mut self, ix: ShimIx) {
        let marker = self.shims[ix.0].marker;
        if let Some(running) = &mut self.shims[ix.0].running {
            running.sweeping = None;
        }
        let ours = |process: &Process| process.owner.is_some_and(|owner| owner.marker == marker);
        let survivors = self.name_survivors(ix, ours);
        if let Some(running) = &mut self.shims[ix.0].running {
            running.leftovers = if survivors.is_empty() {
                Leftovers::No
            } else {
                Leftovers::Yes
            };
        }
        self.shim_hears(ix, ShimFact::Swept { survivors });
    }

    fn name_survivors(&mut self, ix: ShimIx, ours: impl Fn(&Process) -> bool) -> Vec<Survivor> {
        let host = self.shims[ix.0].host;
        let mut survivors = Vec::new();
        for process in self.hosts[host.0].processes.values_mut() {
            if ours(process) {
                process.given_up = GivenUp::Named;
                survivors.push(Survivor {
                    pid: process.identity.pid,
                    pidfd_inode: process.identity.pidfd_inode,
                    start_time_ticks: process.identity.start_time_ticks,
                    command: "stuck".to_owned(),
                });
            }
        }
        survivors
    }

    pub(super) fn arm_shim(&mut self, ix: ShimIx) {
        let shim = &mut self.shims[ix.0];
        let (life, host) = (shim.life, &self.hosts[shim.host.0]);
        let Some(running) = &mut shim.running else { return };
        let Some((at, _)) = running.supervisor.deadline() else {
            return;
        };
        let late = if self.mutation == Mutation::TimersLate {
            TIMERS_LATE
        } else {
            Duration::ZERO
        };
        let at = host.when(at).max(self.now) + late;
        if running.timer_at.is_none_or(|armed| at < armed) {
            running.timer_at = Some(at);
            self.queue.push(at, Event::ShimTimer(ix, life));
        }
    }

    pub(super) fn shim_timer(&mut self, ix: ShimIx, life: Life) {
        let hindered = self.hindered(ix, life);
        let shim = &mut self.shims[ix.0];
        let mono = self.hosts[shim.host.0].moment(self.now).now.mono;
        let Some(running) = shim.running.as_mut().filter(|_| shim.life == life) else {
            return;
        };
        if running.timer_at != Some(self.now) {
            return;
        }
        running.timer_at = None;
        // Whoever ends the hindrance arms the timer again.
        if hindered.is_some() {
            return;
        }
        if running.supervisor.deadline().is_some_and(|(at, _)| at <= mono) {
            self.shim_step(ix, ShimFact::Tick);
        } else {
            self.arm_shim(ix);
        }
    }

    pub(super) fn shim_thaws(&mut self, ix: ShimIx, life: Life) {
        let shim = &mut self.shims[ix.0];
        let Some(running) = shim.running.as_mut().filter(|_| shim.life == life) else {
            return;
        };
        running.frozen = None;
        self.shim_goes_on(ix);
    }

    /// A shim that did not run does so again.
    pub(super) fn shim_goes_on(&mut self, ix: ShimIx) {
        if let Some(running) = &mut self.shims[ix.0].running {
            running.timer_at = None;
            running.steady_since = self.now;
        }
        if let Some(stream) = self.stream_of_shim(ix) {
            self.heed(stream);
        }
        self.arm_shim(ix);
    }
}
