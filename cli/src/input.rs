//! Texts that stand on the command line, or come from stdin.

use std::io::Read;

use crate::failure::Failure;

/// The text that stands for what is on stdin.
const STDIN: &str = "-";

/// A text of at most so many bytes, from where the argument says.
pub(crate) fn text(argument: String, what: &str, max_bytes: usize) -> Result<String, Failure> {
    if argument == STDIN {
        read(std::io::stdin().lock(), what, max_bytes)
    } else {
        Ok(argument)
    }
}

fn read(input: impl Read, what: &str, max_bytes: usize) -> Result<String, Failure> {
    let mut text = Vec::new();
    // One byte more than is taken tells that there are more.
    let read = input.take(max_bytes as u64 + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::Message(format!("cannot read the {what} from stdin: {error}")))?;
    if text.len() > max_bytes {
        return Err(Failure::Message(format!(
            "the {what} has more than {max_bytes} bytes; put it into a file that a shorter one names"
        )));
    }
    String::from_utf8(text).map_err(|_| Failure::Message(format!("the {what} is no UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_whole_or_refused() {
        let read = |bytes: &[u8]| super::read(bytes, "message", 20);
        assert_eq!(read(b"sort\nthe inbox\n").expect("it is fine"), "sort\nthe inbox\n");
        assert_eq!(read(&[b'x'; 20]).expect("it is fine").len(), 20);
        for wrong in [&[b'x'; 21][..], &[0xff]] {
            let failure = read(wrong).expect_err("it cannot be sent");
            assert_eq!(failure.exit_code(), 2, "{failure}");
        }
        let as_it_is = text("sort".to_owned(), "message", 20);
        assert_eq!(as_it_is.expect("it is fine"), "sort");
    }
}
