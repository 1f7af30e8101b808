//! The notify socket of a child: where it and its descendants say `READY=1`, `WATCHDOG=1` and more (sd_notify(3)).
//!
//! Called by [`super::Child`]; the supervisor decides what follows from a notice. The socket's name is abstract
//! (unix(7)) and random, so that it has no path that could be too long, nothing to clean up, and no directory that a
//! child of another user could not enter. A process with a network namespace of its own does not reach it.
//!
//! # Who may speak
//!
//! The name is no secret: every process of the network namespace can read it in /proc/net/unix, and send. What counts
//! is what the kernel says of the sender. One that lives must be of the tree at that moment: descend from the shim, and
//! not be exempt from the tree.
//!
//! One that is dead and reaped has no ancestors any more, and is usual: `systemd-notify --no-block --ready` is over
//! before its datagram is read. Its word counts if it was root's or of the child's own user, and is dead for sure: by
//! its pidfd, or, before Linux 6.5, as no process has its pid. So a stranger of the same user who sends and dies at
//! once can pass for the agent, and say that it is ready, alive, busy or stopping. That user can stop, continue, kill
//! and, where ptrace(2) is allowed, rewrite the agent, and the shim beside it where both run as one: it gains nothing
//! that it did not have. Strangers of other users are not heard at all. A process of the tree that runs as a third user
//! must live until it is heard, as systemd-notify(1) does by default.
//!
//! `MAINPID=` names who is trusted for more than a word, so it must live in the tree, whoever says it.
//!
//! # Bounds
//!
//! The kernel holds net.unix.max_dgram_qlen datagrams; who sends more waits, or is refused, by its own choice
//! (`O_NONBLOCK`). [`TURN_MAX_DATAGRAMS`] are handled per [`TURN`], so that a flood costs little time and no memory;
//! of what is said in one turn the last word of each kind is told, and what a datagram says is never kept. A stranger's
//! flood costs as little, but the agent's own words wait among it, as they would before systemd's socket.

mod datagram;
mod message;
mod speaker;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem::discriminant;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as Unregistered};
use std::sync::Once;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rekindle_shim_core::Notice;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::want::is_want;
use crate::redaction::Redaction;

use datagram::{DATAGRAM_MAX_BYTES, Datagram, Sender};
use message::Line;
pub(super) use speaker::{Kin, Speakers};

/// The time in which a bounded number of datagrams is handled. Shorter than what a person or a watchdog notices.
const TURN: Duration = Duration::from_millis(100);

/// Most datagrams that are handled in a turn: more than agents have to say, at about 50 µs each, which are a walk up the
/// tree in /proc, a few percent of one processor.
const TURN_MAX_DATAGRAMS: u32 = 64;

/// Longest wait for the name of a socket whose shim has ended: the kernel closes the descriptors of the dead one after
/// the other, and the lock of the state directory may be free before the name is.
const FREE_MAX_WAIT: Duration = Duration::from_secs(1);

/// Time between two tries.
const FREE_LOOK: Duration = Duration::from_millis(5);

/// Where a child reaches its shim: `@rekindle/` and a random id, as `NOTIFY_SOCKET` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotifyName(Uuid);

impl NotifyName {
    /// Another one each time.
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// For who writes it down.
    pub(crate) fn uuid(self) -> Uuid {
        self.0
    }

    fn address(self) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(self.without_sign())
    }

    fn without_sign(self) -> String {
        format!("rekindle/{}", self.0.simple())
    }
}

impl From<Uuid> for NotifyName {
    /// Of what was written down.
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for NotifyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.without_sign())
    }
}

/// What one child and its descendants say.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    turn: Cell<Turn>,
    complaints: Complaints,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    began: Instant,
    handled: u32,
}

/// What is logged once per child, as who says it wrong once does so always.
#[derive(Debug)]
struct Complaints {
    stranger: Once,
    too_long: Once,
    unclear: Once,
    main: Once,
    want: Once,
}

impl NotifySocket {
    /// A socket of this name.
    ///
    /// # Errors
    /// When another one has it, or this process, or the host, is out of descriptors or memory.
    pub(super) fn bind(name: NotifyName) -> io::Result<Self> {
        Self::of(Unregistered::bind_addr(&name.address()?)?)
    }

    /// The socket that this process's program before has listened to.
    pub(super) fn resume(socket: OwnedFd) -> io::Result<Self> {
        Self::of(socket.into())
    }

    fn of(socket: Unregistered) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        // Where the kernel has none, a sender is known by its pid alone.
        let _ = datagram::pass_pidfd(socket.as_fd());
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            turn: Cell::new(Turn::begin()),
            complaints: Complaints {
                stranger: Once::new(),
                too_long: Once::new(),
                unclear: Once::new(),
                main: Once::new(),
                want: Once::new(),
            },
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The socket of a living child that was told this name; one that nobody knows where that is not to be had, which is
    /// told.
    ///
    /// # Errors
    /// When this process, or the host, is out of descriptors or memory.
    pub(super) async fn take_up(name: Option<NotifyName>) -> io::Result<Self> {
        let give_up = Instant::now() + FREE_MAX_WAIT;
        while let Some(name) = name {
            match Self::bind(name) {
                Ok(socket) => return Ok(socket),
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
                Err(_taken) if Instant::now() < give_up => sleep(FREE_LOOK).await,
                Err(_taken) => break,
            }
        }
        tracing::warn!("the notify socket of the agent's process cannot be had again; what it says is not heard");
        Self::bind(NotifyName::random())
    }

    /// Waits until something is said, and gives the last word of each kind, in the order in which they were said; texts
    /// are redacted. Can be dropped at any point, and called again: nothing is lost.
    pub(super) async fn notices(&self, speakers: Speakers<'_>, redaction: &Redaction) -> io::Result<Vec<Notice>> {
        loop {
            if let Some(end) = self.turn.get().rest() {
                sleep_until(end).await;
            }
            self.socket.readable().await?;
            match self.listen(speakers, redaction) {
                Ok(said) if said.0.is_empty() => {}
                Ok(said) => return Ok(said.0),
                Err(error) if is_want(&error) => {
                    self.complaints.of_want(&error);
                    sleep(TURN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Handles what is there, as far as the turn allows.
    fn listen(&self, speakers: Speakers<'_>, redaction: &Redaction) -> io::Result<Said> {
        let mut said = Said::default();
        let mut turn = self.turn.get().or_next();
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        while turn.rest().is_none() {
            let socket = self.socket.as_fd();
            let received = self
                .socket
                .try_io(Interest::READABLE, || datagram::receive(socket, &mut buffer));
            match received {
                Ok(datagram) => self.hear(&datagram, speakers, redaction, &mut said),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            turn.handled += 1;
        }
        self.turn.set(turn);
        Ok(said)
    }

    fn hear(&self, datagram: &Datagram<'_>, speakers: Speakers<'_>, redaction: &Redaction, said: &mut Said) {
        let sender = &datagram.sender;
        if !speakers.admit(sender) {
            return self.complaints.of_stranger(sender);
        }
        let Some(bytes) = datagram.bytes else {
            return self.complaints.of_length(sender);
        };
        for line in message::lines(bytes, redaction) {
            match line {
                Line::Notice(notice) => said.add(notice),
                Line::Main(pid) => match speakers.identify(pid) {
                    Some(process) => said.add(Notice::Main(process)),
                    None => self.complaints.of_main(sender, pid.as_raw_pid()),
                },
                Line::Unclear(name) => self.complaints.of_unclear(sender, name),
            }
        }
    }
}

impl Turn {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            handled: 0,
        }
    }

    fn end(self) -> Instant {
        self.began + TURN
    }

    /// This one, or the next when it is over.
    fn or_next(self) -> Self {
        if Instant::now() < self.end() {
            self
        } else {
            Self::begin()
        }
    }

    /// When the next turn begins, where nothing more is handled in this one.
    fn rest(self) -> Option<Instant> {
        (self.handled >= TURN_MAX_DATAGRAMS).then_some(self.end())
    }
}

/// The last notice of each kind.
#[derive(Debug, Default)]
struct Said(Vec<Notice>);

impl Said {
    fn add(&mut self, notice: Notice) {
        self.0.retain(|earlier| discriminant(earlier) != discriminant(&notice));
        self.0.push(notice);
    }
}

impl Complaints {
    fn of_stranger(&self, sender: &Sender) {
        self.stranger.call_once(|| {
            tracing::warn!(
                pid = pid(sender),
                uid = sender.uid,
                "a notification was dropped, as its sender is not of the agent's tree; so will be others, untold"
            );
        });
    }

    fn of_length(&self, sender: &Sender) {
        self.too_long.call_once(|| {
            tracing::warn!(
                pid = pid(sender),
                "a notification was dropped, as it is longer than {DATAGRAM_MAX_BYTES} bytes; so will be others, untold"
            );
        });
    }

    fn of_unclear(&self, sender: &Sender, name: &str) {
        self.unclear.call_once(|| {
            tracing::warn!(
                pid = pid(sender),
                "the {name}= of a notification was ignored, as its value has no meaning there; see sd_notify(3)"
            );
        });
    }

    fn of_want(&self, error: &io::Error) {
        self.want.call_once(|| {
            tracing::warn!(%error, "what the agent says waits, as the shim cannot receive it; so it may again, untold");
        });
    }

    fn of_main(&self, sender: &Sender, main: i32) {
        self.main.call_once(|| {
            tracing::warn!(
                pid = pid(sender),
                "MAINPID={main} was ignored, as no living process of the agent's tree has this pid"
            );
        });
    }
}

/// Zero stands for a process outside of this pid namespace, as in credentials (unix(7)).
fn pid(sender: &Sender) -> i32 {
    sender.pid.map_or(0, rustix::process::Pid::as_raw_pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_each_kind_counts() {
        let mut said = Said::default();
        for notice in [
            Notice::Status("a".to_owned()),
            Notice::Ready,
            Notice::Ping,
            Notice::Status("b".to_owned()),
            Notice::Ping,
        ] {
            said.add(notice);
        }
        assert_eq!(said.0, [Notice::Ready, Notice::Status("b".to_owned()), Notice::Ping]);
    }

    #[test]
    fn names_are_random_and_short() {
        let (one, other) = (NotifyName::random(), NotifyName::random());
        assert_ne!(one, other);
        let name = one.to_string();
        assert!(name.starts_with("@rekindle/") && name.len() == 42, "{name}");
        assert!(one.address().is_ok());
    }
}
