//! What an earlier life of the shim left behind, and its end. [`super::hunt`] says what belongs to it.

use std::io;
use std::time::Duration;

use rekindle::id::Marker;
use rekindle::process::ProcessIdentity;
use rekindle::report::Survivor;
use rustix::process::Signal;
use tokio::time::{Instant, timeout_at};

use super::cgroup::Groups;
use super::hunt::{self, Hunt, Left, Members};
use super::tree::LOOK_AGAIN;

/// The living that a sweep could not end, each held by a descriptor.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(Members);

impl Leftovers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names them.
    pub(crate) fn survivors(&self) -> Vec<Survivor> {
        hunt::survivors(&self.0)
    }

    /// Returns when all of them are dead. Can be dropped and called again.
    ///
    /// # Errors
    /// A descriptor cannot be waited for.
    pub(crate) async fn dead(&self) -> io::Result<()> {
        hunt::dead(&self.0).await
    }
}

/// Ends every process of the agent, and gives those that live after `limit`.
///
/// Who calls it holds the lock of the marker's state directory, so that no living shim can own what is found.
///
/// # Errors
/// Where the living cannot be told from the dead: /proc cannot be read or does not show them, or no descriptor is to
/// be had.
pub(crate) async fn sweep(marker: Marker, child: Option<&ProcessIdentity>, limit: Duration) -> io::Result<Leftovers> {
    let end = Instant::now() + limit;
    // Those that are empty in the end are removed when the hunt is over.
    let groups = Groups::left_by(marker)?;
    let hunt = Hunt {
        marker,
        child,
        groups: &groups,
    };
    loop {
        let mut found = Members::new();
        hunt.halt(&mut found)?;
        let left = hunt.left(&found)?;
        if left == Left::Nobody {
            return Ok(Leftovers::default());
        }
        if end <= Instant::now() {
            if left == Left::Unseen {
                return Err(io::Error::other(
                    "the agent's cgroup holds processes of another pid namespace, which outlive SIGKILL",
                ));
            }
            hunt::signal(&found, Signal::KILL);
            return Ok(Leftovers(found));
        }
        let wave = hunt.kill(&found)?;
        if wave.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if let Ok(dead) = timeout_at(end, hunt::dead(&wave)).await {
            dead?;
        }
    }
}
