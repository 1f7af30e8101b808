//! An agent that writes as fast as it can.

use std::io;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rekindle::exit::ExitStatus;
use rustix::process::Signal;

use crate::bench::{Bench, Shim, exited, spawned};

/// What the agent writes to each of its two streams: 1 GiB in all.
const FLOOD_BYTES: u64 = 512 << 20;

/// Most that the shim itself logs meanwhile, which goes to the same stderr: a dozen lines.
const LOG_MAX_BYTES: u64 = 16 << 10;

/// The heartbeats' interval: above the time for which a host of two busy processors may leave anybody waiting.
const INTERVAL: Duration = Duration::from_millis(250);

/// Time between two looks at the shim's memory: a flood lasts for a hundred of them.
const LOOK: Duration = Duration::from_millis(10);

/// One flood at a time: what is measured is the shim, not the host.
static TURN: Mutex<()> = Mutex::new(());

/// By how much the shim may grow: what docs/limits.md gives for two streams, 160 KiB each and 16 KiB that the allocator
/// keeps for each thread that writes; and the last lines of both as text, with the report and the journal that they are in.
const GROWTH_MAX_KIB: u64 = 2 * (160 + 16) + 32;

/// Memory of a process's own, in KiB: not what it shares with its program's file (`Anonymous` of smaps_rollup, proc(5)).
/// It is counted page by page, where the kernel's running sums (VmHWM) leave out, or add, up to 128 KiB for each processor.
fn memory_kib(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Looks at the memory of a process again and again, and keeps the most.
struct Peak {
    enough: mpsc::Sender<()>,
    looks: JoinHandle<u64>,
}

impl Peak {
    fn of(pid: u32) -> Self {
        let (enough, told) = mpsc::channel();
        let looks = std::thread::spawn(move || {
            let mut most = 0;
            loop {
                let last = told.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout);
                most = most.max(memory_kib(pid).expect("it lives"));
                if last {
                    return most;
                }
            }
        });
        Self { enough, looks }
    }

    /// With a last look.
    fn kib(self) -> u64 {
        self.enough.send(()).expect("it looks");
        self.looks.join().expect("no panic")
    }
}

/// Bytes that came out of the shim's own streams.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    stdout: u64,
    stderr: u64,
}

fn count(mut stream: impl io::Read + Send + 'static) -> JoinHandle<u64> {
    std::thread::spawn(move || io::copy(&mut stream, &mut io::sink()).expect("read"))
}

/// Lets an agent of a shim with these flags flood both of its streams, and gives how much came out of the shim's.
fn flood(flags: &[&str]) -> Passed {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = Bench::new();
    let script = format!(
        "echo > $D/up; while [ ! -e $D/go ]; do sleep 0.01; done; \
         head -c {FLOOD_BYTES} /dev/zero & head -c {FLOOD_BYTES} /dev/zero >&2 && wait"
    );
    let mut command = bench.command(flags, &script);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the shim runs");
    let stdout = count(child.stdout.take().expect("a pipe"));
    let stderr = count(child.stderr.take().expect("a pipe"));
    let shim = Shim::of(child);
    let mut session = bench.server.next();
    session.welcome(INTERVAL);
    session.run(1);
    spawned(&mut session, 1);
    bench.told("up");
    // The first beats are of the shim alone.
    session.beats(2);
    let before = memory_kib(shim.pid()).expect("it lives");
    let peak = Peak::of(shim.pid());
    let start = Instant::now();
    std::fs::write(bench.file("go"), "").expect("written");
    let (mut beats, report) = session.beats_until_report();
    assert_eq!(exited(&report).status, ExitStatus::Exited(0));
    beats.insert(0, start);
    beats.push(Instant::now());
    let gaps: Vec<Duration> = beats.array_windows().map(|[one, next]| *next - *one).collect();
    assert!(gaps.iter().all(|gap| *gap <= 2 * INTERVAL), "{gaps:?}");
    let growth = peak.kib().saturating_sub(before);
    assert!(growth <= GROWTH_MAX_KIB, "the shim grew by {growth} KiB");
    session.acknowledge(&report);
    shim.signal(Signal::TERM);
    assert_eq!(shim.ended().code(), Some(0));
    Passed {
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    }
}

#[test]
fn a_flood_that_nobody_wants_moves_no_heartbeat() {
    let passed = flood(&["--log=off"]);
    assert!(passed.stdout == 0 && passed.stderr <= LOG_MAX_BYTES, "{passed:?}");
}

#[test]
fn a_flood_that_is_passed_on_moves_no_heartbeat() {
    let passed = flood(&["--log=inherit"]);
    assert_eq!(passed.stdout, FLOOD_BYTES);
    let logged = passed.stderr.checked_sub(FLOOD_BYTES);
    assert!(logged.is_some_and(|logged| logged <= LOG_MAX_BYTES), "{passed:?}");
}

#[test]
fn a_flood_into_files_moves_no_heartbeat() {
    let passed = flood(&["--log=file", "--log-max-bytes=1M"]);
    assert!(passed.stdout == 0 && passed.stderr <= LOG_MAX_BYTES, "{passed:?}");
}
