//! The body of a checkpoint: from a file or standard input, and back.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rekindle::checkpoint::BODY_MAX_BYTES;

use crate::failure::Failure;

/// In place of a file: standard input, or standard output.
pub(super) const STANDARD: &str = "-";

/// Reads a body, in bounded memory.
///
/// # Errors
/// It cannot be read, or is longer than any that is kept: of a state no part is left out.
pub(super) fn read(from: &Path) -> Result<Vec<u8>, Failure> {
    let read = if from == Path::new(STANDARD) {
        take(io::stdin().lock()).map_err(Failure::Input)?
    } else {
        let opened = File::open(from).and_then(take);
        opened.map_err(|source| Failure::File {
            path: from.to_owned(),
            source,
        })?
    };
    if read.len() > BODY_MAX_BYTES {
        return Err(Failure::Body);
    }
    Ok(read)
}

/// One byte more than may be.
fn take(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(BODY_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a body into a file.
pub(super) fn write(to: &Path, body: &[u8]) -> Result<(), Failure> {
    std::fs::write(to, body).map_err(|source| Failure::File {
        path: to.to_owned(),
        source,
    })
}

/// Prints a body, and nothing else.
pub(super) fn print(body: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(body).map_err(Failure::Output)?;
    stdout.flush().map_err(Failure::Output)
}
