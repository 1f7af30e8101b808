//! Reads along what a process writes for a message.

use std::sync::Arc;

use super::evidence::Unredacted;
use super::pump::Tap;
use super::transcript::{Passage, Piece, Transcript};
use super::{Output, Source};

/// Most bytes of a stream that are read at once: what patterns are searched for with nobody else's turn in between.
const PASSAGE_MAX_BYTES: usize = 16 * 1024;

/// Reads along, at its own pace: it holds nobody up, and what is not held any more when it comes to it is lost to it.
#[derive(Debug)]
pub(crate) struct Reader {
    tap: Tap,
    transcript: Transcript,
}

/// Whether there may be more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    End,
}

impl Output {
    /// One who reads along from the beginning, where it is written for a message, and comes through the shim.
    pub(in crate::process) fn reader(&self) -> Option<Reader> {
        match &self.source {
            Source::Pipes { stdout, .. } => Some(Reader {
                tap: stdout.tap()?,
                transcript: Transcript::new(Arc::clone(&self.redaction)),
            }),
            Source::Files(_) | Source::None => None,
        }
    }
}

impl Reader {
    /// Waits until something is written. Can be dropped at any point, and called again.
    pub(crate) async fn written(&self) {
        self.tap.written().await;
    }

    /// Bytes that are written, and not read.
    pub(crate) fn unread_bytes(&self) -> u64 {
        self.tap.written_bytes().saturating_sub(self.transcript.read())
    }

    /// Reads the next passage. Others have their turn.
    pub(crate) async fn read(&mut self) {
        let passage = self.tap.passage(self.transcript.read(), PASSAGE_MAX_BYTES);
        self.take(passage).await;
    }

    /// Reads all that is written by now.
    pub(crate) async fn catch_up(&mut self) {
        let written = self.tap.written_bytes();
        while self.transcript.read() < written {
            let passage = self.tap.passage(self.transcript.read(), PASSAGE_MAX_BYTES);
            if passage.bytes.is_empty() {
                return;
            }
            self.take(passage).await;
        }
    }

    /// As [`Reader::read`], of what the process has left when it is dead.
    pub(in crate::process) async fn read_rest(&mut self, rest: &Unredacted) -> Progress {
        let passage = rest.passage(self.transcript.read(), PASSAGE_MAX_BYTES);
        if passage.bytes.is_empty() {
            self.transcript.finish().await;
            return Progress::End;
        }
        self.take(passage).await;
        Progress::More
    }

    async fn take(&mut self, passage: Passage) {
        self.transcript.take(passage).await;
        tokio::task::yield_now().await;
    }

    /// What is told from a place on, or from the oldest that is held behind it; at most so many bytes.
    pub(crate) fn piece(&self, from: u64, max_bytes: usize) -> Option<Piece> {
        self.transcript.piece(from, max_bytes)
    }

    /// Where what can be told ends.
    pub(crate) const fn end(&self) -> u64 {
        self.transcript.end()
    }
}
