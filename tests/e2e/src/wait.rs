//! Waiting for a condition, with a limit.

use std::time::{Duration, Instant};

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
