//! What the server is told, when it is there and when it is not.

use super::*;
use crate::journal::JournalChild;

fn fencing(fence_after: u64) -> Bench {
    let (mut bench, _) = Bench::new(
        Settings {
            fence_after: Some(secs(fence_after)),
            ..settings()
        },
        journal(),
    );
    bench.link(0);
    bench.does(run(1), &["write", "spawn"]);
    bench.does(spawned(1), &["write", "say 1 spawned", "say 2 ready"]);
    bench
}

#[test]
fn facts_wait_for_the_server() {
    let mut bench = Bench::running(1);
    bench.does(Input::LinkLost, &[]);
    bench.does(exited(1), &["kill tree"]);
    bench.does(Input::LinkOpened, &["hello"]);
    bench.does(gone(1), &["write"]);
    let welcome = bench.welcome(2);
    bench.does(welcome, &[r#"has 1 None ["3 exited"]"#]);
    bench.does(Input::LinkLost, &[]);
    bench.links(2, &[r#"has 1 None ["3 exited"]"#]);
    bench.does(Input::LinkLost, &[]);
    bench.links(3, &["has 1 None []"]);
    assert!(bench.supervisor.journal().outbox.is_empty());
}

#[test]
fn a_journal_that_was_set_back_uses_no_number_twice() {
    let (mut bench, _) = Bench::new(settings(), journal());
    bench.link(7);
    bench.does(run(9), &["write", "spawn"]);
    bench.does(spawned(9), &["write", "say 8 spawned", "say 9 ready"]);
}

#[test]
fn the_inventory_waits_until_it_can_tell_what_runs() {
    let mut bench = Bench::linked(|_| ());
    bench.does(run(1), &["write", "spawn"]);
    bench.does(Input::LinkLost, &[]);
    bench.links(0, &[]);
    bench.does(
        spawned(1),
        &["write", r#"has 1 Some((1, Ready)) ["1 spawned", "2 ready"]"#],
    );
    bench.does(exited(1), &["kill tree"]);
    bench.does(gone(1), &["write", "say 3 exited"]);
}

#[test]
fn what_is_told_is_as_of_the_welcome() {
    let mut bench = Bench::running(1);
    bench.does(Input::LinkLost, &[]);
    bench.does(Input::LinkOpened, &["hello"]);
    bench.does(exited(1), &["kill tree"]);
    let welcome = bench.welcome(2);
    bench.does(welcome, &[r#"has 1 Some((1, Stopping)) []"#]);
    bench.does(gone(1), &["write", "say 3 exited"]);
    let welcome = bench.welcome(2);
    bench.does(welcome, &[]);
}

#[test]
fn a_stream_that_is_welcomed_keeps_the_fence_away_before_the_inventory_is_said() {
    let mut bench = fencing(30);
    bench.does(run(2), &["signal tree TERM"]);
    bench.does(gone(1), &["write", "say 3 exited by Command", "spawn"]);
    bench.does(Input::LinkLost, &[]);
    bench.links(3, &[]);
    bench.does_after(secs(1_000), &[]);
}

#[test]
fn orders_count_on_a_welcomed_stream_alone() {
    let mut bench = Bench::linked(|_| ());
    bench.does(Input::LinkLost, &[]);
    bench.does(run(1), &[]);
    let welcome = bench.welcome(0);
    bench.does(welcome, &[]);
    bench.does(run(1), &[]);
}

#[test]
fn an_outage_ends_nobody() {
    let mut bench = Bench::running(1);
    bench.does(Input::LinkLost, &[]);
    assert_eq!(bench.waits(), None);
    bench.does_after(secs(1_000_000), &[]);
}

#[test]
fn a_shim_that_fences_itself_ends_its_child() {
    let mut bench = fencing(30);
    bench.pass(secs(3));
    bench.does(Input::LinkLost, &[]);
    assert_eq!(bench.waits(), Some(secs(30)));
    bench.does_after(secs(29), &[]);
    bench.does_after(secs(1), &["signal tree TERM"]);
    bench.does(gone(1), &["write"]);
    bench.does(Input::LinkOpened, &["hello"]);
    let welcome = bench.welcome(0);
    bench.does(
        welcome,
        &[r#"has 1 None ["1 spawned", "2 ready", "3 exited by Fence"]"#],
    );
}

#[test]
fn a_suspend_counts_for_the_fence() {
    let mut bench = fencing(30);
    assert_eq!(
        bench.waits(),
        Some(secs(5)),
        "it looks at the clock though it is connected"
    );
    bench.at.since_boot += secs(25);
    bench.does(Input::Tick, &["reconnect"]);
    assert_eq!(bench.waits(), Some(secs(5)), "what it slept is gone");
    bench.link(2);
    bench.does_after(secs(5), &[]);
    bench.at.since_boot += secs(3600);
    bench.does(Input::Tick, &["reconnect", "signal tree TERM"]);
}

#[test]
fn a_claim_that_is_taken_away_ends_the_child_at_once() {
    let mut bench = Bench::running(1);
    bench.does(Input::LinkLost, &[]);
    bench.does(Input::LinkOpened, &["hello"]);
    bench.does(Input::ClaimLost, &["kill tree"]);
    bench.does(gone(1), &["write"]);
}

#[test]
fn what_an_earlier_shim_left_is_swept_first() {
    let mut left = journal();
    left.last_incarnation = n(4);
    left.child = Some(JournalChild {
        incarnation: n(4),
        process: None,
        phase: crate::journal::JournalPhase::Ready,
    });

    let (mut bench, shown) = Bench::new(settings(), left.clone());
    assert_eq!(shown, ["write", "sweep"]);
    bench.does(Input::Swept { survivors: Vec::new() }, &["write", "connect"]);
    bench.links(0, &["has 4 None []"]);

    let (mut bench, _) = Bench::new(settings(), left.clone());
    let survivors = vec![
        Survivor {
            pid: 3,
            pidfd_inode: Some(70),
            start_time_ticks: 700,
            command: "x".into()
        };
        40
    ];
    bench.does(Input::Swept { survivors }, &["write", "connect"]);
    bench.links(0, &[r#"has 4 None ["1 survived"]"#]);
    bench.does(run(5), &["write"]);
    bench.does(Input::Acknowledged(seq(1)), &[]);
    bench.does(run(5), &["write", "give up", "spawn"]);

    left.boot_id = BootId::from_u128(6);
    let (bench, shown) = Bench::new(settings(), left);
    assert_eq!(shown, ["write", "connect"], "a reboot leaves nothing");
    assert_eq!(bench.supervisor.journal().child, None);
}

#[test]
fn a_server_that_acknowledges_nothing_gets_no_more_lives() {
    let mut bench = Bench::linked(|_| ());
    let mut lives = 0;
    for life in 1..100 {
        let shown = bench.step(run(life));
        if shown.is_empty() {
            break;
        }
        bench.step(spawned(life));
        bench.step(gone(life));
        lives += 1;
    }
    assert_eq!(lives, 17);
}

#[test]
fn a_sweep_knows_whom_the_journal_names() {
    let mut left = journal();
    left.last_incarnation = n(4);
    left.child = Some(JournalChild {
        incarnation: n(4),
        process: Some(process(4)),
        phase: crate::journal::JournalPhase::Ready,
    });
    let (_, shown) = Bench::new(settings(), left.clone());
    assert_eq!(shown.last().map(String::as_str), Some("sweep pid 104"));

    let of_another_boot = ProcessIdentity {
        boot_id: BootId::from_u128(6),
        ..process(4)
    };
    left.child = Some(JournalChild {
        incarnation: n(4),
        process: Some(of_another_boot),
        phase: crate::journal::JournalPhase::Ready,
    });
    let (_, shown) = Bench::new(settings(), left);
    assert_eq!(shown.last().map(String::as_str), Some("sweep"));
}
