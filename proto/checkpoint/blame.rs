//! The arithmetic of blame: when a checkpoint is taken for what crashes the lives that read it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{EndedBy, ExitClass};

/// What a life has done with the checkpoint that it was handed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reception {
    /// Nothing that could be seen.
    #[default]
    Given,
    /// It has read it.
    Read,
    /// It has confirmed it, or saved one of its own.
    Accepted,
}

/// How a life ended, for the sake of the checkpoint that it had read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeEnd {
    /// With what the recovery calls a failure that a restart may cure.
    Crash,
    /// With its shim, so that nobody saw of what: that speaks neither for the checkpoint nor against it.
    WithItsShim,
    /// Otherwise: by itself with another class or after it had been stable, on somebody's wish, or with its host.
    Other,
}

impl LifeEnd {
    /// Of an end that was seen, by its class; `None` where somebody asked for it. Who ran for long enough to have the budget
    /// of restarts whole again did not crash of what it began with.
    pub fn seen(ended_by: EndedBy, class: Option<ExitClass>, uptime: Duration, stable_after: Duration) -> Self {
        match class {
            Some(_) if ended_by == EndedBy::ShimDeath => Self::WithItsShim,
            Some(_) if uptime >= stable_after => Self::Other,
            Some(ExitClass::Crash) => Self::Crash,
            Some(
                ExitClass::Clean
                | ExitClass::Quota { .. }
                | ExitClass::Config
                | ExitClass::Auth
                | ExitClass::Interrupted,
            )
            | None => Self::Other,
        }
    }
}

/// The crashes in a row of lives that had read a checkpoint, once such a life has ended.
pub const fn crashes_after(crashes: u32, reception: Reception, end: LifeEnd) -> u32 {
    match (reception, end) {
        (Reception::Given, LifeEnd::Crash | LifeEnd::Other)
        | (Reception::Given | Reception::Read, LifeEnd::WithItsShim) => crashes,
        (Reception::Read, LifeEnd::Crash) => crashes.saturating_add(1),
        (Reception::Read, LifeEnd::Other)
        | (Reception::Accepted, LifeEnd::Crash | LifeEnd::WithItsShim | LifeEnd::Other) => 0,
    }
}

/// Whether so many crashes set a checkpoint aside; a `poison_after` of 0 never does.
pub const fn is_poison(crashes: u32, poison_after: u32) -> bool {
    poison_after != 0 && crashes >= poison_after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_read_it_and_did_not_accept_it_blames_it() {
        let after = |reception, end| crashes_after(1, reception, end);
        assert_eq!(after(Reception::Given, LifeEnd::Crash), 1, "nobody saw it read");
        assert_eq!(after(Reception::Given, LifeEnd::Other), 1);
        assert_eq!(after(Reception::Read, LifeEnd::Crash), 2);
        assert_eq!(after(Reception::Read, LifeEnd::Other), 0, "in a row");
        assert_eq!(after(Reception::Given, LifeEnd::WithItsShim), 1);
        assert_eq!(
            after(Reception::Read, LifeEnd::WithItsShim),
            1,
            "nobody saw of what it died"
        );
        assert_eq!(after(Reception::Accepted, LifeEnd::WithItsShim), 0);
        assert_eq!(after(Reception::Accepted, LifeEnd::Crash), 0);
        assert_eq!(after(Reception::Accepted, LifeEnd::Other), 0);
        assert_eq!(crashes_after(u32::MAX, Reception::Read, LifeEnd::Crash), u32::MAX);
    }

    #[test]
    fn a_limit_of_zero_sets_nothing_aside() {
        assert!(!is_poison(1, 2) && is_poison(2, 2) && is_poison(3, 2) && !is_poison(u32::MAX, 0));
    }

    #[test]
    fn only_a_crash_is_one() {
        let stable_after = Duration::from_secs(600);
        let soon = |class| LifeEnd::seen(EndedBy::Itself, class, Duration::from_secs(599), stable_after);
        assert_eq!(soon(Some(ExitClass::Crash)), LifeEnd::Crash);
        for class in [
            ExitClass::Clean,
            ExitClass::Config,
            ExitClass::Auth,
            ExitClass::Interrupted,
        ] {
            assert_eq!(soon(Some(class)), LifeEnd::Other);
        }
        assert_eq!(soon(None), LifeEnd::Other);
        let crash = |by, uptime| LifeEnd::seen(by, Some(ExitClass::Crash), uptime, stable_after);
        assert_eq!(crash(EndedBy::Watchdog, Duration::ZERO), LifeEnd::Crash);
        assert_eq!(crash(EndedBy::Itself, stable_after), LifeEnd::Other, "it was stable");
        assert_eq!(crash(EndedBy::ShimDeath, Duration::ZERO), LifeEnd::WithItsShim);
    }
}
