//! How a message comes to the program that is run for it: as its stdin, or in an argument that has a place for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// Stands in an argument for the message.
const PLACE: &[u8] = b"{message}";

/// Whether one of these has a place for the message.
pub(super) fn is_argument(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .any(|argument| next_place(argument.as_bytes()).is_some())
}

/// The arguments with the message in each such place; what looks like a place in the message itself is none.
pub(super) fn fill_in(arguments: &[OsString], message: &str) -> Vec<OsString> {
    let fill = |argument: &OsString| fill_in_one(argument, message);
    arguments.iter().map(fill).collect()
}

fn fill_in_one(argument: &OsStr, message: &str) -> OsString {
    let mut filled = Vec::new();
    let mut rest = argument.as_bytes();
    while let Some((before, after)) = next_place(rest) {
        filled.extend_from_slice(before);
        filled.extend_from_slice(message.as_bytes());
        rest = after;
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

/// What is before the first place, and what is behind it.
fn next_place(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = text.windows(PLACE.len()).position(|window| window == PLACE)?;
    let (before, place_and_after) = text.split_at_checked(start)?;
    Some((before, place_and_after.get(PLACE.len()..)?))
}

/// A file in memory that holds the message, and can only be read (memfd_create(2)): nobody has to write while the program
/// reads, or to wait for one that does not.
pub(super) fn file_of(message: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where `vm.memfd_noexec` asks for it, there is no file without; before Linux 6.3 there is none with it.
    let file = match memfd_create("rekindle-message", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create("rekindle-message", flags)?,
        made => made?,
    };
    let mut file = File::from(file);
    file.write_all(message.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn filled(argument: &str, message: &str) -> String {
        let filled = fill_in_one(OsStr::new(argument), message);
        filled.into_string().expect("text")
    }

    #[test]
    fn the_message_stands_in_its_places() {
        assert_eq!(filled("{message}", "do it"), "do it");
        assert_eq!(filled("a {message} b {message}", "x"), "a x b x");
        assert_eq!(filled("{{message}}", "x"), "{x}");
        assert_eq!(filled("{message}", "{message} {message}"), "{message} {message}");
        assert_eq!(filled("{messag}", "x"), "{messag}");
        assert_eq!(filled("-p={message}", ""), "-p=");
        let arguments = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(is_argument(&arguments(&["-p", "say {message}!"])));
        assert!(!is_argument(&arguments(&["-p", "{Message}"])) && !is_argument(&[]));
        let no_text = OsString::from_vec(b"\xff{message}\xff".to_vec());
        assert_eq!(fill_in_one(&no_text, "é").as_bytes(), [0xff, 0xc3, 0xa9, 0xff]);
    }

    #[test]
    fn a_message_can_be_read_and_nothing_else() {
        let mut file = File::from(file_of("héllo\0").expect("made"));
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "héllo\0");
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err() && file.set_len(99).is_err());
    }
}
