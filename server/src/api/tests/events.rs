//! The log, listed and watched.

use std::time::Duration;

use rekindle::wire::v1;
use rekindle::wire::v1::watch_events_response::Item;
use tonic::Streaming;

use super::{World, soon, told};

async fn watch(world: &World, after: Option<u64>, filter: &str) -> Streaming<v1::WatchEventsResponse> {
    let request = v1::WatchEventsRequest {
        after_sequence: after,
        filter: filter.to_owned(),
    };
    world
        .events()
        .watch_events(request)
        .await
        .expect("watched")
        .into_inner()
}

async fn next(stream: &mut Streaming<v1::WatchEventsResponse>) -> String {
    let message = soon(stream.message()).await.expect("the stream is open");
    match message.and_then(|message| message.item).expect("something is told") {
        Item::Event(event) => format!("event {} {}", event.sequence, event.r#type().as_str_name()),
        Item::Bookmark(bookmark) => format!("bookmark {}", bookmark.sequence),
        Item::Gap(gap) => format!("gap {}-{}", gap.from_sequence, gap.to_sequence),
    }
}

#[tokio::test]
async fn a_watch_replays_marks_and_follows() {
    let world = World::start().await;
    world.create("agents/a").await;
    let mut stream = watch(&world, Some(0), "").await;
    assert_eq!(next(&mut stream).await, "event 1 EVENT_TYPE_SERVER_STARTED");
    assert_eq!(next(&mut stream).await, "event 2 EVENT_TYPE_AGENT_REGISTERED");
    assert_eq!(next(&mut stream).await, "bookmark 2", "the replay is done");
    world.create("agents/b").await;
    assert_eq!(next(&mut stream).await, "event 3 EVENT_TYPE_AGENT_REGISTERED");

    let mut from_here = watch(&world, None, "").await;
    assert_eq!(next(&mut from_here).await, "bookmark 3");
    let mut filtered = watch(&world, Some(0), "agent = agents/b").await;
    assert_eq!(next(&mut filtered).await, "event 3 EVENT_TYPE_AGENT_REGISTERED");
    assert_eq!(next(&mut filtered).await, "bookmark 3");
}

#[tokio::test]
async fn a_watch_tells_what_retention_took() {
    let world = World::start().await;
    for name in ["agents/a", "agents/b", "agents/c"] {
        world.create(name).await;
    }
    world.trim(3).await;
    let mut stream = watch(&world, Some(1), "").await;
    assert_eq!(next(&mut stream).await, "gap 2-3");
    assert_eq!(next(&mut stream).await, "event 4 EVENT_TYPE_AGENT_REGISTERED");
    assert_eq!(next(&mut stream).await, "bookmark 4");
    let list = v1::ListEventsRequest::default();
    let listed = world.events().list_events(list).await.expect("listed").into_inner();
    assert_eq!(listed.events.len(), 1);
}

#[tokio::test]
async fn a_watch_of_what_has_not_happened_is_refused() {
    let world = World::start().await;
    world.create("agents/a").await;
    let request = v1::WatchEventsRequest {
        after_sequence: Some(9),
        filter: String::new(),
    };
    let refused = told(
        &world
            .events()
            .watch_events(request)
            .await
            .expect_err("there is no such event"),
    );
    assert_eq!(refused.2, "after_sequence");
}

#[tokio::test]
async fn a_list_is_paged_in_order() {
    let world = World::start().await;
    for name in ["agents/a", "agents/b", "agents/c"] {
        world.create(name).await;
    }
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListEventsRequest {
            page_size: 2,
            page_token,
            filter: "type = AGENT_*".into(),
        };
        let page = world.events().list_events(request).await.expect("listed").into_inner();
        assert!(page.events.len() <= 2);
        seen.extend(page.events.iter().map(|event| event.sequence));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [2, 3, 4]);
}

#[tokio::test]
async fn bookmarks_come_although_the_filter_keeps_every_event_back() {
    let world = World::start().await;
    world.create("agents/a").await;
    let mut stream = watch(&world, None, "type = AGENT_TERMINATED").await;
    assert_eq!(next(&mut stream).await, "bookmark 2");
    tokio::time::pause();
    for index in 0..4 {
        tokio::time::advance(Duration::from_secs(10)).await;
        world.create(&format!("agents/b{index}")).await;
    }
    tokio::time::resume();
    let mark = next(&mut stream).await;
    assert!(mark.starts_with("bookmark ") && mark != "bookmark 2", "{mark}");
}
