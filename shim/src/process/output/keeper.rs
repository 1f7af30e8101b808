//! The thread that looks after files that a child writes itself: one look a second while a child lives, none without.
//!
//! Rotation waits for disks, and nothing else of the shim must: only this thread touches the files once they are open.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

use super::Ends;
use super::files::Series;
use super::live::{Live, Progress};
use super::ring::Ring;
use super::writer::{STACK_BYTES, leave_signals_to_main};

/// Time between two looks at the files of a living child: an idle agent costs a wake-up of the shim a second, and a
/// flood exceeds a file's size by what a second brings.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest time that a child's end waits for its last lines. A disk that takes longer costs the evidence, not the
/// heartbeats.
const TAILS_MAX_WAIT: Duration = Duration::from_millis(500);

/// Requests that wait for the thread, which is more than a disk that hangs for minutes makes pile up.
const QUEUE: usize = 64;

/// The files of both streams of one child.
type Both = Box<[Live; 2]>;

#[derive(Debug)]
enum Request {
    /// A child writes to these, from here on.
    Watch(Both),
    /// The child is dead: give the last bytes.
    Tails(SyncSender<[Ring; 2]>),
    /// Nobody writes.
    Rest,
}

/// The thread. It ends with this, and with the last child's files: what it has not finished, the next shim finishes.
#[derive(Debug)]
pub(super) struct Keeper {
    requests: SyncSender<Request>,
    stdout: Series,
    stderr: Series,
}

impl Keeper {
    pub(super) fn start(stdout: Series, stderr: Series) -> io::Result<Self> {
        let (requests, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("logs".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                leave_signals_to_main();
                keep(&queue);
            })?;
        Ok(Self {
            requests,
            stdout,
            stderr,
        })
    }

    /// Opens the files for a child that is about to be spawned.
    pub(super) fn begin(&self) -> io::Result<(Kept, Ends)> {
        let (stdout, out) = Live::begin(self.stdout.clone())?;
        let (stderr, err) = Live::begin(self.stderr.clone())?;
        let ends = Ends {
            stdout: out.into(),
            stderr: err.into(),
        };
        Ok((self.watch(Box::new([stdout, stderr])), ends))
    }

    /// Takes the files of a living child up.
    pub(super) fn reopen(&self) -> io::Result<Kept> {
        let stdout = Live::reopen(self.stdout.clone())?;
        let stderr = Live::reopen(self.stderr.clone())?;
        Ok(self.watch(Box::new([stdout, stderr])))
    }

    fn watch(&self, files: Both) -> Kept {
        let kept = Kept {
            requests: self.requests.clone(),
            written: files.each_ref().map(Live::written),
        };
        kept.ask(Request::Watch(files));
        kept
    }
}

/// One child's files, which are looked after until this is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    requests: SyncSender<Request>,
    written: [Arc<AtomicU64>; 2],
}

impl Kept {
    /// How many bytes the child has written since the files were opened, as of the last look.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// The last bytes of stdout and stderr of a child that is dead.
    pub(super) fn finish(self) -> [Ring; 2] {
        let (answer, tails) = sync_channel(1);
        self.ask(Request::Tails(answer));
        tails.recv_timeout(TAILS_MAX_WAIT).unwrap_or_else(|_| {
            tracing::error!("the files of the log did not answer in time; the agent's last lines are not known");
            <[Ring; 2]>::default()
        })
    }

    fn ask(&self, request: Request) {
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::error!("the files of the log do not answer; what the agent writes is not rotated");
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.ask(Request::Rest);
    }
}

fn keep(requests: &Receiver<Request>) {
    let mut files: Option<Both> = None;
    let mut progress = Progress::Idle;
    loop {
        let request = match (&files, progress) {
            (None, _) => requests.recv().map_err(|RecvError| RecvTimeoutError::Disconnected),
            (Some(_), Progress::Idle) => requests.recv_timeout(LOOK_EVERY),
            (Some(_), Progress::More) => requests.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
        };
        match request {
            Ok(Request::Watch(begun)) => files = Some(begun),
            Ok(Request::Tails(answer)) => {
                let tails = files.as_mut().map(|both| both.each_mut().map(Live::tail));
                // Whoever has stopped waiting has said so.
                let _ = answer.try_send(tails.unwrap_or_default());
            }
            Ok(Request::Rest) => files = None,
            Err(RecvTimeoutError::Timeout) => {
                progress = Progress::Idle;
                for file in files.iter_mut().flat_map(|both| both.iter_mut()) {
                    progress = progress.max(file.step());
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
