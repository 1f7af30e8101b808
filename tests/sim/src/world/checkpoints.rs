//! Agents that save: when they do, by which way, and what their shims' drivers make of it.

mod files;
mod judge;

use std::time::Duration;

use rekindle::checkpoint::{HeldCheckpoint, RunContext};
use rekindle::exit::ExitStatus;
use rekindle::id::{AgentId, Incarnation};
use rekindle::session::Command;
use rekindle_server_core::input::{Request, SessionId};
use rekindle_server_core::record::Context;
use rekindle_shim_core::{
    CheckpointAnswer, CheckpointRefused, Input as ShimFact, NotWritten, RequestNumber, TaskIs, TreeId, WriteFault,
};

use super::World;
use crate::fault::Fault;
use crate::host::{Process, Up as HostUp};
use crate::mind::{Ask, AskBy, AskWhat, Mind, Saved, Thought, Token};
use crate::mutation::Mutation;
use crate::queue::{Event, HostIx, Life, ShimIx, Uid};
use crate::swarm::{CheckpointNature, Means};

/// Until an agent tries again to reach a shim that is not there.
const TRY_AGAIN: std::ops::Range<u64> = 200..3_000;

impl World {
    fn nature_of_saves<T>(&self, of: impl Fn(&CheckpointNature) -> T) -> Option<T> {
        self.swarm.checkpoints.as_ref().map(of)
    }

    /// Something of a probability happens that the world's checkpoints have.
    pub(super) fn saves_go_wrong(&mut self, of: impl Fn(&CheckpointNature) -> f64) -> bool {
        let probability = self.nature_of_saves(of).unwrap_or_default();
        self.misfortune(probability)
    }

    fn happens(&mut self, of: impl Fn(&CheckpointNature) -> f64) -> bool {
        let probability = self.nature_of_saves(of).unwrap_or_default();
        self.dice.chance(probability)
    }

    fn means(&self, ix: ShimIx) -> Means {
        let nature = self.shims[ix.0].nature;
        self.nature_of_saves(|saves| saves.savers[nature].by)
            .unwrap_or(Means::None)
    }

    /// A process of an agent has begun; what it is handed is what its shim's core said when it wanted it run.
    pub(super) fn gets_mind(&mut self, ix: ShimIx, uid: Uid, tree: TreeId, incarnation: Incarnation) {
        let running = self.shims[ix.0].running.as_mut();
        let handed = running.and_then(|running| running.handing.remove(&tree)).flatten();
        if self.swarm.checkpoints.is_none() {
            return;
        }
        let host = self.shims[ix.0].host;
        let mind = Mind {
            host,
            shim: ix,
            incarnation,
            tree,
            handed,
            waits: None,
            file: None,
            taken: None,
            told: None,
            refused: None,
            excused: false,
        };
        let has_something = mind.handed.is_some();
        self.minds.insert(uid, mind);
        if self.means(ix) == Means::None {
            return;
        }
        if has_something && self.happens(|saves| saves.reads) {
            self.thinks(uid, Thought::Reads, 1..300);
        }
        self.saves_later(uid);
        if self.saves_go_wrong(|saves| saves.late_words) {
            self.thinks(uid, Thought::SpeaksForAnother, 1..5_000);
        }
    }

    fn thinks(&mut self, uid: Uid, thought: Thought, millis: std::ops::Range<u64>) {
        let wait = self.dice.millis(millis);
        self.after(wait, Event::Thinks(uid, thought));
    }

    fn saves_later(&mut self, uid: Uid) {
        let every = self.nature_of_saves(|saves| saves.save_every);
        if let Some(every) = every.filter(|_| self.is_rough()) {
            let wait = self.dice.about(every);
            self.after(wait, Event::Thinks(uid, Thought::Saves));
        }
    }

    /// Whether a process can do anything; or when to look again.
    fn awake(&self, host: HostIx, uid: Uid) -> Option<Duration> {
        if let HostUp::Sleeps { until, .. } = self.hosts[host.0].up {
            return Some(until);
        }
        let is_killed = |process: &Process| matches!(process.dying, Some((_, ExitStatus::Signaled { signal: 9, .. })));
        let lives = self.hosts[host.0].find(uid).is_some_and(|process| !is_killed(process));
        lives.then_some(self.now)
    }

    /// A process of an agent goes on with what it has in mind.
    pub(super) fn has_thought(&mut self, uid: Uid, thought: Thought) {
        let Some(mind) = self.minds.get(&uid) else { return };
        match self.awake(mind.host, uid) {
            Some(at) if at > self.now => return self.queue.push(at, Event::Thinks(uid, thought)),
            Some(_) => {}
            None => return,
        }
        let (ix, waits, tree) = (mind.shim, mind.waits.is_some(), mind.tree.clone());
        let by = self.means(ix);
        // The program of an earlier shim speaks to nobody until there is another one; a file it can always write.
        let reachable = self.shims[ix.0].running.is_some() && !waits;
        let speaks = by == Means::Socket || matches!(thought, Thought::Confirms | Thought::SpeaksForAnother);
        if speaks && !reachable {
            return self.thinks(uid, thought, TRY_AGAIN);
        }
        match (thought, by) {
            (Thought::Reads, Means::File) => self.opens_file(uid),
            (Thought::Reads, Means::Socket) => self.asks(uid, AskWhat::Load),
            (Thought::Confirms, _) => self.asks(uid, AskWhat::Confirm),
            (Thought::Closes, Means::Socket) => self.asks(uid, AskWhat::Close),
            (Thought::SpeaksForAnother, _) => self.speaks_for_another(uid),
            (Thought::Saves | Thought::Closes, Means::File) => {
                let task = if thought == Thought::Closes {
                    TaskIs::Over
                } else {
                    TaskIs::GoingOn
                };
                self.writes_file(uid, task);
            }
            (Thought::Saves, Means::Socket) => {
                let what = self.something_to_save(uid, &tree);
                self.asks_to_save(uid, AskBy::Socket, what);
            }
            (_, Means::None) => {}
        }
        if thought == Thought::Saves {
            self.saves_later(uid);
            if self.saves_go_wrong(|saves| saves.closes) {
                self.thinks(uid, Thought::Closes, 100..5_000);
            }
        }
    }

    /// The next save of the world; it names what its process works on, or something of its own, or nothing.
    fn something_to_save(&mut self, uid: Uid, tree: &TreeId) -> Saved {
        self.next_token += 1;
        let token = Token(self.next_token);
        let works = |task: &&crate::task::Task| task.worker() == Some(uid);
        let task = match tree {
            TreeId::Attempt(attempt) => Some(attempt.execution.clone()),
            TreeId::Life(_) => self.tasks.iter().find(works).map(|task| task.attempt.execution.clone()),
        };
        let task = task.map(|task| task.as_str().to_owned());
        let named = self.happens(|saves| saves.names_task);
        let own = self.dice.chance(0.3).then(|| format!("Task of {uid:?}"));
        Saved::new(
            token,
            &task.filter(|_| named).or(own).unwrap_or_default(),
            TaskIs::GoingOn,
        )
    }

    fn new_ask(&mut self, ix: ShimIx, ask: Ask) -> RequestNumber {
        let request = RequestNumber(self.next_request);
        self.next_request += 1;
        if ask.by == AskBy::Socket
            && let Some(mind) = self.minds.get_mut(&ask.uid)
        {
            mind.waits = Some(request);
        }
        self.oracle.asked(&self.shims[ix.0], request, &ask, self.now);
        if let Some(running) = &mut self.shims[ix.0].running {
            running.asks.insert(request, ask);
        }
        request
    }

    fn named(&mut self, incarnation: Incarnation) -> Option<Incarnation> {
        self.happens(|saves| saves.names_life).then_some(incarnation)
    }

    fn asks(&mut self, uid: Uid, what: AskWhat) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let (ix, incarnation) = (mind.shim, mind.incarnation);
        let named = self.named(incarnation);
        let by = AskBy::Socket;
        let request = self.new_ask(ix, Ask { uid, by, named, what });
        let fact = match what {
            AskWhat::Load => ShimFact::LoadAsked {
                request,
                incarnation: named,
            },
            AskWhat::Confirm => ShimFact::ConfirmAsked {
                request,
                incarnation: named,
            },
            AskWhat::Close => ShimFact::CloseAsked {
                request,
                incarnation: named,
            },
            AskWhat::Save(..) => return,
        };
        self.shim_hears(ix, fact);
    }

    /// An agent, or its checkpoint command, saves on the socket.
    fn asks_to_save(&mut self, uid: Uid, by: AskBy, saved: Saved) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let (ix, incarnation) = (mind.shim, mind.incarnation);
        let named = self.named(incarnation);
        self.oracle.saves(&self.shims[ix.0].agent, incarnation, &saved);
        let what = AskWhat::Save(saved.token, saved.task);
        let request = self.new_ask(ix, Ask { uid, by, named, what });
        self.shim_hears(
            ix,
            ShimFact::SaveAsked {
                request,
                incarnation: named,
                fields: saved.fields,
                body: saved.body,
                task: saved.task,
            },
        );
    }

    /// Somebody whose time is over has kept the socket's path, and the number of an earlier life.
    fn speaks_for_another(&mut self, uid: Uid) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let (ix, tree, incarnation) = (mind.shim, mind.tree.clone(), mind.incarnation);
        if incarnation.get() <= 1 {
            return;
        }
        self.fired(Fault::SaveLate);
        let named = Some(Incarnation::new(incarnation.get() - 1));
        let saved = self.something_to_save(uid, &tree);
        let what = AskWhat::Save(saved.token, saved.task);
        let by = AskBy::Socket;
        let request = self.new_ask(ix, Ask { uid, by, named, what });
        self.shim_hears(
            ix,
            ShimFact::SaveAsked {
                request,
                incarnation: named,
                fields: saved.fields,
                body: saved.body,
                task: saved.task,
            },
        );
    }

    /// A shim answers somebody who saved, or asked for what was saved.
    pub(super) fn checkpoint_answered(
        &mut self,
        ix: ShimIx,
        request: RequestNumber,
        answer: Result<CheckpointAnswer, CheckpointRefused>,
    ) {
        let running = self.shims[ix.0].running.as_mut();
        let Some(ask) = running.and_then(|running| running.asks.remove(&request)) else {
            return;
        };
        self.judge_answer_on_saves(ix, &ask, &answer);
        let uid = ask.uid;
        let Some(mind) = self.minds.get_mut(&uid) else { return };
        match ask.by {
            AskBy::Socket => mind.waits = None,
            AskBy::Command => {}
            AskBy::File => return self.file_answered(uid, &ask, answer.is_ok()),
        }
        let host = mind.host;
        let lives = self.awake(host, uid).is_some();
        if let (AskWhat::Load, Ok(CheckpointAnswer::Loaded(Some(_)))) = (ask.what, &answer)
            && lives
        {
            self.has_read(uid);
        }
    }

    /// A process knows what it goes on with, and says so, or dies of it.
    fn has_read(&mut self, uid: Uid) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let host = mind.host;
        if self.saves_go_wrong(|saves| saves.poisons) {
            self.fired(Fault::Poisoned);
            let wait = self.dice.millis(1..400);
            let status = ExitStatus::Signaled {
                signal: 11,
                core_dumped: true,
            };
            return self.dies_after(host, uid, wait, status);
        }
        if self.happens(|saves| saves.confirms) {
            self.thinks(uid, Thought::Confirms, 10..5_000);
        }
    }

    /// A process gets its stop signal: it may save before it ends.
    pub(super) fn may_save_before_end(&mut self, uid: Uid) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let (ix, tree) = (mind.shim, mind.tree.clone());
        let by = self.means(ix);
        if by == Means::None || !self.happens(|saves| saves.saves_when_asked) {
            return;
        }
        match by {
            Means::File => self.writes_file(uid, TaskIs::GoingOn),
            Means::Socket if self.shims[ix.0].running.is_some() => {
                let saved = self.something_to_save(uid, &tree);
                self.asks_to_save(uid, AskBy::Socket, saved);
            }
            Means::Socket | Means::None => {}
        }
    }

    /// A shim has its agent's checkpoint command run.
    pub(super) fn runs_checkpoint_command(&mut self, ix: ShimIx, incarnation: Incarnation) {
        let nature = self.shims[ix.0].nature;
        let takes = self.nature_of_saves(|saves| saves.savers[nature].command).flatten();
        let life = self.shims[ix.0].life;
        let takes = takes.unwrap_or_default();
        self.after(takes, Event::CommandEnds(ix, life, incarnation));
    }

    pub(super) fn command_ends(&mut self, ix: ShimIx, life: Life, incarnation: Incarnation) {
        if self.shims[ix.0].life != life {
            return;
        }
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::CommandEnds(ix, life, incarnation));
        }
        let tree = TreeId::Life(incarnation);
        let of_life = |(uid, mind): (&Uid, &Mind)| (mind.shim == ix && mind.tree == tree).then_some(*uid);
        let uid = self.minds.iter().find_map(of_life);
        let uid = uid.filter(|uid| self.awake(self.shims[ix.0].host, *uid).is_some());
        if let Some(uid) = uid.filter(|_| self.happens(|saves| saves.saves_when_asked)) {
            let saved = self.something_to_save(uid, &tree);
            self.asks_to_save(uid, AskBy::Command, saved);
        }
        self.shim_hears(ix, ShimFact::CheckpointCommandDone { incarnation });
    }

    /// A shim wants a checkpoint on its disk.
    pub(super) fn writes_checkpoint(&mut self, ix: ShimIx, held: HeldCheckpoint) {
        let life = self.shims[ix.0].life;
        self.judge_write(ix, &held);
        let Some(running) = &mut self.shims[ix.0].running else {
            return;
        };
        if running.writing.held.replace(held).is_some() {
            self.oracle
                .core(format!("shim {} writes two checkpoints at once", ix.0));
        }
        if self.mutation == Mutation::SaveUnwritten {
            let id = running.writing.held.as_ref().map(|held| held.checkpoint.id);
            if let Some(id) = id {
                self.shim_hears(ix, ShimFact::CheckpointWritten { id, result: Ok(()) });
            }
        }
        let mut wait = self
            .state_dice
            .between(&(Duration::from_micros(200)..Duration::from_millis(20)));
        if self.saves_go_wrong(|saves| saves.disk.slow) {
            self.fired(Fault::StateDiskSlow);
            wait += self.dice.millis(500..5_000);
        }
        self.after(wait, Event::CheckpointWritten(ix, life));
    }

    pub(super) fn checkpoint_written(&mut self, ix: ShimIx, life: Life) {
        if self.shims[ix.0].life != life {
            return;
        }
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::CheckpointWritten(ix, life));
        }
        let running = self.shims[ix.0].running.as_mut();
        let Some(held) = running.and_then(|running| running.writing.held.take()) else {
            return;
        };
        let id = held.checkpoint.id;
        if self.saves_go_wrong(|saves| saves.disk.full) {
            self.fired(Fault::StateDiskFull);
            self.oracle.not_written(&self.shims[ix.0], id);
            let result = Err(NotWritten {
                cause: WriteFault::Room,
                message: "no space left on device".to_owned(),
            });
            return self.shim_step(ix, ShimFact::CheckpointWritten { id, result });
        }
        self.is_on_disk(ix, held);
        if self.mutation != Mutation::SaveUnwritten {
            self.shim_step(ix, ShimFact::CheckpointWritten { id, result: Ok(()) });
        }
    }

    fn is_on_disk(&mut self, ix: ShimIx, held: HeldCheckpoint) {
        self.oracle.written(&self.shims[ix.0], &held, self.now);
        self.shims[ix.0].state.write(held);
    }

    /// A shim is gone: what it was about to write is on the disk, or is not.
    pub(super) fn saves_are_cut(&mut self, ix: ShimIx) {
        let running = self.shims[ix.0].running.as_mut();
        let writing = running.and_then(|running| running.writing.held.take());
        // What it was ordered and has not begun is not written down.
        self.shims[ix.0].runs.clear();
        if let Some(held) = writing {
            if self.state_dice.chance(0.5) {
                self.fired(Fault::SaveKept);
                self.is_on_disk(ix, held);
            } else {
                self.fired(Fault::SaveLost);
                self.oracle.not_written(&self.shims[ix.0], held.checkpoint.id);
            }
        }
        for mind in self.minds.values_mut().filter(|mind| mind.shim == ix) {
            (mind.waits, mind.told) = (None, None);
        }
    }

    /// What a shim that starts finds of its state directory.
    pub(super) fn finds_checkpoint(&mut self, ix: ShimIx) -> Option<HeldCheckpoint> {
        if self.shims[ix.0].state.newest.is_some() && self.saves_go_wrong(|saves| saves.disk.torn) {
            self.fired(Fault::StateTorn);
            let state = &mut self.shims[ix.0].state;
            state.newest = state.previous.take();
            self.oracle.torn(&self.shims[ix.0]);
        }
        let state = &self.shims[ix.0].state;
        let older = state
            .previous
            .clone()
            .filter(|_| self.mutation == Mutation::OlderTakenUp);
        older.or_else(|| state.newest.clone())
    }

    /// What an operator's order goes on from.
    pub(super) fn some_context(&mut self) -> Context {
        if self.happens(|saves| saves.fresh) {
            Context::Fresh
        } else {
            Context::Resume
        }
    }

    /// An operator deletes what an agent has saved last.
    pub(super) fn deletes_checkpoint(&mut self, agent: &AgentId) -> Option<Request> {
        let newest = self.server.disk.newest_checkpoint(agent)?.id;
        if !self.saves_go_wrong(|saves| saves.deletes) {
            return None;
        }
        self.oracle.deletes(agent, newest);
        Some(Request::DeleteCheckpoint {
            agent: agent.clone(),
            id: newest,
        })
    }

    /// An order as it leaves the server: with the body of what it offers, as far as the disk has that.
    pub(super) fn with_body(&mut self, session: SessionId, command: Command) -> Command {
        let Command::Run {
            incarnation,
            grace,
            mut context,
        } = command
        else {
            return command;
        };
        let ix = self.streams[usize::try_from(session.0).expect("a stream's place")].shim;
        if let RunContext::Resume(resumption) = &mut context
            && let Some(offered) = &mut resumption.offered
            && let Some(content) = &mut offered.content
        {
            if self.mutation == Mutation::ContentMissing {
                return Command::Run {
                    incarnation,
                    grace,
                    context,
                };
            }
            let known = self.server.disk.content(&self.shims[ix.0].agent, content.id);
            // What is gone was deleted by a later step of the same batch.
            *content = known.cloned().unwrap_or_else(|| content.clone());
        }
        Command::Run {
            incarnation,
            grace,
            context,
        }
    }
}
