//! Threads that write: whoever does not read blocks one of these, and nothing else.

use std::io::{self, Write};
use std::time::Duration;

use nix::sys::signal::SigSet;
use tokio::sync::{mpsc, oneshot};

/// Chunks and log lines that wait for a writing thread: enough for the lines of one restart, few enough to stay small.
const QUEUE_CHUNKS: usize = 16;

/// Stack of a thread that makes system calls on files and pipes, and logs.
pub(super) const STACK_BYTES: usize = 64 * 1024;

/// Wait before the next try of a stream that is full and says so: short beside what reads it, long beside a try.
const ROOM_AGAIN: Duration = Duration::from_millis(5);

/// A thread that writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Vec<u8>>,
    done: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts the thread. It hands each chunk to `take`, in order.
    pub(super) fn start(name: &str, mut take: impl FnMut(&[u8]) + Send + 'static) -> io::Result<Self> {
        let (queue, mut chunks) = mpsc::channel::<Vec<u8>>(QUEUE_CHUNKS);
        let (finished, done) = oneshot::channel::<()>();
        let write = move || {
            let _finished = finished;
            leave_signals_to_main();
            while let Some(chunk) = chunks.blocking_recv() {
                take(&chunk);
            }
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(write)?;
        Ok(Self { queue, done })
    }

    /// Starts the thread for a stream of this process.
    pub(super) fn to_stream(name: &str, mut to: impl Write + Send + 'static) -> io::Result<Self> {
        let mut open = true;
        // A closed stream takes nothing any more; the child goes on all the same.
        Self::start(name, move |chunk| {
            open = open && write_whole(&mut to, chunk).is_ok();
        })
    }

    /// The way in, which waits while the queue is full.
    pub(super) fn queue(&self) -> mpsc::Sender<Vec<u8>> {
        self.queue.clone()
    }

    /// The way in for lines of the shim's log.
    pub(super) fn log(&self) -> LogLine {
        LogLine(self.queue.downgrade())
    }

    /// Returns when everything is written that was in the queue, and goes on.
    pub(super) async fn written(&self) {
        // An empty chunk writes nothing. When the thread has taken it, it is done with all before; then all room is free.
        // An error says that the thread is gone, and that nothing is written any more.
        if self.queue.send(Vec::new()).await.is_ok() {
            let _ = self.queue.reserve_many(QUEUE_CHUNKS).await;
        }
    }

    /// Returns when everything is written.
    pub(super) async fn finish(self) {
        drop(self.queue);
        // An error says that the thread is gone, which is what is waited for.
        let _ = self.done.await;
    }
}

/// Signals are for the main thread alone: it can hold them back for the time in which nobody listens.
pub(crate) fn leave_signals_to_main() {
    // It fails for no set that this could be given (pthread_sigmask(3)).
    let _ = SigSet::all().thread_block();
}

/// As `write_all`; waits for a stream that does not block by itself. Whoever shares it with the shim, a terminal or a
/// pipe of another program, has made it so for all (fcntl(2), O_NONBLOCK belongs to the open file description).
fn write_whole(to: &mut impl Write, chunk: &[u8]) -> io::Result<()> {
    let mut rest = chunk;
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(ROOM_AGAIN),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_stream_that_does_not_block_takes_everything() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("a pipe");
        let stream = Writer::to_stream("test", writer).expect("a thread");
        let queue = stream.queue();
        let fill = std::thread::spawn(move || {
            for number in 0..64_u8 {
                queue.blocking_send(vec![number; 8192]).expect("taken");
            }
        });
        // The pipe and the queue hold less than that: it was full before anybody read.
        let full = std::time::Instant::now();
        while stream.queue.capacity() > 0 {
            assert!(full.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        drop(stream);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("read");
        fill.join().expect("no panic");
        let wanted: Vec<u8> = (0..64_u8).flat_map(|number| vec![number; 8192]).collect();
        assert!(read == wanted, "{} bytes of {}", read.len(), wanted.len());
    }
}
