//! New connections, for as long as the server listens: those of gRPC for tonic, those of HTTP/1.1 for [`Http1`].

mod protocol;

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::http1::Http1;

pub use protocol::Connection;
use protocol::Protocol;

/// Connections that are accepted and not yet served; the server takes them as fast as it runs.
const WAITING_MAX: usize = 64;

/// Wait after an error that is not one connection's own: no descriptor or memory is to be had. Others may be given back
/// meanwhile, and a loop without a wait would take the processor from those who could.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts on its own task, until nobody takes the connections any more; gives those that speak HTTP/2.
pub fn incoming(listener: TcpListener, http1: Http1) -> ReceiverStream<io::Result<Connection>> {
    let (give, connections) = mpsc::channel(WAITING_MAX);
    tokio::spawn(accept(listener, give, http1));
    ReceiverStream::new(connections)
}

async fn accept(listener: TcpListener, give: mpsc::Sender<io::Result<Connection>>, http1: Http1) {
    let mut told = Told::No;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = give.closed() => return,
        };
        match accepted {
            Ok((connection, _peer)) => {
                told = Told::No;
                let (give, http1) = (give.clone(), http1.clone());
                // Nobody waits for another's first bytes.
                tokio::spawn(async move {
                    match protocol::detect(connection).await {
                        // Who does not take it any more has ended.
                        Some((Protocol::Http2, connection)) => drop(give.send(Ok(connection)).await),
                        Some((Protocol::Http1, connection)) => http1.serve(connection).await,
                        None => {}
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if told == Told::No {
                    told = Told::Yes;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "no connection can be accepted; where it is open files, raise the limit (ulimit -n, or \
                         LimitNOFILE= of the service): every shim takes one"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the log knows of the trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

/// Errors that accept(2) hands on from the connection, which is gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rekindle_server_core::machine::Policy;
    use rekindle_server_core::record::Records;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;
    use tokio::sync::watch;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::driver::Driver;
    use crate::store::memory::MemoryDisk;
    use crate::webhook::Webhooks;

    #[tokio::test]
    async fn connections_come_and_end_with_their_taker() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let store = Arc::new(MemoryDisk::default().open());
        let driver = Driver::new(Policy::default(), 7, Records::default(), store, Clock::start());
        let (_driver, handle) = driver.expect("threads start");
        let http1 = Http1::new(Webhooks::new(handle), watch::channel(false).1);
        let mut connections = incoming(listener, http1);
        let mut client = TcpStream::connect(address).await.expect("accepted");
        client.write_all(b"PRI").await.expect("sent");
        connections.next().await.expect("one came").expect("whole");
        drop(connections);
        // The listener goes with its task.
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).await.is_ok() {
            assert!(tokio::time::Instant::now() < end, "nobody stopped to listen");
            tokio::task::yield_now().await;
        }
    }
}
