//! One stream of a child that writes into a pipe: read at once, kept in a ring, and passed on.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::DRAIN_LIMIT;
use super::ring::Ring;

/// Most bytes that are taken out of a dead child's pipe at once: the largest pipe that an ordinary user can have
/// (pipe(7), /proc/sys/fs/pipe-max-size).
const DRAIN_MAX_BYTES: usize = 1 << 20;

/// Bytes per read: one page over the size of most bursts would only cost memory.
const CHUNK_BYTES: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Lives,
    Ended,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
    ended: watch::Sender<Life>,
}

impl Stream {
    /// Starts a task that reads the pipe, and passes what it reads on `to` there.
    pub(super) fn start(
        pipe: PipeReader,
        to: Option<mpsc::Sender<Vec<u8>>>,
        pumps: &mut JoinSet<()>,
    ) -> io::Result<Self> {
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?);
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (ended, end) = watch::channel(Life::Lives);
        pumps.spawn(pump(Arc::clone(&pipe), Arc::clone(&kept), to, end));
        Ok(Self { pipe, kept, ended })
    }

    /// How many bytes were read so far.
    pub(super) fn written_bytes(&self) -> u64 {
        lock(&self.kept).written
    }

    /// Takes what the dead child left in its pipe, without waiting for anybody, and gives the last lines. What was not
    /// passed on yet is, for as long as the drain limit.
    pub(super) fn finish(self) -> Ring {
        let mut kept = lock(&self.kept);
        let mut chunk = vec![0; CHUNK_BYTES];
        while kept.late.len() < DRAIN_MAX_BYTES {
            match rustix::io::read(self.pipe.as_fd(), &mut chunk) {
                Ok(read @ 1..) => {
                    let bytes = chunk.get(..read).unwrap_or_default();
                    kept.keep(bytes);
                    kept.late.extend_from_slice(bytes);
                }
                // The end, nothing more for the moment, or a broken pipe: in no case is there anything to wait for.
                Ok(0) | Err(_) => break,
            }
        }
        self.ended.send_replace(Life::Ended);
        std::mem::take(&mut kept.ring)
    }
}

/// What is held of a stream.
#[derive(Debug, Default)]
struct Kept {
    ring: Ring,
    /// All bytes so far.
    written: u64,
    /// Read after the child's death, and not passed on yet.
    late: Vec<u8>,
}

impl Kept {
    fn keep(&mut self, bytes: &[u8]) {
        self.written += bytes.len() as u64;
        self.ring.push(bytes);
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // Bytes cannot be left half-changed in a way that matters.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes one stream on, to its end, or to the drain limit after its child's end.
async fn pump(
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
    to: Option<mpsc::Sender<Vec<u8>>>,
    mut ended: watch::Receiver<Life>,
) {
    let mut end = ended.clone();
    let pass_on = async {
        while let Some(chunk) = next_chunk(&pipe, &kept, &mut end).await {
            match &to {
                Some(to) => {
                    if to.send(chunk).await.is_err() {
                        return;
                    }
                }
                // Nothing else here waits in a flood, and heartbeats have their turn too.
                None => tokio::task::coop::consume_budget().await,
            }
        }
    };
    let limit = async {
        let _ = ended.wait_for(|life| *life == Life::Ended).await;
        tokio::time::sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        () = pass_on => {}
        () = limit => {}
    }
}

/// The next bytes of a stream; `None` at its end.
async fn next_chunk(pipe: &pipe::Receiver, kept: &Mutex<Kept>, end: &mut watch::Receiver<Life>) -> Option<Vec<u8>> {
    loop {
        let late = std::mem::take(&mut lock(kept).late);
        if !late.is_empty() {
            return Some(late);
        }
        // Read and kept with no other task in between, so that what the end of the child takes out stays in order.
        let mut chunk = vec![0; CHUNK_BYTES];
        match pipe.try_read(&mut chunk) {
            Ok(0) if lock(kept).late.is_empty() => return None,
            Ok(0) => {}
            Ok(read) => {
                chunk.truncate(read);
                lock(kept).keep(&chunk);
                return Some(chunk);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::select! {
                    ready = pipe.readable() => ready.ok()?,
                    changed = end.changed() => if changed.is_err() { pipe.readable().await.ok()? },
                }
            }
            Err(_broken) => return None,
        }
    }
}
