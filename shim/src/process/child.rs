//! One of the agent's processes, that of a life or that which is run for a message, from its spawn, or its adoption, to
//! its last line.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rekindle::execution::{AttemptId, Delivery, Output as MessageOutput};
use rekindle::exit::ExitStatus;
use rekindle::id::{BootId, Incarnation, Marker};
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rekindle_shim_core::{About, Notice, Remains, Sample, TreeId, Word};
use rustix::process::{Pid, Signal};

use super::cgroup::{Group, Groups};
use super::feed::{Feed, NotFed};
use super::handover::ChildsOwn;
use super::inherited::{self, Inherited};
use super::notify::{Kin, NotifyName, NotifySocket, Speakers};
use super::oom::Kills;
use super::output::{Ends, LastWords, Output, Outputs, Pause, Progress, Reader, Stdout, Unheard, Unredacted};
use super::pidfd::{Pidfd, Watched};
use super::reap::Death;
use super::spawn::{self, Birth, Program, Purpose, SpawnError};
use super::tree::{Force, Root, Tree};
use super::want::check_spare;
use super::{identity, reap};

/// A child that lives, or is not buried. Dropping it ends nothing.
#[derive(Debug)]
pub(crate) struct Child {
    tree: TreeId,
    pid: Pid,
    pidfd: Watched,
    process: ProcessIdentity,
    origin: Origin,
    /// What the shim has sent it of SIGKILL while it lived.
    killed: Cell<Force>,
    /// Those for want of memory in its life.
    kills: Option<Kills>,
    output: Output,
    /// Of a life.
    notify: Option<NotifySocket>,
    /// Where it reads messages from.
    feed: Option<Feed>,
}

/// What a child that is about to be spawned is connected with the shim by.
struct Connections {
    output: Output,
    ends: Ends,
    stdin: OwnedFd,
    feed: Option<Feed>,
    notify: Option<NotifySocket>,
}

/// What a child says of an attempt.
pub(crate) type Answered = (About, Word);

/// Why there is no child.
#[derive(Debug)]
pub(crate) enum NoChild {
    /// Nothing of it lives.
    NotRun(SpawnError),
    /// The program runs, and cannot be watched.
    Unwatched(Stillborn),
}

/// A program that runs and must not, as it cannot be watched.
#[derive(Debug)]
pub(crate) struct Stillborn {
    root: Rc<Root>,
    error: SpawnError,
}

/// What is left of a child.
#[derive(Debug)]
pub(crate) enum Buried {
    Whole(Remains),
    /// Of one that was run for a message, or that reads messages.
    UnderWay(UnderWay),
}

/// What is left of a child of which what it wrote is not redacted yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    remains: Remains,
    output: Option<Unredacted>,
    unheard: Unheard,
}

/// What connects a child with the shim that adopts it.
#[derive(Debug)]
pub(crate) enum Left {
    /// This process's program before has left all of it.
    Descriptors(Box<ChildsOwn<OwnedFd>>),
    /// The shim that spawned it is gone; this is the name of its notify socket, if that is known.
    Name(Option<NotifyName>),
}

/// Where a child comes from.
#[derive(Debug)]
enum Origin {
    /// This process, which alone can reap it.
    Spawned(Rc<Root>),
    /// An earlier shim.
    Adopted(Inherited),
}

impl Child {
    /// Runs the program, which hears of `notify`; returns once its exec has succeeded or failed. Only for the main
    /// thread: the child dies with the thread that spawns it.
    ///
    /// # Errors
    /// Where there is no child, or none that can be watched.
    pub(crate) fn spawn(
        program: &Program,
        birth: &Birth,
        boot_id: BootId,
        outputs: &mut Outputs,
        tree: &Tree,
    ) -> Result<Self, NoChild> {
        let connections =
            Connections::open(program, birth, outputs).map_err(|source| SpawnError::new(program, source))?;
        let Connections {
            output,
            ends,
            stdin,
            feed,
            notify,
        } = connections;
        let group = tree.group(&birth.tree());
        let kills = Kills::from_here_on(group.as_ref());
        let pid = spawn::spawn(program, birth, stdin, ends, group.as_ref())?;
        let group = group.filter(|group| entered(group, pid));
        let root = tree.plant(Root::new(birth.tree(), pid, group, birth.marks()));
        match Self::know(pid, boot_id) {
            Ok((pidfd, process)) => Ok(Self {
                tree: birth.tree(),
                pid,
                pidfd,
                process,
                origin: Origin::Spawned(root),
                killed: Cell::new(Force::None),
                kills,
                output,
                notify,
                feed,
            }),
            Err(source) => {
                // Without a descriptor there is no way to watch it: nobody must find it running.
                Err(NoChild::Unwatched(Stillborn::of(
                    root,
                    SpawnError::new(program, source),
                )))
            }
        }
    }

    fn know(pid: Pid, boot_id: BootId) -> io::Result<(Watched, ProcessIdentity)> {
        let pidfd = Pidfd::open(pid)?;
        let process = identity::of_child(pid, &pidfd, boot_id)?;
        Ok((pidfd.watch()?, process))
    }

    /// Takes up the child of an earlier shim, or of this process's program before; `None` when there is none of this
    /// identity any more. The boot is the caller's to compare. It says what it says to what was `left`, and writes to it.
    ///
    /// # Errors
    /// Where it cannot be watched.
    pub(crate) async fn adopt(
        incarnation: Incarnation,
        process: &ProcessIdentity,
        marker: Marker,
        left: Left,
        outputs: &mut Outputs,
        tree: &Tree,
    ) -> io::Result<Option<Self>> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let (Some(pid), Some(pidfd)) = (pid, identity::find_marked(process, marker)?) else {
            return Ok(None);
        };
        let group = Groups::of(marker, incarnation, pid)?;
        let kills = Kills::from_here_on(group.as_ref());
        let origin = if reap::is_child(pid)? {
            let life = TreeId::Life(incarnation);
            Origin::Spawned(tree.plant(Root::new(life, pid, group, Vec::new())))
        } else {
            Origin::Adopted(Inherited::of(marker, process.clone(), group)?)
        };
        let (notify, streams, stdin) = match left {
            Left::Descriptors(own) => (NotifySocket::resume(own.notify)?, own.streams, own.stdin),
            Left::Name(name) => (NotifySocket::take_up(name).await?, None, None),
        };
        Ok(Some(Self {
            tree: TreeId::Life(incarnation),
            pid,
            pidfd: pidfd.watch()?,
            process: process.clone(),
            origin,
            killed: Cell::new(Force::None),
            kills,
            output: match streams {
                Some(streams) => outputs.resume(streams)?,
                None => outputs.take_up(),
            },
            notify: Some(notify),
            feed: stdin.map(Feed::start).transpose()?,
        }))
    }

    /// What the next program of this process needs to go on with it; `None` of a process that was run for a message, with
    /// which none can go on.
    pub(crate) fn so_far(&self) -> Option<ChildsOwn<BorrowedFd<'_>>> {
        match (&self.tree, &self.notify) {
            (TreeId::Life(incarnation), Some(notify)) => Some(ChildsOwn {
                incarnation: *incarnation,
                notify: notify.as_fd(),
                streams: self.output.so_far(),
                stdin: self.feed.as_ref().map(Feed::as_fd),
            }),
            (TreeId::Life(_) | TreeId::Attempt(_), _) => None,
        }
    }

    /// Whose its tree is.
    pub(crate) const fn tree(&self) -> &TreeId {
        &self.tree
    }

    /// Who it is.
    pub(crate) const fn process(&self) -> &ProcessIdentity {
        &self.process
    }

    /// Its pid. Of one that was spawned it names nobody else before [`Child::bury`].
    #[cfg(test)]
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns as soon as the child itself is dead.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.pidfd.dead().await
    }

    /// Waits until the child or another process of its tree says something. Never empty; of each kind the last word. Can
    /// be dropped at any point, and called again.
    pub(crate) async fn notices(&self, tree: &Tree) -> io::Result<Vec<Notice>> {
        let Some(notify) = &self.notify else {
            return std::future::pending().await;
        };
        let speakers = Speakers {
            leader: self.pid,
            kin: match &self.origin {
                Origin::Spawned(_) => Kin::Descent(tree),
                Origin::Adopted(inherited) => Kin::Marks(inherited.hunt()),
            },
            boot_id: self.process.boot_id,
        };
        notify.notices(speakers, self.output.redaction()).await
    }

    /// Waits until the child answers a message that it has read. Can be dropped at any point, and called again.
    pub(crate) async fn answer(&self) -> Answered {
        self.output.answer().await
    }

    /// One who reads along what the child writes for its message, where it is run for one and writes through the shim.
    pub(crate) fn reader(&self) -> Option<Reader> {
        self.output.reader()
    }

    /// Gives a message to a child that reads them. That it is written is not sure by that: see [`Child::unfed`].
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn feed(&self, attempt: &AttemptId, message: &str, timeout: Duration) -> Result<(), NotFed> {
        let feed = self.feed.as_ref().ok_or(NotFed::NoWay)?;
        feed.give(attempt, message, timeout)
    }

    /// Waits until a message that the child was given turns out not to be written, and not to be any more. Can be dropped at
    /// any point, and called again.
    pub(crate) async fn unfed(&self) -> (AttemptId, NotFed) {
        match &self.feed {
            Some(feed) => feed.unwritten().await,
            None => std::future::pending().await,
        }
    }

    /// What the child's tree has used and written so far.
    pub(crate) fn sample(&self, tree: &Tree) -> io::Result<Sample> {
        let group_cpu = self.group().and_then(Group::cpu_usage);
        let output_bytes = self.output.written_bytes();
        match &self.origin {
            Origin::Spawned(_) => tree.sample(output_bytes, group_cpu),
            Origin::Adopted(inherited) => tree.sample_of(inherited.pids()?, output_bytes, group_cpu),
        }
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.note(signal);
        self.pidfd.pidfd().signal(signal)
    }

    /// Sends a signal to the child's whole tree.
    pub(crate) fn signal_tree(&self, tree: &Tree, signal: Signal) -> io::Result<()> {
        self.note(signal);
        match &self.origin {
            Origin::Spawned(root) => tree.signal(root, signal),
            Origin::Adopted(inherited) => inherited.signal(signal),
        }
    }

    /// Returns when nothing of the child's tree lives. Can be dropped at any point, and called again.
    pub(crate) async fn tree_gone(&self, tree: &Tree, force: Force) -> io::Result<()> {
        match force {
            Force::Kill => self.note(Signal::KILL),
            Force::None => {}
        }
        match &self.origin {
            Origin::Spawned(root) => tree.gone(root, force).await,
            Origin::Adopted(inherited) => inherited.gone(force, self.pidfd.pidfd()).await,
        }
    }

    /// Names what lives of the child's tree.
    pub(crate) fn survivors(&self, tree: &Tree) -> io::Result<Vec<Survivor>> {
        match &self.origin {
            Origin::Spawned(root) => tree.survivors(root),
            Origin::Adopted(inherited) => inherited.survivors(),
        }
    }

    /// Before a signal is sent: whether it may be what ends the child.
    fn note(&self, signal: Signal) {
        if signal == Signal::KILL && !self.pidfd.pidfd().is_dead() {
            self.killed.set(Force::Kill);
        }
    }

    pub(super) fn group(&self) -> Option<&Group> {
        match &self.origin {
            Origin::Spawned(root) => root.group.as_ref(),
            Origin::Adopted(inherited) => inherited.group(),
        }
    }

    /// Reaps the child, where that is this process's to do, and tells what is left of it. The child and its tree are
    /// dead; others of the tree who died are reaped by [`Tree::reap`].
    pub(crate) fn bury(self) -> Buried {
        let LastWords {
            stdout_tail,
            stderr_tail,
            output,
            unheard,
        } = self.output.finish();
        let death = match &self.origin {
            Origin::Spawned(_) => reap::bury(self.pid),
            Origin::Adopted(_) => Death::of_stranger(inherited::exit_status(self.pidfd.pidfd())),
        };
        let sigkill = match death.status {
            ExitStatus::Signaled { signal, .. } => signal == Signal::KILL.as_raw(),
            ExitStatus::Exited(_) | ExitStatus::Unknown => false,
        };
        let oom_killed = sigkill && self.killed.get() == Force::None && self.kills.as_ref().is_some_and(Kills::any);
        let remains = Remains {
            status: death.status,
            oom_killed,
            user_time: death.user_time,
            system_time: death.system_time,
            max_rss_kib: death.max_rss_kib,
            stderr_tail,
            stdout_tail,
            output: MessageOutput::default(),
        };
        match output {
            None if unheard.is_empty() => Buried::Whole(remains),
            output => Buried::UnderWay(UnderWay {
                remains,
                output,
                unheard,
            }),
        }
    }
}

impl From<SpawnError> for NoChild {
    fn from(error: SpawnError) -> Self {
        Self::NotRun(error)
    }
}

impl Stillborn {
    /// What has grown from this root; why it cannot be watched.
    pub(super) const fn of(root: Rc<Root>, error: SpawnError) -> Self {
        Self { root, error }
    }

    /// Whose its tree is.
    pub(crate) fn tree(&self) -> &TreeId {
        &self.root.tree
    }

    /// Sends SIGKILL to its process group, which takes no descriptor.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.root.kill_process_group()
    }

    /// Ends its tree; returns when nothing of it lives. Can be dropped at any point, and called again.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub(crate) async fn gone(&self, tree: &Tree) -> io::Result<()> {
        self.kill()?;
        tree.gone(&self.root, Force::Kill).await
    }

    /// Reaps it, once nothing of it lives, and says why it could not be watched.
    pub(crate) fn bury(self) -> SpawnError {
        reap::bury(self.root.leader);
        self.error
    }
}

impl UnderWay {
    /// Has one who has read along go on with what is left of the output.
    pub(crate) async fn read_by(&self, reader: &mut Reader) -> Progress {
        match &self.output {
            Some(output) => reader.read_rest(output).await,
            None => Progress::End,
        }
    }

    /// All of it, and what it has answered last, once that is redacted. Others have their turn in between.
    pub(crate) async fn whole(self) -> (Remains, Vec<Answered>) {
        let output = match self.output {
            Some(output) => output.redacted().await,
            None => MessageOutput::default(),
        };
        let answers = self.unheard.redacted().await;
        (Remains { output, ..self.remains }, answers)
    }
}

impl Connections {
    fn open(program: &Program, birth: &Birth, outputs: &mut Outputs) -> io::Result<Self> {
        let stdout = match (&birth.purpose, program.delivery) {
            (Purpose::Attempt { .. }, _) => Stdout::Output,
            (Purpose::Life { .. }, Delivery::Stdin) => Stdout::Answers,
            (Purpose::Life { .. }, Delivery::None | Delivery::PerMessage | Delivery::Pull)
            | (Purpose::CheckpointCommand, _) => Stdout::Lines,
        };
        let (output, ends) = outputs.open(stdout)?;
        let (stdin, feed) = spawn::stdin(program, birth)?;
        check_spare()?;
        Ok(Self {
            output,
            ends,
            stdin,
            feed: feed.map(Feed::start).transpose()?,
            notify: match &birth.purpose {
                Purpose::Life { notify, .. } => Some(NotifySocket::bind(*notify)?),
                Purpose::Attempt { .. } | Purpose::CheckpointCommand => None,
            },
        })
    }
}

/// Whether the child was let into its group; it is told where not.
fn entered(group: &Group, pid: Pid) -> bool {
    let inside = group.holds(pid);
    if !inside {
        let group = group.dir().display();
        tracing::warn!(pid = pid.as_raw_pid(), %group, "the agent's process could not enter its cgroup");
    }
    inside
}

impl Outputs {
    /// As [`Outputs::pause`], of this child if there is one, and with what it was given to read; `None` where that took
    /// longer than `limit`.
    pub(crate) async fn paused(&mut self, child: Option<&Child>, limit: Duration) -> Option<Vec<Pause>> {
        let pause = async {
            if let Some(feed) = child.and_then(|child| child.feed.as_ref()) {
                feed.written().await;
            }
            self.pause(child.map(|child| &child.output)).await
        };
        tokio::time::timeout(limit, pause).await.ok()
    }
}
