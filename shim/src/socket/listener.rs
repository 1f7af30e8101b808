//! Who may speak, and how many: connections, from accept(2) to their end.
//!
//! One that is open costs some 10 KiB, and what its peer sends unasked waits in the kernel past [`WINDOW_BYTES`].

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rekindle::policy::MAX_CONCURRENT_MAX;
use rustix::process::Uid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::gate::Gate;

/// Connections at a time: one for each execution that an agent may work on, by a process of its own that waits for the
/// next, and as many that say something meanwhile. Who comes past that waits to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 2 * MAX_CONCURRENT_MAX as usize;

/// Requests at a time on one connection: as many again, for an agent that has one for all that it does.
const STREAMS_MAX: u32 = 2 * MAX_CONCURRENT_MAX;

/// Longest time from the accept to the first request's head. A local program has both at once.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(10);

/// Largest head of a request: some ten times what gRPC clients send.
const HEAD_MAX_BYTES: u32 = 8 * 1024;

/// HTTP/2 windows: the protocol's own initial one. What is larger comes as it is read.
const WINDOW_BYTES: u32 = 65_535;

/// What a connection takes of an answer beyond what it has sent: the least that there is, so that it takes the last of an
/// answer when all before is in the kernel's hands.
pub(super) const UNSENT_MAX_BYTES: usize = 1;

/// Wait after an error that is not one connection's own: no descriptor or memory is to be had, and others may give some
/// back meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// The users who may speak.
#[derive(Debug, Clone)]
pub(super) struct Peers(Vec<u32>);

impl Peers {
    pub(super) fn new(users: impl IntoIterator<Item = Uid>) -> Self {
        Self(users.into_iter().map(Uid::as_raw).collect())
    }

    /// Whether the kernel says that the other end was connected by one of them (SO_PEERCRED, unix(7)).
    fn admit(&self, stream: &UnixStream, told: &mut Told) -> bool {
        // One that cannot be asked is gone.
        let Ok(peer) = stream.peer_cred() else { return false };
        let admitted = self.0.contains(&peer.uid());
        if !admitted && *told == Told::No {
            *told = Told::Yes;
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "a connection to the agent's socket was closed, as its user is not the agent's; so will be others, untold"
            );
        }
        admitted
    }
}

/// Whether the log knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

/// Serves until the other end of `ending` is dropped, and then until every request under way is answered. Connections end
/// with it.
pub(super) async fn serve(listener: UnixListener, peers: Peers, gate: Gate, mut ending: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let (mut told_of_stranger, mut told_of_trouble) = (Told::No, Told::No);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    told_of_trouble = Told::No;
                    if peers.admit(&stream, &mut told_of_stranger) {
                        connections.spawn(converse(stream, gate.clone(), ending.clone()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if told_of_trouble == Told::No {
                        told_of_trouble = Told::Yes;
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the agent's socket accepts no connection; where it is open files, raise the limit (ulimit \
                             -n, or LimitNOFILE= of the service)"
                        );
                    }
                    sleep(PAUSE).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
            _ = ending.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection, to its end.
async fn converse(stream: UnixStream, gate: Gate, mut ending: watch::Receiver<()>) {
    let heard = Arc::new(AtomicBool::new(false));
    let hear = Arc::clone(&heard);
    let service = service_fn(move |request| {
        hear.store(true, Ordering::Relaxed);
        gate.clone().serve(request)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(UNSENT_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let silent = async {
        sleep(FIRST_REQUEST_MAX).await;
        if heard.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = silent => return tracing::debug!("a connection to the agent's socket had no request in time"),
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = crate::chain(&error), "a connection to the agent's socket broke");
    }
}
