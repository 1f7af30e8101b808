//! The clocks of the host.

use std::time::{Duration, SystemTime};

use rekindle::time::{MonoTime, Now, Timestamp};
use rekindle_shim_core::Moment;
use rustix::time::{ClockId, clock_gettime};

/// All clocks, read one after the other.
pub(crate) fn now() -> Moment {
    let mono = read(ClockId::Monotonic);
    Moment {
        now: Now {
            mono: MonoTime::START.saturating_add(mono),
            wall: Timestamp::from_system_time(SystemTime::now()),
        },
        since_boot: read(ClockId::Boottime),
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
