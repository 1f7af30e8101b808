//! When schedules must go off: counted out here, minute by minute, and not as the machine does it.

use std::time::Duration;

use rekindle::time::{MonoTime, Now, Timestamp};
use rekindle::workflow::{Misfire, PENDING_MAX, Trigger};
use rekindle_server_core::event::EventKind;
use rekindle_server_core::workflow::WorkflowRecord;

use super::super::{Invariant, Oracle};
use super::{Flow, News, source_is};
use crate::fault::Fault;

/// How late a schedule may go off that nothing is in the way of: a server that has much to do at one moment.
const LATE: Duration = Duration::from_millis(500);

/// How long after a jump of the wall clock nothing is said of what goes by it.
const JUMP_NOTICED: Duration = Duration::from_secs(120);

/// How far past the wall clock what a schedule has gone through may lie.
const AHEAD_MAX: Duration = Duration::from_secs(25 * 3600);

const MINUTE: Duration = Duration::from_secs(60);

/// What a schedule waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    /// It is none, or is disabled.
    None,
    /// By the clock that does not jump.
    Interval { next: MonoTime, every: Duration },
    /// Each so many minutes, by the wall clock; nothing through this time any more.
    Cron { minutes: u64, through: Timestamp },
    /// Once; nothing any more once it has gone off.
    OneShot { at: Timestamp, through: Timestamp },
}

impl Schedule {
    /// One that begins to count.
    fn begun(record: &WorkflowRecord, now: Now) -> Self {
        Self::with(record, |every| now.mono.saturating_add(every))
    }

    /// That of a server that begins: what is left of an interval is told by the wall clock, within its bounds.
    pub(super) fn recovered(record: &WorkflowRecord, now: Now) -> Self {
        Self::with(record, |every| {
            let due = record.through.saturating_add(every);
            now.mono.saturating_add(due.saturating_since(now.wall).min(every))
        })
    }

    fn with(record: &WorkflowRecord, next: impl FnOnce(Duration) -> MonoTime) -> Self {
        let through = record.through;
        match &record.spec.trigger {
            _ if !record.spec.enabled => Self::None,
            Trigger::Interval(interval) => Self::Interval {
                next: next(interval.every()),
                every: interval.every(),
            },
            Trigger::Cron(text) => Self::Cron {
                minutes: minutes(text.expression()),
                through,
            },
            Trigger::OneShot(at) => Self::OneShot { at: *at, through },
            Trigger::Manual | Trigger::Webhook | Trigger::AgentEvent(_) | Trigger::Completion(_) => Self::None,
        }
    }

    /// How many of its times lie after one moment, and not after another.
    fn times(self, after: Timestamp, through: Timestamp) -> u64 {
        match self {
            Self::None | Self::Interval { .. } => 0,
            Self::Cron { minutes, .. } => marks(minutes, through).saturating_sub(marks(minutes, after)),
            Self::OneShot { at, .. } => u64::from(at > after && at <= through),
        }
    }
}

/// Of `*/5 * * * *`, all that a world has.
fn minutes(expression: &str) -> u64 {
    let number = expression.trim_start_matches("*/").split(' ').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// Whole steps of so many minutes since the epoch, which all of these divide an hour by.
fn marks(minutes: u64, at: Timestamp) -> u64 {
    at.saturating_since(Timestamp::UNIX_EPOCH).as_secs() / (MINUTE.as_secs() * minutes)
}

impl Oracle {
    /// A step has written a workflow: it went off as its schedule has it, and only so.
    pub(super) fn judge_schedule(
        &mut self,
        before: Option<&Flow>,
        record: &WorkflowRecord,
        news: &News<'_>,
        now: Now,
    ) -> Schedule {
        let went_off = news
            .of(EventKind::WorkflowTriggered)
            .filter(|event| source_is(event, "schedule"));
        let went_off = went_off.count() as u64;
        let missed = news.missed();
        let id = &record.id;
        let Some(before) = before else {
            if went_off > 0 {
                self.fail(Invariant::I10, format!("{id} goes off as it is made"));
            }
            return Schedule::begun(record, now);
        };
        let of_before = &before.record.spec;
        let anew = of_before.trigger != record.spec.trigger || of_before.enabled != record.spec.enabled;
        let schedule = before.schedule;
        let past = match schedule {
            Schedule::None => 0,
            Schedule::Interval { next, every } => {
                let early = now.mono.saturating_add(Duration::from_millis(1)) < next;
                if went_off + missed > 0 && (early || went_off > 1) {
                    let what = format!(
                        "{id} goes off {went_off} times, {every:?} apart, at {:?}, due {next:?}",
                        now.mono
                    );
                    self.fail(Invariant::I10, what);
                }
                went_off + missed
            }
            Schedule::Cron { through, .. } | Schedule::OneShot { through, .. } => {
                // A clock that was wrong by more than that is none to go by.
                let was_wrong = through > now.wall.saturating_add(AHEAD_MAX);
                if record.through < through && !anew && !was_wrong {
                    self.fail(Invariant::I10, format!("the schedule of {id} is set back"));
                }
                let latest = record.through.min(now.wall).max(through);
                schedule.times(through, if anew { now.wall.max(through) } else { latest })
            }
        };
        let told = went_off + missed;
        // What was due in the very step that changed it may have gone off, or may not.
        if told > past || (told < past && !anew) {
            let what = format!(
                "{past} times of {id} have come, and {told} are told of: {:?}",
                news.events
            );
            self.fail(Invariant::I10, what);
        }
        if missed > 0
            && of_before.misfire == Misfire::All
            && record.spec.misfire == Misfire::All
            && !Self::was_full(before)
            && record.pending.len() < PENDING_MAX
        {
            self.fail(
                Invariant::I10,
                format!("{missed} times of {id} are missed, and all should wait"),
            );
        }
        if missed > 0 {
            self.note(Fault::Missed);
        }
        match schedule {
            _ if anew => Schedule::begun(record, now),
            // It keeps its beat, unless that was lost while nobody looked.
            Schedule::Interval { next, every } if told > 0 => {
                let on_beat = Some(next.saturating_add(every)).filter(|next| *next > now.mono);
                let next = on_beat.unwrap_or_else(|| now.mono.saturating_add(every));
                Schedule::Interval { next, every }
            }
            Schedule::None | Schedule::Interval { .. } => schedule,
            Schedule::Cron { .. } | Schedule::OneShot { .. } => Schedule::begun(record, now),
        }
    }

    /// After a turn of a server that nothing is in the way of: what had to go off has.
    pub(crate) fn judge_due(&mut self, now: Now, world: Duration) {
        let jumped = self
            .flows
            .jumped
            .is_some_and(|jumped| world.saturating_sub(jumped) < JUMP_NOTICED);
        let overdue = self.flows.ahead.values().find_map(|flow| {
            let is_overdue = match flow.schedule {
                Schedule::None => false,
                Schedule::Interval { next, .. } => now.mono > next.saturating_add(LATE),
                Schedule::Cron { through, .. } | Schedule::OneShot { through, .. } => {
                    let settled = world > flow.changed + LATE;
                    !jumped && settled && flow.schedule.times(through, now.wall.saturating_sub(LATE)) > 0
                }
            };
            is_overdue.then(|| {
                format!(
                    "{} has not gone off: {:?}, and it is {now:?}",
                    flow.record.id, flow.schedule
                )
            })
        });
        if let Some(what) = overdue {
            self.fail(Invariant::I10, what);
        }
    }
}
