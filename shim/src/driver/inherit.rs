//! A child that goes from one shim to the next: how it is taken up, and how this process runs its program anew under it.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::task::Poll;
use std::time::Duration;

use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle_shim_core::{Input, OnShimExit};

use super::put_off::Wanted;
use super::{Driver, Signals, StartError};
use crate::process::{Child, Handover, Left, hold_signals, release_signals};

/// Longest time in which what was read of the child must be written, so that the program may be run anew: longer than
/// the pipes of a dead child are drained.
const WRITE_OUT_MAX: Duration = Duration::from_secs(6);

/// Longest time in which who asked for work takes what was given, so that the program may be run anew: all are local, and
/// who asks waits for the answer.
const TAKEN_MAX: Duration = Duration::from_secs(1);

/// What keeps an upgrade from being made.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(
        "nobody takes what the agent writes, or it does not read its stdin; see who reads the shim's stdout and stderr, or \
         the disk of its files"
    )]
    Unwritten,
    #[error(
        "messages are worked on, each by a process that another program could not go on with; try again when none is"
    )]
    AtWork,
    #[error("messages are on their way to an agent that does not take them; try again when it reads what it asked for")]
    Giving,
    #[error("messages came back, and are given back first")]
    CameBack,
    #[error("the shim is told to end")]
    Stopped,
    #[error("cannot hold signals back")]
    Signals(#[source] io::Error),
    #[error("cannot tell which file the shim's program is")]
    Unknown(#[source] io::Error),
    #[error("cannot run {path}")]
    Run { path: String, source: io::Error },
}

impl Driver {
    /// Takes up what an earlier shim left, or this process's program before.
    pub(super) async fn adopt(
        &mut self,
        incarnation: Incarnation,
        process: &ProcessIdentity,
    ) -> Result<(), StartError> {
        let handed = self.handed.take().filter(|handed| handed.incarnation == incarnation);
        let left = match (handed, self.program.on_shim_exit) {
            (Some(handed), _) => Some(Left::Descriptors(Box::new(handed))),
            (None, OnShimExit::Keep) => Some(Left::Name(self.state_dir.read_notify(incarnation))),
            // Its pipes are gone: it must not run on.
            (None, OnShimExit::Kill) => None,
        };
        let marker = self.supervisor.journal().marker;
        let adopted = match left {
            Some(left) => Child::adopt(incarnation, process, marker, left, &mut self.outputs, &self.tree)
                .await
                .map_err(StartError::Processes)?,
            None => None,
        };
        let pid = process.pid;
        match adopted {
            Some(child) => {
                tracing::info!(%incarnation, pid, "the agent's process goes on under this shim");
                self.children.add(child);
                if let Err(error) = self.state_files.adopt(incarnation) {
                    tracing::error!(%error, "cannot watch the agent's state file; it is read when the agent has ended");
                }
                self.facts.push_back(Input::Adopted { incarnation });
            }
            None => {
                tracing::warn!(%incarnation, pid, "the agent's process has ended, or cannot go on, while no shim ran");
                self.end_found_state_files();
                self.facts.push_back(Input::NotAdopted);
            }
        }
        // Those who died while nobody heard of it.
        self.reap();
        Ok(())
    }

    /// Runs the program anew in this process's place. Returns when that failed: then everything goes on as before.
    ///
    /// # Errors
    /// Where it cannot, as the host has no place for the agent's socket any more.
    pub(super) async fn upgrade(&mut self) -> Result<(), StartError> {
        // With this program's connections what is on its way to the agent would be lost.
        self.socket.drain(TAKEN_MAX).await;
        let back = self.socket.requests.came_back();
        let error = if back.is_empty() {
            self.run_anew().await
        } else {
            // It is given back first.
            self.facts.extend(back);
            UpgradeError::CameBack
        };
        self.upgrade_failed(&error);
        self.reopen_socket()
    }

    /// Has the agent's socket serve again: now or, where that cannot be for want, later.
    ///
    /// # Errors
    /// Where it cannot be for another reason.
    pub(super) fn reopen_socket(&mut self) -> Result<(), StartError> {
        if let Err(error) = self.socket.reopen() {
            let Some(want) = error.want() else {
                return Err(error.into());
            };
            self.put_off.again(Wanted::Socket, want);
        } else {
            self.put_off.done(Wanted::Socket);
        }
        Ok(())
    }

    fn upgrade_failed(&mut self, error: &UpgradeError) {
        self.facts.push_back(Input::UpgradeFailed);
        match error {
            UpgradeError::CameBack => return self.facts.push_back(Input::UpgradeRequested),
            UpgradeError::Stopped => self.facts.push_back(Input::StopRequested),
            UpgradeError::Unwritten
            | UpgradeError::AtWork
            | UpgradeError::Giving
            | UpgradeError::Signals(_)
            | UpgradeError::Unknown(_)
            | UpgradeError::Run { .. } => {}
        }
        tracing::error!(
            error = crate::chain(error),
            "the upgrade failed; the shim goes on as it is"
        );
    }

    async fn run_anew(&mut self) -> UpgradeError {
        if self.socket.requests.on_their_way() > 0 {
            return UpgradeError::Giving;
        }
        let itself = match &self.itself {
            Ok(itself) => itself.clone(),
            Err(error) => return UpgradeError::Unknown(io::Error::new(error.kind(), error.to_string())),
        };
        tracing::info!(program = %itself.path.display(), "the shim runs its program anew");
        let mut children = self.children.iter();
        let child = children.next();
        let alone = children.next().is_none();
        let so_far = child.map(Child::so_far);
        if !alone || self.saving.is_some() || matches!(so_far, Some(None)) || !self.buried.is_empty() {
            return UpgradeError::AtWork;
        }
        // Held until the program runs, or everything goes on.
        let Some(_pauses) = self.outputs.paused(child, WRITE_OUT_MAX).await else {
            return UpgradeError::Unwritten;
        };
        if let Err(error) = hold_signals() {
            return UpgradeError::Signals(error.into());
        }
        let error = if self.signals.stop_has_come().await {
            UpgradeError::Stopped
        } else {
            let locks = [Some(self.state_dir.lock()), self.outputs.lock()];
            let handover = Handover {
                locks: locks.into_iter().flatten().map(|lock| lock.as_fd()).collect(),
                exempt: self.tree.exempt(),
                child: so_far.flatten(),
            };
            let source = handover.run(&itself);
            UpgradeError::Run {
                path: itself.path.display().to_string(),
                source,
            }
        };
        match release_signals() {
            Ok(()) => error,
            Err(error) => UpgradeError::Signals(error.into()),
        }
    }
}

impl Signals {
    /// Whether one has come that tells the shim to end, and was not heard yet. It is heard by this.
    async fn stop_has_come(&mut self) -> bool {
        // The runtime hears of signals between two turns of its tasks.
        tokio::task::yield_now().await;
        poll_fn(|context| {
            let mut got = |stop: &mut tokio::signal::unix::Signal| stop.poll_recv(context).is_ready();
            let hangup = self.hangup.as_mut().is_some_and(&mut got);
            Poll::Ready(self.stops.iter_mut().any(got) || hangup)
        })
        .await
    }
}
