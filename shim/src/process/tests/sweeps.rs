//! What an earlier shim left.

use std::process::Command;

use super::super::sweep;
use super::*;

#[test]
fn who_carries_the_marker_is_ended_and_nobody_else() {
    let bench = Bench::new();
    let marker = Marker::from_u128(0xabcd_ef01);
    let sleeper = |marker: Marker| {
        let mut command = Command::new("setsid");
        command.args(["sleep", "60"]).env("REKINDLE_MARKER", marker.to_string());
        command.spawn().expect("runs")
    };
    let mut ours = [sleeper(marker), sleeper(marker)];
    let mut other = sleeper(Marker::from_u128(0xabcd_ef02));

    let survivors = bench
        .within(LIMIT, sweep(marker, None, Duration::from_secs(2)))
        .expect("ends")
        .survivors();
    assert_eq!(survivors, []);
    for child in &mut ours {
        assert!(
            child
                .try_wait()
                .expect("a child")
                .is_some_and(|status| !status.success())
        );
    }
    assert!(
        other.try_wait().expect("a child").is_none(),
        "another marker is another agent's"
    );
    other.kill().expect("killed");
    other.wait().expect("reaped");
    let again = bench.within(LIMIT, sweep(marker, None, Duration::ZERO)).expect("ends");
    assert_eq!(again.survivors(), []);
}
