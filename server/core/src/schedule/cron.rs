//! Cron expressions over the civil time of a zone, and what becomes of them where the zone's clock is set.
//!
//! The fields are read by `croner`, the zones' rules are `jiff`'s. The search is here, as its policy is: what names its
//! minutes and hours one by one means times of the day, and each day has each of them once. What has `*`, a step or a range
//! there means a pace, and a pace goes by the time that passes.
//!
//! ```text
//!                        minutes and hours are lists of numbers    any other
//! the clock is set on    at the first moment after it, once        not at all
//! the clock is set back  the first of the two times                each of the two
//! ```

use std::sync::LazyLock;
use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use croner::{CronPattern, Weekday};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, ToSpan};
use rekindle::time::Timestamp;
use rekindle::workflow::{CronText, TriggerError};

use super::{MISSED_MAX, Passed};

/// A day that a century does not have never comes. The rarest that come are the 29th of February on a given day of the
/// week, up to forty years apart.
const HORIZON_YEARS: i64 = 100;

/// The compiled-in rules of all zones. What the host has installed does not count.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A cron expression, read in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    pattern: CronPattern,
    zone: TimeZone,
    kind: Kind,
}

/// What an expression means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Times of the day.
    Times,
    /// A pace.
    Pace,
}

impl Cron {
    /// Reads an expression: five fields, or `@yearly`, `@monthly`, `@weekly`, `@daily`, `@midnight` or `@hourly`.
    ///
    /// # Errors
    /// The field that means nothing.
    pub fn new(text: &CronText) -> Result<Self, TriggerError> {
        let expression = unfold(text.expression());
        let mut parser = CronParser::builder();
        parser = parser.seconds(Seconds::Disallowed).year(Year::Disallowed);
        let cron = parser.build().parse(expression).map_err(|error| TriggerError {
            field: "cron.expression",
            problem: format!(
                "{:?} is not a cron expression ({error}); write minute, hour, day of month, month and day of week, for \
                 example \"30 7 * * 1-5\"",
                text.expression()
            ),
        })?;
        let zone = ZONES.get(text.time_zone()).ok().filter(|zone| !zone.is_unknown());
        let zone = zone.ok_or_else(|| TriggerError {
            field: "cron.time_zone",
            problem: format!(
                "{:?} is not a time zone that the server knows; write a name of the IANA database, for example \
                 \"Europe/Berlin\" or \"UTC\"",
                text.time_zone()
            ),
        })?;
        let is_list = |field: &str| field.bytes().all(|b| b.is_ascii_digit() || b == b',');
        let kind = if expression.split_ascii_whitespace().take(2).all(is_list) {
            Kind::Times
        } else {
            Kind::Pace
        };
        Ok(Self {
            pattern: cron.pattern,
            zone,
            kind,
        })
    }

    /// The first time after `after`; none where that is not within a century.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = instant(after)?;
        let until = self.local(after).checked_add(HORIZON_YEARS.years()).ok()?;
        let next = match self.kind {
            Kind::Times => self.next_time(after, until),
            Kind::Pace => self.next_beat(after, until),
        };
        Timestamp::from_instant(next?)
    }

    /// The times after `after` and through `now`.
    pub(super) fn passed(&self, after: Timestamp, now: Timestamp) -> Passed {
        let mut times: Vec<Timestamp> = self.after_until(after, now).take(MISSED_MAX).collect();
        let Some(last) = times.last().copied().filter(|_| times.len() == MISSED_MAX) else {
            return Passed { times, gap: false };
        };
        let newest = self.newest(last, now);
        let gap = newest != self.next_after(last).filter(|next| *next <= now);
        times.extend(newest);
        Passed { times, gap }
    }

    fn after_until(&self, after: Timestamp, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let next = move |at: &Timestamp| self.next_after(*at);
        std::iter::successors(self.next_after(after), next).take_while(move |at| *at <= now)
    }

    /// The newest time after `after` and through `now`: looked for in ever longer spans before `now`, the first of which is
    /// an hour.
    fn newest(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut span = Duration::from_secs(3600);
        loop {
            let from = now.saturating_sub(span).max(after);
            let newest = self.after_until(from, now).last();
            if newest.is_some() || from <= after {
                return newest;
            }
            span = span.saturating_mul(8);
        }
    }

    /// Times of the day. Later ones never come before earlier ones, also where the clock is set; two may come at once.
    fn next_time(&self, after: Instant, until: DateTime) -> Option<Instant> {
        let mut from = next_minute(self.local(after))?;
        loop {
            let civil = self.next_civil(from, until)?;
            let at = self.first_moment(civil)?;
            if at > after {
                return Some(at);
            }
            from = next_minute(civil)?;
        }
    }

    /// When a clock first shows this time, or one that it leaves out is past.
    fn first_moment(&self, civil: DateTime) -> Option<Instant> {
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                let before_it = after.to_timestamp(civil).ok()?;
                Some(self.zone.following(before_it).next()?.timestamp())
            }
        }
    }

    /// A pace: from one setting of the clock to the next.
    fn next_beat(&self, after: Instant, until: DateTime) -> Option<Instant> {
        let mut from = next_minute(self.local(after))?;
        let mut offset = self.zone.to_offset(after);
        let mut sets = self.zone.following(after);
        loop {
            let set = sets.next();
            let end = match &set {
                Some(set) => offset.to_datetime(set.timestamp()),
                None => until,
            };
            let beat = self.next_civil(from, end.min(until)).filter(|civil| *civil < end);
            if let Some(beat) = beat {
                return offset.to_timestamp(beat).ok();
            }
            let set = set.filter(|_| end < until)?;
            offset = set.offset();
            from = whole_minute(offset.to_datetime(set.timestamp()))?;
        }
    }

    /// The first civil time that the fields name, from this one on, through `until`.
    fn next_civil(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let mut day = from.date();
        let mut at_least = minute_of_day(from.time());
        while day <= until.date() {
            if !self
                .pattern
                .month_match(day.month().unsigned_abs().into())
                .unwrap_or(false)
            {
                day = day.last_of_month().tomorrow().ok()?;
                at_least = 0;
                continue;
            }
            if self.has_day(day)
                && let Some(time) = self.next_time_of_day(at_least)
            {
                return Some(day.to_datetime(time)).filter(|civil| *civil <= until);
            }
            day = day.tomorrow().ok()?;
            at_least = 0;
        }
        None
    }

    fn has_day(&self, day: Date) -> bool {
        let weekday = Weekday::from_days_from_sunday(day.weekday().to_sunday_zero_offset().unsigned_abs().into());
        let (month, of_month) = (day.month().unsigned_abs().into(), day.day().unsigned_abs().into());
        self.pattern
            .day_match(day.year().into(), month, of_month, weekday)
            .unwrap_or(false)
    }

    fn next_time_of_day(&self, at_least: u32) -> Option<Time> {
        let (hour, minute) = (at_least / 60, at_least % 60);
        let in_hour = |hour: u32, from: u32| {
            let is = self.pattern.hour_match(hour).unwrap_or(false);
            let mut minutes = (from..60).filter(|minute| is && self.pattern.minute_match(*minute).unwrap_or(false));
            minutes.next().map(|minute| (hour, minute))
        };
        let found = in_hour(hour, minute).or_else(|| (hour + 1..24).find_map(|hour| in_hour(hour, 0)));
        let (hour, minute) = found?;
        Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
    }

    fn local(&self, at: Instant) -> DateTime {
        self.zone.to_offset(at).to_datetime(at)
    }
}

/// A shorter way to say the same, where it is one.
fn unfold(expression: &str) -> &str {
    match expression.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => expression,
    }
}

fn minute_of_day(time: Time) -> u32 {
    u32::from(time.hour().unsigned_abs()) * 60 + u32::from(time.minute().unsigned_abs())
}

/// The first whole minute after this.
fn next_minute(civil: DateTime) -> Option<DateTime> {
    floor(civil)?.checked_add(1.minute()).ok()
}

/// The first whole minute that is not before this.
fn whole_minute(civil: DateTime) -> Option<DateTime> {
    let floor = floor(civil)?;
    if floor == civil {
        return Some(civil);
    }
    floor.checked_add(1.minute()).ok()
}

fn floor(civil: DateTime) -> Option<DateTime> {
    civil.with().second(0).subsec_nanosecond(0).build().ok()
}

fn instant(at: Timestamp) -> Option<Instant> {
    Instant::from_nanosecond(at.as_unix_nanos().into()).ok()
}

trait FromInstant: Sized {
    fn from_instant(at: Instant) -> Option<Self>;
}

impl FromInstant for Timestamp {
    fn from_instant(at: Instant) -> Option<Self> {
        Some(Self::from_unix_nanos(u64::try_from(at.as_nanosecond()).ok()?))
    }
}
