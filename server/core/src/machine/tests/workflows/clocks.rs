//! Schedules, and what becomes of them when clocks are set and servers are away.

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A world whose clock shows the first second of a minute.
fn on_the_minute(change: impl FnOnce(&mut PolicyFields)) -> World {
    let mut world = World::at_work(change);
    world.now.wall = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
    world
}

/// How often a workflow went off, each of the fires done by the agent at once.
fn fired(world: &mut World, id: &str) -> u64 {
    let fired = world.record(id).fired.get();
    for fire in 1..=fired {
        if world.made(id).contains(&format!("{fire}:DISPATCHED")) {
            world.does(id, fire);
        }
    }
    fired
}

#[test]
fn an_interval_goes_by_the_time_that_passes_and_by_no_clock_that_is_set() {
    let mut world = on_the_minute(|_| ());
    world.flow("w", every(MINUTE), |_| ());
    world.pass(59);
    assert_eq!(fired(&mut world, "w"), 0);
    world.pass(1);
    assert_eq!(fired(&mut world, "w"), 1);
    for jump in [3600, -7200, 24 * 3600] {
        world.set_clock(|now| match u64::try_from(jump) {
            Ok(on) => now.saturating_add(seconds(on)),
            Err(_) => now.saturating_sub(seconds(7200)),
        });
        let before = fired(&mut world, "w");
        world.pass(59);
        assert_eq!(
            fired(&mut world, "w"),
            before,
            "a clock that was set by {jump} s moves nothing"
        );
        world.pass(1);
        assert_eq!(fired(&mut world, "w"), before + 1);
    }
}

#[test]
fn what_a_restart_leaves_of_an_interval_is_never_more_than_all_of_it() {
    for (away, waits) in [(10, 20), (29, 1), (30, 0), (3600, 0)] {
        let mut world = on_the_minute(|_| ());
        world.flow("w", every(30), |_| ());
        world.set_clock(|now| now.saturating_add(seconds(away)));
        world.restart_server();
        if waits > 0 {
            world.pass(waits - 1);
            assert_eq!(world.record("w").fired, FireNumber::ZERO, "{away} s away");
            world.pass(1);
        }
        world.pass(0);
        assert_eq!(
            world.record("w").fired,
            FireNumber::new(1),
            "once, however long it was: {away} s away"
        );
        world.pass(30);
        assert_eq!(world.record("w").fired, FireNumber::new(2), "{away} s away");
    }
    // The clock was set back meanwhile.
    let mut world = on_the_minute(|_| ());
    world.flow("w", every(30), |_| ());
    world.set_clock(|now| now.saturating_sub(seconds(3600)));
    world.restart_server();
    world.pass(30);
    assert_eq!(world.record("w").fired, FireNumber::new(1));
}

#[test]
fn a_cron_goes_by_the_wall_clock_and_fires_nothing_twice() {
    let mut world = on_the_minute(|_| ());
    world.flow("w", cron("* * * * *"), |_| ());
    world.pass(59);
    assert_eq!(fired(&mut world, "w"), 0);
    world.pass(1);
    assert_eq!(fired(&mut world, "w"), 1);
    // Set back by an hour: what has fired does not fire again.
    world.set_clock(|now| now.saturating_sub(seconds(3600)));
    world.pass(3600 - 1);
    assert_eq!(fired(&mut world, "w"), 1);
    world.restart_server();
    world.pass(60);
    assert_eq!(world.record("w").fired, FireNumber::new(1));
    world.pass(1);
    assert_eq!(world.record("w").fired, FireNumber::new(2), "through a restart, too");
}

#[test]
fn a_glimpse_of_a_wrong_clock_silences_no_schedule() {
    const DAY: u64 = 24 * 3600;
    // By how much the clock was wrong, whether the server is restarted when it is right again, and whether it fires then.
    for (wrong, restarts, fires) in [
        (3652 * DAY, false, true),
        (3652 * DAY, true, true),
        (25 * 3600 + 120, false, true),
        (25 * 3600 + 120, true, true),
        (24 * 3600, false, false),
        (24 * 3600, true, false),
    ] {
        let case = format!("{wrong} s, restarts: {restarts}");
        let mut world = on_the_minute(|_| ());
        world.flow("w", cron("* * * * *"), |fields| fields.misfire = Misfire::Skip);
        let once = world.now.wall.saturating_add(seconds(wrong));
        world.flow("once", Trigger::OneShot(once), |_| ());
        world.set_clock(|now| now.saturating_add(seconds(wrong)));
        world.pass(30);
        let before = world.record("w").fired;
        assert!(world.record("w").through >= once, "{case}: it has seen the wrong clock");
        assert_eq!(world.record("once").fired.get(), 1, "{case}");
        world.told();
        world.set_clock(|now| now.saturating_sub(seconds(wrong)));
        if restarts {
            world.restart_server();
            world.told();
        }
        world.pass(0);
        world.pass(30);
        let told = world.told_of_workflows();
        assert_eq!(told.contains("UPDATED"), fires, "{case}: {told}");
        world.pass(60);
        assert_eq!(world.record("w").fired > before, fires, "{case}");
        assert_eq!(world.record("once").fired.get(), 1, "{case}: once is once");
        assert_eq!(world.record("w").revision, 1, "{case}: no caller has changed it");
    }
}

#[test]
fn a_clock_that_is_set_on_is_noticed_and_what_lay_between_is_for_the_misfire_policy() {
    for (misfire, expected, told) in [
        (Misfire::Skip, 1, "SKIPPED TRIGGERED"),
        (Misfire::Once, 1, "SKIPPED TRIGGERED"),
        (Misfire::All, 60, ""),
    ] {
        let mut world = on_the_minute(|policy| policy.queue_limit = 100);
        world.flow("w", cron("* * * * *"), |fields| fields.misfire = misfire);
        world.set_clock(|now| now.saturating_add(seconds(3600)));
        // Nobody tells the server that its clock was set: it looks.
        world.pass(30);
        assert_eq!(world.record("w").fired.get(), expected, "{misfire:?}");
        if misfire == Misfire::All {
            assert_eq!(world.waiting("w").len(), 59, "one goes on");
        } else {
            assert_eq!(world.told_of_workflows(), told, "{misfire:?}");
        }
    }
}

#[test]
fn times_that_passed_while_no_server_ran_are_for_the_misfire_policy() {
    for (misfire, expected) in [(Misfire::Skip, 0), (Misfire::Once, 1), (Misfire::All, 24)] {
        let mut world = on_the_minute(|_| ());
        world.flow("w", cron("0 * * * *"), |fields| fields.misfire = misfire);
        world.set_clock(|now| now.saturating_add(seconds(24 * 3600 + 1800)));
        world.restart_server();
        world.told();
        world.pass(0);
        assert_eq!(world.record("w").fired.get(), expected, "{misfire:?}");
        let newest = world.records.workflows[0].through;
        world.restart_server();
        world.pass(0);
        assert_eq!(
            world.record("w").fired.get(),
            expected,
            "{misfire:?}: none of them comes twice"
        );
        assert_eq!(world.record("w").through, newest);
    }
}

#[test]
fn more_times_than_are_counted_are_told_as_at_least_so_many() {
    let mut world = on_the_minute(|_| ());
    world.flow("w", cron("* * * * *"), |_| ());
    world.dies();
    world.set_clock(|now| now.saturating_add(seconds(30 * 24 * 3600)));
    world.restart_server();
    world.pass(0);
    let skipped = world
        .log
        .iter()
        .rfind(|event| event.kind.as_str() == "WORKFLOW_SKIPPED")
        .expect("told");
    assert!(
        skipped.message.contains("at least 1000 times of its schedule"),
        "{}",
        skipped.message
    );
    let told = |name: &str| skipped.attributes.get(name).map(String::as_str);
    assert_eq!((told("missed"), told("more")), (Some("1000"), Some("true")));
    assert_eq!(world.record("w").pending[0].at, world.now.wall, "the newest waits");
}

#[test]
fn a_single_time_comes_once() {
    let mut world = on_the_minute(|_| ());
    let at = world.now.wall.saturating_add(seconds(90));
    world.flow("w", Trigger::OneShot(at), |_| ());
    world.pass(89);
    assert_eq!(fired(&mut world, "w"), 0);
    world.pass(1);
    assert_eq!(fired(&mut world, "w"), 1);
    world.set_clock(|now| now.saturating_sub(seconds(3600)));
    world.restart_server();
    world.pass(7200);
    assert_eq!(world.record("w").fired.get(), 1);
    // One that is past when it is made comes at once, as a misfire.
    for (id, misfire, expected) in [("late", Misfire::Once, 1), ("skipped", Misfire::Skip, 0)] {
        world.flow(id, Trigger::OneShot(at), |fields| fields.misfire = misfire);
        world.pass(0);
        assert_eq!(world.record(id).fired.get(), expected);
        world.pass(3600);
        assert_eq!(world.record(id).fired.get(), expected);
    }
    // While it is disabled it passes for good.
    let at = world.now.wall.saturating_add(seconds(90));
    world.flow("off", Trigger::OneShot(at), |fields| fields.enabled = false);
    world.pass(100);
    world.switch("off", true);
    world.pass(100);
    assert_eq!(world.record("off").fired.get(), 0);
}

#[test]
fn an_interval_counts_anew_when_it_is_enabled_or_changed() {
    let mut world = on_the_minute(|_| ());
    world.flow("w", every(MINUTE), |_| ());
    world.pass(50);
    world.switch("w", false);
    world.pass(3600);
    assert_eq!(world.record("w").fired.get(), 0);
    world.switch("w", true);
    world.pass(59);
    assert_eq!(world.record("w").fired.get(), 0);
    world.pass(1);
    assert_eq!(world.record("w").fired.get(), 1);
    let patch = WorkflowPatch {
        trigger: Some(every(10)),
        ..WorkflowPatch::default()
    };
    world.change(update("w", patch)).expect("there");
    world.pass(9);
    assert_eq!(world.record("w").fired.get(), 1);
    world.pass(1);
    assert_eq!(world.record("w").fired.get(), 2);
    // What changes nothing about it moves nothing.
    world.pass(5);
    let patch = WorkflowPatch {
        misfire: Some(Misfire::All),
        ..WorkflowPatch::default()
    };
    world.change(update("w", patch)).expect("there");
    world.pass(5);
    assert_eq!(world.record("w").fired.get(), 3);
}

#[test]
fn a_server_that_stood_still_fires_an_interval_once() {
    let mut world = on_the_minute(|_| ());
    world.flow("w", every(10), |_| ());
    world.now.mono = world.now.mono.saturating_add(seconds(95));
    world.now.wall = world.now.wall.saturating_add(seconds(95));
    world.step(Input::Paused { gap: seconds(95) });
    world.pass(0);
    assert_eq!(world.record("w").fired.get(), 1);
    world.pass(10);
    assert_eq!(world.record("w").fired.get(), 2);
}

#[test]
fn fires_of_a_schedule_are_known_by_their_times() {
    let mut world = on_the_minute(|_| ());
    world.flow("w", cron("* * * * *"), |_| ());
    world.dies();
    world.pass(MINUTE);
    let fire = &world.record("w").pending[0];
    assert_eq!(
        (fire.key.as_str(), fire.source.as_str()),
        ("2027-01-15T08:01:00Z", "schedule")
    );
    assert_eq!(fire.at, Timestamp::from_unix_nanos(1_800_000_060_000_000_000));
}
