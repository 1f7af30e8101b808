//! A call that is sent again when its connection breaks, and stays one request.

use std::time::Duration;

use rekindle::id::RequestId;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::failure::{self, Failure};

/// How long a call is sent again after its connection broke: a server's restart takes less.
const RETRY_LIMIT: Duration = Duration::from_secs(15);
/// Between two tries. Short beside a server's restart, long beside a refused connection.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What the server knows a request by, however often it is sent: the caller's choice, or a random one.
pub(crate) fn request_id(chosen: Option<&RequestId>) -> String {
    match chosen {
        Some(id) => id.as_str().to_owned(),
        None => uuid::Uuid::new_v4().to_string(),
    }
}

/// Sends a request until an answer comes, the caller's time is over, or the server stays away.
pub(crate) async fn send<Q: Clone, A>(
    timeout: Option<Duration>,
    request: Q,
    call: impl AsyncFn(Request<Q>) -> Result<Response<A>, Status>,
) -> Result<A, Failure> {
    let begin = Instant::now();
    let mut lost_since = None;
    loop {
        let mut attempt = Request::new(request.clone());
        if let Some(timeout) = timeout {
            attempt.set_timeout(timeout.saturating_sub(begin.elapsed()));
        }
        let status = match call(attempt).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        let away = *lost_since.get_or_insert_with(Instant::now);
        let over = timeout.is_some_and(|timeout| begin.elapsed() + RETRY_PAUSE >= timeout);
        if !failure::is_lost(&status) || over || away.elapsed() >= RETRY_LIMIT {
            return Err(status.into());
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_tried_again_with_the_same_request() {
        let tries = Cell::new(0);
        let answer = send(None, "id", async |request: Request<&str>| {
            assert_eq!(*request.get_ref(), "id");
            tries.set(tries.get() + 1);
            match tries.get() {
                1 | 2 => Err(Status::unavailable("away")),
                _ => Ok(Response::new(7)),
            }
        });
        assert_eq!(answer.await.expect("answered"), 7);
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn not_for_ever() {
        let begin = Instant::now();
        let never = async |_: Request<()>| Err::<Response<()>, _>(Status::unavailable("away"));
        assert!(send(None, (), never).await.is_err());
        assert!(begin.elapsed() >= RETRY_LIMIT && begin.elapsed() < RETRY_LIMIT * 2);

        let begin = Instant::now();
        assert!(send(Some(Duration::from_secs(1)), (), never).await.is_err());
        assert!(begin.elapsed() <= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let tries = Cell::new(0);
        let refused = send(None, (), async |_: Request<()>| {
            tries.set(tries.get() + 1);
            Err::<Response<()>, _>(Status::not_found("no such agent"))
        });
        assert!(refused.await.is_err());
        assert_eq!(tries.get(), 1);
    }
}
