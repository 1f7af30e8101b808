//! One clock for all processes of a measurement: CLOCK_MONOTONIC, which has one origin per boot.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment of CLOCK_MONOTONIC, comparable between processes of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    nanos: u64,
}

impl Moment {
    /// The present.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        let whole = Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0));
        Self {
            nanos: u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// From [`Self::nanos`] of another process.
    pub fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds since the clock's origin.
    pub fn nanos(self) -> u64 {
        self.nanos
    }

    /// Time since an earlier moment; zero where that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}
