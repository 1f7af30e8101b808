//! Text of bounded length on one line.

use super::WireError;

pub use crate::text::cut_line;

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
    }
}
