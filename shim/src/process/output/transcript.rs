//! What a process writes for a message, as it is told while the process runs: a text without secrets, by where in it.
//!
//! Offsets count the bytes of this text, not those that the process wrote: U+FFFD stands for what is no UTF-8, and
//! `[redacted]` for secrets, as in the result. So who has the pieces and the result knows where one goes on in the other.
//! What is lost before it was read has no text; it counts as the bytes that it was.

use std::sync::Arc;

use rekindle::execution::OUTPUT_MAX_BYTES;

use super::ring::Last;
use crate::redaction::{CONTEXT_BYTES, Growing, Redaction, TooLong};

/// Bytes of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Passage {
    /// Bytes of the stream before these.
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// Some of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes of the text before it.
    pub(crate) offset: u64,
    pub(crate) data: Vec<u8>,
}

/// The text so far, and its last 256 KiB; takes at most twice that of memory, and what [`Growing`] holds.
#[derive(Debug)]
pub(super) struct Transcript {
    growing: Growing,
    /// Bytes of the stream that are in the text, or are lost.
    read: u64,
    /// The last of them, where they begin a character and do not end it: at most three.
    unfinished: Vec<u8>,
    text: Last<OUTPUT_MAX_BYTES>,
    /// Bytes of the whole text.
    end: u64,
    course: Course,
}

/// Whether the text goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    GoesOn,
    /// What comes may be secret, without an end.
    Withheld,
}

impl Transcript {
    pub(super) fn new(redaction: Arc<Redaction>) -> Self {
        Self {
            growing: Growing::new(redaction),
            read: 0,
            unfinished: Vec::new(),
            text: Last::default(),
            end: 0,
            course: Course::GoesOn,
        }
    }

    /// Bytes of the stream that it has read.
    pub(super) const fn read(&self) -> u64 {
        self.read
    }

    /// Where the text ends.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// Takes what comes next in the stream, or behind what is lost.
    pub(super) async fn take(&mut self, passage: Passage) {
        let mut bytes = passage.bytes.as_slice();
        if passage.at > self.read {
            bytes = self.skip_to(passage.at, bytes);
        }
        self.read += bytes.len() as u64;
        self.unfinished.extend_from_slice(bytes);
        let unfinished = self.unfinished.len() - unfinished_bytes(&self.unfinished);
        let unfinished = self.unfinished.split_off(unfinished);
        let bytes = std::mem::replace(&mut self.unfinished, unfinished);
        self.go_on(&String::from_utf8_lossy(&bytes)).await;
    }

    /// The stream has ended.
    pub(super) async fn finish(&mut self) {
        let unfinished = std::mem::take(&mut self.unfinished);
        self.go_on(&String::from_utf8_lossy(&unfinished)).await;
        if self.course == Course::GoesOn {
            let rest = self.growing.finish().await;
            self.add(&rest);
        }
    }

    /// What is told from a place on, or from the oldest that is held behind it; at most so many bytes.
    pub(super) fn piece(&self, from: u64, max_bytes: usize) -> Option<Piece> {
        let held = self.text.bytes();
        let oldest = self.end - held.len() as u64;
        let offset = from.max(oldest);
        let rest = held.get(usize::try_from(offset - oldest).ok()?..)?;
        let data = rest.get(..max_bytes).unwrap_or(rest).to_vec();
        (!data.is_empty()).then_some(Piece { offset, data })
    }

    /// Begins anew behind what is lost. What comes first after that is for patterns alone, as a secret may begin in what
    /// is lost; gives the rest.
    fn skip_to<'a>(&mut self, at: u64, bytes: &'a [u8]) -> &'a [u8] {
        let is_continuation = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let mut context = CONTEXT_BYTES.min(bytes.len());
        while bytes.get(context).is_some_and(is_continuation) {
            context += 1;
        }
        let (context, rest) = bytes.split_at(context);
        let lost = at - self.read + context.len() as u64;
        self.read += lost;
        self.end += lost + (self.unfinished.len() + self.growing.held_bytes()) as u64;
        self.text = Last::default();
        self.unfinished.clear();
        self.growing.begin_after(String::from_utf8_lossy(context).into_owned());
        rest
    }

    async fn go_on(&mut self, more: &str) {
        match self.course {
            Course::GoesOn => {}
            Course::Withheld => return,
        }
        match self.growing.push(more).await {
            Ok(settled) => self.add(&settled),
            Err(TooLong) => {
                self.course = Course::Withheld;
                self.growing.begin_after(String::new());
            }
        }
    }

    fn add(&mut self, text: &str) {
        self.text.push(text.as_bytes());
        self.end += text.len() as u64;
    }
}

/// How many bytes at the end begin a character, and do not end it.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    let begins = |tail: &[u8]| {
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let tails = (1..char::MAX_LEN_UTF8).filter(|length| {
        let tail = bytes.len().checked_sub(*length).and_then(|start| bytes.get(start..));
        tail.is_some_and(begins)
    });
    tails.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::ring::Record;
    use super::*;

    fn redaction(patterns: &[&str]) -> Arc<Redaction> {
        let patterns = patterns.iter().map(|pattern| pattern.parse().expect("valid"));
        Arc::new(Redaction::new(patterns.collect()).expect("not too many"))
    }

    fn all(transcript: &Transcript) -> String {
        let mut text = Vec::new();
        while let Some(piece) = transcript.piece(text.len() as u64, 1000) {
            assert_eq!(piece.offset, text.len() as u64);
            text.extend(piece.data);
        }
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn it_is_the_result_however_the_stream_comes() {
        let stream = b"gr\xc3\xbc\xc3\x9fe sk-abc \xff\xe2\x82 \xf0\x9f\x94\xa5\nsk-def\xed\xa0\x80 \xf0\x9f\x94";
        for patterns in [&[][..], &["sk-[a-z]+"], &["sk-[^x]*?\\n"]] {
            let redaction = redaction(patterns);
            for size in 1..=stream.len() {
                let mut record = Record::default();
                let mut transcript = Transcript::new(Arc::clone(&redaction));
                let mut written = 0;
                for bytes in stream.chunks(size) {
                    record.push(bytes);
                    written += bytes.len() as u64;
                    let passage = record.passage(written, transcript.read(), size);
                    assert_eq!(passage.bytes, bytes);
                    transcript.take(passage).await;
                }
                transcript.finish().await;
                let output = record.output(written, &redaction).await;
                assert_eq!(all(&transcript), *output.text, "pieces of {size}");
                assert_eq!(transcript.end(), output.text.len() as u64);
            }
        }
    }

    #[tokio::test]
    async fn what_is_lost_counts_and_secrets_that_it_cuts_are_not_told() {
        let redaction = redaction(&["<s+>"]);
        for before in [0, 1, 1000, 2000, 5000] {
            let mut transcript = Transcript::new(Arc::clone(&redaction));
            transcript
                .take(Passage {
                    at: 0,
                    bytes: b"begin\nheld".to_vec(),
                })
                .await;
            assert_eq!(all(&transcript), "begin\n");
            // What is lost ends inside of a secret, or before one; the context ends behind it, or inside of it.
            let secret = format!("<{}>", "s".repeat(2000));
            let text = format!("{}{secret}{}\n", ".".repeat(before), "x".repeat(20_000));
            let oldest = 10_000 + 1500;
            let written = 10_000 + text.len() as u64;
            let mut record = Record::default();
            record.push(&text.as_bytes()[1500..]);
            loop {
                let passage = record.passage(written, transcript.read(), 5000);
                if passage.bytes.is_empty() {
                    break;
                }
                transcript.take(passage).await;
            }
            transcript.finish().await;
            let first = transcript.piece(6, 3000).expect("it goes on");
            assert_eq!(first.offset, oldest + CONTEXT_BYTES as u64);
            assert!(!first.data.contains(&b's') && !first.data.contains(&b'<'), "{before}");
            assert!(transcript.piece(transcript.end(), 1).is_none());
        }
    }

    #[tokio::test]
    async fn a_secret_without_an_end_ends_it() {
        let mut transcript = Transcript::new(redaction(&["sk-[a-z]+"]));
        let stream = [b"sk-".as_slice(), &[b'a'; 100_000], b"\nand more\n"].concat();
        for bytes in stream.chunks(1000) {
            let passage = Passage {
                at: transcript.read(),
                bytes: bytes.to_vec(),
            };
            transcript.take(passage).await;
        }
        transcript.finish().await;
        assert_eq!(transcript.piece(0, 1), None);
        assert_eq!(transcript.read(), stream.len() as u64);
    }
}
