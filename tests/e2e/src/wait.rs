//! Waiting for a condition, with a limit.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use tonic::{Code, Status};

/// Longest wait for anything that a test expects. Many times what a loaded machine with two cores needs, and short
/// enough that a test that hangs is seen.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Time between two looks at a condition that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds something.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks a server again and again until the answer is as `wanted`, over the failures that are among `passing`.
///
/// # Panics
/// After [`LIMIT`], or at a failure that waiting cannot mend.
pub async fn until_answered<T: Debug>(
    what: &str,
    passing: &[Code],
    mut ask: impl AsyncFnMut() -> Result<T, Status>,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let begin = Instant::now();
    loop {
        let seen = ask().await;
        match seen {
            Ok(found) if wanted(&found) => return found,
            Ok(_) => {}
            Err(ref status) if passing.contains(&status.code()) => {}
            Err(status) => panic!("{what}: {status:?}"),
        }
        assert!(
            begin.elapsed() < LIMIT,
            "{what} is not as wanted after {LIMIT:?}: {seen:#?}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
