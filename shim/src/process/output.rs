//! What children write: passed on to the shim's own output, and the last lines kept as evidence.
//!
//! Each of the shim's two streams has a thread that writes, so that a reader who does not read blocks that thread and,
//! as the queue before it is bounded, the child; never the heartbeats.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekindle::exit::{TAIL_MAX_BYTES, printable_tail};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Longest time that output is still read after its child's death: a stranger can hold the pipe open for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Most bytes that are taken out of a dead child's pipe at once: the largest pipe that an ordinary user can have
/// (pipe(7), /proc/sys/fs/pipe-max-size).
const DRAIN_MAX_BYTES: usize = 1 << 20;

/// Bytes per read: one page over the size of most bursts would only cost memory.
const CHUNK_BYTES: usize = 8 * 1024;

/// Chunks and log lines that wait for a writing thread: enough for the lines of one restart, few enough to stay small.
const QUEUE_CHUNKS: usize = 16;

/// Stack of a writing thread, which does nothing but write(2).
const WRITER_STACK_BYTES: usize = 64 * 1024;

/// The shim's own two streams, and what still flows into them.
#[derive(Debug)]
pub(crate) struct Outputs {
    stdout: Writer,
    stderr: Writer,
    pumps: JoinSet<()>,
}

impl Outputs {
    /// Starts the two writing threads, to this process's stdout and stderr.
    pub(crate) fn to_this_process() -> io::Result<Self> {
        // Not by the locked streams of the standard library: a thread that is stuck in a write would hold the lock.
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        Self::start(own(io::stdout().as_fd())?, own(io::stderr().as_fd())?)
    }

    /// Starts the two writing threads. What children write to stdout goes to `stdout`, and so for stderr.
    pub(crate) fn start(stdout: impl Write + Send + 'static, stderr: impl Write + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            stdout: Writer::start("stdout", stdout)?,
            stderr: Writer::start("stderr", stderr)?,
            pumps: JoinSet::new(),
        })
    }

    /// A way to the shim's own stderr that never waits: what finds no room is lost.
    pub(crate) fn log(&self) -> LogLine {
        LogLine(self.stderr.queue.clone().downgrade())
    }

    /// Passes a child's output on, from here on.
    pub(super) fn attach(&mut self, stdout: Option<ChildStdout>, stderr: Option<ChildStderr>) -> io::Result<Output> {
        while self.pumps.try_join_next().is_some() {}
        Ok(Output {
            stdout: self.pump(stdout.map(OwnedFd::from), Which::Stdout)?,
            stderr: self.pump(stderr.map(OwnedFd::from), Which::Stderr)?,
        })
    }

    fn pump(&mut self, pipe: Option<OwnedFd>, which: Which) -> io::Result<Stream> {
        let pipe = pipe.ok_or_else(|| io::Error::other("the child was spawned without a pipe"))?;
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(pipe)?);
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (ended, end) = watch::channel(Life::Lives);
        let writer = match which {
            Which::Stdout => self.stdout.queue.clone(),
            Which::Stderr => self.stderr.queue.clone(),
        };
        self.pumps
            .spawn(pump(Arc::clone(&pipe), Arc::clone(&kept), writer, end));
        Ok(Stream { pipe, kept, ended })
    }

    /// Returns when everything is written, or after the drain limit.
    pub(crate) async fn finish(mut self) {
        let written = async {
            while self.pumps.join_next().await.is_some() {}
            self.stdout.finish().await;
            self.stderr.finish().await;
        };
        // Whoever does not read in this time does not want it.
        let _ = tokio::time::timeout(DRAIN_LIMIT, written).await;
    }
}

/// Writes the shim's log, one line at a time. Who does not read the shim's stderr loses lines of it, rather than the
/// shim's heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct LogLine(mpsc::WeakSender<Vec<u8>>);

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.upgrade() {
            Some(queue) => {
                // A full queue is what this is for.
                let _ = queue.try_send(line.to_vec());
                Ok(line.len())
            }
            // The last lines of a shim, when nothing is left that they could hold up.
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Stdout,
    Stderr,
}

/// A thread that writes to one of the shim's streams.
#[derive(Debug)]
struct Writer {
    queue: mpsc::Sender<Vec<u8>>,
    done: oneshot::Receiver<()>,
}

impl Writer {
    fn start(name: &str, mut to: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, mut chunks) = mpsc::channel::<Vec<u8>>(QUEUE_CHUNKS);
        let (finished, done) = oneshot::channel::<()>();
        let write = move || {
            let _finished = finished;
            let mut open = true;
            while let Some(chunk) = chunks.blocking_recv() {
                // A closed stream takes nothing any more; the child goes on all the same.
                open = open && to.write_all(&chunk).and_then(|()| to.flush()).is_ok();
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(WRITER_STACK_BYTES)
            .spawn(write)?;
        Ok(Self { queue, done })
    }

    async fn finish(self) {
        drop(self.queue);
        // An error says that the thread is gone, which is what is waited for.
        let _ = self.done.await;
    }
}

/// The output of one child.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Stream,
    stderr: Stream,
}

impl Output {
    /// How much was read so far, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.stdout.kept).tail.seen_bytes + lock(&self.stderr.kept).tail.seen_bytes
    }

    /// Takes what the dead child left in its pipes, without waiting for anybody, and gives the last lines of stdout
    /// and stderr. What was not passed on yet is, for as long as the drain limit.
    pub(super) fn finish(self) -> (String, String) {
        (self.stdout.finish(), self.stderr.finish())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Lives,
    Ended,
}

#[derive(Debug)]
struct Stream {
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
    ended: watch::Sender<Life>,
}

impl Stream {
    fn finish(self) -> String {
        let mut kept = lock(&self.kept);
        let mut chunk = vec![0; CHUNK_BYTES];
        while kept.late.len() < DRAIN_MAX_BYTES {
            match rustix::io::read(self.pipe.as_fd(), &mut chunk) {
                Ok(read @ 1..) => {
                    let bytes = chunk.get(..read).unwrap_or_default();
                    kept.tail.push(bytes);
                    kept.late.extend_from_slice(bytes);
                }
                // The end, nothing more for the moment, or a broken pipe: in no case is there anything to wait for.
                Ok(0) | Err(_) => break,
            }
        }
        self.ended.send_replace(Life::Ended);
        kept.tail.text()
    }
}

/// What is held of a stream.
#[derive(Debug, Default)]
struct Kept {
    tail: Tail,
    /// Read after the child's death, and not passed on yet.
    late: Vec<u8>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // Bytes cannot be left half-changed in a way that matters.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes one stream on, to its end, or to the drain limit after its child's end.
async fn pump(
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
    writer: mpsc::Sender<Vec<u8>>,
    mut ended: watch::Receiver<Life>,
) {
    let mut end = ended.clone();
    let pass_on = async {
        while let Some(chunk) = next_chunk(&pipe, &kept, &mut end).await {
            if writer.send(chunk).await.is_err() {
                return;
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
        // Read under the lock, so that what the end of the child takes out stays in order.
        let mut chunk = vec![0; CHUNK_BYTES];
        match pipe.try_read(&mut chunk) {
            Ok(0) if lock(kept).late.is_empty() => return None,
            Ok(0) => {}
            Ok(read) => {
                chunk.truncate(read);
                lock(kept).tail.push(&chunk);
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

/// The last [`TAIL_MAX_BYTES`] of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
    seen_bytes: u64,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.seen_bytes += bytes.len() as u64;
        let newest = bytes.get(bytes.len().saturating_sub(TAIL_MAX_BYTES)..).unwrap_or(bytes);
        self.cut |= newest.len() < bytes.len();
        self.bytes.extend_from_slice(newest);
        // Twice the size is kept before the front is thrown away, so that a byte is moved once at most.
        if self.bytes.len() > 2 * TAIL_MAX_BYTES {
            self.cut = true;
            self.bytes.drain(..self.bytes.len() - TAIL_MAX_BYTES);
        }
    }

    /// As text; without its first line where that has lost its beginning and others follow.
    fn text(&self) -> String {
        let start = self.bytes.len().saturating_sub(TAIL_MAX_BYTES);
        let kept = self.bytes.get(start..).unwrap_or_default();
        let text = String::from_utf8_lossy(kept);
        let text = printable_tail(&text);
        match text.split_once('\n') {
            Some((_, rest)) if (self.cut || start > 0) && !rest.is_empty() => rest.to_owned(),
            Some(_) | None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(chunks: &[&[u8]]) -> String {
        let mut tail = Tail::default();
        chunks.iter().for_each(|chunk| tail.push(chunk));
        tail.text()
    }

    #[test]
    fn last_lines() {
        assert_eq!(tail(&[]), "");
        assert_eq!(tail(&[b"a\n", b"b"]), "a\nb");
        assert_eq!(tail(&[b"\xff!"]), "\u{fffd}!");
        let line = [b'x'; 99].as_slice();
        let text = tail(&vec![[line, b"\n"].concat().as_slice(); 500]);
        assert_eq!(text.lines().count(), 40, "whole lines alone");
        assert!(text.lines().all(|line| line.len() == 99));
        assert_eq!(
            tail(&[&[b'x'; 100_000]]).len(),
            TAIL_MAX_BYTES,
            "a line without an end is cut"
        );
        assert!(tail(&[&[0xff; 100_000]]).len() <= TAIL_MAX_BYTES);
    }
}
