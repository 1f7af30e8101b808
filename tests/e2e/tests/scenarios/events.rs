//! The log of events: one sequence without holes, across restarts of the server, from wherever one has stopped.

use rekindle::wire::v1::watch_events_response::Item;
use rekindle::wire::v1::{GetFleetRequest, WatchEventsRequest};
use rekindle_e2e::client::runs;
use rekindle_e2e::{LIMIT, World};

#[tokio::test]
async fn a_watch_goes_on_where_another_has_stopped() {
    let world = World::new();
    let mut server = world.server().start().await;
    let mut client = server.client();
    let _shim = world.shim("a").start(&server);
    client.until("a", runs(1)).await;
    let before = client.history().await.0;
    let middle = before[before.len() / 2].sequence;

    server.kill();
    server.start_again().await;
    client.until("a", runs(1)).await;
    client.restart("a").await.expect("RestartAgent succeeds");
    let after = client.history().await.0;
    assert_eq!(after[..before.len()], before[..], "history does not change");

    let request = WatchEventsRequest {
        after_sequence: Some(middle),
        ..Default::default()
    };
    let mut stream = client
        .events
        .watch_events(request)
        .await
        .expect("WatchEvents answers")
        .into_inner();
    let mut seen = Vec::new();
    while seen.last() != after.last() {
        let message = tokio::time::timeout(LIMIT, stream.message()).await;
        let message = message.expect("the replay does not stall").expect("the watch goes on");
        match message.and_then(|message| message.item) {
            Some(Item::Event(event)) => seen.push(event),
            Some(Item::Bookmark(_)) => {}
            Some(Item::Gap(gap)) => panic!("a gap in a young log: {gap:?}"),
            None => panic!("the watch ended after {seen:?}"),
        }
    }
    assert!(after.ends_with(&seen) && seen[0].sequence == middle + 1, "{seen:#?}");
}

#[tokio::test]
async fn the_fleet_is_counted() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let _shims = ["a", "b"].map(|agent| world.shim(agent).start(&server));
    for agent in ["a", "b"] {
        client.until(agent, runs(1)).await;
    }
    client.stop("b").await.expect("StopAgent succeeds");
    let answer = client
        .fleet
        .get_fleet(GetFleetRequest {})
        .await
        .expect("GetFleet answers");
    let fleet = answer.into_inner().fleet.expect("the answer has the fleet");
    assert_eq!((fleet.agents, fleet.connected), (2, 2));
    let counts: Vec<u64> = fleet.states.iter().map(|count| count.agents).collect();
    assert_eq!(counts, [1, 1], "{fleet:?}");
    let newest = client.history().await.0.last().map(|event| event.sequence);
    assert_eq!(fleet.store.map(|store| store.last_sequence), newest);
}
