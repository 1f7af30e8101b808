//! The agent's side of the shim: a gRPC server on a Unix socket, which `REKINDLE_SOCKET` names in the environment of
//! every child. The protocol is `proto/rekindle/agent/v1`.
//!
//! Called by the driver, which selects on [`Requests::next`] for what the agent asks and says, and tells [`Requests`]
//! what the supervisor decides. Nothing is decided here: what cannot be is refused, all else goes to the supervisor.
//!
//! ```text
//!  program ──> listener ──> gate ──> service ──call──> Requests ──Input──> driver
//!               who may      whole      parsed           │  ▲
//!               speak        requests                    │  └── give, answer
//!                                          <──reply──────┘
//! ```
//!
//! # Invariants
//!
//! - An attempt that was given, and did not get as far as the caller's connection, comes back as `GiveFailed`, whatever
//!   has become of the caller: it travels with a [`requests::Receipt`], which says so unless it was signed.
//! - An ask that is over before it was answered is withdrawn, each by itself or all by the upgrade that has turned them
//!   away. No ask is both withdrawn and given.
//! - What one caller does costs bounded memory, and no other caller's turn: see [`listener`] and [`gate`].

mod checkpoints;
mod gate;
mod listener;
mod place;
mod requests;
mod service;
mod status;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekindle::id::AgentId;
use rustix::process::{Uid, geteuid};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::process::{Account, is_want};
use crate::redaction::Redaction;

use checkpoints::Checkpoints;
use gate::Gate;
use listener::Peers;
use place::{Bases, Place};
use service::Service;

pub(crate) use requests::{CheckpointWord, Requests};
pub(crate) use status::checkpoint_refused;

/// Longest time for the last answers to go out: they are small, and their callers local.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(200);

/// Open for as long as this lives; then its file is gone too.
#[derive(Debug)]
pub(crate) struct Socket {
    /// What comes in, and how it is answered.
    pub(crate) requests: Requests,
    serving: Serving,
    place: Place,
    peers: Peers,
    gate: Gate,
}

/// The task that serves. Ends with this, and every connection with it.
#[derive(Debug)]
struct Serving {
    /// The only one, until its end was seen.
    task: JoinSet<()>,
    /// Dropped to have no more accepted, and each connection end when its answers are out.
    open: Option<watch::Sender<()>>,
}

impl Serving {
    /// Accepts none from here on, and returns when each connection has ended. Can be dropped at any point, and called again.
    async fn drain(&mut self) {
        self.open = None;
        // One that has panicked serves nobody either.
        let _ = self.task.join_next().await;
    }
}

/// Has a task serve there.
fn serve(place: &Place, peers: &Peers, gate: &Gate) -> Result<Serving, SocketError> {
    let failed = |source| SocketError::Open {
        path: place.socket().to_owned(),
        source,
    };
    let listener = place.bind().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let (open, ending) = watch::channel(());
    let mut task = JoinSet::new();
    task.spawn(listener::serve(listener, peers.clone(), gate.clone(), ending));
    Ok(Serving { task, open: Some(open) })
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("cannot open the agent's socket {}; check that its directory can be written, or choose another --state-dir", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "the agent's socket finds no place: paths of sockets have at most {} bytes, and {} is longer; choose a shorter \
         --state-dir",
        place::PATH_MAX_BYTES, .0.display()
    )]
    TooLong(PathBuf),
    #[error("cannot make a directory for the agent's socket in {}; choose a shorter --state-dir, or make it writable", path.display())]
    Directory { path: PathBuf, source: io::Error },
}

impl SocketError {
    /// What is to be had again, maybe, where there is no socket for want of it.
    pub(crate) fn want(&self) -> Option<&io::Error> {
        match self {
            Self::Open { source, .. } | Self::Directory { source, .. } => Some(source).filter(|source| is_want(source)),
            Self::TooLong(_) => None,
        }
    }
}

impl Socket {
    /// Opens the socket of `agent`, whose state is in `state_dir`; nobody else may use that directory meanwhile. A
    /// leftover of a dead shim is replaced, and has the same path again where that can be: a child that lives on knows it.
    ///
    /// Children run as `account`, where that is not the shim's own. `redaction` is applied to what goes on to the server. To
    /// be called in the runtime that serves.
    ///
    /// # Errors
    /// When the host gives no place for it.
    pub(crate) fn open(
        state_dir: &Path,
        agent: AgentId,
        account: Option<&Account>,
        redaction: Arc<Redaction>,
    ) -> Result<Self, SocketError> {
        let child = account.and_then(Account::user);
        Self::open_in(state_dir, &Bases::of_this_host(), agent, child, redaction)
    }

    fn open_in(
        state_dir: &Path,
        bases: &Bases,
        agent: AgentId,
        child: Option<Uid>,
        redaction: Arc<Redaction>,
    ) -> Result<Self, SocketError> {
        let own = geteuid();
        let child = child.filter(|child| *child != own);
        let place = Place::find(state_dir, bases, child)?;
        let (requests, calls) = Requests::new();
        let gate = Gate::new(Service::new(agent, redaction, calls.clone()), Checkpoints::new(calls));
        let peers = Peers::new([Some(own), Some(Uid::ROOT), child].into_iter().flatten());
        let serving = serve(&place, &peers, &gate)?;
        Ok(Self {
            requests,
            serving,
            place,
            peers,
            gate,
        })
    }

    /// Has each connection end when its answers are out, for as long as `limit`, and accepts none. Who waits for work, or
    /// comes meanwhile, is told that the shim ends. Then what was given is with its caller, or comes back as `GiveFailed`,
    /// but for what somebody did not read in time.
    pub(crate) async fn drain(&mut self, limit: Duration) {
        let ended = async {
            tokio::select! {
                () = self.serving.drain() => {}
                () = self.requests.turn_away() => {}
            }
        };
        // Who does not read is told of by the attempts that are still on their way.
        let _ = timeout(limit, ended).await;
    }

    /// Serves again, after [`Socket::drain`].
    ///
    /// # Errors
    /// When the host gives no place for it. It can be called again.
    pub(crate) fn reopen(&mut self) -> Result<(), SocketError> {
        self.serving = serve(&self.place, &self.peers, &self.gate)?;
        Ok(())
    }

    /// Absolute: what `REKINDLE_SOCKET` is to say.
    pub(crate) fn path(&self) -> &Path {
        self.place.socket()
    }

    /// Lets the last answers go out, and tells who still waits that the shim ends.
    pub(crate) async fn close(self) {
        let Self {
            requests,
            mut serving,
            place,
            peers: _,
            gate: _,
        } = self;
        drop(requests);
        // Who does not read its answer by then does not get it.
        let _ = timeout(LAST_ANSWERS_MAX, serving.drain()).await;
        drop(place);
    }
}
