//! When workflows go off by themselves: the times that a trigger names.
//!
//! Pure, as all of this crate: the rules of time zones are data that is compiled in, so that the same times come out on
//! every host, whatever its system has installed.

mod cron;

#[cfg(test)]
mod tests;

pub use cron::Cron;

use rekindle::time::Timestamp;
use rekindle::workflow::{Trigger, TriggerError};

use crate::workflow::WorkflowRecord;

/// Most times that one look at a schedule lists, of those that passed unseen: a day of minutes, nearly.
pub const MISSED_MAX: usize = 1_000;

/// Times that have passed, of a schedule by the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Oldest first; at most [`MISSED_MAX`], and the newest.
    pub times: Vec<Timestamp>,
    /// Whether there were others between the last two.
    pub gap: bool,
}

/// Whether a trigger means something, and whether its time ever comes.
///
/// # Errors
/// The field that does not.
pub fn check(trigger: &Trigger, now: Timestamp) -> Result<(), TriggerError> {
    match trigger {
        Trigger::Cron(text) => match Cron::new(text)?.next_after(now) {
            Some(_) => Ok(()),
            None => Err(TriggerError {
                field: "cron.expression",
                problem: format!("{:?} never fires: no day is ever like that", text.expression()),
            }),
        },
        Trigger::Interval(_)
        | Trigger::OneShot(_)
        | Trigger::Manual
        | Trigger::Webhook
        | Trigger::AgentEvent(_)
        | Trigger::Completion(_) => Ok(()),
    }
}

/// The first time after `after` at which a trigger goes off by the wall clock, where it goes by that at all.
pub fn next_after(trigger: &Trigger, after: Timestamp) -> Option<Timestamp> {
    match trigger {
        // What was checked once is read again by the same rules; a zone that a later release lacks never comes.
        Trigger::Cron(text) => Cron::new(text).ok()?.next_after(after),
        Trigger::OneShot(at) => (*at > after).then_some(*at),
        Trigger::Interval(_) | Trigger::Manual | Trigger::Webhook | Trigger::AgentEvent(_) | Trigger::Completion(_) => {
            None
        }
    }
}

/// The times after `after` and through `now`, of a trigger that goes by the wall clock.
pub fn passed(trigger: &Trigger, after: Timestamp, now: Timestamp) -> Passed {
    let one = |at: &Timestamp| *at > after && *at <= now;
    match trigger {
        Trigger::Cron(text) => Cron::new(text).map_or_else(|_| Passed::default(), |cron| cron.passed(after, now)),
        Trigger::OneShot(at) => Passed {
            times: Some(*at).filter(one).into_iter().collect(),
            gap: false,
        },
        Trigger::Interval(_) | Trigger::Manual | Trigger::Webhook | Trigger::AgentEvent(_) | Trigger::Completion(_) => {
            Passed::default()
        }
    }
}

/// When a workflow goes off next by itself, for display: an interval is counted by a clock that nobody sets.
pub fn next_fire_time(workflow: &WorkflowRecord) -> Option<Timestamp> {
    if !workflow.spec.enabled {
        return None;
    }
    match &workflow.spec.trigger {
        Trigger::Interval(interval) => Some(workflow.through.saturating_add(interval.every())),
        Trigger::Cron(_)
        | Trigger::OneShot(_)
        | Trigger::Manual
        | Trigger::Webhook
        | Trigger::AgentEvent(_)
        | Trigger::Completion(_) => next_after(&workflow.spec.trigger, workflow.through),
    }
}

/// A time as RFC 3339 has it, in UTC.
pub fn shown(at: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(at.as_unix_nanos().into()) {
        Ok(instant) => instant.to_string(),
        Err(_) => at.as_unix_nanos().to_string(),
    }
}
