//! The events: read to the end, or followed.

use std::collections::BTreeMap;

use rekindle::wire::v1;
use tonic::Streaming;
use tonic::transport::Channel;
use v1::event_service_client::EventServiceClient;
use v1::watch_events_response::Item;
use v1::{Event, EventType};

use crate::client::name;
use crate::wait::LIMIT;

/// All events that a server has, in their order.
#[derive(Debug, Clone)]
pub struct History(pub Vec<Event>);

impl History {
    pub(crate) async fn read(events: &mut EventServiceClient<Channel>) -> Self {
        let mut all = Vec::new();
        let mut request = v1::ListEventsRequest {
            page_size: 1000,
            ..Default::default()
        };
        loop {
            let page = events
                .list_events(request.clone())
                .await
                .expect("ListEvents answers")
                .into_inner();
            all.extend(page.events);
            if page.next_page_token.is_empty() {
                return Self(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The sequence has no hole (I5), and no incarnation of an agent was started twice (I1, I11).
    ///
    /// # Panics
    /// When one of these does not hold.
    pub fn check(&self) {
        for pair in self.0.windows(2) {
            assert_eq!(pair[0].sequence + 1, pair[1].sequence, "a hole: {self:#?}");
        }
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for event in self.0.iter().filter(|event| event.r#type() == EventType::AgentStarted) {
            let before = newest.insert(&event.agent, event.incarnation).unwrap_or(0);
            assert!(
                before < event.incarnation,
                "an incarnation was started twice: {self:#?}"
            );
        }
    }

    /// What happened to the agent, with the incarnation that each event is about.
    pub fn of(&self, agent: &str) -> Vec<(EventType, u64)> {
        let agent = name(agent);
        let matching = self.0.iter().filter(|event| event.agent == agent);
        matching.map(|event| (event.r#type(), event.incarnation)).collect()
    }

    /// How many events of this type the agent has.
    pub fn count(&self, agent: &str, kind: EventType) -> usize {
        let agent = name(agent);
        let matching = |event: &&Event| event.agent == agent && event.r#type() == kind;
        self.0.iter().filter(matching).count()
    }

    /// What happened to the execution, in its order.
    pub fn of_execution(&self, name: &str) -> Vec<EventType> {
        let matching = self.0.iter().filter(|event| event.execution == name);
        matching.map(Event::r#type).collect()
    }

    /// The events of this type, of whomever.
    pub fn all(&self, kind: EventType) -> Vec<&Event> {
        self.0.iter().filter(|event| event.r#type() == kind).collect()
    }
}

/// The events as they come. Checks that none is left out.
#[derive(Debug)]
pub struct Watch {
    stream: Streaming<v1::WatchEventsResponse>,
    seen: u64,
}

impl Watch {
    pub(crate) async fn open(mut events: EventServiceClient<Channel>) -> Self {
        let request = v1::WatchEventsRequest {
            after_sequence: Some(0),
            ..Default::default()
        };
        let stream = events
            .watch_events(request)
            .await
            .expect("WatchEvents answers")
            .into_inner();
        Self { stream, seen: 0 }
    }

    /// Waits for an event of this type about this agent.
    ///
    /// # Panics
    /// After [`LIMIT`], when the stream ends, or when an event was left out.
    pub async fn until(&mut self, agent: &str, kind: EventType) -> Event {
        let agent = name(agent);
        let found = async {
            loop {
                let event = self.next().await;
                if event.agent == agent && event.r#type() == kind {
                    return event;
                }
            }
        };
        tokio::time::timeout(LIMIT, found)
            .await
            .unwrap_or_else(|_| panic!("no {} of {agent} within {LIMIT:?}", kind.as_str_name()))
    }

    async fn next(&mut self) -> Event {
        loop {
            let message = self.stream.message().await.expect("the watch goes on");
            match message
                .and_then(|message| message.item)
                .expect("the watch has no end, and no empty message")
            {
                Item::Event(event) => {
                    assert_eq!(event.sequence, self.seen + 1, "an event was left out before {event:?}");
                    self.seen = event.sequence;
                    return event;
                }
                Item::Bookmark(_) => {}
                Item::Gap(gap) => panic!("a gap in a young log: {gap:?}"),
            }
        }
    }
}
