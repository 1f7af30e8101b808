//! SIGKILL at any moment: what was acknowledged is there, and every batch is there as a whole or not at all.

use std::sync::mpsc::RecvTimeoutError;

use super::workload::{self, Line};
use super::*;

const ROUNDS: u32 = 20;
/// Longest time from a round's first acknowledgement to its kill.
const LONGEST_LIFE: Duration = Duration::from_millis(60);
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let folder = SledFolder::default();
    let mut newest = 0;
    for round in 0..ROUNDS {
        let (mut child, lines) = workload::start(&folder.data_dir(), 200);
        let mut acknowledged = match lines.recv_timeout(LIMIT).expect("it starts to commit") {
            Line::Acknowledged(number) => number,
            Line::Failed(error) => panic!("round {round}: {error}"),
        };
        assert_eq!(
            acknowledged,
            newest + 1,
            "round {round}: it goes on where the last one ended"
        );
        let death = Instant::now() + LONGEST_LIFE.mul_f64(random_share());
        loop {
            match lines.recv_timeout(death.saturating_duration_since(Instant::now())) {
                Ok(Line::Acknowledged(number)) => acknowledged = number,
                Ok(Line::Failed(error)) => panic!("round {round}: {error}"),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("round {round}: it ended by itself"),
            }
        }
        child.kill().expect("it lives");
        child.wait().expect("it is ours");
        // What it said before its death is in the pipe still.
        for line in lines {
            if let Line::Acknowledged(number) = line {
                acknowledged = number;
            }
        }
        newest = workload::check(&open_again(&folder.data_dir()), acknowledged);
    }
    assert!(
        newest > u64::from(ROUNDS),
        "each round committed more than one batch: {newest}"
    );
}

/// A number in [0, 1).
fn random_share() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(0) >> 32;
    f64::from(u32::try_from(bits).expect("32 bits are left")) / f64::from(u32::MAX)
}
