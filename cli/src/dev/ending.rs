//! How the shim of `rekindle dev` is brought to its end.
//!
//! Only the shim can end its agent's processes and prove them dead: SIGKILL for the shim leaves grandchildren behind.
//! So each step asks it once more, and SIGKILL is for a shim that does not work at all.
//!
//! ```text
//! No --TERM--> Asked --TERM--> Pressed --KILL--> Killed
//! ```

use std::time::Duration;

use rekindle::policy::STOP_GRACE_MAX;
use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

use super::child::Child;
use crate::failure::Failure;
use crate::interrupts::Interrupts;

/// How long a shim may take that kills its agent: 2 s for the proof of death, 5 s each for the agent's last output and
/// for the server's acknowledgement, 1 s for its last words, and as much again for a busy machine.
const KILL_LIMIT: Duration = Duration::from_secs(26);
/// How long a shim may take that gives its agent the stop grace. Operators may change that one at any time, so it is
/// the longest there is; who does not want to wait interrupts again.
const GRACE_LIMIT: Duration = STOP_GRACE_MAX.saturating_add(KILL_LIMIT);

/// How far the end of a shim has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ending {
    /// It was not asked to end.
    #[default]
    No,
    /// It was asked, and its agent has the stop grace.
    Asked {
        /// When patience ends.
        until: Instant,
    },
    /// It was asked again, and kills its agent's processes.
    Pressed {
        /// When patience ends.
        until: Instant,
    },
    /// It got SIGKILL.
    Killed,
}

impl Ending {
    /// Asks the shim to end, and to end at once when it was asked before.
    pub(super) fn press(&mut self, shim: &mut Child) {
        if let Some(signal) = self.interrupted(Instant::now()) {
            shim.signal(signal);
        }
    }

    /// Waits until the shim has taken too long for what it was asked. May be dropped and called again.
    pub(super) async fn overdue(&self) {
        match *self {
            Self::Asked { until } | Self::Pressed { until } => sleep_until(until).await,
            Self::No | Self::Killed => std::future::pending().await,
        }
    }

    /// Goes a step further with a shim that is [overdue](Self::overdue).
    pub(super) fn escalate(&mut self, shim: &mut Child) {
        if let Some(signal) = self.expired(Instant::now()) {
            shim.signal(signal);
        }
    }

    /// Brings a shim to its end, in order, from wherever its end has come to.
    ///
    /// # Errors
    /// When it had to be killed: processes of its agent may be left.
    pub(super) async fn complete(mut self, shim: &mut Child, interrupts: &mut Interrupts) -> Result<(), Failure> {
        if self == Self::No {
            self.press(shim);
        }
        loop {
            tokio::select! {
                biased;
                _ = shim.wait() => break,
                () = interrupts.next() => self.press(shim),
                () = self.overdue() => self.escalate(shim),
            }
        }
        match self {
            Self::No | Self::Asked { .. } | Self::Pressed { .. } => Ok(()),
            Self::Killed => Err(Failure::Dev {
                message: "the shim did not end, and was killed".to_owned(),
                hint: "Processes of its agent may be left: look for them with ps.".to_owned(),
            }),
        }
    }

    fn interrupted(&mut self, now: Instant) -> Option<Signal> {
        *self = match *self {
            Self::No => Self::Asked {
                until: now + GRACE_LIMIT,
            },
            Self::Asked { .. } => Self::Pressed {
                until: now + KILL_LIMIT,
            },
            Self::Pressed { until } => Self::Pressed { until },
            Self::Killed => return None,
        };
        Some(Signal::TERM)
    }

    fn expired(&mut self, now: Instant) -> Option<Signal> {
        match *self {
            Self::Asked { until } if until <= now => self.interrupted(now),
            Self::Pressed { until } if until <= now => {
                *self = Self::Killed;
                Some(Signal::KILL)
            }
            Self::No | Self::Asked { .. } | Self::Pressed { .. } | Self::Killed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interrupt_kills_the_shim() {
        let now = Instant::now();
        let mut ending = Ending::default();
        for _ in 0..5 {
            assert_eq!(ending.interrupted(now), Some(Signal::TERM));
        }
        assert_eq!(ending.expired(now), None);
        // Impatience does not shorten the time that the proof of death takes, nor lengthen it.
        let begin = Ending::Pressed {
            until: now + KILL_LIMIT,
        };
        assert_eq!(ending, begin);
        ending.interrupted(now + KILL_LIMIT / 2);
        assert_eq!(ending, begin);
    }

    #[test]
    fn a_shim_that_does_nothing_is_killed_after_two_requests() {
        let begin = Instant::now();
        let mut ending = Ending::default();
        assert_eq!(ending.expired(begin), None);
        assert_eq!(ending.interrupted(begin), Some(Signal::TERM));
        assert_eq!(ending.expired(begin + STOP_GRACE_MAX), None);
        let pressed = begin + GRACE_LIMIT;
        assert_eq!(ending.expired(pressed), Some(Signal::TERM));
        assert_eq!(ending.expired(pressed), None);
        assert_eq!(ending.expired(pressed + KILL_LIMIT), Some(Signal::KILL));
        assert_eq!(ending.expired(pressed + KILL_LIMIT), None);
        assert_eq!(ending.interrupted(pressed + KILL_LIMIT), None);
    }
}
