//! What children write: where it goes, and the last lines of it, kept as evidence.
//!
//! ```text
//! Sink::Pipe   child -> pipe -> pump (ring) -> queue -> writer -> the shim's own stream, or a file
//! Sink::File   child -> file <- keeper (rotates; reads the last lines at the end)
//! ```
//!
//! What a child writes to stdout can mean more: it is the output for the message that the child was run for, or answers
//! to those that it reads.
//!
//! Through the shim, a reader who does not read blocks the thread that writes and, as the queue before it is bounded,
//! the child; never the heartbeats. The process of a message, and a child that answers on its stdout, are only held up for
//! a moment: the output is kept for the result, the answers are heard, and what finds no room on the way to such a reader
//! is dropped. A child that asks for its messages is held up as one that has none: what it writes is nowhere else, and its
//! word goes by the socket. A child that writes the file itself can outlive its shim.

mod answers;
mod evidence;
mod files;
mod keeper;
mod live;
mod pump;
mod reader;
mod ring;
mod transcript;
mod way;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::handover::StreamsOwn;
use crate::lock::Lock;
use crate::redaction::Redaction;

pub(crate) use files::{LogFiles, LogFilesError};
pub(super) use pump::{Pause, Read};
pub(crate) use reader::{Progress, Reader};
pub(crate) use writer::{LogLine, leave_signals_to_main};

use answers::Answers;
pub(super) use evidence::{LastWords, Unheard, Unredacted};
use files::LogFile;
use keeper::Keeper;
use pump::{Meaning, Stream};
use ring::Record;
use way::Way;
use writer::Writer;

/// Longest time that output is still read after its child's death: a stranger can hold the pipe open for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Where what children write goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Log {
    /// To the shim's own stdout and stderr.
    Inherit,
    /// To files.
    Files(LogFiles, Sink),
    /// Nowhere, but for the last lines.
    Off,
    /// Nowhere, by /dev/null, which outlives the shim; the last lines are not known.
    Null,
}

/// Who writes the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    /// The shim, what it reads from the child's pipes.
    Pipe,
    /// The child itself, which so outlives its shim.
    File,
}

/// The shim's own two streams. There before anything is read or decided, as the shim's log goes this way.
pub(crate) struct Console {
    stdout: Box<dyn Write + Send>,
    stderr: Writer,
}

impl Console {
    /// This process's stdout and stderr.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        // Not by the locked streams of the standard library: a thread that is stuck in a write would hold the lock.
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        Self::of(own(io::stdout().as_fd())?, own(io::stderr().as_fd())?)
    }

    pub(super) fn of(stdout: impl Write + Send + 'static, stderr: impl Write + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            stdout: Box::new(stdout),
            stderr: Writer::to_stream("stderr", stderr)?,
        })
    }

    /// A way to the shim's own stderr that never waits: what finds no room is lost.
    pub(crate) fn log(&self) -> LogLine {
        self.stderr.log()
    }
}

/// Where children's output goes, and what still flows there.
#[derive(Debug)]
pub(crate) struct Outputs {
    own_stderr: Writer,
    to: Destination,
    /// Of the newest child.
    pumps: JoinSet<()>,
    /// Of those before, which live beside it, or of whose pipes a stranger holds the other end.
    draining: JoinSet<()>,
    redaction: Arc<Redaction>,
}

#[derive(Debug)]
enum Destination {
    Own { stdout: Writer },
    Files { stdout: Writer, stderr: Writer, lock: Lock },
    Straight { keeper: Keeper, lock: Lock },
    Nowhere,
    Null,
}

/// Why children's output cannot go where it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputsError {
    #[error(transparent)]
    Files(#[from] LogFilesError),
    #[error("cannot start the threads that write what the agent writes")]
    Thread(#[source] io::Error),
}

/// What a child's stdout is, besides lines for people. Only what goes through the shim can be more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdout {
    Lines,
    /// The output for the message that it is run for.
    Output,
    /// Answers to the messages that it reads.
    Answers,
}

/// What a child has for its stdout and stderr.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Outputs {
    /// Gets ready for children. Evidence of what they write is redacted. The lock of the files' directory may be among
    /// the `handed` ones.
    pub(crate) fn new(
        console: Console,
        log: &Log,
        redaction: Arc<Redaction>,
        handed: &mut Vec<OwnedFd>,
    ) -> Result<Self, OutputsError> {
        let to = match log {
            Log::Inherit => Destination::Own {
                stdout: Writer::to_stream("stdout", console.stdout).map_err(OutputsError::Thread)?,
            },
            Log::Files(files, sink) => Destination::to_files(files, *sink, handed)?,
            Log::Off => Destination::Nowhere,
            Log::Null => Destination::Null,
        };
        Ok(Self {
            own_stderr: console.stderr,
            to,
            pumps: JoinSet::new(),
            draining: JoinSet::new(),
            redaction,
        })
    }

    /// Where the output of a child that is about to be spawned goes, and what the child has for it.
    ///
    /// # Errors
    /// Where no pipe can be had. Files that cannot be opened stop no child: it is told, and its output is lost.
    pub(super) fn open(&mut self, purpose: Stdout) -> io::Result<(Output, Ends)> {
        match &self.to {
            Destination::Own { .. } | Destination::Files { .. } | Destination::Nowhere => {}
            Destination::Null => return Ok((self.output(Source::None), Ends::nowhere()?)),
            Destination::Straight { keeper, .. } => {
                return Ok(match keeper.begin() {
                    Ok((files, ends)) => (self.output(Source::Files(files)), ends),
                    Err(error) => {
                        tracing::error!(%error, "cannot open the files of the log; what the agent writes is lost");
                        (self.output(Source::None), Ends::nowhere()?)
                    }
                });
            }
        }
        let (out, child_out) = io::pipe()?;
        let (err, child_err) = io::pipe()?;
        let ends = Ends {
            stdout: child_out.into(),
            stderr: child_err.into(),
        };
        let meaning = match purpose {
            Stdout::Lines => Meaning::None,
            Stdout::Output => Meaning::Output(Record::default()),
            Stdout::Answers => Meaning::Answers(Answers::default()),
        };
        let out = (out.into(), Read::of(meaning));
        let err = (err.into(), Read::default());
        Ok((self.pump([out, err])?, ends))
    }

    /// Reads stdout and stderr of a child from here on.
    fn pump(&mut self, [out, err]: [(OwnedFd, Read); 2]) -> io::Result<Output> {
        let (stdout, stderr) = match &self.to {
            Destination::Own { stdout } => (Some(stdout.queue()), Some(self.own_stderr.queue())),
            Destination::Files { stdout, stderr, .. } => (Some(stdout.queue()), Some(stderr.queue())),
            Destination::Nowhere | Destination::Null | Destination::Straight { .. } => (None, None),
        };
        let mut before = std::mem::take(&mut self.pumps);
        while before.try_join_next().is_some() {}
        while self.draining.try_join_next().is_some() {}
        if !before.is_empty() {
            self.draining
                .spawn(async move { while before.join_next().await.is_some() {} });
        }
        // The child that waits in one of its streams does not write the other either.
        let unread = out.1.unread();
        let way = |queue| Way::new(queue, unread);
        let source = Source::Pipes {
            stdout: Stream::start(out.0, out.1, stdout.map(way), &self.redaction, &mut self.pumps)?,
            stderr: Stream::start(err.0, err.1, stderr.map(way), &self.redaction, &mut self.pumps)?,
        };
        Ok(self.output(source))
    }

    /// Goes on with the pipes of a child that this process's program before has read.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub(super) fn resume(&mut self, streams: [StreamsOwn<OwnedFd>; 2]) -> io::Result<Output> {
        match &self.to {
            Destination::Own { .. } | Destination::Files { .. } | Destination::Nowhere => {}
            Destination::Null | Destination::Straight { .. } => tracing::warn!(
                "the agent's process writes through the shim until its end, and what it writes is dropped; from its next \
                 life on it writes files itself"
            ),
        }
        self.pump(streams.map(|StreamsOwn { pipe, read }| (pipe, read)))
    }

    /// Reads nothing more of `live`, the output of a child that lives, and waits until all that was read is written.
    /// Goes on when the pauses are dropped.
    pub(super) async fn pause(&mut self, live: Option<&Output>) -> Vec<Pause> {
        let mut pauses = Vec::new();
        match live.map(|live| &live.source) {
            Some(Source::Pipes { stdout, stderr }) => {
                pauses.push(stdout.pause().await);
                pauses.push(stderr.pause().await);
            }
            Some(Source::Files(_) | Source::None) => {}
            None => while self.pumps.join_next().await.is_some() {},
        }
        while self.draining.join_next().await.is_some() {}
        match &self.to {
            Destination::Own { stdout } => stdout.written().await,
            Destination::Files { stdout, stderr, .. } => {
                stdout.written().await;
                stderr.written().await;
            }
            Destination::Straight { .. } | Destination::Nowhere | Destination::Null => {}
        }
        self.own_stderr.written().await;
        pauses
    }

    /// What says that the files' directory is this process's, where there are files.
    pub(crate) fn lock(&self) -> Option<&Lock> {
        match &self.to {
            Destination::Files { lock, .. } | Destination::Straight { lock, .. } => Some(lock),
            Destination::Own { .. } | Destination::Nowhere | Destination::Null => None,
        }
    }

    /// The output of a living child that an earlier shim has spawned, with the same files, which it writes itself. Where
    /// they cannot be opened it is told, and its last lines are not known.
    pub(super) fn take_up(&self) -> Output {
        self.reopen().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot open the files of the log; what the agent writes is not rotated");
            self.output(Source::None)
        })
    }

    fn reopen(&self) -> io::Result<Output> {
        match &self.to {
            Destination::Straight { keeper, .. } => Ok(self.output(Source::Files(keeper.reopen()?))),
            Destination::Null => Ok(self.output(Source::None)),
            Destination::Own { .. } | Destination::Files { .. } | Destination::Nowhere => Err(io::Error::other(
                "the child of an earlier shim has pipes that ended with it",
            )),
        }
    }

    fn output(&self, source: Source) -> Output {
        Output {
            source,
            redaction: Arc::clone(&self.redaction),
        }
    }

    /// Returns when everything is written, or after the drain limit.
    pub(crate) async fn finish(mut self) {
        let written = async {
            while self.pumps.join_next().await.is_some() {}
            while self.draining.join_next().await.is_some() {}
            match self.to {
                Destination::Own { stdout } => stdout.finish().await,
                Destination::Files { stdout, stderr, .. } => {
                    stdout.finish().await;
                    stderr.finish().await;
                }
                Destination::Straight { .. } | Destination::Nowhere | Destination::Null => {}
            }
            self.own_stderr.finish().await;
        };
        // Whoever does not read in this time does not want it.
        let _ = tokio::time::timeout(DRAIN_LIMIT, written).await;
    }
}

impl Destination {
    fn to_files(files: &LogFiles, sink: Sink, handed: &mut Vec<OwnedFd>) -> Result<Self, OutputsError> {
        let held = files.take(handed)?;
        let writer = |name, series| {
            let mut file = LogFile::new(series);
            Writer::start(name, move |chunk| file.take(chunk))
        };
        let started = match sink {
            Sink::Pipe => writer("stdout.log", held.stdout).and_then(|stdout| {
                Ok(Self::Files {
                    stdout,
                    stderr: writer("stderr.log", held.stderr)?,
                    lock: held.lock,
                })
            }),
            Sink::File => Keeper::start(held.stdout, held.stderr).map(|keeper| Self::Straight {
                keeper,
                lock: held.lock,
            }),
        };
        started.map_err(OutputsError::Thread)
    }
}

impl Ends {
    pub(super) fn nowhere() -> io::Result<Self> {
        let null = OwnedFd::from(File::options().write(true).open("/dev/null")?);
        Ok(Self {
            stdout: null.try_clone()?,
            stderr: null,
        })
    }
}

/// The output of one child.
#[derive(Debug)]
pub(super) struct Output {
    source: Source,
    redaction: Arc<Redaction>,
}

#[derive(Debug)]
enum Source {
    Pipes { stdout: Stream, stderr: Stream },
    Files(keeper::Kept),
    None,
}

impl Output {
    /// What of it the next program of this process goes on with; files need nothing.
    pub(super) fn so_far(&self) -> Option<[StreamsOwn<BorrowedFd<'_>>; 2]> {
        fn own(stream: &Stream) -> StreamsOwn<BorrowedFd<'_>> {
            let (pipe, read) = stream.so_far();
            StreamsOwn { pipe, read }
        }
        match &self.source {
            Source::Pipes { stdout, stderr } => Some([own(stdout), own(stderr)]),
            Source::Files(_) | Source::None => None,
        }
    }

    /// What hides of the child's words what must not leave the host.
    pub(super) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// How many bytes the child has written to stdout and stderr so far: what was read of its pipes, or, of files that
    /// it writes itself, what a look a second has found since they were opened. It only rises.
    pub(super) fn written_bytes(&self) -> u64 {
        match &self.source {
            Source::Pipes { stdout, stderr } => stdout.written_bytes() + stderr.written_bytes(),
            Source::Files(files) => files.written_bytes(),
            Source::None => 0,
        }
    }
}
