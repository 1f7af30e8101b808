//! The one place where the server reads clocks.

use std::time::{Duration, Instant, SystemTime};

use rekindle::time::{MonoTime, Now, Timestamp};

/// Both clocks of this process; monotonic time counts from its creation.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now {
            mono: self.mono(),
            wall: Timestamp::from_system_time(SystemTime::now()),
        }
    }

    /// The monotonic clock.
    pub fn mono(&self) -> MonoTime {
        MonoTime::START.saturating_add(self.start.elapsed())
    }

    /// A monotonic time as the runtime's timers take it.
    pub fn instant(&self, at: MonoTime) -> Instant {
        self.start + at.saturating_since(MonoTime::START)
    }

    /// The wall time of a monotonic time that has passed, for display.
    pub fn wall_of(&self, at: MonoTime) -> Timestamp {
        let ago: Duration = self.mono().saturating_since(at);
        let wall = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        Timestamp::from_system_time(wall)
    }
}
