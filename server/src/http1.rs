//! HTTP/1.1 on the server's own port, for webhooks alone: whoever sends them speaks it more often than HTTP/2.
//!
//! gRPC has no part in it. Everything is bounded: connections, the time and the size of a request's head, the time and
//! size of its body (by [`Webhooks`]), the time of an idle connection; and no connection is ever upgraded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Semaphore, watch};

use crate::accept::Connection;
use crate::webhook::Webhooks;

/// Connections at a time. Callers of webhooks come, and go; a few hundred are many senders at once, and some 100 MiB at most.
const CONNECTIONS_MAX: u32 = 256;

/// Time for a request's head, from the end of the answer before: also the longest time of an idle connection.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bytes of a request's head: a path, a secret and a key, with room for what proxies add.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Lines of a request's head.
const HEADERS_MAX: usize = 64;

/// What is answered where no further connection is served.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// Serves connections of HTTP/1.1. Cheap to clone.
#[derive(Clone)]
pub struct Http1 {
    webhooks: Webhooks,
    connections: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Http1 {
    /// Serves until `stop` is true, or its sender is gone: then answers under way are still given.
    pub fn new(webhooks: Webhooks, stop: watch::Receiver<bool>) -> Self {
        Self {
            webhooks,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
            stop,
        }
    }

    /// Waits until every connection has ended.
    pub async fn ended(&self) {
        // Nothing closes it.
        let _ = self.connections.acquire_many(CONNECTIONS_MAX).await;
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(self, mut connection: Connection) {
        let Ok(_permit) = self.connections.try_acquire() else {
            // Whether it is read or not, it is dropped.
            let _ = tokio::time::timeout(HEAD_TIME, connection.write_all(FULL)).await;
            return;
        };
        let webhooks = self.webhooks.clone();
        let service = service_fn(move |request| answer(webhooks.clone(), request));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_MAX_BYTES)
            .max_headers(HEADERS_MAX);
        let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(connection), service));
        let mut stop = self.stop.clone();
        let stopped = async {
            // A sender that is dropped means the same.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let served = tokio::select! {
            served = &mut serving => served,
            () = stopped => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a connection of HTTP/1.1 has ended"
            );
        }
    }
}

async fn answer(webhooks: Webhooks, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut answer = webhooks.answer(request).await;
    if answer.status() != StatusCode::ACCEPTED {
        // Whoever shows no secret has no connection for longer than one request.
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}
