//! How a child tells its bench that it lives: one datagram with the moment and the pid.
//!
//! The socket's name and the child's manners travel in the environment, which every supervisor hands on, so that all
//! of them run the very same program without a shell in between. Names are abstract (unix(7)): no path is too long.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_parent_process_death_signal};

use crate::clock::Moment;

/// Environment variable with the name of the bench's socket.
const SOCKET: &str = "FIRST_INSTRUCTION_SOCKET";
/// Environment variable that, when set, makes the child deaf to SIGTERM.
const DEAF: &str = "FIRST_INSTRUCTION_IGNORES_TERM";
/// Environment variable with the bench's pid.
const BENCH: &str = "FIRST_INSTRUCTION_BENCH";

/// How a child takes SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// Dies at once.
    Polite,
    /// Lives on; only SIGKILL ends it.
    Deaf,
}

/// A child that has begun.
#[derive(Debug)]
pub struct Birth {
    /// When its `main` began.
    pub at: Moment,
    /// Its process, held so that no other can be meant.
    process: OwnedFd,
}

impl Birth {
    /// Sends SIGKILL, or nothing where the child has ended.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGTERM, or nothing where the child has ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGUSR1, for which [`wait_for_go`] waits.
    pub fn go(&self) {
        self.signal(Signal::USR1);
    }

    /// Whether its process has ended: its pidfd is readable then (pidfd_open(2)).
    ///
    /// # Errors
    /// The kernel did not tell.
    pub fn has_ended(&self) -> anyhow::Result<bool> {
        let mut fds = [PollFd::new(&self.process, PollFlags::IN)];
        Ok(poll(&mut fds, Some(&Timespec::default()))? > 0)
    }

    fn signal(&self, signal: Signal) {
        // A process that has been reaped is as dead as it was to be.
        let _gone = pidfd_send_signal(&self.process, signal);
    }
}

/// When the last of these processes had ended.
///
/// # Errors
/// One lived on for `limit`, or the kernel did not tell.
pub fn all_dead(births: &[Birth], limit: Duration) -> anyhow::Result<Moment> {
    let asked = Moment::now();
    for birth in births {
        let left = limit.saturating_sub(Moment::now().since(asked));
        let mut fds = [PollFd::new(&birth.process, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec::try_from(left)?))? == 0 {
            bail!("a process outlived its end by {limit:?}");
        }
    }
    Ok(Moment::now())
}

/// Where the children of one supervisor announce themselves.
#[derive(Debug)]
pub struct Births {
    socket: UnixDatagram,
    name: String,
    manners: Manners,
}

impl Births {
    /// Opens a socket for children of these manners.
    ///
    /// # Errors
    /// The socket could not be made.
    pub fn open(manners: Manners) -> anyhow::Result<Self> {
        let name = format!("rekindle-bench-{}", uuid::Uuid::new_v4().simple());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        Ok(Self { socket, name, manners })
    }

    /// A command for a supervisor, whose children will announce themselves here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(SOCKET, &self.name);
        command.env(BENCH, std::process::id().to_string());
        match self.manners {
            Manners::Polite => command.env_remove(DEAF),
            Manners::Deaf => command.env(DEAF, "1"),
        };
        command
    }

    /// The name under which [`tell`] reaches it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first child that began after `moment`.
    ///
    /// # Errors
    /// None began within `limit` of `moment`, or what announced itself has ended already.
    pub fn next_after(&self, moment: Moment, limit: Duration) -> anyhow::Result<Birth> {
        let left = limit.saturating_sub(Moment::now().since(moment));
        self.next_within(moment, left)?
            .with_context(|| format!("no child began within {limit:?}"))
    }

    /// As [`Births::next_after`], of a child that may have ended by the time that it is heard: when it began.
    ///
    /// # Errors
    /// None began within `limit` of `moment`.
    pub fn next_moment(&self, moment: Moment, limit: Duration) -> anyhow::Result<Moment> {
        let left = limit.saturating_sub(Moment::now().since(moment));
        let heard = self.hear(moment, left)?;
        let (at, _pid) = heard.with_context(|| format!("no child began within {limit:?}"))?;
        Ok(at)
    }

    /// As [`Births::next_after`], `None` where there is none within `wait` from the present.
    ///
    /// # Errors
    /// What announced itself has ended already.
    pub fn next_within(&self, moment: Moment, wait: Duration) -> anyhow::Result<Option<Birth>> {
        let Some((at, pid)) = self.hear(moment, wait)? else {
            return Ok(None);
        };
        let process = pidfd_open(pid, PidfdFlags::empty()).context("a child ended as soon as it began")?;
        Ok(Some(Birth { at, process }))
    }

    fn hear(&self, moment: Moment, wait: Duration) -> anyhow::Result<Option<(Moment, Pid)>> {
        let asked = Moment::now();
        loop {
            let left = wait.saturating_sub(Moment::now().since(asked));
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let mut message = [0; 12];
            match self.socket.recv(&mut message) {
                Ok(12) => {}
                Ok(length) => bail!("a child announced itself with {length} bytes"),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(error).context("cannot hear of children"),
            }
            let (at, pid) = message.split_at(8);
            let at = Moment::from_nanos(u64::from_le_bytes(at.try_into().expect("split at 8")));
            if at <= moment {
                continue;
            }
            let pid = u32::from_le_bytes(pid.try_into().expect("12 less 8 bytes"));
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .context("a child has no pid")?;
            return Ok(Some((at, pid)));
        }
    }
}

/// The child's side: takes on the manners asked for, and tells the bench.
///
/// The child then dies with the process that started it, so that a bench that is interrupted leaves nothing behind.
///
/// # Errors
/// The environment names no socket, or nobody listens there.
pub fn announce(born: Moment) -> anyhow::Result<()> {
    take_on_manners()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    tell(&socket()?, born)
}

/// The child's side: takes SIGTERM as the environment says.
///
/// # Errors
/// The kernel refused.
pub fn take_on_manners() -> anyhow::Result<()> {
    match std::env::var_os(DEAF) {
        Some(_) => be_deaf(),
        None => Ok(()),
    }
}

/// The child's side: the name of the bench's socket.
///
/// # Errors
/// The environment names none.
pub fn socket() -> anyhow::Result<String> {
    of_the_bench(SOCKET)
}

/// Tells the bench of a moment, under this process's pid.
///
/// # Errors
/// Nobody listens there.
pub fn tell(socket: &str, moment: Moment) -> anyhow::Result<()> {
    let mut message = [0; 12];
    message[..8].copy_from_slice(&moment.nanos().to_le_bytes());
    message[8..].copy_from_slice(&std::process::id().to_le_bytes());
    UnixDatagram::unbound()?
        .send_to_addr(&message, &SocketAddr::from_abstract_name(socket)?)
        .context("the bench does not listen any more")?;
    Ok(())
}

/// The child's side: returns when the bench has ended. For children that may outlive their parents: so a bench that is
/// interrupted leaves none of these behind either.
///
/// # Errors
/// The environment does not tell who the bench is.
pub fn outlast_bench() -> anyhow::Result<()> {
    let pid = of_the_bench(BENCH)?;
    let pid = pid
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .context("the bench has no pid")?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(bench) => while poll(&mut [PollFd::new(&bench, PollFlags::IN)], None)? == 0 {},
        // It has ended.
        Err(Errno::SRCH) => {}
        Err(error) => return Err(error).context("cannot watch the bench"),
    }
    Ok(())
}

/// The child's side: makes SIGTERM wait.
///
/// # Errors
/// The kernel refused.
pub fn be_deaf() -> anyhow::Result<()> {
    block(NixSignal::SIGTERM).map(|_blocked| ())
}

/// The child's side: announces that it began, and waits until the bench sends it SIGUSR1.
///
/// # Errors
/// As [`announce`].
pub fn wait_for_go(born: Moment) -> anyhow::Result<()> {
    let go = block(NixSignal::SIGUSR1)?;
    announce(born)?;
    go.wait()?;
    Ok(())
}

/// A blocked signal waits, and SIGTERM that waits ends nobody.
fn block(signal: NixSignal) -> anyhow::Result<SigSet> {
    let mut blocked = SigSet::empty();
    blocked.add(signal);
    blocked.thread_block()?;
    Ok(blocked)
}

fn of_the_bench(variable: &str) -> anyhow::Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set: only rekindle-bench runs this"))
}

/// Whether this is a program that can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}
