//! One thread that commits, so that a disk that never answers, or a panic in sled, is an error of the commit.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

type Job<E> = Box<dyn FnOnce() -> Result<(), E> + Send>;

/// How a job went.
#[derive(Debug)]
pub(super) enum Verdict<E> {
    /// It ended.
    Done(Result<(), E>),
    /// It did not end within its limit, and may still run.
    Stuck,
    /// It panicked.
    Panicked,
}

/// The thread, as its callers see it. After [`Verdict::Stuck`] or [`Verdict::Panicked`] it is of no further use.
pub(super) struct CommitThread<E> {
    jobs: SyncSender<Job<E>>,
    results: Receiver<Result<(), E>>,
}

impl<E> std::fmt::Debug for CommitThread<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitThread").finish_non_exhaustive()
    }
}

impl<E: Send + 'static> CommitThread<E> {
    /// Starts the thread; it ends with its `CommitThread`.
    pub(super) fn start() -> io::Result<Self> {
        // One place each: a job is sent when the one before it is done, and neither side waits for the other to arrive.
        let (jobs, inbox) = sync_channel::<Job<E>>(1);
        let (outbox, results) = sync_channel(1);
        thread::Builder::new().name("store-commit".to_owned()).spawn(move || {
            while let Ok(job) = inbox.recv() {
                if outbox.send(job()).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { jobs, results })
    }

    /// Runs a job, and waits for its end or for `limit`. One caller at a time (`Receiver` is not `Sync`). All that the job owns is dropped before it is done.
    pub(super) fn run(&self, limit: Duration, job: impl FnOnce() -> Result<(), E> + Send + 'static) -> Verdict<E> {
        if self.jobs.send(Box::new(job)).is_err() {
            return Verdict::Panicked;
        }
        match self.results.recv_timeout(limit) {
            Ok(result) => Verdict::Done(result),
            Err(RecvTimeoutError::Timeout) => Verdict::Stuck,
            Err(RecvTimeoutError::Disconnected) => Verdict::Panicked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn hands_results_back() {
        let thread = CommitThread::<&str>::start().expect("a thread");
        assert!(matches!(thread.run(LONG, || Ok(())), Verdict::Done(Ok(()))));
        assert!(matches!(thread.run(LONG, || Err("full")), Verdict::Done(Err("full"))));
        assert!(matches!(thread.run(LONG, || Ok(())), Verdict::Done(Ok(()))));
    }

    #[test]
    fn a_job_that_never_ends_is_given_up() {
        let thread = CommitThread::<&str>::start().expect("a thread");
        let (release, held) = channel::<()>();
        let job = move || {
            assert!(held.recv().is_err(), "the test only hangs up");
            Ok(())
        };
        assert!(matches!(thread.run(Duration::from_millis(20), job), Verdict::Stuck));
        drop(release);
    }

    #[test]
    fn a_panic_is_a_verdict() {
        let thread = CommitThread::<&str>::start().expect("a thread");
        assert!(matches!(
            thread.run(LONG, || panic!("the test ordered it")),
            Verdict::Panicked
        ));
        assert!(matches!(thread.run(LONG, || Ok(())), Verdict::Panicked));
    }
}
