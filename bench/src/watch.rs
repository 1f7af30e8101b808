//! A WatchEvents client, which notes when each event comes.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rekindle::wire::v1;
use rekindle::wire::v1::event_service_client::EventServiceClient;
use rekindle::wire::v1::watch_events_response::Item;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::clock::Moment;
use crate::ours::Server;

/// The events of one type that come after it was opened.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<(Moment, v1::Event)>,
}

impl Watch {
    /// Follows events of this type from now on.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn open(server: &Server, kind: v1::EventType) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(server.url())?;
        let kind = kind.as_str_name().trim_start_matches("EVENT_TYPE_");
        let request = v1::WatchEventsRequest {
            after_sequence: None,
            filter: format!("type = {kind}"),
        };
        let stream = runtime.block_on(async {
            let channel = endpoint.connect().await.context("cannot connect to the server")?;
            let answer = EventServiceClient::new(channel).watch_events(request).await;
            anyhow::Ok(answer.context("WatchEvents failed")?.into_inner())
        })?;
        let (heard, events) = mpsc::channel();
        // A thread of its own notes the moments, whatever the bench does meanwhile. It ends with the server.
        std::thread::spawn(move || runtime.block_on(follow(stream, heard)));
        Ok(Self { events })
    }

    /// When the first event of this agent came that came after `moment`. Those of others are passed over.
    ///
    /// # Errors
    /// None came within `limit`, or before the server ended.
    pub fn next_after(&self, agent: &str, moment: Moment, limit: Duration) -> anyhow::Result<Moment> {
        let end = Instant::now() + limit;
        let name = format!("agents/{agent}");
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            let (at, event) = event.with_context(|| format!("no event of {name} came within {limit:?}"))?;
            if event.agent == name && at > moment {
                return Ok(at);
            }
        }
    }
}

async fn follow(mut stream: Streaming<v1::WatchEventsResponse>, heard: Sender<(Moment, v1::Event)>) {
    while let Ok(Some(answer)) = stream.message().await {
        let at = Moment::now();
        match answer.item {
            Some(Item::Event(event)) => {
                if heard.send((at, event)).is_err() {
                    return;
                }
            }
            Some(Item::Bookmark(_) | Item::Gap(_)) | None => {}
        }
    }
}
