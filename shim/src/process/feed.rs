//! The stdin of an agent that reads messages from it for as long as it lives, one JSON object a line.
//!
//! A task of its own writes, so that an agent which does not read holds nobody up. Of one that has closed its stdin it is
//! told which messages it does not have.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::AttemptId;
use rekindle::policy::MAX_CONCURRENT_MAX;
use serde::Serialize;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

/// Lines that wait: as many messages as an agent is given at once.
const QUEUE: usize = MAX_CONCURRENT_MAX as usize;

/// Time from the first line that nobody reads until that is told. A process that dies closes its stdin a moment before its
/// death is seen, which tells more.
const DEATH_TELLS_MORE: Duration = Duration::from_millis(100);

/// What the agent reads of an attempt.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: &'a str,
    attempt: u32,
    message: &'a str,
    timeout_ms: u64,
}

/// The way in. Dropping it closes the agent's stdin.
#[derive(Debug)]
pub(super) struct Feed {
    pipe: Arc<pipe::Sender>,
    queue: mpsc::Sender<(AttemptId, Vec<u8>)>,
    /// Attempts whose lines nobody reads. Had by who hears of them.
    unread: Mutex<mpsc::Receiver<AttemptId>>,
    /// Lines that are not written.
    unwritten: watch::Sender<usize>,
    /// Ends with this.
    _writer: JoinSet<()>,
}

/// Why a line cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFed {
    #[error("the agent does not read its stdin, where {QUEUE} messages wait")]
    Full,
    #[error("the agent has closed its stdin")]
    Closed,
    #[error("an earlier shim has spawned the agent without a way to its stdin")]
    NoWay,
}

impl Feed {
    /// Starts to write to a pipe's end.
    pub(super) fn start(pipe: OwnedFd) -> io::Result<Self> {
        let pipe = Arc::new(pipe::Sender::from_owned_fd(pipe)?);
        let (queue, lines) = mpsc::channel(QUEUE);
        let (tell, unread) = mpsc::channel(QUEUE);
        let unwritten = watch::Sender::new(0);
        let mut writer = JoinSet::new();
        writer.spawn(write(Arc::clone(&pipe), lines, tell, unwritten.clone()));
        Ok(Self {
            pipe,
            queue,
            unread: Mutex::new(unread),
            unwritten,
            _writer: writer,
        })
    }

    /// Has a message written.
    pub(super) fn give(&self, attempt: &AttemptId, message: &str, timeout: Duration) -> Result<(), NotFed> {
        let line = Line {
            id: attempt.execution.as_str(),
            attempt: attempt.number,
            message,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let mut line = serde_json::to_vec(&line).expect("strings and numbers can always be written");
        line.push(b'\n');
        self.unwritten.send_modify(|lines| *lines += 1);
        self.queue.try_send((attempt.clone(), line)).map_err(|_full| {
            self.unwritten.send_modify(|lines| *lines -= 1);
            NotFed::Full
        })
    }

    /// Waits until a line turns out to be read by nobody. Can be dropped at any point, and called again.
    pub(super) async fn unwritten(&self) -> (AttemptId, NotFed) {
        match self.unread.lock().await.recv().await {
            Some(attempt) => (attempt, NotFed::Closed),
            // The writer ends with this.
            None => std::future::pending().await,
        }
    }

    /// Returns when every message is written, or nobody reads any more.
    pub(super) async fn written(&self) {
        // The sender is this one's own, and lives.
        let _ = self.unwritten.subscribe().wait_for(|lines| *lines == 0).await;
    }

    /// The pipe's end, for who goes on with it.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

async fn write(
    pipe: Arc<pipe::Sender>,
    mut lines: mpsc::Receiver<(AttemptId, Vec<u8>)>,
    unread: mpsc::Sender<AttemptId>,
    unwritten: watch::Sender<usize>,
) {
    let mut open = true;
    while let Some((attempt, line)) = lines.recv().await {
        // Whoever has closed it does not open it again.
        let written = open && write_line(&pipe, &line).await.is_ok();
        if open && !written {
            tokio::time::sleep(DEATH_TELLS_MORE).await;
        }
        open = written;
        unwritten.send_modify(|lines| *lines -= 1);
        if !written && unread.send(attempt).await.is_err() {
            return;
        }
    }
}

async fn write_line(pipe: &pipe::Sender, line: &[u8]) -> io::Result<()> {
    let mut rest = line;
    while !rest.is_empty() {
        pipe.writable().await?;
        match pipe.try_write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
