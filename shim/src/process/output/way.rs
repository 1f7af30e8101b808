//! The way on from a pump: to the thread that writes what a stream's reader, or its file, is to have.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Longest time in all that who works on messages is held up by a stream's reader, until that has taken all that waits:
/// longer than a reader that is only slow needs for it, and little of a message's time.
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
    /// It goes on without: what it is for is elsewhere, as the output of a message is kept for its result, and answers are
    /// heard.
    GoesOn(Patience),
}

/// How much longer the reader is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    left: Duration,
}

impl Patience {
    /// With a reader that has taken all so far.
    pub(super) const FULL: Self = Self { left: HOLD_MAX };
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
        match &mut self.unread {
            Unread::Waits => self.queue.send(chunk).await.map_err(|_| Closed),
            Unread::GoesOn(patience) => patience.pass(&self.queue, chunk).await,
        }
    }
}

impl Patience {
    async fn pass(&mut self, queue: &mpsc::Sender<Vec<u8>>, chunk: Vec<u8>) -> Result<(), Closed> {
        if queue.capacity() == queue.max_capacity() {
            *self = Self::FULL;
        }
        match queue.try_send(chunk) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
            Err(mpsc::error::TrySendError::Full(_dropped)) if self.left.is_zero() => {
                tokio::task::coop::consume_budget().await;
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(chunk)) => self.hold(queue, chunk).await,
        }
    }

    async fn hold(&mut self, queue: &mpsc::Sender<Vec<u8>>, chunk: Vec<u8>) -> Result<(), Closed> {
        let since = Instant::now();
        let sent = timeout(self.left, queue.send(chunk)).await;
        self.left = self.left.saturating_sub(since.elapsed());
        let Ok(sent) = sent else {
            self.left = Duration::ZERO;
            tracing::warn!(
                "nobody takes what is written by who works on messages, or not as fast: from here on it is dropped where \
                 there is no room for it; see who reads the shim's stdout and stderr, or the disk of its files"
            );
            return Ok(());
        };
        sent.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_is_held_up_once_and_not_for_long() {
        let (queue, mut read) = mpsc::channel(1);
        let mut way = Way::new(queue, Unread::GoesOn(Patience::FULL));
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
    async fn a_reader_who_is_slow_holds_up_no_longer_than_one_who_does_not_read() {
        let (queue, mut read) = mpsc::channel(2);
        let mut way = Way::new(queue, Unread::GoesOn(Patience::FULL));
        let reader = tokio::spawn(async move {
            // It takes one at a time, each just before it would count as one who does not read.
            while read.recv().await.is_some() {
                sleep(HOLD_MAX * 9 / 10).await;
            }
        });
        let start = Instant::now();
        for number in 0..100 {
            way.pass(vec![number]).await.expect("open");
        }
        assert_eq!(start.elapsed(), HOLD_MAX);
        // All that waits is taken: one burst more may take as long again.
        sleep(4 * HOLD_MAX).await;
        let start = Instant::now();
        for number in 0..100 {
            way.pass(vec![number]).await.expect("open");
        }
        assert_eq!(start.elapsed(), HOLD_MAX);
        drop(way);
        reader.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_waits() {
        let (queue, _read) = mpsc::channel(1);
        let mut way = Way::new(queue, Unread::Waits);
        way.pass(vec![0]).await.expect("open");
        assert!(timeout(100 * HOLD_MAX, way.pass(vec![1])).await.is_err());
    }
}
