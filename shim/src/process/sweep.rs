//! What an earlier life of the shim left behind: found by the marker that every child inherits.

use std::io;
use std::time::Duration;

use rekindle::id::Marker;
use rekindle::report::{SURVIVORS_MAX, Survivor};
use rustix::process::{Pid, Signal, getpid};

use super::pidfd::Pidfd;
use super::proc;
use super::tree::survivor;

/// Most processes that are ended at once; the others are found at the next look.
const CARRIERS_MAX: usize = 256;

/// Kills every process that carries the marker, until none does, and names those that live after `limit`.
///
/// Who calls it holds the lock of the marker's state directory, so that no living shim can own what is found. What has
/// wiped its environment is not found.
pub(crate) async fn sweep(marker: Marker, limit: Duration) -> io::Result<Vec<Survivor>> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        let carriers = carriers(marker)?;
        if carriers.is_empty() {
            return Ok(Vec::new());
        }
        for (_, pidfd) in &carriers {
            // Dead by now, or not ours to end: then it is named in the end.
            let _ = pidfd.signal(Signal::KILL);
        }
        let all_dead = async {
            for (_, pidfd) in &carriers {
                pidfd.dead().await?;
            }
            io::Result::Ok(())
        };
        match tokio::time::timeout_at(end, all_dead).await {
            Ok(done) => done?,
            Err(_elapsed) => {
                let living = carriers.iter().filter(|(_, pidfd)| !pidfd.is_dead());
                return Ok(living.take(SURVIVORS_MAX).map(|(pid, _)| survivor(*pid)).collect());
            }
        }
    }
}

/// Who carries the marker while a descriptor of it is held. A pid that came to mean another process in between leaves
/// a descriptor of a dead one, which no signal reaches.
fn carriers(marker: Marker) -> io::Result<Vec<(Pid, Pidfd)>> {
    let here = getpid();
    let mut carriers = Vec::new();
    for pid in proc::pids()? {
        if pid == here || carriers.len() == CARRIERS_MAX || !proc::carries(pid, marker) {
            continue;
        }
        if let Ok(pidfd) = Pidfd::open(pid)
            && proc::carries(pid, marker)
            && !pidfd.is_dead()
        {
            carriers.push((pid, pidfd));
        }
    }
    Ok(carriers)
}
