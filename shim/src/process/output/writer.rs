//! Threads that write: whoever does not read blocks one of these, and nothing else.

use std::io::{self, Write};

use tokio::sync::{mpsc, oneshot};

/// Chunks and log lines that wait for a writing thread: enough for the lines of one restart, few enough to stay small.
const QUEUE_CHUNKS: usize = 16;

/// Stack of a thread that makes system calls on files and pipes, and logs.
pub(super) const STACK_BYTES: usize = 64 * 1024;

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
            open = open && to.write_all(chunk).and_then(|()| to.flush()).is_ok();
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

    /// Returns when everything is written.
    pub(super) async fn finish(self) {
        drop(self.queue);
        // An error says that the thread is gone, which is what is waited for.
        let _ = self.done.await;
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
