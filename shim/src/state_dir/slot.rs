//! One slot of the journal, and how a whole one is told from one that was half written.

use std::io;

use rekindle_shim_core::Journal;

/// The version of a slot's format, in the first word of its line.
pub(super) const VERSION: u32 = 1;

/// What one slot holds: a line with version, number, length and checksum, the journal as JSON, and perhaps the end of a
/// longer one.
pub(super) enum Slot {
    /// Never written.
    Blank,
    /// Written in part.
    Torn,
    /// Of another version.
    Foreign(u32),
    /// Whole, and no journal.
    Unreadable,
    Whole(Box<Entry>),
}

pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) journal: Journal,
}

impl Entry {
    pub(super) fn encode(number: u64, journal: &Journal) -> io::Result<Vec<u8>> {
        let body = serde_json::to_vec(journal)?;
        let mut bytes = format!("v{VERSION} {number} {} {:016x}\n", body.len(), checksum(number, &body)).into_bytes();
        bytes.extend(body);
        Ok(bytes)
    }
}

impl Slot {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Blank;
        }
        let body = match split(bytes) {
            Some((VERSION, Some(body))) => body,
            Some((VERSION, None)) | None => return Self::Torn,
            Some((other, _)) => return Self::Foreign(other),
        };
        match serde_json::from_slice(body.json) {
            Ok(journal) => Self::Whole(Box::new(Entry {
                number: body.number,
                journal,
            })),
            Err(_) => Self::Unreadable,
        }
    }
}

/// The version that a slot's line names, and what this version has behind it, if that is whole.
fn split(bytes: &[u8]) -> Option<(u32, Option<Body<'_>>)> {
    let end_of_line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end_of_line)?;
    let (version, words) = std::str::from_utf8(line).ok()?.strip_prefix('v')?.split_once(' ')?;
    Some((version.parse().ok()?, body(words, rest.get(1..)?)))
}

fn body<'a>(words: &str, rest: &'a [u8]) -> Option<Body<'a>> {
    let mut words = words.split(' ');
    let number = words.next()?.parse().ok()?;
    let length: usize = words.next()?.parse().ok()?;
    let sum = u64::from_str_radix(words.next()?, 16).ok()?;
    let json = rest.get(..length)?;
    (sum == checksum(number, json)).then_some(Body { number, json })
}

/// What a line of this version announces, and no more.
struct Body<'a> {
    number: u64,
    json: &'a [u8],
}

/// FNV-1a, 64 bits: tells a slot that was half written from a whole one. Nobody forges one's own journal.
pub(crate) fn checksum(number: u64, body: &[u8]) -> u64 {
    let seed = number.to_le_bytes();
    let bytes = seed.iter().chain(body);
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
