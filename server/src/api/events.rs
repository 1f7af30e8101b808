//! `rekindle.v1.EventService`: the durable log, replayed and followed.
//!
//! A watcher is a cursor over the log, not a subscriber of a queue: it reads what comes next when it is ready for it, so
//! that a slow one slows nobody, and one that was too slow is told which part is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rekindle::id::Sequence;
use rekindle::wire::v1;
use rekindle::wire::v1::event_service_server::EventService;
use rekindle::wire::v1::watch_events_response::Item;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::filter::Filter;
use super::page::{PAGE_MAX_BYTES, Page, bad_token};
use super::subject::{EventSubject, filter};
use super::view;
use crate::handle::{Handle, Unavailable};
use crate::status::{invalid, unreadable};

/// Longest time between two bookmarks.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(30);

/// Events that are read at a time.
const READ_STEP: usize = 256;

/// Answers that wait for a slow watcher. Each is at most some 12 KiB.
const UNSENT_MAX: usize = 16;

/// Events that one page of a list looks at for those that match, so that a rare match costs bounded work per call.
const SCAN_MAX: usize = 20_000;

/// The service.
pub(super) struct Events {
    handle: Handle,
}

impl Events {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Events {
    type WatchEventsStream = Answers;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let request = request.into_inner();
        let filter = filter(&request.filter)?;
        let newest = self.handle.snapshot().last_event;
        let after = request.after_sequence.map_or(newest, Sequence::new);
        if after > newest {
            let problem = format!("{after} has not happened yet; the newest event is {newest}");
            return Err(invalid("after_sequence", problem));
        }
        let (answers, stream) = mpsc::channel(UNSENT_MAX);
        let watcher = Watcher {
            handle: self.handle.clone(),
            filter,
            cursor: after,
            bookmark_due: Instant::now() + BOOKMARK_PERIOD,
            answers,
        };
        tokio::spawn(watcher.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let request = request.into_inner();
        let filter: Filter<EventSubject> = filter(&request.filter)?;
        let page = Page::parse(request.page_size, &request.page_token, &request.filter)?;
        let mut cursor = match &page.after {
            Some(after) => Sequence::new(after.parse().map_err(|_| bad_token())?),
            None => Sequence::ZERO,
        };
        let mut events = Vec::new();
        let mut room = PAGE_MAX_BYTES;
        for _ in 0..SCAN_MAX / READ_STEP {
            let read = self
                .handle
                .events(cursor, READ_STEP)
                .await
                .map_err(|error| unreadable(&error))?;
            if read.is_empty() {
                return Ok(Response::new(v1::ListEventsResponse {
                    events,
                    next_page_token: String::new(),
                }));
            }
            for event in read {
                let sequence = event.sequence;
                let event = EventSubject(event);
                if filter.matches(&event) {
                    let shown = view::event(&event.0);
                    let size = shown.encoded_len();
                    if events.len() == page.size || size > room {
                        let next_page_token = page.next(&cursor.to_string());
                        return Ok(Response::new(v1::ListEventsResponse {
                            events,
                            next_page_token,
                        }));
                    }
                    room -= size;
                    events.push(shown);
                }
                cursor = sequence;
            }
        }
        let next_page_token = page.next(&cursor.to_string());
        Ok(Response::new(v1::ListEventsResponse {
            events,
            next_page_token,
        }))
    }
}

/// One watch.
struct Watcher {
    handle: Handle,
    filter: Filter<EventSubject>,
    /// Everything up to here was sent, did not match, or is told as a gap.
    cursor: Sequence,
    bookmark_due: Instant,
    answers: mpsc::Sender<Result<v1::WatchEventsResponse, Status>>,
}

/// Nobody listens any more.
struct Gone;

impl Watcher {
    async fn run(mut self) {
        let mut changes = self.handle.changes();
        if self.catch_up().await.is_err() || self.bookmark().await.is_err() {
            return;
        }
        loop {
            changes.mark_unchanged();
            if self.handle.snapshot().last_event > self.cursor {
                if self.catch_up().await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    // Whether anybody still listens matters no more.
                    let _ = self.answers.send(Err(Unavailable.into())).await;
                    return;
                },
                () = tokio::time::sleep_until(self.bookmark_due) => if self.bookmark().await.is_err() {
                    return;
                },
                () = self.answers.closed() => return,
            }
        }
    }

    /// Sends what is in the log after the cursor.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        loop {
            let first = self.handle.snapshot().first_event;
            if self.cursor.next() < first {
                let through = Sequence::new(first.get() - 1);
                let gap = v1::Gap {
                    from_sequence: self.cursor.next().get(),
                    to_sequence: through.get(),
                };
                self.cursor = through;
                self.send(Item::Gap(gap)).await?;
            }
            let events = match self.handle.events(self.cursor, READ_STEP).await {
                Ok(events) => events,
                Err(error) => {
                    let status = unreadable(&error);
                    return self.answers.send(Err(status)).await.map_err(|_| Gone).and(Err(Gone));
                }
            };
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                if event.sequence != self.cursor.next() {
                    // Trimmed between the look at the log's start and the read.
                    break;
                }
                self.advance(event).await?;
            }
            if Instant::now() >= self.bookmark_due {
                self.bookmark().await?;
            }
        }
    }

    async fn advance(&mut self, event: Arc<rekindle_server_core::event::Event>) -> Result<(), Gone> {
        self.cursor = event.sequence;
        let event = EventSubject(event);
        if self.filter.matches(&event) {
            self.send(Item::Event(view::event(&event.0))).await?;
        }
        Ok(())
    }

    /// Tells the watcher how far it is. Due all the same while events pass that the filter keeps from it.
    async fn bookmark(&mut self) -> Result<(), Gone> {
        self.bookmark_due = Instant::now() + BOOKMARK_PERIOD;
        self.send(Item::Bookmark(v1::Bookmark {
            sequence: self.cursor.get(),
        }))
        .await
    }

    async fn send(&self, item: Item) -> Result<(), Gone> {
        self.answers
            .send(Ok(v1::WatchEventsResponse { item: Some(item) }))
            .await
            .map_err(|_| Gone)
    }
}
