//! Readiness, the watchdog, and who stands still.

use super::*;
use rekindle::activity::{ActivityState, BlockedOn};

fn says(notices: &[Notice]) -> Input {
    Input::Notified {
        incarnation: n(1),
        notices: notices.to_vec(),
    }
}

/// What a probe finds of a tree that has used so much.
fn probed(cpu: u64) -> Input {
    Input::Probed {
        incarnation: n(1),
        sample: Sample {
            cpu: secs(cpu),
            ..Sample::default()
        },
    }
}

/// Connected, with a child that has to say that it is ready, and has been spawned.
fn starting(policy: impl FnOnce(&mut PolicyFields)) -> Bench {
    let mut fields = PolicyFields::default();
    policy(&mut fields);
    let settings = Settings {
        policy: AgentPolicy::new(fields).expect("valid"),
        readiness: Readiness::Notify,
        ..settings()
    };
    let (mut bench, _) = Bench::new(settings, journal());
    bench.link(0);
    bench.does(run(1), &["write", "spawn"]);
    bench.does(spawned(1), &["write", "say 1 spawned"]);
    bench
}

/// As [`starting`], and ready.
fn ready(policy: impl FnOnce(&mut PolicyFields)) -> Bench {
    let mut bench = starting(policy);
    bench.does(says(&[Notice::Ready]), &["write", "say 2 ready"]);
    bench
}

#[test]
fn a_child_is_ready_when_it_says_so_and_says_so_once() {
    let mut bench = starting(|_| ());
    assert_eq!(bench.waits(), Some(secs(60)));
    bench.does(says(&[Notice::Ready]), &["write", "say 2 ready"]);
    bench.does(says(&[Notice::Ready]), &[]);
    assert_eq!(bench.waits(), None);
    bench.does(
        Input::Notified {
            incarnation: n(2),
            notices: vec![Notice::Stuck],
        },
        &[],
    );
}

#[test]
fn a_child_that_is_not_ready_in_time_is_probed_and_then_ended() {
    let mut bench = starting(|_| ());
    bench.does_after(secs(60), &["probe"]);
    assert_eq!(bench.waits(), None, "one probe at a time");
    bench.does(probed(0), &["signal tree TERM"]);
    bench.does(exited(1), &["await tree"]);
    bench.does(gone(1), &["write", "say 2 exited by StartTimeout"]);

    let mut bench = starting(|_| ());
    bench.does_after(secs(60), &["probe"]);
    bench.does(says(&[Notice::Ready]), &["write", "say 2 ready"]);
    bench.does(probed(0), &[]);
}

#[test]
fn a_start_is_put_off_from_when_it_is_asked() {
    let mut bench = starting(|_| ());
    bench.pass(secs(50));
    bench.does(says(&[Notice::Extend(secs(5))]), &[]);
    assert_eq!(bench.waits(), Some(secs(10)), "never shortened");
    bench.does(says(&[Notice::Extend(secs(100))]), &[]);
    assert_eq!(bench.waits(), Some(secs(100)));
    bench.does(says(&[Notice::Extend(Duration::MAX)]), &[]);
    assert_eq!(
        bench.waits(),
        Some(secs(24 * 3600 - 50)),
        "a day from its spawn at most"
    );
}

#[test]
fn a_watchdog_that_is_not_pinged_ends_the_child() {
    let watchdog = |fields: &mut PolicyFields| fields.watchdog_timeout = Some(secs(10));
    let mut bench = ready(watchdog);
    bench.pass(secs(9));
    bench.does(says(&[Notice::Ping]), &[]);
    assert_eq!(bench.waits(), Some(secs(10)));
    bench.does_after(secs(10), &["probe"]);
    bench.does(says(&[Notice::Ping]), &[]);
    bench.does(probed(0), &[]);
    bench.does_after(secs(10), &["probe"]);
    bench.does(probed(0), &["signal tree TERM"]);
    bench.does(gone(1), &["write", "say 3 exited by Watchdog"]);

    let mut bench = ready(|_| ());
    bench.does(says(&[Notice::WatchdogTimeout(secs(3))]), &[]);
    assert_eq!(bench.waits(), Some(secs(3)), "the child's own");
    bench.does(says(&[Notice::WatchdogTimeout(Duration::from_micros(u64::MAX))]), &[]);
    assert_eq!(bench.waits(), None, "switched off");
    bench.does(says(&[Notice::Stuck]), &["signal tree TERM"]);
}

#[test]
fn who_is_not_ready_need_not_ping() {
    let mut bench = starting(|fields| fields.watchdog_timeout = Some(secs(10)));
    assert_eq!(bench.waits(), Some(secs(60)));
    bench.does(says(&[Notice::Ping]), &[]);
    assert_eq!(bench.waits(), Some(secs(60)));
}

#[test]
fn only_who_stands_still_for_all_of_the_time_is_stalled() {
    let stall = |fields: &mut PolicyFields| fields.stall_timeout = Some(secs(40));
    let mut bench = ready(stall);
    for used in 0..10 {
        bench.does_after(secs(10), &["probe"]);
        bench.does(probed(used), &[]);
    }
    for _ in 0..3 {
        bench.does_after(secs(10), &["probe"]);
        bench.does(probed(9), &[]);
    }
    bench.does(says(&[Notice::Status("slow".into())]), &["does Unsaid \"slow\""]);
    for _ in 0..3 {
        bench.does_after(secs(10), &["probe"]);
        bench.does(probed(9), &[]);
    }
    bench.does_after(secs(10), &["probe"]);
    bench.does(probed(9), &["signal tree TERM"]);
    bench.does(gone(1), &["write", "say 3 exited by Stall"]);
}

#[test]
fn blocked_pauses_the_stall_for_as_long_as_it_may() {
    let mut bench = ready(|fields| {
        fields.stall_timeout = Some(secs(40));
        fields.blocked_limit = secs(1000);
    });
    let blocked = Notice::Activity(ActivityState::Blocked(BlockedOn::Approval));
    bench.does(says(std::slice::from_ref(&blocked)), &["does Blocked(Approval) \"\""]);
    assert_eq!(bench.waits(), Some(secs(1000)));
    bench.pass(secs(500));
    bench.does(says(&[blocked]), &[]);
    assert_eq!(bench.waits(), Some(secs(500)), "said again, it is the same block");
    bench.does_after(secs(500), &["probe"]);
    bench.does(probed(0), &[]);
    for _ in 0..3 {
        bench.does_after(secs(10), &["probe"]);
        bench.does(probed(0), &[]);
    }
    bench.does_after(secs(10), &["probe"]);
    bench.does(probed(0), &["signal tree TERM"]);
}

#[test]
fn who_ends_by_itself_has_its_grace() {
    let mut bench = ready(|_| ());
    bench.does(says(&[Notice::Stopping]), &["write", "say 3 stopping"]);
    assert_eq!(bench.waits(), Some(secs(10)));
    bench.does(says(&[Notice::Extend(secs(30))]), &[]);
    bench.does_after(secs(30), &["kill tree"]);
    bench.does(gone(1), &["write", "say 4 exited"]);
}

#[test]
fn a_main_process_is_told_a_few_times() {
    let mut bench = ready(|_| ());
    bench.does(says(&[Notice::Main(process(1))]), &[]);
    for other in 2..=5 {
        let told = format!("say {} main pid {}", other + 1, 100 + other);
        bench.does(says(&[Notice::Main(process(other))]), &["write", &told]);
    }
    bench.does(says(&[Notice::Main(process(6))]), &[]);
    let child = bench
        .supervisor
        .journal()
        .child
        .as_ref()
        .and_then(|child| child.process.clone());
    assert_eq!(child, Some(process(5)));
}

#[test]
fn what_it_is_doing_is_told_once_a_second_and_again_on_the_next_stream() {
    let mut bench = ready(|_| ());
    let status = |text: &str| says(&[Notice::Status(text.into())]);
    bench.does(status("a"), &["does Unsaid \"a\""]);
    bench.does(status("b"), &[]);
    bench.does(status("c"), &[]);
    bench.does_after(secs(1), &["does Unsaid \"c\""]);
    bench.does(Input::LinkLost, &[]);
    bench.does(status("d"), &[]);
    bench.links(2, &["has 1 Some((1, Ready)) []", "does Unsaid \"d\""]);
}
