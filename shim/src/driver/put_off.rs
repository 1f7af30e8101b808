//! What could not be done to processes for want of descriptors or memory, and is done when there may be some again.
//!
//! Called by the driver. It concerns the one tree that it was wanted of: until it is done nothing is told of that tree, so
//! that it counts as alive; all others go on. Children hold descriptors for as long as they live, so there is more to be
//! had with each that ends.

use std::io;
use std::time::Duration;

use rekindle_shim_core::Effect;
use tokio::time::{Instant, sleep_until};

/// Wait before the second try. Each further one waits twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest wait between two tries: an end is told no later than that after there is room to see it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Each is here once, so that there are three for each tree at most.
#[derive(Debug, Default)]
pub(super) struct PutOff(Vec<Again>);

#[derive(Debug)]
struct Again {
    effect: Effect,
    tries: u32,
    due: Due,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    At(Instant),
    /// It is being tried.
    UnderWay,
}

impl PutOff {
    /// An effect could not be carried out. It is told of less and less often.
    pub(super) fn again(&mut self, effect: Effect, error: &io::Error) {
        let place = self.0.iter().position(|again| again.effect == effect);
        let before = place.map_or(0, |place| self.0.swap_remove(place).tries);
        let tries = before.saturating_add(1);
        if tries.is_power_of_two() {
            tracing::warn!(
                wanted = ?effect,
                tries,
                %error,
                "cannot look at processes of the agent: they count as alive, and it is tried again; where it is open files, \
                 raise the limit (ulimit -n, or LimitNOFILE= of the service), or lower --max-concurrent"
            );
        }
        let pause = PAUSE_MIN.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX));
        self.0.push(Again {
            effect,
            tries,
            due: Due::At(Instant::now() + pause.min(PAUSE_MAX)),
        });
    }

    /// An effect was carried out, or is wanted no more.
    pub(super) fn done(&mut self, effect: &Effect) {
        self.0.retain(|again| again.effect != *effect);
    }

    /// Waits for the next that is to be tried again. Can be dropped at any point, and called again.
    pub(super) async fn due(&mut self) -> Effect {
        let at = |again: &Again| match again.due {
            Due::At(at) => Some(at),
            Due::UnderWay => None,
        };
        let Some(next) = self.0.iter().filter_map(at).min() else {
            return std::future::pending().await;
        };
        sleep_until(next).await;
        match self.0.iter_mut().find(|again| again.due == Due::At(next)) {
            Some(again) => {
                again.due = Due::UnderWay;
                again.effect.clone()
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use rekindle::id::Incarnation;
    use rekindle_shim_core::TreeId;
    use rustix::io::Errno;
    use tokio::time::timeout;

    use super::*;

    fn kill(life: u64) -> Effect {
        let tree = TreeId::Life(Incarnation::new(life));
        Effect::KillTree { tree }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_tried_again_ever_later_until_it_is_done() {
        let mut put_off = PutOff::default();
        let want = io::Error::from(Errno::MFILE);
        let start = Instant::now();
        put_off.again(kill(2), &want);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(put_off.due().await, kill(2));
            waits.push(start.elapsed().as_millis());
            put_off.again(kill(2), &want);
        }
        assert_eq!(waits, [10, 30, 70, 150, 310, 630, 1270, 2550, 4550, 6550]);
        put_off.again(kill(1), &want);
        assert_eq!(put_off.due().await, kill(1), "each has its own time");
        put_off.done(&kill(1));
        put_off.done(&kill(2));
        assert!(timeout(Duration::from_secs(60), put_off.due()).await.is_err());
    }
}
