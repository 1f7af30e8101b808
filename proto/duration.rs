//! Durations as people write them: `250ms`, `10s`, `5m`, `1h`, `1h 30m`.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write for example 250ms, 10s, 5m or 1h")]
pub struct DurationError(String);

/// Parses a duration.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    humantime::parse_duration(text.trim()).map_err(|_| DurationError(text.to_owned()))
}

/// Parses a duration, or `never`.
pub fn parse_or_never(text: &str) -> Result<Option<Duration>, DurationError> {
    if text.trim() == "never" {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

/// Shows a duration as [`parse`] reads it, to the millisecond.
pub fn show(duration: Duration) -> String {
    humantime::format_duration(Duration::from_millis(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    ))
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_shown() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
            assert_eq!(show(Duration::from_millis(millis)), text);
        }
        for bad in ["", "10", "-1s", "1 parsec", "never"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(parse_or_never("never"), Ok(None));
    }
}
