//! Times and durations, for people.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A wire timestamp as RFC 3339, in UTC.
pub(crate) fn rfc3339(timestamp: &prost_types::Timestamp) -> String {
    instant(timestamp).map_or_else(|| timestamp.to_string(), |instant| instant.to_string())
}

/// Date and time to the millisecond, in the local time zone.
pub(crate) fn local(timestamp: &prost_types::Timestamp) -> String {
    zoned(timestamp, "%Y-%m-%d %H:%M:%S%.3f")
}

/// The time of the day to the millisecond, in the local time zone.
pub(crate) fn of_day(timestamp: &prost_types::Timestamp) -> String {
    zoned(timestamp, "%H:%M:%S%.3f")
}

/// How long ago, as `3m12s ago`; `-` when it never was.
pub(crate) fn ago(timestamp: Option<&prost_types::Timestamp>, now: SystemTime) -> String {
    match timestamp.map(|timestamp| since(timestamp, now)) {
        None => "-".to_owned(),
        Some(Some(age)) => format!("{} ago", short(age)),
        Some(None) => "now".to_owned(),
    }
}

/// How long until then, as `in 41s`; `now` once it has come.
pub(crate) fn until(timestamp: &prost_types::Timestamp, now: SystemTime) -> String {
    let rest = SystemTime::try_from(*timestamp)
        .ok()
        .and_then(|then| then.duration_since(now).ok());
    rest.map_or_else(|| "now".to_owned(), |rest| format!("in {}", short(rest)))
}

/// From one time to a later one; `None` when the later is none.
pub(crate) fn between(from: &prost_types::Timestamp, to: &prost_types::Timestamp) -> Option<Duration> {
    since(from, SystemTime::try_from(*to).ok()?)
}

/// A duration in its two largest units: `3m12s`, `1d4h`, `5.2s`, `12ms`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |large: u64, large_unit: char, small: u64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 if duration.subsec_millis() >= 100 => format!("{seconds}.{}s", duration.subsec_millis() / 100),
        1..60 => format!("{seconds}s"),
        60..3_600 => pair(seconds / 60, 'm', seconds % 60, 's'),
        3_600..86_400 => pair(seconds / 3_600, 'h', seconds % 3_600 / 60, 'm'),
        86_400.. => pair(seconds / 86_400, 'd', seconds % 86_400 / 3_600, 'h'),
    }
}

/// The same for a duration from the wire; a negative one is as it is.
pub(crate) fn short_wire(duration: &prost_types::Duration) -> String {
    Duration::try_from(*duration).map_or_else(|_| duration.to_string(), short)
}

fn since(timestamp: &prost_types::Timestamp, now: SystemTime) -> Option<Duration> {
    now.duration_since(SystemTime::try_from(*timestamp).ok()?).ok()
}

fn instant(timestamp: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}

fn zoned(timestamp: &prost_types::Timestamp, format: &str) -> String {
    match instant(timestamp) {
        Some(instant) => instant.to_zoned(TimeZone::system()).strftime(format).to_string(),
        None => timestamp.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (millis, shown) in [
            (0, "0ms"),
            (999, "999ms"),
            (2_000, "2s"),
            (5_230, "5.2s"),
            (12_000, "12s"),
            (192_000, "3m12s"),
            (3_600_000, "1h"),
            (3_660_000, "1h1m"),
            (100_800_000, "1d4h"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn ages() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        assert_eq!(ago(Some(&at(808)), now), "3m12s ago");
        assert_eq!(ago(Some(&at(2_000)), now), "now");
        assert_eq!(ago(None, now), "-");
        assert_eq!(until(&at(1_041), now), "in 41s");
        assert_eq!(until(&at(1), now), "now");
    }
}
