//! The driver: gives the supervisor its facts, writes its journal, and carries its orders out.
//!
//! One rule: what an outcome persists is written before what it wants is done. A journal that cannot be written ends
//! the shim, and the child with it, unless that is to outlive it.

mod carry_out;
mod inherit;
mod resume;
mod start;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rekindle::id::BootId;
use rekindle::session::ServerMessage;
use rekindle_shim_core::{Effect, Input, KILL_PROOF, Notice, OnShimExit, Outcome, Outlives, Supervisor};
use tokio::signal::unix::Signal;
use tonic::transport::Endpoint;

use crate::clock;
use crate::config::TellLaunch;
use crate::itself::Itself;
use crate::link::{Link, LinkEvent, Voice};
use crate::process::{Child, ChildsOwn, Force, Outputs, Program, Tree};
use crate::redaction::Redaction;
use crate::refusal::Fence;
use crate::state_dir::StateDir;

pub(crate) use start::{StartError, machine_id};

/// Longest time that the last words to the server may take to go out.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// One shim at work.
pub(crate) struct Driver {
    supervisor: Supervisor,
    state_dir: StateDir,
    boot_id: BootId,
    program: Program,
    endpoint: Endpoint,
    signals: Signals,
    tree: Tree,
    outputs: Outputs,
    redaction: Arc<Redaction>,
    tell_launch: TellLaunch,
    /// For an upgrade in place.
    itself: io::Result<Itself>,
    /// What this process's program before has left of its child.
    handed: Option<ChildsOwn<OwnedFd>>,
    child: Option<Watched>,
    link: Option<Link>,
    voice: Option<Voice>,
    /// Facts that came of carrying effects out.
    facts: VecDeque<Input>,
}

struct Signals {
    /// Those that tell the shim to end, and not to wait any longer when one comes again.
    stops: Vec<Signal>,
    /// Tells it to end, unless it was told before: a terminal that closes sends several (setsid(2), bash(1)).
    hangup: Option<Signal>,
    /// Tells it to run its program anew, in its place.
    upgrade: Signal,
    child: Signal,
}

/// A child, and what is watched of it.
struct Watched {
    child: Child,
    leader: Leader,
    tree: Watch,
}

impl Watched {
    fn of(child: Child) -> Self {
        Self {
            child,
            leader: Leader::Lives,
            tree: Watch::No,
        }
    }
}

/// Whether the child's own death was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Lives,
    Dead,
}

/// Whether somebody waits for the tree's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    No,
    Yes(Force),
}

/// What woke the driver.
enum Woken {
    StopRequested,
    UpgradeRequested,
    Noticed(Vec<Notice>),
    ChildExited,
    TreeGone,
    SomeChildDied,
    Link(LinkEvent),
    Deadline,
}

impl Driver {
    async fn run(mut self, first: Outcome) -> Result<ExitCode, StartError> {
        let worked = self.work(first).await;
        match worked {
            Ok(code) => {
                self.take_leave().await;
                Ok(code)
            }
            Err(error) => {
                self.abandon().await;
                Err(error)
            }
        }
    }

    async fn work(&mut self, first: Outcome) -> Result<ExitCode, StartError> {
        let mut outcome = first;
        loop {
            if let Some(code) = self.obey(outcome).await? {
                return Ok(code);
            }
            // What nobody has taken up by the first step is of a life that the journal does not know.
            self.handed = None;
            let fact = self.next_fact().await?;
            outcome = self.supervisor.step(clock::now(), fact);
        }
    }

    /// Carries one outcome out; the exit code, when it is the last.
    async fn obey(&mut self, outcome: Outcome) -> Result<Option<ExitCode>, StartError> {
        if let Some(journal) = &outcome.persist {
            self.state_dir.write(journal)?;
            if outcome.outlives == Outlives::TheBoot {
                self.state_dir.sync()?;
            }
        }
        for effect in outcome.then {
            if let Effect::Exit(code) = effect {
                return Ok(Some(start::exit_code(code)));
            }
            self.carry_out(effect).await?;
        }
        Ok(None)
    }

    async fn next_fact(&mut self) -> Result<Input, StartError> {
        loop {
            if let Some(fact) = self.facts.pop_front() {
                return Ok(fact);
            }
            let fact = match self.woken().await? {
                Woken::StopRequested => {
                    self.signals.hangup = None;
                    Some(Input::StopRequested)
                }
                Woken::UpgradeRequested => Some(Input::UpgradeRequested),
                Woken::Noticed(notices) => self.noticed(notices),
                Woken::ChildExited => self.child_exited(),
                Woken::TreeGone => self.tree_gone(),
                Woken::SomeChildDied => {
                    let child = self.child.as_ref().map(|watched| &watched.child);
                    self.tree.reap(child).map_err(StartError::Processes)?;
                    None
                }
                Woken::Link(event) => Some(self.heard(event)),
                Woken::Deadline => Some(Input::Tick),
            };
            if let Some(fact) = fact {
                return Ok(fact);
            }
        }
    }

    /// Waits for something to happen. What concerns the child goes first.
    async fn woken(&mut self) -> Result<Woken, StartError> {
        let wait = self
            .supervisor
            .deadline()
            .map(|(at, _)| at.saturating_since(clock::now().now.mono));
        let deadline = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let tree = &self.tree;
        let (child, leader, watch) = match &self.child {
            Some(watched) => (Some(&watched.child), watched.leader, watched.tree),
            None => (None, Leader::Dead, Watch::No),
        };
        let noticed = async {
            match child {
                Some(child) => child.notices(tree).await,
                None => std::future::pending().await,
            }
        };
        let exited = async {
            match (child, leader) {
                (Some(child), Leader::Lives) => child.exited().await,
                (Some(_), Leader::Dead) | (None, _) => std::future::pending().await,
            }
        };
        let gone = async {
            match (child, watch) {
                (Some(child), Watch::Yes(force)) => child.tree_gone(tree, force).await,
                (Some(_), Watch::No) | (None, _) => std::future::pending().await,
            }
        };
        let link = self.link.as_mut();
        let heard = async {
            match link {
                Some(link) => link.events.recv().await,
                None => std::future::pending().await,
            }
        };
        let Signals {
            stops,
            hangup,
            upgrade,
            child: sigchld,
        } = &mut self.signals;
        let told_to_stop = poll_fn(|context| {
            let mut got = |stop: &mut Signal| stop.poll_recv(context).is_ready();
            if hangup.as_mut().is_some_and(&mut got) || stops.iter_mut().any(got) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::select! {
            biased;
            () = told_to_stop => Ok(Woken::StopRequested),
            _ = upgrade.recv() => Ok(Woken::UpgradeRequested),
            // What a child said before its end is heard before it. It cannot hold the others up: its rate is bounded.
            noticed = noticed => noticed.map(Woken::Noticed).map_err(StartError::Processes),
            exited = exited => exited.map(|()| Woken::ChildExited).map_err(StartError::Processes),
            gone = gone => gone.map(|()| Woken::TreeGone).map_err(StartError::Processes),
            () = deadline => Ok(Woken::Deadline),
            _ = sigchld.recv() => Ok(Woken::SomeChildDied),
            event = heard => Ok(Woken::Link(event.unwrap_or(LinkEvent::Lost(Fence::No)))),
        }
    }

    pub(super) fn noticed(&self, notices: Vec<Notice>) -> Option<Input> {
        tracing::debug!(?notices, "the agent says");
        let incarnation = self.child.as_ref()?.child.incarnation();
        Some(Input::Notified { incarnation, notices })
    }

    fn child_exited(&mut self) -> Option<Input> {
        let watched = self.child.as_mut()?;
        watched.leader = Leader::Dead;
        Some(Input::ChildExited {
            incarnation: watched.child.incarnation(),
        })
    }

    fn tree_gone(&mut self) -> Option<Input> {
        let watched = self.child.take()?;
        let incarnation = watched.child.incarnation();
        let remains = watched.child.bury();
        tracing::info!(%incarnation, "the agent's process {}", remains.status);
        Some(Input::TreeGone { incarnation, remains })
    }

    fn heard(&mut self, event: LinkEvent) -> Input {
        match event {
            LinkEvent::Opened(voice) => {
                self.voice = Some(voice);
                Input::LinkOpened
            }
            LinkEvent::Heard(ServerMessage::Welcome(welcome)) => Input::Welcomed(welcome),
            LinkEvent::Heard(ServerMessage::Acknowledge(through)) => Input::Acknowledged(through),
            LinkEvent::Heard(ServerMessage::Command(id, command)) => {
                tracing::debug!(?command, "ordered");
                Input::Commanded(id, command)
            }
            LinkEvent::Lost(fence) => {
                self.voice = None;
                match fence {
                    Fence::No => Input::LinkLost,
                    Fence::Starts => Input::ClaimDoubted,
                    Fence::Yes => Input::ClaimLost,
                }
            }
        }
    }

    /// Lets the last words go out: the shim's side of the stream ends, and the server ends its own when it has read
    /// all. So does what the agent wrote.
    async fn take_leave(mut self) {
        if let (Some(voice), Some(mut link)) = (self.voice.take(), self.link.take()) {
            drop(voice);
            let ended = async {
                while let Some(event) = link.events.recv().await {
                    match event {
                        LinkEvent::Lost(_) => return,
                        LinkEvent::Opened(_) | LinkEvent::Heard(_) => {}
                    }
                }
            };
            // What was lost is in the journal.
            let _ = tokio::time::timeout(LAST_WORDS_MAX, ended).await;
        }
        self.outputs.finish().await;
    }

    /// Ends the child of a shim that cannot go on, unless it is to live on.
    async fn abandon(self) {
        if let Some(watched) = &self.child
            && self.program.on_shim_exit == OnShimExit::Kill
        {
            let gone = watched.child.tree_gone(&self.tree, Force::Kill);
            // What is left is the next shim's to sweep.
            let _ = tokio::time::timeout(KILL_PROOF, gone).await;
        }
        self.outputs.finish().await;
    }
}
