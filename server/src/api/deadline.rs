//! How long a call waits: the caller's own deadline, a little earlier, so that the caller hears PENDING rather than
//! nothing.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// Longest wait of a call without a deadline: a default start with a default stop before it, several times over.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Time for the answer's way back, at most; a tenth of a short deadline.
const MARGIN_MAX: Duration = Duration::from_millis(250);

/// How long a call with this metadata waits.
pub(super) fn wait(metadata: &MetadataMap) -> Duration {
    let asked = metadata
        .get("grpc-timeout")
        .and_then(|value| parse(value.to_str().ok()?));
    match asked {
        Some(timeout) => timeout.saturating_sub(MARGIN_MAX.min(timeout / 10)).min(WAIT_MAX),
        None => WAIT_MAX,
    }
}

/// `TimeoutValue TimeoutUnit` of gRPC over HTTP/2: at most eight digits, and one of `HMSmun`.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_a_little_earlier() {
        for (text, millis) in [
            ("10S", 9_750),
            ("1S", 900),
            ("100m", 90),
            ("1H", 300_000),
            ("", 300_000),
            ("5", 300_000),
            ("S", 300_000),
            ("-1S", 300_000),
            ("123456789S", 300_000),
            ("ä", 300_000),
        ] {
            let mut metadata = MetadataMap::new();
            if let Ok(value) = text.parse() {
                metadata.insert("grpc-timeout", value);
            }
            assert_eq!(wait(&metadata), Duration::from_millis(millis), "{text:?}");
        }
    }
}
