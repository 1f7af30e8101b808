//! The result of an execution, from the command line or from standard input.

use std::ffi::OsString;
use std::io::{self, Read};

use rekindle::execution::OUTPUT_MAX_BYTES;
use rekindle::exit::last_bytes;

use crate::failure::Failure;

/// In place of a result: it is read from standard input.
const STDIN: &str = "-";

/// What is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The last part of a result: at most [`OUTPUT_MAX_BYTES`], as of all output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) text: String,
    /// Bytes that came before.
    pub(super) dropped_bytes: u64,
}

/// Reads the result; one that is too long is cut, which is told: an execution whose result nobody takes would run until
/// its time is over.
pub(super) fn read(result: Option<OsString>) -> Result<Kept, Failure> {
    let kept = match result {
        None => Kept::default(),
        Some(stdin) if stdin == STDIN => tail(io::stdin().lock()).map_err(Failure::Input)?,
        Some(result) => Kept::of(result.as_encoded_bytes(), 0),
    };
    if kept.dropped_bytes > 0 {
        eprintln!(
            "warning: only the last {} KiB of the result are kept",
            OUTPUT_MAX_BYTES / 1024
        );
    }
    Ok(kept)
}

/// Reads to the end, in bounded memory.
fn tail(mut from: impl Read) -> io::Result<Kept> {
    let mut bytes = Vec::new();
    let mut dropped = 0;
    loop {
        let read = from.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
        let excess = bytes.len().saturating_sub(OUTPUT_MAX_BYTES);
        bytes.drain(..excess);
        dropped += excess as u64;
        if read == 0 {
            return Ok(Kept::of(&bytes, dropped));
        }
    }
}

impl Kept {
    /// Of bytes before which others were dropped. What is no UTF-8 is replaced, which may make it longer.
    fn of(bytes: &[u8], dropped: u64) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let kept = last_bytes(&text, OUTPUT_MAX_BYTES);
        Self {
            text: kept.to_owned(),
            dropped_bytes: dropped + (text.len() - kept.len()) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_result_is_kept() {
        let kept = tail(&b"short"[..]).expect("read");
        assert_eq!(kept, Kept::of(b"short", 0));
        let mut long = vec![b'a'; 3 * OUTPUT_MAX_BYTES];
        long.extend_from_slice(b"the end");
        let kept = tail(long.as_slice()).expect("read");
        assert!(kept.text.ends_with("aathe end"));
        assert_eq!(
            (kept.text.len(), kept.dropped_bytes),
            (OUTPUT_MAX_BYTES, (2 * OUTPUT_MAX_BYTES + 7) as u64)
        );
    }

    #[test]
    fn what_is_no_text_is_replaced_within_the_limit() {
        assert_eq!(tail(&b"a\xffb"[..]).expect("read").text, "a\u{fffd}b");
        let kept = tail(vec![0xff; OUTPUT_MAX_BYTES].as_slice()).expect("read");
        assert!(kept.text.len() <= OUTPUT_MAX_BYTES && kept.dropped_bytes > 0);
    }
}
