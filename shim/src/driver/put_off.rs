//! What could not be done for want of descriptors or memory, and is done when there may be some again.
//!
//! Called by the driver. What is done to processes concerns the one tree that it was wanted of: until it is done nothing is
//! told of that tree, so that it counts as alive; all others go on. Children hold descriptors for as long as they live, so
//! there is more to be had with each that ends.

use std::io;
use std::time::Duration;

use rekindle_shim_core::Effect;
use tokio::time::{Instant, sleep_until};

/// Wait before the second try. Each further one waits twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest wait between two tries: an end is told no later than that after there is room to see it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To look at processes, or to kill them.
    Effect(Effect),
    /// To open the agent's socket, after an upgrade that was not made.
    Socket,
}

impl From<Effect> for Wanted {
    fn from(effect: Effect) -> Self {
        Self::Effect(effect)
    }
}

impl Wanted {
    /// What holds meanwhile.
    const fn meanwhile(&self) -> &'static str {
        match self {
            Self::Effect(_) => "cannot look at processes of the agent: they count as alive",
            Self::Socket => {
                "cannot open the agent's socket again: the agent cannot ask for messages, nor say how they went"
            }
        }
    }
}

/// Each is here once, so that there are three for each tree at most, and the socket.
#[derive(Debug, Default)]
pub(super) struct PutOff(Vec<Again>);

#[derive(Debug)]
struct Again {
    wanted: Wanted,
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
    /// This could not be done. It is told of less and less often.
    pub(super) fn again(&mut self, wanted: impl Into<Wanted>, error: &io::Error) {
        let wanted = wanted.into();
        let place = self.0.iter().position(|again| again.wanted == wanted);
        let before = place.map_or(0, |place| self.0.swap_remove(place).tries);
        let tries = before.saturating_add(1);
        if tries.is_power_of_two() {
            tracing::warn!(
                ?wanted,
                tries,
                %error,
                "{}, and it is tried again; where it is open files, raise the limit (ulimit -n, or LimitNOFILE= of the \
                 service), or lower --max-concurrent",
                wanted.meanwhile()
            );
        }
        let pause = PAUSE_MIN.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX));
        self.0.push(Again {
            wanted,
            tries,
            due: Due::At(Instant::now() + pause.min(PAUSE_MAX)),
        });
    }

    /// This was done, or is wanted no more.
    pub(super) fn done(&mut self, wanted: impl Into<Wanted>) {
        let wanted = wanted.into();
        self.0.retain(|again| again.wanted != wanted);
    }

    /// No older life is looked for any more: another one begins, which its marker cannot tell from it.
    pub(super) fn forget_sweeps(&mut self) {
        let is_sweep = |wanted: &Wanted| matches!(wanted, Wanted::Effect(Effect::Sweep { .. }));
        self.0.retain(|again| !is_sweep(&again.wanted));
    }

    /// Waits for the next that is to be tried again. Can be dropped at any point, and called again.
    pub(super) async fn due(&mut self) -> Wanted {
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
                again.wanted.clone()
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

    fn kill(life: u64) -> Wanted {
        let tree = TreeId::Life(Incarnation::new(life));
        Effect::KillTree { tree }.into()
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
        put_off.again(Effect::Sweep { child: None }, &want);
        put_off.forget_sweeps();
        put_off.done(kill(1));
        put_off.done(kill(2));
        assert!(timeout(Duration::from_secs(60), put_off.due()).await.is_err());
    }
}
