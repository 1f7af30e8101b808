//! More notifications than anybody wants.

use std::time::Instant;

use rekindle_shim_core::Notice;

use super::*;

/// Resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("read");
    let pages: u64 = pages.split(' ').nth(1).expect("two fields").parse().expect("a number");
    pages * rustix::param::page_size() as u64
}

/// Listens to the end, beside something that the same thread does every 5 ms; gives the longest time that it waited
/// beyond.
fn listen_to_the_end(bench: &Bench, child: &Child) -> Duration {
    bench.runtime.block_on(async {
        let mut longest = Duration::ZERO;
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let listening = async {
            loop {
                let said = child.notices(&bench.tree).await.expect("works");
                if said.contains(&Notice::Status("that is all".to_owned())) {
                    return;
                }
            }
        };
        tokio::pin!(listening);
        let limit = tokio::time::sleep(LIMIT);
        tokio::pin!(limit);
        let mut since = Instant::now();
        loop {
            tokio::select! {
                () = &mut listening => return longest,
                _ = beat.tick() => {
                    longest = longest.max(since.elapsed());
                    since = Instant::now();
                }
                () = &mut limit => panic!("it does not end"),
            }
        }
    })
}

#[test]
fn a_flood_of_datagrams_drowns_nothing() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])
flood = b'WATCHDOG=1\\nSTATUS=' + b'x' * 4000
for _ in range(100000):
    try:
        s.send(flood)
    except BlockingIOError:
        pass
say('STATUS=that is all')
time.sleep(60)",
    );
    let before = resident_bytes();
    let longest = listen_to_the_end(&bench, &child);
    let grown = resident_bytes().saturating_sub(before);
    // A hundredth of what was sent, and much more than other tests in this process use at once.
    assert!(grown < 16 << 20, "{grown} bytes more");
    assert!(longest < AT_ONCE, "held up for {longest:?}");
    bench.end(child);
}

#[test]
fn a_flood_that_waits_is_slowed_down() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
start, said = time.monotonic(), 0
while time.monotonic() - start < 1:
    say('WATCHDOG=1')
    said += 1
tell('said', f'{said} {time.monotonic() - start}')
say('STATUS=that is all')
time.sleep(60)",
    );
    listen_to_the_end(&bench, &child);
    let told = bench.told("said");
    let (said, seconds) = told.trim().split_once(' ').expect("two numbers");
    let said: f64 = said.parse().expect("a number");
    let seconds: f64 = seconds.parse().expect("a number");
    // 64 in a turn of 100 ms, two turns that are not whole, and what the kernel holds.
    let queued: f64 = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen")
        .expect("read")
        .trim()
        .parse()
        .expect("a number");
    assert!(said <= 64.0 * (seconds * 10.0 + 2.0) + queued + 1.0, "{told}");
    assert!(said > 64.0, "it is slowed down, not stopped: {told}");
    bench.end(child);
}
