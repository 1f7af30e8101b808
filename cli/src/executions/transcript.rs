//! What of an execution's output was told, and what is still to tell when it is over.
//!
//! Output comes twice: as pieces while the agent writes it, and at the end as what is kept of it. A piece may come again
//! after a lost connection, or not at all where a link was slow. Whoever reads the transcript reads each byte at most
//! once, and is told of each gap.
//!
//! Pieces are bytes, and what is kept is text, in which U+FFFD stands for what is no UTF-8. So that both agree, pieces are
//! decoded in the same way, each character when it is whole.

use rekindle::execution::OUTPUT_MAX_BYTES;
use rekindle::wire::v1;

/// Fewer bytes that what was told and what is kept have in common are chance. What is kept of a longer output is far longer,
/// so that at worst these bytes are told twice.
const OVERLAP_MIN: usize = 1024;

/// Something to tell while an execution runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Another attempt has begun to write: nothing of the one before follows.
    Attempt(u32),
    /// So many bytes did not come.
    Gap(u64),
    /// More of the output.
    Text {
        /// Bytes of the attempt's output before this text.
        offset: u64,
        /// Whole characters.
        text: String,
    },
}

/// What is still to tell of the output of an execution that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest<'a> {
    /// More of it, and maybe none.
    Text(&'a str),
    /// More of it, after a gap of unknown length: only the last part is kept.
    AfterGap(&'a str),
    /// All that is kept, of another attempt than what was told.
    OtherAttempt(&'a str),
    /// What is kept is not what was told.
    Differs,
}

/// What was told of the output of one attempt.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// 0 before the first.
    attempt: u32,
    /// Bytes of the attempt's output that were read, or are known to be missing.
    read: u64,
    /// The last of these bytes, where they begin a character and do not end it: at most three.
    pending: Vec<u8>,
    /// Where in the output as text, in bytes, what was told ends.
    told: usize,
    /// The last that was told, without a gap in it; at most as much as is kept of an output.
    tail: String,
}

impl Transcript {
    /// Takes the next piece of output.
    pub(super) fn read(&mut self, chunk: &v1::OutputChunk) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if chunk.attempt < self.attempt {
            return pieces;
        }
        if chunk.attempt > self.attempt {
            if self.attempt > 0 {
                pieces.push(Piece::Attempt(chunk.attempt));
            }
            self.begin(chunk.attempt);
        }
        let gap = chunk.offset.saturating_sub(self.read);
        if gap > 0 {
            pieces.extend(self.skip(gap));
        }
        let seen = self.read - chunk.offset;
        let data = usize::try_from(seen).ok().and_then(|seen| chunk.data.get(seen..));
        pieces.extend(data.and_then(|data| self.decode(data)));
        pieces
    }

    /// What is still to tell of an execution that is over.
    pub(super) fn rest<'a>(&self, execution: &'a v1::Execution) -> Rest<'a> {
        let kept = execution.output.as_str();
        if execution.attempt != self.attempt && self.attempt > 0 {
            return Rest::OtherAttempt(kept);
        }
        if execution.output_truncated {
            return match overlap(&self.tail, kept) {
                0..OVERLAP_MIN => Rest::AfterGap(kept),
                known => Rest::Text(&kept[known..]),
            };
        }
        match kept.split_at_checked(self.told) {
            Some((known, rest)) if known.ends_with(&self.tail) => Rest::Text(rest),
            // An attempt whose end nobody saw has left nothing.
            _ if kept.is_empty() => Rest::Text(""),
            _ => Rest::Differs,
        }
    }

    fn begin(&mut self, attempt: u32) {
        *self = Self {
            attempt,
            ..Self::default()
        };
    }

    fn skip(&mut self, gap: u64) -> Vec<Piece> {
        let offset = self.read;
        let cut = std::mem::take(&mut self.pending);
        let broken = (!cut.is_empty()).then(|| Piece::Text {
            offset: offset - cut.len() as u64,
            text: char::REPLACEMENT_CHARACTER.to_string(),
        });
        if broken.is_some() {
            self.told += char::REPLACEMENT_CHARACTER.len_utf8();
        }
        self.read += gap;
        self.told = self.told.saturating_add(usize::try_from(gap).unwrap_or(usize::MAX));
        self.tail.clear();
        broken.into_iter().chain([Piece::Gap(gap)]).collect()
    }

    fn decode(&mut self, data: &[u8]) -> Option<Piece> {
        let offset = self.read - self.pending.len() as u64;
        self.read = self.read.saturating_add(data.len() as u64);
        self.pending.extend_from_slice(data);
        let text = take_text(&mut self.pending);
        if text.is_empty() {
            return None;
        }
        self.told += text.len();
        self.tail.push_str(&text);
        let surplus = self.tail.len().saturating_sub(OUTPUT_MAX_BYTES);
        self.tail.drain(..self.tail.ceil_char_boundary(surplus));
        Some(Piece::Text { offset, text })
    }
}

/// Takes the whole characters, with U+FFFD for what is none; as [`String::from_utf8_lossy`] of all the bytes would.
fn take_text(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = bytes.as_slice();
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => error,
        };
        let (valid, invalid) = rest.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        let Some(length) = error.error_len() else {
            rest = invalid;
            break;
        };
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &invalid[length..];
    }
    *bytes = rest.to_vec();
    text
}

/// How many bytes at the beginning of `kept` are the end of `told`: the most that can be, as what was told is not told
/// again. Linear in both (Knuth, Morris and Pratt).
fn overlap(told: &str, kept: &str) -> usize {
    let (told, kept) = (told.as_bytes(), kept.as_bytes());
    // For each prefix of `kept`, the longest proper prefix that is its suffix too.
    let mut borders = vec![0; kept.len()];
    let mut border = 0;
    for end in 1..kept.len() {
        while border > 0 && kept[border] != kept[end] {
            border = borders[border - 1];
        }
        border += usize::from(kept[border] == kept[end]);
        borders[end] = border;
    }
    let mut matched = 0;
    for byte in told {
        while matched > 0 && kept.get(matched) != Some(byte) {
            matched = borders[matched - 1];
        }
        matched += usize::from(kept.get(matched) == Some(byte));
    }
    matched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(attempt: u32, offset: u64, data: &[u8]) -> v1::OutputChunk {
        v1::OutputChunk {
            attempt,
            offset,
            data: data.to_vec(),
            kind: v1::OutputKind::Stdout.into(),
        }
    }

    fn text(offset: u64, text: &str) -> Piece {
        Piece::Text {
            offset,
            text: text.to_owned(),
        }
    }

    fn over(attempt: u32, output: &str, truncated: bool) -> v1::Execution {
        v1::Execution {
            attempt,
            output: output.to_owned(),
            output_truncated: truncated,
            ..v1::Execution::default()
        }
    }

    #[test]
    fn each_byte_is_told_once() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.read(&chunk(1, 0, b"one ")), [text(0, "one ")]);
        assert_eq!(transcript.read(&chunk(1, 0, b"one ")), []);
        assert_eq!(transcript.read(&chunk(1, 2, b"e two ")), [text(4, "two ")]);
        assert_eq!(transcript.rest(&over(1, "one two three", false)), Rest::Text("three"));
        assert_eq!(transcript.rest(&over(1, "one two ", false)), Rest::Text(""));
        assert_eq!(
            transcript.rest(&over(1, "", false)),
            Rest::Text(""),
            "a lost one has none"
        );
        assert_eq!(transcript.rest(&over(1, "other words", false)), Rest::Differs);
        assert_eq!(transcript.rest(&over(1, "one", false)), Rest::Differs);
    }

    #[test]
    fn gaps_are_told() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.read(&chunk(1, 3, b"lo")), [Piece::Gap(3), text(3, "lo")]);
        assert_eq!(transcript.read(&chunk(1, 9, b"ld")), [Piece::Gap(4), text(9, "ld")]);
        assert_eq!(transcript.rest(&over(1, "hello world!", false)), Rest::Text("!"));
        let mut broken = Transcript::default();
        assert_eq!(
            broken.read(&chunk(1, 0, "aé".as_bytes().split_last().expect("bytes").1)),
            [text(0, "a")]
        );
        assert_eq!(
            broken.read(&chunk(1, 9, b"b")),
            [text(1, "\u{fffd}"), Piece::Gap(7), text(9, "b")]
        );
    }

    #[test]
    fn a_later_attempt_begins_anew() {
        let mut transcript = Transcript::default();
        let _first = transcript.read(&chunk(1, 0, b"first"));
        assert_eq!(
            transcript.read(&chunk(2, 0, b"second")),
            [Piece::Attempt(2), text(0, "second")]
        );
        assert_eq!(transcript.read(&chunk(1, 5, b" late")), []);
        assert_eq!(transcript.rest(&over(2, "second one", false)), Rest::Text(" one"));
        assert_eq!(transcript.rest(&over(3, "third", false)), Rest::OtherAttempt("third"));
    }

    #[test]
    fn pieces_and_what_is_kept_agree_however_they_are_cut() {
        let output = b"gr\xc3\xbc\xc3\x9fe \xff\xe2\x82 \xf0\x9f\x94\xa5 end";
        let kept = String::from_utf8_lossy(output).into_owned();
        for size in 1..output.len() {
            for streamed in 0..output.len() {
                let mut transcript = Transcript::default();
                let mut told = String::new();
                let mut offset = 0;
                for data in output[..streamed].chunks(size) {
                    for piece in transcript.read(&chunk(1, offset, data)) {
                        match piece {
                            Piece::Text { text, .. } => told.push_str(&text),
                            Piece::Attempt(_) | Piece::Gap(_) => panic!("there is none: {piece:?}"),
                        }
                    }
                    offset += data.len() as u64;
                }
                let execution = over(1, &kept, false);
                let Rest::Text(rest) = transcript.rest(&execution) else {
                    panic!("it goes on where it was");
                };
                assert_eq!(told + rest, kept, "{streamed} bytes in pieces of {size}");
            }
        }
    }

    #[test]
    fn only_the_last_part_is_kept() {
        let nothing = Transcript::default();
        assert_eq!(nothing.rest(&over(1, "the end", true)), Rest::AfterGap("the end"));
        let mut transcript = Transcript::default();
        let middle = "middle ".repeat(OVERLAP_MIN);
        let _told = transcript.read(&chunk(1, 0, format!("begin {middle}").as_bytes()));
        let known = over(1, &format!("{middle}end"), true);
        assert_eq!(transcript.rest(&known), Rest::Text("end"));
        let later = over(1, " end", true);
        assert_eq!(
            transcript.rest(&later),
            Rest::AfterGap(" end"),
            "one space in common is chance"
        );
        let again = v1::Execution { attempt: 2, ..known };
        assert_eq!(transcript.rest(&again), Rest::OtherAttempt(&again.output));
    }

    #[test]
    fn overlaps() {
        for (told, kept, expected) in [
            ("", "", 0),
            ("abc", "", 0),
            ("", "abc", 0),
            ("abcabx", "abcabc", 0),
            ("xabcab", "abcabc", 5),
            ("aaaa", "aaa", 3),
            ("abc", "abc", 3),
            ("ababab", "abac", 2),
        ] {
            assert_eq!(overlap(told, kept), expected, "{told} {kept}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut transcript = Transcript::default();
        let data = vec![b'x'; OUTPUT_MAX_BYTES];
        for turn in 0..3 {
            let _told = transcript.read(&chunk(1, turn * OUTPUT_MAX_BYTES as u64, &data));
        }
        assert_eq!(transcript.tail.len(), OUTPUT_MAX_BYTES);
    }
}
