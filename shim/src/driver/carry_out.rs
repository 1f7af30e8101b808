//! How each effect is carried out.

use std::path::PathBuf;
use std::sync::Arc;

use rekindle::execution::AttemptId;
use rekindle::exit::EndedBy;
use rekindle::id::Incarnation;
use rekindle::policy::StopSignal;
use rekindle::process::ProcessIdentity;
use rekindle::session::{CommandId, ShimMessage};
use rekindle_shim_core::{Effect, Input, KILL_PROOF, OnShimExit, TreeId};
use rustix::process::Signal;

use super::children::Log;
use super::{Driver, StartError, not_fed, noticed, resume};
use crate::link::Link;
use crate::process::{Birth, Child, Force, Leftovers, NoChild, NotifyName, Purpose, SpawnError, is_want, sweep};

impl Driver {
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Result<(), StartError> {
        match effect {
            Effect::Sweep { child } => self.sweep(child).await?,
            Effect::Adopt { incarnation, child } => self.adopt(incarnation, &child).await?,
            Effect::Upgrade => self.upgrade().await?,
            Effect::Connect => self.link = Some(Link::open(self.endpoint.clone())),
            Effect::Reconnect => self.reconnect(),
            Effect::GiveUp => self.give_up(),
            Effect::Spawn { incarnation } => self.spawn(incarnation)?,
            Effect::SpawnAttempt {
                attempt,
                incarnation,
                message,
            } => self.spawn_attempt(attempt, incarnation, message),
            Effect::SignalTree { tree, signal } => {
                self.tell_why(&tree, signal);
                if let Some(child) = self.children.get(&tree)
                    && let Err(error) = child.signal_tree(&self.tree, number(signal))
                {
                    // When the grace is over, SIGKILL is for all of them.
                    tracing::warn!(%tree, %error, "cannot signal all of the agent's processes");
                }
            }
            Effect::KillTree { tree } => {
                self.tell_why(&tree, StopSignal::Kill);
                self.watch(tree, Force::Kill);
            }
            Effect::AwaitTree { tree } => self.watch(tree, Force::None),
            Effect::Probe { incarnation } => self.probe(incarnation).await?,
            Effect::NameSurvivors { tree } => self.name_survivors(tree),
            Effect::Feed {
                incarnation,
                attempt,
                message,
                timeout,
            } => match self.children.of_life(incarnation) {
                Some(child) => {
                    if let Err(why) = child.feed(&attempt, &message, timeout) {
                        self.facts.push_back(not_fed(attempt, why));
                    }
                }
                None => tracing::debug!(execution = %attempt, "nobody is there any more to be given a message"),
            },
            Effect::Give {
                request,
                incarnation: _,
                attempt,
                message,
                timeout,
            } => self.socket.requests.give(request, attempt, message, timeout),
            Effect::ShowProgress { attempt, text } => self.remarks.say(&attempt, &text),
            Effect::Answer { request, answer } => self.socket.requests.answer(request, answer),
            Effect::AnswerCheckpoint { request, answer } => self.answer_checkpoint(request, answer),
            Effect::RunCheckpointCommand { incarnation, within } => self.run_checkpoint_command(incarnation, within),
            Effect::EndCheckpointCommand { incarnation } => self.end_checkpoint_command(incarnation),
            Effect::WriteCheckpoint(held) => self.checkpoints.write(held),
            Effect::SignalChild {
                command,
                incarnation,
                signal,
            } => self.signal(command, incarnation, signal),
            Effect::Send(mut message) => {
                if let ShimMessage::Hello(hello) = &mut message {
                    hello.launch = resume::told(&self.supervisor, self.tell_launch, &self.redaction);
                }
                self.say(message);
            }
            Effect::Exit(_) => {}
        }
        Ok(())
    }

    /// What the child has said by now comes before what its tree has used by now.
    async fn probe(&mut self, incarnation: Incarnation) -> Result<(), StartError> {
        let effect = Effect::Probe { incarnation };
        let Some(child) = self.children.of_life(incarnation) else {
            self.put_off.done(effect);
            return Ok(());
        };
        let said = tokio::select! {
            biased;
            notices = child.notices(&self.tree) => Some(notices.map_err(StartError::Processes)?),
            () = std::future::ready(()) => None,
        };
        let sample = child.sample(&self.tree);
        let notified = said.map(|notices| noticed(incarnation, notices));
        self.facts.extend(notified);
        match sample {
            Ok(sample) => {
                self.put_off.done(effect);
                self.facts.push_back(Input::Probed { incarnation, sample });
            }
            // Nobody is judged meanwhile.
            Err(error) => self.put_off.again(effect, &error),
        }
        Ok(())
    }

    fn name_survivors(&mut self, tree: TreeId) {
        let effect = Effect::NameSurvivors { tree: tree.clone() };
        let Some(child) = self.children.get(&tree) else {
            return self.put_off.done(effect);
        };
        match child.survivors(&self.tree) {
            Ok(survivors) => {
                self.put_off.done(effect);
                match self.children.survive(&tree, &survivors) {
                    Log::Yes => tracing::error!(%tree, ?survivors, "processes of the agent outlive SIGKILL"),
                    Log::No => {}
                }
                self.facts.push_back(Input::TreeSurvived { tree, survivors });
            }
            Err(error) => self.put_off.again(effect, &error),
        }
    }

    /// Waits for a tree's death, from here on.
    fn watch(&mut self, tree: TreeId, force: Force) {
        self.children.watch(&tree, force);
        if !self.children.has(&tree) {
            self.put_off.done(Effect::KillTree { tree: tree.clone() });
            self.put_off.done(Effect::AwaitTree { tree });
        }
    }

    /// What outlived SIGKILL is dead by now: looks whether anybody else is left.
    pub(super) async fn sweep_again(&mut self) -> Result<(), StartError> {
        self.leftovers = Leftovers::default();
        let child = self.supervisor.journal().child.as_ref();
        let child = child.and_then(|child| child.process.clone());
        self.sweep(child).await
    }

    async fn sweep(&mut self, child: Option<ProcessIdentity>) -> Result<(), StartError> {
        let marker = self.supervisor.journal().marker;
        let left = sweep(marker, child.as_ref(), KILL_PROOF).await;
        let effect = Effect::Sweep { child };
        match left {
            Ok(left) => {
                self.put_off.done(effect);
                let survivors = left.survivors();
                self.leftovers = left;
                self.end_found_state_files();
                self.facts.push_back(Input::Swept { survivors });
            }
            Err(error) if is_want(&error) => self.put_off.again(effect, &error),
            Err(error) => return Err(StartError::Processes(error)),
        }
        Ok(())
    }

    /// What older lives have left is nobody's any more.
    fn give_up(&mut self) {
        // A life that begins beside them carries the same marker, and is not to be swept.
        self.leftovers = Leftovers::default();
        self.put_off.forget_sweeps();
        let given_up = self.children.take();
        self.followers.clear();
        if !given_up.is_empty() {
            let trees: Vec<String> = given_up.iter().map(|child| child.tree().to_string()).collect();
            tracing::warn!(?trees, "forced: a life begins beside what is left of an older one");
            if let Err(error) = self.tree.exempt_all() {
                // Then it counts to the tree that grows beside it, and is ended with that.
                tracing::error!(%error, "cannot tell what is left of an older life from what begins");
            }
        }
    }

    fn spawn(&mut self, incarnation: Incarnation) -> Result<(), StartError> {
        let notify = NotifyName::random();
        match self.program.on_shim_exit {
            OnShimExit::Keep => self.state_dir.write_notify(incarnation, notify)?,
            OnShimExit::Kill => {}
        }
        let purpose = Purpose::Life {
            watchdog: self.supervisor.policy().watchdog_timeout,
            notify,
        };
        self.give_birth(incarnation, purpose);
        Ok(())
    }

    fn spawn_attempt(&mut self, attempt: AttemptId, incarnation: Incarnation, message: Arc<str>) {
        self.give_birth(incarnation, Purpose::Attempt { attempt, message });
    }

    /// Runs the program, and watches it from here on; or says why it could not be run, once nothing of it lives.
    fn give_birth(&mut self, incarnation: Incarnation, purpose: Purpose) {
        let file = self.begin_state_file(incarnation, &purpose);
        let birth = self.birth(incarnation, purpose, file);
        let tree = birth.tree();
        let fact = match Child::spawn(&self.program, &birth, self.boot_id, &mut self.outputs, &self.tree) {
            Ok(child) => {
                let process = child.process().clone();
                tracing::info!(%tree, pid = process.pid, "the agent's process runs");
                self.children.add(child);
                match tree {
                    TreeId::Life(incarnation) => Input::Spawned { incarnation, process },
                    TreeId::Attempt(attempt) => Input::AttemptSpawned { attempt, process },
                }
            }
            Err(NoChild::NotRun(error)) => self.not_born(tree, &error),
            Err(NoChild::Unwatched(stillborn)) => return self.children.end(stillborn),
        };
        self.facts.push_back(fact);
    }

    /// What a process is told, with where its state file is, and what it was handed.
    pub(super) fn birth(
        &self,
        incarnation: Incarnation,
        purpose: Purpose,
        (state_file, handed): (PathBuf, Vec<(String, String)>),
    ) -> Birth {
        let journal = self.supervisor.journal();
        Birth {
            agent: journal.agent.clone(),
            incarnation,
            marker: journal.marker,
            socket: self.socket.path().to_owned(),
            state_file,
            handed,
            resumed: self.supervisor.resumed(),
            purpose,
        }
    }

    /// Nothing lives of what was to be a tree.
    pub(super) fn not_born(&self, tree: TreeId, error: &SpawnError) -> Input {
        let message = self.redaction.apply(&error.to_string());
        tracing::error!(%tree, "{message}");
        match tree {
            TreeId::Life(incarnation) => Input::SpawnFailed { incarnation, message },
            TreeId::Attempt(attempt) => Input::AttemptSpawnFailed { attempt, message },
        }
    }

    /// Logs why a tree is ended, unless its leader ended by itself, which is told when the tree is dead.
    fn tell_why(&self, tree: &TreeId, signal: StopSignal) {
        let signal = signal.as_str();
        let why = match self.supervisor.ending(tree) {
            None | Some(EndedBy::Itself | EndedBy::ShimDeath) => return,
            Some(EndedBy::Command) => "as the server orders",
            Some(EndedBy::ShimStop) => "as the shim ends",
            Some(EndedBy::StartTimeout) => "as it was not ready in time",
            Some(EndedBy::Watchdog) => "as it did not ping its watchdog in time",
            Some(EndedBy::Stall) => "as it did nothing for too long",
            Some(EndedBy::MessageTimeout) => "as a message ran past its time",
            Some(EndedBy::MessageCancel) => "as the server has a message ended that it works on",
            Some(EndedBy::Fence) => {
                // Nobody asked for this one by name.
                tracing::warn!(
                    %tree,
                    signal,
                    "ending the agent's processes, as the agent may run elsewhere: the server was not reached for \
                     --fence-after, or gave the agent to another shim"
                );
                return;
            }
        };
        tracing::info!(%tree, signal, "ending the agent's processes, {why}");
    }

    fn signal(&mut self, command: CommandId, incarnation: Incarnation, signal: i32) {
        let result = self.try_signal(incarnation, signal);
        self.facts.push_back(Input::Signalled { command, result });
    }

    fn try_signal(&self, incarnation: Incarnation, number: i32) -> Result<ProcessIdentity, String> {
        let child = self.children.of_life(incarnation).ok_or("nothing runs")?;
        let signal = Signal::from_named_raw(number).ok_or_else(|| format!("{number} is no signal with a name"))?;
        child.signal(signal).map_err(|error| error.to_string())?;
        Ok(child.process().clone())
    }

    fn say(&mut self, message: ShimMessage) {
        let stuck = self.voice.as_ref().is_some_and(|voice| voice.say(message).is_err());
        if stuck {
            // Either the stream is gone, which the link is about to tell, or the server does not read.
            self.reconnect();
            self.facts.push_back(Input::LinkLost);
        }
    }

    fn reconnect(&mut self) {
        self.voice = None;
        self.link = Some(Link::open(self.endpoint.clone()));
    }
}

const fn number(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
        StopSignal::Kill => Signal::KILL,
    }
}
