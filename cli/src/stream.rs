//! A stream from the server that outlives its connection: one that breaks is opened again, until somebody has enough.

use std::time::Duration;

use tonic::{Code, Status, Streaming};

use crate::connection::Connection;
use crate::failure::{self, Failure};

/// First pause before a connection is tried again; it doubles from try to try.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause: a person who watches does not wait much longer than the server takes to come back.
const RETRY_MAX: Duration = Duration::from_secs(3);

/// What comes from a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News<T> {
    /// The next message.
    Message(T),
    /// The connection is lost, for this reason. It is tried again.
    Lost(String),
    /// The connection is there again.
    Back,
}

/// A stream, and how it stands.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    server: String,
    /// `None` while the connection is lost.
    open: Option<Streaming<T>>,
    /// Before the next try.
    pause: Duration,
    /// Why the very first connection was lost, until that is told.
    untold: Option<String>,
}

impl<T> Stream<T> {
    /// Opens a stream on a connection to this server. Whoever is connected gets one, although the connection breaks at
    /// once.
    ///
    /// # Errors
    /// The server refuses the stream.
    pub(crate) async fn open(
        server: String,
        connection: &Connection,
        open: impl AsyncFn(&Connection) -> Result<Streaming<T>, Failure>,
    ) -> Result<Self, Failure> {
        let (open, untold) = match open(connection).await {
            Ok(stream) => (Some(stream), None),
            Err(Failure::Call(status)) if is_passing(&status) => (None, Some(Failure::Call(status).to_string())),
            Err(failure) => return Err(failure),
        };
        Ok(Self {
            server,
            open,
            pause: RETRY_MIN,
            untold,
        })
    }

    /// Waits for the next news; `reopen` asks the server for the rest of the stream. May be dropped and called again.
    ///
    /// # Errors
    /// The server refuses the stream. A connection that breaks is news, and no error.
    pub(crate) async fn next(
        &mut self,
        reopen: impl AsyncFn(&Connection) -> Result<Streaming<T>, Failure>,
    ) -> Result<News<T>, Failure> {
        if let Some(reason) = self.untold.take() {
            return Ok(News::Lost(reason));
        }
        let Some(stream) = &mut self.open else {
            self.reconnect(reopen).await?;
            return Ok(News::Back);
        };
        match stream.message().await {
            Ok(Some(message)) => Ok(News::Message(message)),
            Ok(None) => Ok(self.lose("the server ended the stream".to_owned())),
            Err(status) if is_passing(&status) => Ok(self.lose(Failure::from(status).to_string())),
            Err(status) => Err(status.into()),
        }
    }

    fn lose(&mut self, reason: String) -> News<T> {
        self.open = None;
        self.pause = RETRY_MIN;
        News::Lost(reason)
    }

    async fn reconnect(
        &mut self,
        reopen: impl AsyncFn(&Connection) -> Result<Streaming<T>, Failure>,
    ) -> Result<(), Failure> {
        loop {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(RETRY_MAX);
            let tried = match Connection::open(&self.server).await {
                Ok(connection) => reopen(&connection).await,
                Err(failure) => Err(failure),
            };
            match tried {
                Ok(stream) => {
                    self.open = Some(stream);
                    return Ok(());
                }
                Err(Failure::Unreachable { .. }) => {}
                Err(Failure::Call(status)) if is_passing(&status) => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// Whether a watcher that comes again may go on: the connection broke, the server ends, or the watcher was too slow.
fn is_passing(status: &Status) -> bool {
    failure::is_lost(status) || matches!(status.code(), Code::Aborted | Code::ResourceExhausted | Code::Cancelled)
}
