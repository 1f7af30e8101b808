//! Schedules over the real rules of zones.

mod laws;

use super::*;
use rekindle::workflow::{CronText, WorkflowId};

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().expect("valid");
    Timestamp::from_unix_nanos(u64::try_from(instant.as_nanosecond()).expect("after 1970"))
}

fn shown(at: Timestamp) -> String {
    let nanos = i128::from(at.as_unix_nanos());
    jiff::Timestamp::from_nanosecond(nanos).expect("in range").to_string()
}

fn text(expression: &str, zone: &str) -> CronText {
    CronText::new(expression, zone).expect("a text")
}

fn cron(expression: &str, zone: &str) -> Cron {
    Cron::new(&text(expression, zone)).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// The next times after one, in the words of the zone's clock.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, tz) = (
        cron(expression, zone),
        jiff::tz::TimeZoneDatabase::bundled().get(zone).expect("known"),
    );
    let after: jiff::Timestamp = match after.parse() {
        Ok(instant) => instant,
        Err(_) => tz.to_timestamp(after.parse().expect("civil")).expect("in range"),
    };
    let mut at = Timestamp::from_unix_nanos(u64::try_from(after.as_nanosecond()).expect("after 1970"));
    let mut times = Vec::new();
    for _ in 0..count {
        at = cron.next_after(at).expect("it fires again");
        let nanos = i128::from(at.as_unix_nanos());
        let zoned = jiff::Timestamp::from_nanosecond(nanos)
            .expect("in range")
            .to_zoned(tz.clone());
        times.push(zoned.strftime("%m-%d %H:%M%z").to_string());
    }
    times
}

#[test]
fn times_of_the_day_come_once_a_day_where_clocks_are_set() {
    for (what, expression, zone, after, expected) in [
        (
            "a gap of an hour",
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            "03-29 03:00+0200|03-30 02:30+0200",
        ),
        (
            "both sides of it at once",
            "0 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            "03-29 03:00+0200|03-30 02:00+0200",
        ),
        (
            "its first moment only",
            "0,30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            "03-29 03:00+0200|03-30 02:00+0200",
        ),
        (
            "a fold",
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            "10-25 02:30+0200|10-26 02:30+0100",
        ),
        (
            "a fold, from within it",
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:45:00Z",
            "10-26 02:30+0100|10-27 02:30+0100",
        ),
        (
            "a fold, from its second half",
            "50 2 * * *",
            "Europe/Berlin",
            "2026-10-25T01:45:00Z",
            "10-26 02:50+0100|10-27 02:50+0100",
        ),
        (
            "a gap",
            "15 2 * * *",
            "America/New_York",
            "2026-03-07T12:00",
            "03-08 03:00-0400|03-09 02:15-0400",
        ),
        (
            "a fold",
            "15 1 * * *",
            "America/New_York",
            "2026-10-31T12:00",
            "11-01 01:15-0400|11-02 01:15-0500",
        ),
        (
            "a gap at midnight",
            "0 0 * * *",
            "America/Sao_Paulo",
            "2018-11-03T12:00",
            "11-04 01:00-0200|11-05 00:00-0200",
        ),
        (
            "a fold before midnight",
            "30 23 * * *",
            "America/Sao_Paulo",
            "2018-02-17T12:00",
            "02-17 23:30-0200|02-18 23:30-0300",
        ),
        (
            "a gap of half an hour",
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00",
            "10-04 02:30+1100|10-05 02:10+1100",
        ),
        (
            "a fold of half an hour",
            "40 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T12:00",
            "04-05 01:40+1100|04-06 01:40+1030",
        ),
        (
            "a day that is left out",
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00",
            "12-29 12:00-1000|12-31 00:00+1400|12-31 12:00+1400",
        ),
        (
            "the end of Ramadan",
            "30 2 * * *",
            "Africa/Casablanca",
            "2026-03-21T12:00",
            "03-22 03:00+0100|03-23 02:30+0100",
        ),
        (
            "before they gave it up",
            "0 0 * * *",
            "Asia/Tehran",
            "2022-03-21T12:00",
            "03-22 01:00+0430|03-23 00:00+0430",
        ),
        (
            "and after",
            "0 0 * * *",
            "Asia/Tehran",
            "2024-03-20T12:00",
            "03-21 00:00+0330|03-22 00:00+0330",
        ),
    ] {
        let expected: Vec<&str> = expected.split('|').collect();
        assert_eq!(
            next(expression, zone, after, expected.len()),
            expected,
            "{what}: {expression} in {zone}"
        );
    }
}

#[test]
fn a_pace_goes_by_the_time_that_passes() {
    for (what, expression, zone, after, expected) in [
        (
            "a gap",
            "0 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:30",
            "03-29 01:00+0100|03-29 03:00+0200|03-29 04:00+0200",
        ),
        (
            "a fold",
            "0 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:30",
            "10-25 02:00+0200|10-25 02:00+0100|10-25 03:00+0100",
        ),
        (
            "a step over a gap",
            "0 */2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:30",
            "03-29 04:00+0200|03-29 06:00+0200",
        ),
        (
            "minutes of an hour that is left out",
            "*/20 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            "03-30 02:00+0200|03-30 02:20+0200",
        ),
        (
            "minutes of an hour that comes twice",
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            "10-25 02:00+0200|10-25 02:30+0200|10-25 02:00+0100|10-25 02:30+0100|10-26 02:00+0100",
        ),
        (
            "a range",
            "0 1-3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            "03-29 01:00+0100|03-29 03:00+0200|03-30 01:00+0200",
        ),
        (
            "half an hour",
            "*/15 * * * *",
            "Australia/Lord_Howe",
            "2026-10-04T01:40",
            "10-04 01:45+1030|10-04 02:30+1100|10-04 02:45+1100",
        ),
        (
            "half an hour back",
            "30 * * * *",
            "Australia/Lord_Howe",
            "2026-04-05T01:00",
            "04-05 01:30+1100|04-05 01:30+1030|04-05 02:30+1030",
        ),
        (
            "a day that is left out",
            "0 */12 * * *",
            "Pacific/Apia",
            "2011-12-29T06:00",
            "12-29 12:00-1000|12-31 00:00+1400|12-31 12:00+1400",
        ),
    ] {
        let expected: Vec<&str> = expected.split('|').collect();
        assert_eq!(
            next(expression, zone, after, expected.len()),
            expected,
            "{what}: {expression} in {zone}"
        );
    }
}

#[test]
fn days_are_those_of_the_calendar() {
    for (expression, after, expected) in [
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
        ("0 0 L * *", "2028-02-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 * * 0", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("0 0 * * 7", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("0 0 * * MON#2", "2026-11-24T00:00:00Z", "2026-12-14T00:00:00Z"),
        ("0 0 13 * 5", "2026-11-24T00:00:00Z", "2026-11-27T00:00:00Z"),
        ("59 23 31 12 *", "2026-11-24T00:00:00Z", "2026-12-31T23:59:00Z"),
        ("@midnight", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
        ("@Hourly", "2026-11-24T00:00:01Z", "2026-11-24T01:00:00Z"),
        ("* * * * *", "2026-11-24T00:00:59.999999999Z", "2026-11-24T00:01:00Z"),
    ] {
        let next = cron(expression, "UTC").next_after(at(after)).map(shown);
        assert_eq!(next.as_deref(), Some(expected), "{expression} after {after}");
    }
}

#[test]
fn what_means_nothing_or_never_comes_is_refused() {
    let now = at("2026-11-24T00:00:00Z");
    let refused = |expression: &str, zone: &str| {
        let error = check(&Trigger::Cron(text(expression, zone)), now).expect_err(expression);
        (error.field, error.problem)
    };
    for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *"] {
        let (field, problem) = refused(expression, "UTC");
        assert_eq!(field, "cron.expression");
        assert!(problem.contains("never fires"), "{expression}: {problem}");
    }
    for expression in [
        "0 0 * *",
        "0 0 0 * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "@reboot",
        "@never",
        "a b c d e",
        "1, * * *",
        "* * * * *#",
        "-1 * * * *",
        "99999999999 * * * *",
    ] {
        assert_eq!(refused(expression, "UTC").0, "cron.expression", "{expression}");
    }
    for zone in ["Europe/Atlantis", "Etc/Unknown", "CEST", "../etc/passwd", "+01:00"] {
        assert_eq!(refused("* * * * *", zone).0, "cron.time_zone", "{zone}");
    }
    // An hour that one day lacks comes on the others.
    assert_eq!(check(&Trigger::Cron(text("30 2 29 3 *", "Europe/Berlin")), now), Ok(()));
}

#[test]
fn times_that_passed_unseen_are_counted_to_a_limit_and_the_newest_is_among_them() {
    let minutely = Trigger::Cron(text("* * * * *", "UTC"));
    let (from, soon) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:03:30Z"));
    let few = passed(&minutely, from, soon);
    assert_eq!(
        few.times.iter().copied().map(shown).collect::<Vec<_>>().join(" "),
        "2026-01-01T00:01:00Z 2026-01-01T00:02:00Z 2026-01-01T00:03:00Z"
    );
    assert!(!few.gap);
    let many = passed(&minutely, from, at("2026-06-01T12:00:30Z"));
    assert_eq!((many.times.len(), many.gap), (MISSED_MAX + 1, true));
    assert_eq!(
        many.times.last().copied().map(shown).as_deref(),
        Some("2026-06-01T12:00:00Z")
    );
    let bursts = Trigger::Cron(text("* 3 * * *", "UTC"));
    let many = passed(&bursts, from, at("2026-06-01T12:00:30Z"));
    assert_eq!(
        many.times.last().copied().map(shown).as_deref(),
        Some("2026-06-01T03:59:00Z")
    );
    // A clock that was set back finds nothing.
    assert_eq!(passed(&minutely, soon, from), Passed::default());
    let once = Trigger::OneShot(soon);
    assert_eq!(passed(&once, from, soon).times, [soon]);
    assert_eq!(passed(&once, soon, soon), Passed::default());
}

#[test]
fn who_has_no_schedule_has_no_times() {
    let other = WorkflowId::new("w").expect("valid");
    let completion = rekindle::workflow::Completion::new(other, []).expect("valid");
    for trigger in [Trigger::Manual, Trigger::Webhook, Trigger::Completion(completion)] {
        assert_eq!(next_after(&trigger, Timestamp::UNIX_EPOCH), None);
        assert_eq!(check(&trigger, Timestamp::UNIX_EPOCH), Ok(()));
    }
}
