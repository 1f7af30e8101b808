//! The last bytes of a stream: its last lines as evidence, or what was written for a message.

use rekindle::execution::{OUTPUT_MAX_BYTES, Output};
use rekindle::exit::{TAIL_MAX_BYTES, last_bytes, printable_tail};
use serde::{Deserialize, Serialize};

use super::transcript::Passage;
use crate::redaction::{CONTEXT_BYTES, Redaction};

/// Bytes that make evidence: it, and what is before it, which only patterns see: a match that begins there and reaches
/// beyond is redacted whole.
pub(super) const WINDOW_BYTES: usize = TAIL_MAX_BYTES + CONTEXT_BYTES;

/// Bytes that make the output for a message.
const RECORD_BYTES: usize = OUTPUT_MAX_BYTES + CONTEXT_BYTES;

/// Whether a stream has lost its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Beginning {
    #[default]
    Held,
    Lost,
}

/// The last so many bytes of a stream. Takes at most twice that of memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Last<const BYTES: usize> {
    bytes: Vec<u8>,
    beginning: Beginning,
}

/// What last lines are made of.
pub(super) type Ring = Last<WINDOW_BYTES>;

/// What the output for a message is made of.
pub(super) type Record = Last<RECORD_BYTES>;

impl<const BYTES: usize> Last<BYTES> {
    /// What was read of a stream's end.
    pub(super) fn of(bytes: Vec<u8>, beginning: Beginning) -> Self {
        Self { bytes, beginning }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let newest = bytes.get(bytes.len().saturating_sub(BYTES)..).unwrap_or(bytes);
        // Room for twice as much, so that a byte is moved once at most.
        let surplus = (self.bytes.len() + newest.len()).saturating_sub(2 * BYTES);
        if newest.len() < bytes.len() || surplus > 0 {
            self.beginning = Beginning::Lost;
            let stay = BYTES - newest.len();
            self.bytes.drain(..self.bytes.len().saturating_sub(stay));
        }
        self.bytes.extend_from_slice(newest);
    }

    /// All that is held, and at most twice `BYTES`.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Ring {
    /// As text, redacted, at most [`TAIL_MAX_BYTES`]; without its first line where that has lost its beginning and
    /// others follow.
    pub(super) fn text(&self, redaction: &Redaction) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let start = match self.beginning {
            Beginning::Held => 0,
            Beginning::Lost => text.ceil_char_boundary(CONTEXT_BYTES),
        };
        let redacted = redaction.apply_from(&text, start);
        let tail = printable_tail(&redacted);
        let is_cut = self.beginning == Beginning::Lost || tail.chars().count() < redacted.chars().count();
        match tail.split_once('\n') {
            Some((_, rest)) if is_cut && !rest.is_empty() => rest.to_owned(),
            Some(_) | None => tail,
        }
    }
}

impl Record {
    /// At most so many bytes from the one after the first `from`, or from the oldest that is held, of a stream that has so
    /// many bytes by now.
    pub(super) fn passage(&self, written: u64, from: u64, max_bytes: usize) -> Passage {
        let oldest = written.saturating_sub(self.bytes.len() as u64);
        let at = from.max(oldest);
        let held = usize::try_from(at - oldest)
            .ok()
            .and_then(|skip| self.bytes.get(skip..));
        let bytes = held.unwrap_or_default();
        Passage {
            at,
            bytes: bytes.get(..max_bytes).unwrap_or(bytes).to_vec(),
        }
    }

    /// As text, redacted, at most [`OUTPUT_MAX_BYTES`], of a stream that had so many bytes in all. Control characters
    /// stay: it is a result.
    pub(super) async fn output(&self, written: u64, redaction: &Redaction) -> Output {
        let mut start = self.bytes.len().saturating_sub(OUTPUT_MAX_BYTES);
        // No character is cut, unless it is none.
        let is_continuation = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        while start > 0 && self.bytes.get(start).is_some_and(is_continuation) {
            start += 1;
        }
        let (before, kept) = self.bytes.split_at_checked(start).unwrap_or((&[], &self.bytes));
        let mut text = String::from_utf8_lossy(before).into_owned();
        let start = text.len();
        text.push_str(&String::from_utf8_lossy(kept));
        let redacted = redaction.apply_in_turns(&text, start).await;
        // Replacements can be longer than what they stand for.
        let last = last_bytes(&redacted, OUTPUT_MAX_BYTES);
        let cut = redacted.len() - last.len();
        Output {
            text: last.into(),
            dropped: written.saturating_sub(kept.len() as u64) + cut as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(chunks: &[&[u8]]) -> Ring {
        let mut ring = Ring::default();
        for chunk in chunks {
            ring.push(chunk);
            assert!(ring.bytes.len() <= 2 * WINDOW_BYTES);
        }
        ring
    }

    fn tail(chunks: &[&[u8]]) -> String {
        ring(chunks).text(&Redaction::default())
    }

    fn redacted(chunks: &[&[u8]], pattern: &str) -> String {
        let patterns = vec![pattern.parse().expect("valid")];
        ring(chunks).text(&Redaction::new(patterns).expect("one"))
    }

    #[test]
    fn last_lines() {
        assert_eq!(tail(&[]), "");
        assert_eq!(tail(&[b"a\n", b"b"]), "a\nb");
        assert_eq!(tail(&[b"\xff!"]), "\u{fffd}!");
        let line = [b'x'; 99].as_slice();
        for count in [50, 90, 500] {
            let text = tail(&vec![[line, b"\n"].concat().as_slice(); count]);
            assert_eq!(text.lines().count(), 40, "whole lines alone");
            assert!(text.lines().all(|line| line.len() == 99));
        }
        assert_eq!(
            tail(&[&[b'x'; 100_000]]).len(),
            TAIL_MAX_BYTES,
            "a line without an end is cut"
        );
        assert!(tail(&[&[0xff; 100_000]]).len() <= TAIL_MAX_BYTES);
        assert_eq!(
            tail(&[&[0xff; 3_000], b"\nend\n"]),
            "end\n",
            "what grows as text is cut too"
        );
    }

    #[test]
    fn what_comes_in_pieces_is_held_whole() {
        for piece in [1, 7, 4096, WINDOW_BYTES - 1, WINDOW_BYTES, 3 * WINDOW_BYTES] {
            let bytes: Vec<u8> = (0..100_000_u32)
                .map(|n| b'a' + u8::try_from(n % 23).expect("small"))
                .collect();
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            let ring = ring(&pieces);
            assert!(ring.bytes.len() >= WINDOW_BYTES, "{piece}");
            assert!(bytes.ends_with(&ring.bytes), "{piece}");
        }
    }

    #[test]
    fn a_secret_that_the_cut_hits_is_redacted_whole() {
        let secret = "s".repeat(3000);
        for before in (0..20_000).step_by(61) {
            let text = format!("{}<{secret}>{}", ".".repeat(before), ".".repeat(2500));
            let kept = redacted(&[text.as_bytes()], "<s+>");
            assert!(!kept.contains('s'), "{before}: {kept}");
            assert!(kept.ends_with(&format!("[redacted]{}", ".".repeat(2500))), "{before}");
        }
        // However the secrets shrink, nothing of before the window's patterns comes up.
        let many = format!("<{}> ", "s".repeat(700)).repeat(100);
        let kept = redacted(&[many.as_bytes()], "<s+>");
        assert!(!kept.contains('s'), "{kept}");
    }
}
