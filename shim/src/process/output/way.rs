//! The way on from a pump: to the thread that writes what a stream's reader, or its file, is to have.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest time that the process of a message is held up by who does not read the shim's own stream: longer than a reader
/// that is only slow needs for what waits before, and little of a message's time.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The way on of one stream.
#[derive(Debug)]
pub(super) struct Way {
    queue: mpsc::Sender<Vec<u8>>,
    unread: Unread,
}

/// What becomes of a stream whose reader does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It stands still, and with it who writes it: nothing is lost.
    Waits,
    /// It goes on without: what it is for is elsewhere, as the output of a message is kept for its result.
    GoesOn(Reads),
}

/// Whether the reader read when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Yes,
    No,
}

/// That nothing is written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

impl Way {
    pub(super) const fn new(queue: mpsc::Sender<Vec<u8>>, unread: Unread) -> Self {
        Self { queue, unread }
    }

    /// Passes a chunk on, or drops it.
    pub(super) async fn pass(&mut self, chunk: Vec<u8>) -> Result<(), Closed> {
        match self.unread {
            Unread::Waits => self.queue.send(chunk).await.map_err(|_| Closed),
            Unread::GoesOn(Reads::Yes) => match timeout(HOLD_MAX, self.queue.send(chunk)).await {
                Ok(sent) => sent.map_err(|_| Closed),
                Err(_elapsed) => {
                    tracing::warn!(
                        "nobody takes what the processes of messages write: from here on it is dropped until somebody does; \
                         see who reads the shim's stdout and stderr, or the disk of its files"
                    );
                    self.unread = Unread::GoesOn(Reads::No);
                    Ok(())
                }
            },
            Unread::GoesOn(Reads::No) => {
                match self.queue.try_send(chunk) {
                    Ok(()) => self.unread = Unread::GoesOn(Reads::Yes),
                    Err(mpsc::error::TrySendError::Full(_dropped)) => tokio::task::coop::consume_budget().await,
                    Err(mpsc::error::TrySendError::Closed(_)) => return Err(Closed),
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_is_held_up_once_and_not_for_long() {
        let (queue, mut read) = mpsc::channel(1);
        let mut way = Way::new(queue, Unread::GoesOn(Reads::Yes));
        let start = Instant::now();
        for number in 0..100 {
            way.pass(vec![number]).await.expect("open");
        }
        assert_eq!(start.elapsed(), HOLD_MAX);
        assert_eq!(read.recv().await, Some(vec![0]));
        way.pass(vec![100]).await.expect("open");
        assert_eq!(read.recv().await, Some(vec![100]), "who reads again gets what comes");
        drop(read);
        assert_eq!(way.pass(vec![101]).await, Err(Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_waits() {
        let (queue, _read) = mpsc::channel(1);
        let mut way = Way::new(queue, Unread::Waits);
        way.pass(vec![0]).await.expect("open");
        assert!(timeout(100 * HOLD_MAX, way.pass(vec![1])).await.is_err());
    }
}
