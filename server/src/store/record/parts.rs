//! Texts that are longer than a value: in parts, each under the text's own key and its number, one byte.

use super::super::StoreError;
use super::{DecodeError, corrupt};

/// Bytes of one part: well below what a value may have.
pub(super) const PART_BYTES: usize = 64 * 1024;

/// Most parts of one text.
pub(super) const PARTS_MAX: u8 = 4;

/// What writing a text changes: its parts, and the removal of those that a longer one before it had, which may be as many
/// as `may_be_there`.
pub(super) fn writes<'a>(
    value: &'a str,
    may_be_there: u8,
    key: impl Fn(u8) -> Vec<u8> + 'a,
) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a {
    let mut parts = value.as_bytes().chunks(PART_BYTES);
    let count = parts.len().max(may_be_there.into());
    let keys = (0..PARTS_MAX).take(count).map(key);
    keys.map(move |key| (key, parts.next().map(<[u8]>::to_vec)))
}

/// Reads a text from its parts; empty where there is none.
pub(super) fn read(
    mut get: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    key: impl Fn(u8) -> Vec<u8>,
) -> Result<String, StoreError> {
    let mut bytes = Vec::new();
    for part in 0..PARTS_MAX {
        match get(&key(part))? {
            Some(more) => bytes.extend(more),
            None => break,
        }
    }
    text(bytes, || key(0))
}

/// A text from the bytes of all of its parts; `key` is that of the first.
pub(super) fn text(bytes: Vec<u8>, key: impl FnOnce() -> Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| corrupt(&key(), DecodeError::Text(error.utf8_error())))
}
