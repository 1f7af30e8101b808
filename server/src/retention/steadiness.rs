//! Whether the wall clock can be believed when it says that something is old.

use std::time::Duration;

use rekindle::time::Now;

/// Most that the clocks may differ by: what a service that keeps the time corrects in small steps.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// For how long the wall clock has gone with the monotonic one. A host that has just come up may have a clock that is years
/// off, until something corrects it.
#[derive(Debug)]
pub(super) struct Steadiness {
    since: Now,
}

impl Steadiness {
    /// Watches from now on.
    pub(super) fn new(now: Now) -> Self {
        Self { since: now }
    }

    /// For how long both have gone together. Looked at often, so that a jump is not taken for time.
    pub(super) fn look(&mut self, now: Now) -> Duration {
        let by_wall = now.wall.saturating_since(self.since.wall);
        let by_mono = now.mono.saturating_since(self.since.mono);
        if by_wall.abs_diff(by_mono) > SKEW_MAX {
            self.since = now;
        }
        now.mono.saturating_since(self.since.mono)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekindle::time::{MonoTime, Timestamp};

    const fn at(mono_secs: u64, wall_secs: u64) -> Now {
        Now {
            mono: MonoTime::from_nanos(mono_secs * 1_000_000_000),
            wall: Timestamp::from_unix_nanos(wall_secs * 1_000_000_000),
        }
    }

    #[test]
    fn a_jump_begins_it_anew() {
        let day = 24 * 3600;
        for (jumps_to, steady) in [
            // By the minute that may be, and past it.
            (1_000 + day + 60, day),
            (1_000 + day + 61, 0),
            (1_000 + day - 61, 0),
            // A year on, and before the start.
            (1_000 + 366 * day, 0),
            (5, 0),
        ] {
            let mut clocks = Steadiness::new(at(10, 1_000));
            assert_eq!(clocks.look(at(10, 1_000)), Duration::ZERO);
            assert_eq!(clocks.look(at(70, 1_060)), Duration::from_secs(60));
            let looked = clocks.look(at(10 + day, jumps_to));
            assert_eq!(looked, Duration::from_secs(steady), "{jumps_to}");
            let later = clocks.look(at(110 + day, jumps_to + 100));
            assert_eq!(later, Duration::from_secs(steady + 100), "{jumps_to}");
        }
    }
}
