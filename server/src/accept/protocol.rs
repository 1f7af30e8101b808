//! Which HTTP a connection speaks, by its first bytes: gRPC's HTTP/2 with prior knowledge (RFC 9113, section 3.4), or
//! HTTP/1.1, which webhooks come by.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Longest wait for the first bytes: whoever connects to a port that is spoken to first has them ready.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// What the preface of HTTP/2 begins with. No method of HTTP/1.1 does.
const PREFACE: [u8; 3] = *b"PRI";

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose first bytes were looked at, and are read again.
#[derive(Debug)]
pub struct Connection {
    head: [u8; PREFACE.len()],
    /// Where the bytes of `head` begin that are still to be read.
    at: usize,
    stream: TcpStream,
}

/// Waits for the first bytes of a connection. `None` where they do not come in time, or it ends.
pub(super) async fn detect(mut stream: TcpStream) -> Option<(Protocol, Connection)> {
    // Answers are small, and waited for. Where it fails the connection is dead, which its reader finds.
    let _ = stream.set_nodelay(true);
    let mut head = [0; PREFACE.len()];
    let read = tokio::time::timeout(FIRST_BYTES, stream.read_exact(&mut head)).await;
    read.ok()?.ok()?;
    let protocol = match head {
        PREFACE => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Some((protocol, Connection { head, at: 0, stream }))
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at < PREFACE.len() && buffer.remaining() > 0 {
            let end = PREFACE.len().min(self.at + buffer.remaining());
            buffer.put_slice(&self.head[self.at..end]);
            self.at = end;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("accepted"), accepted.expect("it came").0)
    }

    #[tokio::test]
    async fn the_first_bytes_say_it_and_are_read_again() {
        for (said, expected) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
            ("POST / HTTP/1.1\r\n", Protocol::Http1),
            ("PROPFIND / HTTP/1.1\r\n", Protocol::Http1),
            ("\0\0\0", Protocol::Http1),
        ] {
            let (mut client, stream) = pair().await;
            let detecting = tokio::spawn(detect(stream));
            // In pieces, as a network may deliver them.
            for piece in said.as_bytes().chunks(2) {
                client.write_all(piece).await.expect("it is read");
                client.flush().await.expect("it is read");
                tokio::task::yield_now().await;
            }
            drop(client);
            let (protocol, mut connection) = detecting.await.expect("no panic").expect("enough came");
            assert_eq!(protocol, expected, "{said:?}");
            assert!(connection.stream.nodelay().expect("told"));
            let mut one = [0];
            connection.read_exact(&mut one).await.expect("the first byte");
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest).await.expect("the rest");
            assert_eq!([&one[..], &rest].concat(), said.as_bytes());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_too_little_is_not_waited_for() {
        let (mut client, stream) = pair().await;
        client.write_all(b"PR").await.expect("it is read");
        let begin = tokio::time::Instant::now();
        assert!(detect(stream).await.is_none());
        assert!(begin.elapsed() >= FIRST_BYTES && begin.elapsed() < FIRST_BYTES * 2);
        let (client, stream) = pair().await;
        drop(client);
        assert!(detect(stream).await.is_none(), "it ended");
    }
}
