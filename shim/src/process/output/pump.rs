//! One stream of a child that writes into a pipe: read at once, kept in a ring, and passed on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard, mpsc, watch};
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
    /// Had by who reads and passes on.
    turns: Arc<Turns<()>>,
}

/// As long as this is held, nothing is read of a stream.
pub(in crate::process) type Pause = OwnedMutexGuard<()>;

/// What was read of a stream so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::process) struct Read {
    ring: Ring,
    /// All bytes so far.
    written: u64,
}

impl Stream {
    /// Starts a task that reads the pipe, and passes what it reads on `to` there.
    pub(super) fn start(
        pipe: OwnedFd,
        read: Read,
        to: Option<mpsc::Sender<Vec<u8>>>,
        pumps: &mut JoinSet<()>,
    ) -> io::Result<Self> {
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(pipe)?);
        let kept = Arc::new(Mutex::new(Kept { read, late: Vec::new() }));
        let (ended, end) = watch::channel(Life::Lives);
        let turns = Arc::new(Turns::new(()));
        pumps.spawn(pump(Arc::clone(&pipe), Arc::clone(&kept), Arc::clone(&turns), to, end));
        Ok(Self {
            pipe,
            kept,
            ended,
            turns,
        })
    }

    /// How many bytes were read so far.
    pub(super) fn written_bytes(&self) -> u64 {
        lock(&self.kept).read.written
    }

    /// Waits until all that was read is passed on. Nothing more is read as long as the pause is held.
    pub(super) async fn pause(&self) -> Pause {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// The pipe, and what was read of it.
    pub(super) fn so_far(&self) -> (BorrowedFd<'_>, Read) {
        (self.pipe.as_fd(), lock(&self.kept).read.clone())
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
        std::mem::take(&mut kept.read.ring)
    }
}

/// What is held of a stream.
#[derive(Debug, Default)]
struct Kept {
    read: Read,
    /// Read after the child's death, and not passed on yet.
    late: Vec<u8>,
}

impl Kept {
    fn keep(&mut self, bytes: &[u8]) {
        self.read.written += bytes.len() as u64;
        self.read.ring.push(bytes);
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
    turns: Arc<Turns<()>>,
    to: Option<mpsc::Sender<Vec<u8>>>,
    mut ended: watch::Receiver<Life>,
) {
    let mut end = ended.clone();
    let pass_on = async {
        loop {
            let turn = turns.lock().await;
            match (next_chunk(&pipe, &kept), &to) {
                (Next::Chunk(chunk), Some(to)) => {
                    if to.send(chunk).await.is_err() {
                        return;
                    }
                }
                // Nothing else here waits in a flood, and heartbeats have their turn too.
                (Next::Chunk(_), None) => tokio::task::coop::consume_budget().await,
                (Next::Nothing, _) => {
                    drop(turn);
                    if wait(&pipe, &mut end).await.is_err() {
                        return;
                    }
                }
                (Next::End, _) => return,
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

enum Next {
    Chunk(Vec<u8>),
    /// For the moment.
    Nothing,
    End,
}

/// The next bytes of a stream, if there are any.
fn next_chunk(pipe: &pipe::Receiver, kept: &Mutex<Kept>) -> Next {
    let late = std::mem::take(&mut lock(kept).late);
    if !late.is_empty() {
        return Next::Chunk(late);
    }
    // Read and kept with no other task in between, so that what the end of the child takes out stays in order.
    let mut chunk = vec![0; CHUNK_BYTES];
    match pipe.try_read(&mut chunk) {
        Ok(0) => Next::End,
        Ok(read) => {
            chunk.truncate(read);
            lock(kept).keep(&chunk);
            Next::Chunk(chunk)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Next::Nothing,
        Err(_broken) => Next::End,
    }
}

/// Waits until there may be something to read, or to pass on of what the child's end has taken out.
async fn wait(pipe: &pipe::Receiver, end: &mut watch::Receiver<Life>) -> io::Result<()> {
    tokio::select! {
        ready = pipe.readable() => ready,
        changed = end.changed() => match changed {
            Ok(()) => Ok(()),
            // The child was forgotten; its stream goes on.
            Err(_) => pipe.readable().await,
        },
    }
}
