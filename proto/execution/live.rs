//! What a running attempt writes, while somebody watches.

use super::AttemptId;

/// Longest piece: a full buffer of a pipe read four times, and far below what a message may have.
pub const OUTPUT_PART_MAX_BYTES: usize = 16 * 1024;

/// That somebody watches an attempt, or that nobody does any more. Forgotten with the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Which attempt. Of one that the shim does not have, it means nothing.
    pub attempt: AttemptId,
    /// Where in its output to go on, in bytes from its beginning, or with the oldest that is left after that; `None`:
    /// where the piece before ended, or where it is told for the first time, with what is written from then on.
    pub from: Option<u64>,
    /// Bytes of it that may be sent from here on, in place of what was left; 0 ends it.
    pub credit: u32,
}

/// A piece of what a running attempt has written. Neither numbered nor told again: what counts is told with the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPart {
    /// Which attempt.
    pub attempt: AttemptId,
    /// What it is a piece of; all of one attempt are of the same.
    pub kind: OutputKind,
    /// Bytes of the output before this piece, as text, and without secrets. Larger than where the piece before ended: what
    /// lies between was dropped.
    pub offset: u64,
    /// At most [`OUTPUT_PART_MAX_BYTES`], and at least one.
    pub data: Vec<u8>,
}

/// What is told of an attempt while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputKind {
    /// What its process writes, which is its result.
    #[default]
    Output,
    /// How far the agent says that it is, a line each. It is no part of the result.
    Progress,
}

impl OutputPart {
    /// Where it ends, in bytes from the output's beginning.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64)
    }
}
