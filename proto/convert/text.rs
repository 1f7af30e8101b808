//! Text of bounded length on one line.

use super::WireError;

/// Checks a text of at most `max_bytes` bytes without control characters.
///
/// # Errors
/// Names the field and the limit.
pub fn line(text: String, field: &str, max_bytes: usize) -> Result<String, WireError> {
    if text.len() > max_bytes {
        let problem = format!("has {} bytes, and at most {max_bytes} are taken", text.len());
        return Err(WireError::new(field, problem));
    }
    if text.chars().any(char::is_control) {
        return Err(WireError::new(field, "must not have control characters"));
    }
    Ok(text)
}

/// Makes a text one line of at most `max_bytes` bytes: control characters become spaces, what is too long is cut.
pub fn cut_line(text: &str, max_bytes: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut cut = String::new();
    for c in text.chars().map(clean) {
        if cut.len() + c.len_utf8() > max_bytes {
            break;
        }
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(line("a b".into(), "f", 3), Ok("a b".into()));
        assert_eq!(
            line("abcd".into(), "f", 3).map_err(|error| error.to_string()),
            Err("f: has 4 bytes, and at most 3 are taken".into())
        );
        assert!(line("a\u{1b}".into(), "f", 3).is_err());
        assert_eq!(cut_line("a\nbcä", 5), "a bc");
    }
}
