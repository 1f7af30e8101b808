//! `google.protobuf.Duration` and `google.protobuf.Timestamp`.

use std::time::Duration;

use super::WireError;
use crate::time::Timestamp;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Longest `google.protobuf.Duration`, 10 000 years (duration.proto).
const DURATION_MAX: Duration = Duration::from_secs(315_576_000_000);

/// Reads a duration; a negative one, or one that duration.proto does not allow, is refused.
///
/// # Errors
/// Names the field.
pub fn duration_from_wire(duration: prost_types::Duration, field: &str) -> Result<Duration, WireError> {
    let error = || WireError::new(field, "must be a duration of at least 0 s and at most 10000 years");
    let seconds = u64::try_from(duration.seconds).map_err(|_| error())?;
    let nanos = u32::try_from(duration.nanos).map_err(|_| error())?;
    if u64::from(nanos) >= NANOS_PER_SECOND {
        return Err(error());
    }
    let read = Duration::new(seconds, nanos);
    if read > DURATION_MAX { Err(error()) } else { Ok(read) }
}

/// Writes a duration; 10 000 years stand for anything longer.
pub fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    let shown = duration.min(DURATION_MAX);
    prost_types::Duration {
        seconds: i64::try_from(shown.as_secs()).expect("10000 years fit 63 bits of seconds"),
        nanos: i32::try_from(shown.subsec_nanos()).expect("less than a second fits 31 bits of nanoseconds"),
    }
}

/// Reads a time from 1970 to 2554, the range of [`Timestamp`].
///
/// # Errors
/// Names the field.
pub fn timestamp_from_wire(time: prost_types::Timestamp, field: &str) -> Result<Timestamp, WireError> {
    let error = || WireError::new(field, "must be a time between 1970 and 2554");
    let seconds = u64::try_from(time.seconds).map_err(|_| error())?;
    let nanos = u64::try_from(time.nanos).map_err(|_| error())?;
    if nanos >= NANOS_PER_SECOND {
        return Err(error());
    }
    seconds
        .checked_mul(NANOS_PER_SECOND)
        .and_then(|whole| whole.checked_add(nanos))
        .map(Timestamp::from_unix_nanos)
        .ok_or_else(error)
}

/// Writes a time.
pub fn timestamp_to_wire(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_unix_nanos();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos / NANOS_PER_SECOND).expect("64 bits of nanoseconds are 35 bits of seconds"),
        nanos: i32::try_from(nanos % NANOS_PER_SECOND).expect("less than a second fits 31 bits of nanoseconds"),
    }
}

/// Reads a field that must be there.
pub(super) fn required_timestamp(time: Option<prost_types::Timestamp>, field: &str) -> Result<Timestamp, WireError> {
    timestamp_from_wire(time.ok_or_else(|| WireError::missing(field))?, field)
}

/// Reads a field that must be there.
pub(super) fn required_duration(duration: Option<prost_types::Duration>, field: &str) -> Result<Duration, WireError> {
    duration_from_wire(duration.ok_or_else(|| WireError::missing(field))?, field)
}

/// Reads a field that may be absent.
pub(super) fn optional_duration(
    duration: Option<prost_types::Duration>,
    field: &str,
) -> Result<Option<Duration>, WireError> {
    duration.map(|duration| duration_from_wire(duration, field)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn timestamps_round_trip(nanos: u64) {
            let time = Timestamp::from_unix_nanos(nanos);
            prop_assert_eq!(timestamp_from_wire(timestamp_to_wire(time), "t"), Ok(time));
        }

        #[test]
        fn durations_round_trip(seconds in 0u64..=315_575_999_999, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(duration_from_wire(duration_to_wire(duration), "d"), Ok(duration));
        }

        #[test]
        fn any_input_is_read_or_refused(seconds: i64, nanos: i32) {
            let duration = duration_from_wire(prost_types::Duration { seconds, nanos }, "d");
            if let Ok(duration) = duration {
                prop_assert_eq!(duration_to_wire(duration), prost_types::Duration { seconds, nanos });
            }
            let time = timestamp_from_wire(prost_types::Timestamp { seconds, nanos }, "t");
            if let Ok(time) = time {
                prop_assert_eq!(timestamp_to_wire(time), prost_types::Timestamp { seconds, nanos });
            }
        }
    }

    #[test]
    fn out_of_range() {
        assert!(duration_from_wire(prost_types::Duration { seconds: -1, nanos: 0 }, "d").is_err());
        assert_eq!(duration_to_wire(Duration::MAX).seconds, 315_576_000_000);
    }
}
