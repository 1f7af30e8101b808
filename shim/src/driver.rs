//! The driver: gives the supervisor its facts, writes its journal, and carries its orders out.
//!
//! One rule: what an outcome persists is written before what it wants is done. A journal that cannot be written ends
//! the shim, and the child with it, unless that is to outlive it.

mod carry_out;
mod checkpoint_command;
mod children;
mod followers;
mod inherit;
mod put_off;
mod remarks;
mod resume;
mod start;
mod state_files;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::AttemptId;
use rekindle::id::{BootId, Incarnation};
use rekindle::session::ServerMessage;
use rekindle_shim_core::{
    Effect, Input, NotWritten, Notice, OnShimExit, Outcome, Outlives, Remains, Supervisor, TreeId,
};
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use crate::clock;
use crate::config::TellLaunch;
use crate::itself::Itself;
use crate::link::{Link, LinkEvent, Voice};
use crate::process::{
    Answered, Buried, CheckpointCommand, ChildsOwn, Force, Leftovers, NotFed, Outputs, Program, Tree,
};
use crate::redaction::Redaction;
use crate::refusal::Fence;
use crate::socket::Socket;
use crate::state_dir::{StateDir, Writer};
use crate::state_file::{News as FileNews, StateFiles};

use children::{Children, News};
use followers::Followers;
use put_off::{PutOff, Wanted};
use remarks::Remarks;
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
    children: Children,
    /// What a sweep could not end.
    leftovers: Leftovers,
    /// The agent's.
    socket: Socket,
    state_files: StateFiles,
    /// What saves before a planned end, and the one that does.
    checkpoint_command: Option<OsString>,
    saving: Option<CheckpointCommand>,
    /// What it saves, on its way to the disk.
    checkpoints: Writer,
    /// Those of whose output the server is told while they run.
    followers: Followers,
    /// How far agents say that they are.
    remarks: Remarks,
    /// What is left of those who are buried, and is not told yet.
    buried: JoinSet<(TreeId, Remains, Vec<Answered>)>,
    link: Option<Link>,
    voice: Option<Voice>,
    /// What is to be tried again.
    put_off: PutOff,
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

/// What woke the driver.
enum Woken {
    StopRequested,
    UpgradeRequested,
    OfChild(News),
    SomeChildDied,
    LeftoversDied,
    Link(LinkEvent),
    Deadline,
    TryAgain(Box<Wanted>),
    Buried(TreeId, Remains, Vec<Answered>),
    Answered(Answered),
    NotFed(AttemptId, NotFed),
    Asked(Input),
    StateFile(FileNews),
    CheckpointWritten(CheckpointId, Result<(), NotWritten>),
    CheckpointCommandDied,
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
            // It names all that go on.
            let held = &journal.attempts;
            self.remarks.keep(|kept| held.iter().any(|held| held.attempt == *kept));
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
                Woken::OfChild(news) => self.learn(news),
                Woken::SomeChildDied => {
                    self.reap();
                    None
                }
                Woken::TryAgain(wanted) => {
                    match *wanted {
                        Wanted::Effect(effect) => self.carry_out(effect).await?,
                        Wanted::Socket => self.reopen_socket()?,
                    }
                    None
                }
                Woken::LeftoversDied => {
                    self.sweep_again().await?;
                    None
                }
                Woken::Link(event) => self.heard(event),
                Woken::Deadline => Some(Input::Tick),
                Woken::Buried(tree, remains, answers) => {
                    // What it has said before its end is heard before that.
                    self.facts.extend(answers.into_iter().map(said));
                    self.facts.push_back(tree_gone(tree, remains));
                    None
                }
                Woken::Answered(answer) => Some(said(answer)),
                Woken::NotFed(attempt, why) => Some(not_fed(attempt, why)),
                Woken::Asked(fact) => Some(fact),
                Woken::StateFile(news) => self.hear_of_file(news),
                Woken::CheckpointWritten(id, result) => Some(checkpoint_written(id, result)),
                Woken::CheckpointCommandDied => self.bury_checkpoint_command(),
            };
            if let Some(fact) = fact {
                return Ok(fact);
            }
        }
    }

    /// Waits for something to happen. What concerns the children goes first.
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
        let saving = async {
            match &self.saving {
                Some(command) => command.exited().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = told_to_stop => Ok(Woken::StopRequested),
            _ = upgrade.recv() => Ok(Woken::UpgradeRequested),
            // It cannot hold the others up: there are so many children, each ends once, and may say so much at a time.
            news = self.children.news(&self.tree) => news.map(Woken::OfChild).map_err(StartError::Processes),
            Some(Ok((tree, remains, answers))) = self.buried.join_next() => Ok(Woken::Buried(tree, remains, answers)),
            ended = saving => ended.map(|()| Woken::CheckpointCommandDied).map_err(StartError::Processes),
            () = deadline => Ok(Woken::Deadline),
            wanted = self.put_off.due() => Ok(Woken::TryAgain(Box::new(wanted))),
            _ = sigchld.recv() => Ok(Woken::SomeChildDied),
            dead = self.leftovers.dead(), if !self.leftovers.is_empty() => {
                dead.map(|()| Woken::LeftoversDied).map_err(StartError::Processes)
            }
            event = heard => Ok(Woken::Link(event.unwrap_or(LinkEvent::Lost(Fence::No)))),
            // One save of each is under way at a time.
            news = self.state_files.news() => Ok(Woken::StateFile(news)),
            (id, result) = self.checkpoints.written() => Ok(Woken::CheckpointWritten(id, result)),
            // Who asks and answers without end waits for all others.
            asked = self.socket.requests.next() => Ok(Woken::Asked(asked)),
            (attempt, why) = self.children.unfed() => Ok(Woken::NotFed(attempt, why)),
            answer = self.children.answer() => Ok(Woken::Answered(answer)),
        }
    }

    /// What follows from what a child did.
    fn learn(&mut self, news: News) -> Option<Input> {
        match news {
            News::Noticed(incarnation, notices) => Some(noticed(incarnation, notices)),
            News::Exited(tree) => {
                self.children.exited(&tree);
                Some(Input::ChildExited { tree })
            }
            News::Gone(tree) => self.bury(tree),
            News::Unseen(tree, error) => {
                if let Some(force) = self.children.rest(&tree) {
                    let effect = match force {
                        Force::Kill => Effect::KillTree { tree },
                        Force::None => Effect::AwaitTree { tree },
                    };
                    self.put_off.again(effect, &error);
                }
                None
            }
        }
    }

    /// Those who have lost their parents, and are dead. Who cannot be seen at this moment is taken with the next that dies.
    fn reap(&self) {
        if let Err(error) = self.tree.reap() {
            tracing::debug!(%error, "cannot look for the dead among the agent's processes");
        }
    }

    /// What is left of a tree, once all is known. Those who watch are told before.
    fn bury(&mut self, tree: TreeId) -> Option<Input> {
        self.put_off.done(Effect::KillTree { tree: tree.clone() });
        self.put_off.done(Effect::AwaitTree { tree: tree.clone() });
        if let Some(stillborn) = self.children.remove_stillborn(&tree) {
            return Some(self.not_born(tree, &stillborn.bury()));
        }
        let follower = self.followers.remove(&tree);
        let child = self.children.remove(&tree)?;
        // What it has saved is heard before its end.
        if self.saving.as_ref().is_some_and(|command| command.is_of(&tree)) {
            let done = self.bury_checkpoint_command();
            self.facts.extend(done);
        }
        self.end_state_file(&tree);
        match child.bury() {
            Buried::Whole(remains) => {
                self.facts.push_back(tree_gone(tree, remains));
                None
            }
            Buried::UnderWay(remains) => {
                self.buried.spawn(async {
                    if let Some(follower) = follower {
                        follower.end(&remains).await;
                    }
                    let (remains, answers) = remains.whole().await;
                    (tree, remains, answers)
                });
                None
            }
        }
    }

    fn heard(&mut self, event: LinkEvent) -> Option<Input> {
        Some(match event {
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
            LinkEvent::Heard(ServerMessage::CheckpointKept(kept)) => {
                if let Some(why) = &kept.refused {
                    tracing::warn!(checkpoint = %kept.id, why, "the server does not keep a checkpoint");
                }
                Input::CheckpointAnswered(kept)
            }
            LinkEvent::Heard(ServerMessage::Follow(follow)) => {
                if let Some(voice) = &self.voice {
                    let tree = TreeId::Attempt(follow.attempt.clone());
                    match self.children.get(&tree) {
                        Some(child) => self.followers.follow(follow, voice.aside(), || child.reader()),
                        None if self.holds(&follow.attempt) => self.remarks.follow(follow, voice.aside()),
                        None => {}
                    }
                }
                return None;
            }
            LinkEvent::Lost(fence) => {
                self.voice = None;
                match fence {
                    Fence::No => Input::LinkLost,
                    Fence::Starts => Input::ClaimDoubted,
                    Fence::Yes => Input::ClaimLost,
                }
            }
        })
    }

    /// Whether an attempt goes on.
    fn holds(&self, attempt: &AttemptId) -> bool {
        let held = &self.supervisor.journal().attempts;
        held.iter().any(|held| held.attempt == *attempt)
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
        self.state_files.close();
        self.socket.close().await;
        self.outputs.finish().await;
    }

    /// Ends the children of a shim that cannot go on, unless they are to live on.
    async fn abandon(self) {
        match self.program.on_shim_exit {
            OnShimExit::Kill => self.children.kill(&self.tree).await,
            OnShimExit::Keep => {}
        }
        self.outputs.finish().await;
    }
}

fn checkpoint_written(id: CheckpointId, result: Result<(), NotWritten>) -> Input {
    match &result {
        Ok(()) => tracing::debug!(checkpoint = %id, "saved"),
        Err(why) => {
            tracing::error!(checkpoint = %id, why = why.message, "a checkpoint is not saved; the one before it is whole")
        }
    }
    Input::CheckpointWritten { id, result }
}

fn tree_gone(tree: TreeId, remains: Remains) -> Input {
    tracing::info!(%tree, "the agent's process {}", remains.status);
    Input::TreeGone { tree, remains }
}

fn said((about, word): Answered) -> Input {
    Input::WorkSaid {
        request: None,
        about,
        word,
    }
}

fn not_fed(attempt: AttemptId, why: NotFed) -> Input {
    tracing::warn!(execution = %attempt, "the agent cannot be given a message: {why}");
    let message = why.to_string();
    Input::FeedFailed { attempt, message }
}

fn noticed(incarnation: Incarnation, notices: Vec<Notice>) -> Input {
    tracing::debug!(?notices, "the agent says");
    Input::Notified { incarnation, notices }
}
