//! The stdin of an agent that reads messages from it for as long as it lives, one JSON object a line.
//!
//! A task of its own writes, so that an agent which does not read holds nobody up. One that has closed its stdin, or is
//! dead, reads nothing more: that is no error, and its messages run into their time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::AttemptId;
use rekindle::policy::MAX_CONCURRENT_MAX;
use serde::Serialize;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Lines that wait: as many messages as an agent is given at once.
const QUEUE: usize = MAX_CONCURRENT_MAX as usize;

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
    queue: mpsc::Sender<Vec<u8>>,
    /// Lines that are not written.
    unwritten: watch::Sender<usize>,
    /// Ends with this.
    _writer: JoinSet<()>,
}

/// A line that finds no room.
#[derive(Debug, thiserror::Error)]
#[error("it does not read its stdin, where {QUEUE} messages wait")]
pub(super) struct Full;

impl Feed {
    /// Starts to write to a pipe's end.
    pub(super) fn start(pipe: OwnedFd) -> io::Result<Self> {
        let pipe = Arc::new(pipe::Sender::from_owned_fd(pipe)?);
        let (queue, lines) = mpsc::channel(QUEUE);
        let unwritten = watch::Sender::new(0);
        let mut writer = JoinSet::new();
        writer.spawn(write(Arc::clone(&pipe), lines, unwritten.clone()));
        Ok(Self {
            pipe,
            queue,
            unwritten,
            _writer: writer,
        })
    }

    /// Has a message written.
    pub(super) fn give(&self, attempt: &AttemptId, message: &str, timeout: Duration) -> Result<(), Full> {
        let line = Line {
            id: attempt.execution.as_str(),
            attempt: attempt.number,
            message,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let mut line = serde_json::to_vec(&line).expect("strings and numbers can always be written");
        line.push(b'\n');
        self.unwritten.send_modify(|lines| *lines += 1);
        self.queue.try_send(line).map_err(|error| {
            self.unwritten.send_modify(|lines| *lines -= 1);
            match error {
                mpsc::error::TrySendError::Full(_) | mpsc::error::TrySendError::Closed(_) => Full,
            }
        })
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

async fn write(pipe: Arc<pipe::Sender>, mut lines: mpsc::Receiver<Vec<u8>>, unwritten: watch::Sender<usize>) {
    let mut open = true;
    while let Some(line) = lines.recv().await {
        // Whoever has closed it does not open it again.
        open = open && write_line(&pipe, &line).await.is_ok();
        unwritten.send_modify(|lines| *lines -= 1);
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
