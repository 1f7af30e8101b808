//! An agent that writes as fast as it can.

use std::io;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rekindle::exit::ExitStatus;
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, spawned};

/// What the agent writes.
const FLOOD_BYTES: u64 = 1 << 30;

/// The same where a disk takes it, and is shared with other tests.
const FLOOD_TO_DISK_BYTES: u64 = 128 << 20;

/// The heartbeats' interval: above the time for which a host of two busy processors may leave anybody waiting.
const INTERVAL: Duration = Duration::from_millis(250);

/// One flood at a time: what is measured is the shim, not the host.
static TURN: Mutex<()> = Mutex::new(());

/// By how much the shim may grow: the ring and the queue of one stream (144 KiB), what is left in its pipe at the end
/// (64 KiB), and then the evidence, the report, and pages of the program that it had not touched before.
const GROWTH_MAX_KIB: u64 = 512;

/// Lets an agent of a shim with these flags flood its stdout, and gives how much came out of the shim's.
fn flood(flags: &[&str], bytes: u64) -> u64 {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = Bench::new();
    let script = format!("echo > $D/up; while [ ! -e $D/go ]; do sleep 0.01; done; exec head -c {bytes} /dev/zero");
    let mut command = bench.command(flags, &script);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the shim runs");
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || io::copy(&mut stdout, &mut io::sink()).expect("read"));
    let shim = Shim::of(child);
    let mut session = bench.server.next();
    session.welcome(INTERVAL);
    session.run(1);
    spawned(&mut session, 1);
    bench.told("up");
    // The first beats are of the shim alone.
    session.beats(2);
    let before = shim.peak_memory_kib();
    let start = Instant::now();
    std::fs::write(bench.file("go"), "").expect("written");
    let (mut beats, report) = session.beats_until_report();
    assert_eq!(exited(&report).status, ExitStatus::Exited(0));
    beats.insert(0, start);
    beats.push(Instant::now());
    let gaps: Vec<Duration> = beats.array_windows().map(|[one, next]| *next - *one).collect();
    assert!(gaps.iter().all(|gap| *gap <= 2 * INTERVAL), "{gaps:?}");
    let growth = shim.peak_memory_kib() - before;
    assert!(growth <= GROWTH_MAX_KIB, "the shim grew by {growth} KiB");
    session.acknowledge(&report);
    shim.signal(Signal::TERM);
    assert_eq!(shim.ended().code(), Some(0));
    reader.join().expect("no panic")
}

#[test]
fn a_flood_that_nobody_wants_moves_no_heartbeat() {
    assert_eq!(flood(&["--log=off"], FLOOD_BYTES), 0);
}

#[test]
fn a_flood_that_is_passed_on_moves_no_heartbeat() {
    assert_eq!(flood(&["--log=inherit"], FLOOD_BYTES), FLOOD_BYTES);
}

#[test]
fn a_flood_into_files_moves_no_heartbeat() {
    assert_eq!(flood(&["--log=file", "--log-max-bytes=1M"], FLOOD_TO_DISK_BYTES), 0);
}
