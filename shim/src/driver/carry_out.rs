//! How each effect is carried out.

use rekindle::exit::EndedBy;
use rekindle::id::Incarnation;
use rekindle::policy::StopSignal;
use rekindle::process::ProcessIdentity;
use rekindle::session::{CommandId, ShimMessage};
use rekindle_shim_core::{Effect, Input, KILL_PROOF, OnShimExit};
use rustix::process::Signal;

use super::{Driver, StartError, Watch, Watched, resume};
use crate::link::Link;
use crate::process::{Birth, Child, Force, NotifyName, sweep};

impl Driver {
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Result<(), StartError> {
        match effect {
            Effect::Sweep { child } => {
                let marker = self.supervisor.journal().marker;
                let left = sweep(marker, child.as_ref(), KILL_PROOF).await;
                let survivors = left.map_err(StartError::Processes)?.survivors();
                self.facts.push_back(Input::Swept { survivors });
            }
            Effect::Adopt { incarnation, child } => self.adopt(incarnation, &child).await?,
            Effect::Upgrade => self.upgrade().await,
            Effect::Connect => self.link = Some(Link::open(self.endpoint.clone())),
            Effect::Reconnect => self.reconnect(),
            Effect::Spawn { incarnation } => self.spawn(incarnation).await?,
            Effect::SignalTree { incarnation, signal } => {
                self.tell_why(incarnation, signal);
                if let Some(child) = self.child_of(incarnation) {
                    child
                        .signal_tree(&self.tree, number(signal))
                        .map_err(StartError::Processes)?;
                }
            }
            Effect::KillTree { incarnation } => {
                self.tell_why(incarnation, StopSignal::Kill);
                self.watch(incarnation, Force::Kill);
            }
            Effect::AwaitTree { incarnation } => self.watch(incarnation, Force::None),
            Effect::Probe { incarnation } => self.probe(incarnation).await?,
            Effect::NameSurvivors { incarnation } => {
                if let Some(child) = self.child_of(incarnation) {
                    let survivors = child.survivors(&self.tree).map_err(StartError::Processes)?;
                    if !survivors.is_empty() {
                        tracing::error!(%incarnation, ?survivors, "processes of the agent outlive SIGKILL");
                    }
                    self.facts.push_back(Input::TreeSurvived { incarnation, survivors });
                }
            }
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
        let Some(child) = self.child_of(incarnation) else {
            return Ok(());
        };
        let said = tokio::select! {
            biased;
            notices = child.notices(&self.tree) => Some(notices.map_err(StartError::Processes)?),
            () = std::future::ready(()) => None,
        };
        let sample = child.sample(&self.tree).map_err(StartError::Processes)?;
        let notified = said.and_then(|notices| self.noticed(notices));
        self.facts.extend(notified);
        self.facts.push_back(Input::Probed { incarnation, sample });
        Ok(())
    }

    async fn spawn(&mut self, incarnation: Incarnation) -> Result<(), StartError> {
        if let Some(given_up) = self.child.take() {
            tracing::warn!(incarnation = %given_up.child.incarnation(), "forced: a life begins beside an older one");
            self.tree.exempt_all().map_err(StartError::Processes)?;
        }
        let notify = NotifyName::random();
        match self.program.on_shim_exit {
            OnShimExit::Keep => self.state_dir.write_notify(incarnation, notify)?,
            OnShimExit::Kill => {}
        }
        let journal = self.supervisor.journal();
        let birth = Birth {
            notify,
            agent: journal.agent.clone(),
            incarnation,
            marker: journal.marker,
            watchdog: self.supervisor.policy().watchdog_timeout,
            resumed: self.supervisor.resumed(),
        };
        let spawned = Child::spawn(&self.program, &birth, self.boot_id, &mut self.outputs, &self.tree).await;
        match spawned.map_err(StartError::Processes)? {
            Ok(child) => {
                let process = child.process().clone();
                tracing::info!(%incarnation, pid = process.pid, "the agent's process runs");
                self.child = Some(Watched::of(child));
                self.facts.push_back(Input::Spawned { incarnation, process });
            }
            Err(error) => {
                let message = self.redaction.apply(&error.to_string());
                tracing::error!(%incarnation, "{message}");
                self.facts.push_back(Input::SpawnFailed { incarnation, message });
            }
        }
        Ok(())
    }

    /// Logs why a life is ended, unless it ended by itself, which is told when its tree is dead.
    fn tell_why(&self, incarnation: Incarnation, signal: StopSignal) {
        let signal = signal.as_str();
        let why = match self.supervisor.ending() {
            None | Some(EndedBy::Itself | EndedBy::ShimDeath) => return,
            Some(EndedBy::Command) => "as the server orders",
            Some(EndedBy::ShimStop) => "as the shim ends",
            Some(EndedBy::StartTimeout) => "as it was not ready in time",
            Some(EndedBy::Watchdog) => "as it did not ping its watchdog in time",
            Some(EndedBy::Stall) => "as it did nothing for too long",
            Some(EndedBy::Fence) => {
                // Nobody asked for this one by name.
                tracing::warn!(
                    %incarnation,
                    signal,
                    "ending the agent's processes, as the agent may run elsewhere: the server was not reached for \
                     --fence-after, or gave the agent to another shim"
                );
                return;
            }
        };
        tracing::info!(%incarnation, signal, "ending the agent's processes, {why}");
    }

    fn child_of(&self, incarnation: Incarnation) -> Option<&Child> {
        let child = self.child.as_ref().map(|watched| &watched.child);
        child.filter(|child| child.incarnation() == incarnation)
    }

    /// From here on the tree's death is waited for. One that is being killed is not only watched again.
    fn watch(&mut self, incarnation: Incarnation, force: Force) {
        if let Some(watched) = &mut self.child
            && watched.child.incarnation() == incarnation
            && watched.tree != Watch::Yes(Force::Kill)
        {
            watched.tree = Watch::Yes(force);
        }
    }

    fn signal(&mut self, command: CommandId, incarnation: Incarnation, signal: i32) {
        let result = self.try_signal(incarnation, signal);
        self.facts.push_back(Input::Signalled { command, result });
    }

    fn try_signal(&self, incarnation: Incarnation, number: i32) -> Result<ProcessIdentity, String> {
        let child = self.child_of(incarnation).ok_or("nothing runs")?;
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
