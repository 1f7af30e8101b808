//! Follows the log of events over restarts of the server, without missing one.

use rekindle::wire::v1;
use rekindle::wire::v1::watch_events_response::Item;
use tonic::Streaming;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::stream::{self, Stream};

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
    place: Place,
    stream: Stream<v1::WatchEventsResponse>,
}

/// Where in the log a watcher is.
#[derive(Debug)]
struct Place {
    filter: String,
    /// Everything up to here was seen.
    seen: u64,
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
        let place = Place { filter, seen };
        let stream = Stream::open(server, &connection, async |server| place.watch(server).await).await?;
        Ok(Self { place, stream })
    }

    /// Waits for the next news. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<News, Failure> {
        loop {
            let Self { place, stream } = self;
            let message = match stream.next(async |server| place.watch(server).await).await? {
                stream::News::Message(message) => message,
                stream::News::Lost(reason) => return Ok(News::Lost(reason)),
                stream::News::Back => return Ok(News::Back),
            };
            if let Some(news) = place.read(message) {
                return Ok(news);
            }
        }
    }
}

impl Place {
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

    async fn watch(&self, server: &Connection) -> Result<Streaming<v1::WatchEventsResponse>, Failure> {
        let request = v1::WatchEventsRequest {
            after_sequence: Some(self.seen),
            filter: self.filter.clone(),
        };
        Ok(server.events().watch_events(request).await?.into_inner())
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
