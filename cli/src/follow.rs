//! Follows the log of events over restarts of the server, without missing one.

use std::time::Duration;

use rekindle::wire::v1;
use rekindle::wire::v1::watch_events_response::Item;
use tonic::{Code, Status, Streaming};

use crate::connection::Connection;
use crate::failure::{self, Failure};

/// First pause before a connection is tried again; it doubles from try to try.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause: a person who watches does not wait much longer than the server takes to come back.
const RETRY_MAX: Duration = Duration::from_secs(3);

/// What a watcher learns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum News {
    /// The next event.
    Event(Box<v1::Event>),
    /// Events that the server no longer has.
    Gap(v1::Gap),
    /// The connection is lost, for this reason. It is tried again.
    Lost(String),
    /// The connection is there again.
    Back,
}

/// A watcher of events.
#[derive(Debug)]
pub(crate) struct Follow {
    server: String,
    filter: String,
    /// Everything up to here was seen.
    seen: u64,
    stream: Option<Streaming<v1::WatchEventsResponse>>,
    /// The pause before the next try, while the connection is lost.
    lost: Option<Duration>,
}

impl Follow {
    /// Follows from after this sequence number, or from now on.
    pub(crate) async fn open(server: String, after: Option<u64>, filter: String) -> Result<Self, Failure> {
        let connection = Connection::open(&server).await?;
        // A place in the log rather than "now", so that a connection that is lost at once misses nothing.
        let seen = match after {
            Some(sequence) => sequence,
            None => newest(&connection).await?,
        };
        let mut follow = Self {
            server,
            filter,
            seen,
            stream: None,
            lost: None,
        };
        follow.stream = Some(follow.watch(&connection).await?);
        Ok(follow)
    }

    /// Waits for the next news. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<News, Failure> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.reconnect().await?;
                self.lost = None;
                return Ok(News::Back);
            };
            match stream.message().await {
                Ok(Some(message)) => {
                    if let Some(news) = self.read(message) {
                        return Ok(news);
                    }
                }
                Ok(None) => return Ok(self.lose("the server ended the stream".to_owned())),
                Err(status) if is_passing(&status) => {
                    return Ok(self.lose(Failure::from(status).to_string()));
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    fn read(&mut self, message: v1::WatchEventsResponse) -> Option<News> {
        match message.item? {
            Item::Event(event) => {
                self.seen = event.sequence;
                Some(News::Event(Box::new(event)))
            }
            Item::Bookmark(bookmark) => {
                self.seen = self.seen.max(bookmark.sequence);
                None
            }
            Item::Gap(gap) => {
                self.seen = self.seen.max(gap.to_sequence);
                Some(News::Gap(gap))
            }
        }
    }

    fn lose(&mut self, reason: String) -> News {
        self.stream = None;
        self.lost = Some(RETRY_MIN);
        News::Lost(reason)
    }

    async fn reconnect(&mut self) -> Result<(), Failure> {
        loop {
            let pause = self.lost.unwrap_or(RETRY_MIN);
            tokio::time::sleep(pause).await;
            self.lost = Some((pause * 2).min(RETRY_MAX));
            let tried = match Connection::open(&self.server).await {
                Ok(connection) => self.watch(&connection).await,
                Err(failure) => Err(failure),
            };
            match tried {
                Ok(stream) => {
                    self.stream = Some(stream);
                    return Ok(());
                }
                Err(Failure::Unreachable { .. }) => {}
                Err(Failure::Call(status)) if is_passing(&status) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn watch(&self, connection: &Connection) -> Result<Streaming<v1::WatchEventsResponse>, Failure> {
        let request = v1::WatchEventsRequest {
            after_sequence: Some(self.seen),
            filter: self.filter.clone(),
        };
        Ok(connection.events().watch_events(request).await?.into_inner())
    }
}

/// The newest event's sequence number.
async fn newest(connection: &Connection) -> Result<u64, Failure> {
    let answer = connection.fleet().get_fleet(v1::GetFleetRequest {}).await?.into_inner();
    let store = answer.fleet.and_then(|fleet| fleet.store);
    store
        .map(|store| store.last_sequence)
        .ok_or(Failure::Answer("does not say where the log of events ends"))
}

/// Whether a watcher that comes again may go on: the connection broke, the server ends, or the watcher was too slow.
fn is_passing(status: &Status) -> bool {
    failure::is_lost(status) || matches!(status.code(), Code::Aborted | Code::ResourceExhausted | Code::Cancelled)
}
