//! What holds of every expression in every zone, held against each minute of some days.

use std::collections::BTreeSet;

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// One field: how it is written, and what it means.
#[derive(Debug, Clone)]
struct Field {
    text: String,
    values: BTreeSet<i8>,
    is_list: bool,
}

fn field(min: i8, max: i8) -> impl Strategy<Value = Field> {
    let all = Just(Field {
        text: "*".to_owned(),
        values: (min..=max).collect(),
        is_list: false,
    });
    let step = (1..=max).prop_map(move |step| Field {
        text: format!("*/{step}"),
        values: (min..=max).step_by(usize::try_from(step).expect("positive")).collect(),
        is_list: false,
    });
    let range = (min..=max, min..=max).prop_map(|(a, b)| Field {
        text: format!("{}-{}", a.min(b), a.max(b)),
        values: (a.min(b)..=a.max(b)).collect(),
        is_list: false,
    });
    let list = prop::collection::btree_set(min..=max, 1..4).prop_map(|values| Field {
        text: values.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
        values,
        is_list: true,
    });
    prop_oneof![1 => all, 1 => step, 1 => range, 3 => list]
}

#[derive(Debug, Clone)]
struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    weekday: Field,
}

impl Fields {
    fn text(&self) -> String {
        let Self {
            minute,
            hour,
            day,
            weekday,
        } = self;
        format!("{} {} {} * {}", minute.text, hour.text, day.text, weekday.text)
    }

    /// As cron(8) has it: where both fields of days say something, one of them is enough.
    fn names(&self, civil: DateTime) -> bool {
        let day = self.day.values.contains(&civil.day());
        let weekday = self.weekday.values.contains(&civil.weekday().to_sunday_zero_offset());
        let day = match (self.day.text == "*", self.weekday.text == "*") {
            (false, false) => day || weekday,
            (_, _) => day && weekday,
        };
        day && self.hour.values.contains(&civil.hour()) && self.minute.values.contains(&civil.minute())
    }

    fn are_times(&self) -> bool {
        self.minute.is_list && self.hour.is_list
    }
}

/// Most days have what is looked for, and most hours are those in which clocks are set.
fn fields() -> impl Strategy<Value = Fields> {
    let all = |min: i8, max: i8| {
        Just(Field {
            text: "*".to_owned(),
            values: (min..=max).collect(),
            is_list: false,
        })
    };
    let hours = prop_oneof![1 => field(0, 23), 2 => prop::collection::btree_set(0i8..4, 1..3).prop_map(|values| Field {
        text: values.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
        values,
        is_list: true,
    })];
    let days = prop_oneof![3 => all(1, 31), 1 => field(1, 31)];
    let weekdays = prop_oneof![3 => all(0, 6), 1 => field(0, 6)];
    (field(0, 59), hours, days, weekdays).prop_map(|(minute, hour, day, weekday)| Fields {
        minute,
        hour,
        day,
        weekday,
    })
}

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Asia/Kathmandu",
];

/// A minute some days before a zone's clock is set, or at any other time between 1990 and 2040.
fn start(zone: &TimeZone, seconds: i64, near: bool) -> Instant {
    let any = Instant::from_second(631_152_000 + seconds / 60 * 60).expect("in range");
    let set = zone.preceding(any).next().map(|set| set.timestamp());
    let set = set.filter(|set| near && set.as_second() > 10 * 24 * 3600);
    let day = 24 * 3600;
    set.map_or(any, |set| {
        Instant::from_second((set.as_second() - day) / 60 * 60).expect("in range")
    })
}

/// Each minute of five days, with what the zone's clock shows.
fn minutes(zone: &TimeZone, from: Instant) -> Vec<(Instant, DateTime)> {
    let minute = |minute: i64| {
        let at = Instant::from_second(from.as_second() + minute * 60).expect("in range");
        (at, zone.to_datetime(at))
    };
    (0..5 * 24 * 60).map(minute).collect()
}

/// What should fire, found minute by minute.
fn by_hand(fields: &Fields, minutes: &[(Instant, DateTime)]) -> BTreeSet<Instant> {
    if !fields.are_times() {
        let named = minutes.iter().filter(|(_, civil)| fields.names(*civil));
        return named.map(|(at, _)| *at).collect();
    }
    // The first moment at which the clock shows a time, or a later one.
    let mut seen: Option<DateTime> = None;
    let mut found = BTreeSet::new();
    for &(at, civil) in minutes {
        if let Some(mut last) = seen {
            while last < civil {
                last = last.checked_add(jiff::ToSpan::minute(1)).expect("in range");
                if fields.names(last) {
                    found.insert(at);
                }
            }
        }
        seen = seen.max(Some(civil));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_time_is_the_one_that_is_found_by_hand(
        fields in fields(),
        zone in select(&ZONES[..]),
        seconds in 0i64..50 * 365 * 24 * 3600,
        near in prop::bool::weighted(0.8),
    ) {
        let tz = TimeZoneDatabase::bundled().get(zone).expect("known");
        let from = start(&tz, seconds, near);
        let minutes = minutes(&tz, from);
        let expected = by_hand(&fields, &minutes);
        let cron = cron(&fields.text(), zone);
        let wrap = |at: Instant| Timestamp::from_unix_nanos(u64::try_from(at.as_nanosecond()).expect("after 1970"));
        // In the second half of a fold at the very start, what is over by hand has begun before it.
        let begin = minutes[24 * 60 / 2].0;
        let end = minutes[minutes.len() - 1].0;
        let expected: Vec<Timestamp> = expected.into_iter().filter(|at| *at > begin).map(wrap).collect();
        let mut found = Vec::new();
        let mut at = wrap(begin);
        while let Some(next) = cron.next_after(at) {
            prop_assert!(next > at, "it goes on");
            if next > wrap(end) {
                break;
            }
            found.push(next);
            at = next;
        }
        prop_assert_eq!(found, expected, "{} in {} from {}", fields.text(), zone, from);
    }

    #[test]
    fn no_time_lies_between_one_and_the_next(
        fields in fields(),
        zone in select(&ZONES[..]),
        seconds in 0i64..50 * 365 * 24 * 3600,
        within in 0u64..1_000_000_000_000,
    ) {
        let tz = TimeZoneDatabase::bundled().get(zone).expect("known");
        let from = start(&tz, seconds, true);
        let from = Timestamp::from_unix_nanos(u64::try_from(from.as_nanosecond()).expect("after 1970"));
        let cron = cron(&fields.text(), zone);
        let Some(next) = cron.next_after(from) else { return Ok(()) };
        // From anywhere before it, it is the next one; from itself on, it is not.
        let span = next.as_unix_nanos() - from.as_unix_nanos();
        let between = Timestamp::from_unix_nanos(from.as_unix_nanos() + within % span);
        prop_assert_eq!(cron.next_after(between), Some(next));
        prop_assert!(cron.next_after(next) > Some(next));
    }
}
