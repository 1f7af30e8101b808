//! Signals that ask this command to end.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Signals that no longer end this process by themselves.
#[derive(Debug)]
pub(crate) struct Interrupts(Vec<Signal>);

impl Interrupts {
    /// Listens for signals from here on.
    ///
    /// # Errors
    /// The system is out of file descriptors or memory.
    pub(crate) fn listen(kinds: &[SignalKind]) -> Result<Self, Failure> {
        let signals: Result<_, _> = kinds.iter().map(|&kind| signal(kind)).collect();
        signals.map(Self).map_err(Failure::Signals)
    }

    /// Waits for the next. May be dropped and called again.
    pub(crate) async fn next(&mut self) {
        poll_fn(|context| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn each_of_them_is_heard() {
        let mut interrupts =
            Interrupts::listen(&[SignalKind::user_defined1(), SignalKind::user_defined2()]).expect("signals are there");
        for signal in [Signal::USR1, Signal::USR2] {
            kill_process(getpid(), signal).expect("the test may signal itself");
            interrupts.next().await;
        }
    }
}
