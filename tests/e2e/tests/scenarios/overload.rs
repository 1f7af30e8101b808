//! More work than an agent has room for: slots, the queue and its end are exact, and the order is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rekindle::wire::v1::{EventType, ExecutionState};
use rekindle_e2e::client::runs;
use rekindle_e2e::history::History;
use rekindle_e2e::work::{is_over, open_gate};
use rekindle_e2e::{World, eventually};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

const CREATES: usize = 1000;
const SLOTS: usize = 4;

/// So that a fifth of all is too much.
const QUEUE: usize = 796;

/// Connections that the creates come by.
const CLIENTS: usize = 8;

/// The priorities that are asked for in turn.
const PRIORITIES: [i32; 3] = [0, 5, -5];

/// A program that takes one of as many locks as the agent has slots, for as long as it runs, and says so where there is
/// none; it ends once there is a gate. It is made of the shell's own words, so that a thousand of it take no time.
fn locks(world: &World) -> String {
    format!(
        "cd {}; set -C\n\
         for slot in $(seq {SLOTS}); do {{ true > lock-$slot; }} 2>/dev/null && break; slot=; done\n\
         set +C\n\
         echo \"${{slot:-none}}\" >> locks\n\
         echo \"$REKINDLE_EXECUTION\" >> begun\n\
         while ! [ -e gate ]; do sleep 0.02; done\n\
         rm lock-$slot",
        world.path("").display()
    )
}

/// The lines of a file that the programs write.
fn lines(world: &World, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(world.path(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The executions that have events of this type, in their order.
fn in_order(history: &History, kind: EventType) -> Vec<String> {
    let events = history.all(kind);
    events.into_iter().map(|event| event.execution.clone()).collect()
}

#[tokio::test]
async fn a_thousand_at_once_are_done_once_each_in_their_order_and_what_is_too_much_is_told_when_to_come() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").flag("--max-concurrent", &SLOTS.to_string());
    let shim = shim.flag("--queue-limit", &QUEUE.to_string());
    let _shim = shim.per_message(&locks(&world)).start(&server);
    client.until("a", runs(1)).await;

    let clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    let mut creates = JoinSet::new();
    for number in 0..CREATES {
        let mut client = clients[number % CLIENTS].clone();
        let priority = PRIORITIES[number % PRIORITIES.len()];
        creates.spawn(async move {
            let given = client
                .give_with("a", &number.to_string(), |request| {
                    request.execution.get_or_insert_default().priority = priority;
                })
                .await;
            (priority, given)
        });
    }
    let mut given = BTreeMap::new();
    let mut refused = 0;
    for (priority, created) in creates.join_all().await {
        match created {
            Ok(execution) => {
                given.insert(execution.name, priority);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
                assert!(retry.is_some_and(|delay| delay > Duration::ZERO), "{status:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((given.len(), refused), (SLOTS + QUEUE, CREATES - SLOTS - QUEUE));
    let full = BTreeMap::from([(ExecutionState::Running, SLOTS), (ExecutionState::Queued, QUEUE)]);
    eventually("every slot is taken", async || {
        (client.states("a").await == full).then_some(())
    })
    .await;
    assert_eq!(lines(&world, "begun").len(), SLOTS);

    open_gate(&world, "gate");
    let queued = in_order(&client.history().await, EventType::ExecutionQueued);
    // As they are to go, so that each is waited for as long as its predecessors take.
    let mut order: Vec<&String> = queued.iter().collect();
    order[SLOTS..].sort_by_key(|name| std::cmp::Reverse(given[*name]));
    for name in &order {
        let done = client.until_execution(name, is_over).await;
        assert_eq!(
            (done.state(), done.attempt),
            (ExecutionState::Succeeded, 1),
            "{done:#?}"
        );
    }
    let history = client.history().await;
    let dispatched = in_order(&history, EventType::ExecutionDispatched);
    assert!(dispatched.iter().eq(order), "by priority, then by age");
    for kind in [
        EventType::ExecutionAccepted,
        EventType::ExecutionRunning,
        EventType::ExecutionSucceeded,
    ] {
        assert_eq!(history.all(kind).len(), given.len(), "{}", kind.as_str_name());
    }

    let begun = lines(&world, "begun");
    let once: BTreeSet<&String> = begun.iter().collect();
    assert_eq!((begun.len(), once.len()), (given.len(), given.len()), "each ran once");
    let taken = lines(&world, "locks");
    assert!(
        !taken.contains(&"none".to_owned()),
        "more ran at once than there are slots"
    );
    let places: BTreeMap<&String, usize> = dispatched.iter().zip(0..).collect();
    for (place, id) in begun.iter().enumerate() {
        let given = places[&format!("agents/a/executions/{id}")];
        assert!(given < place + SLOTS, "{id} began before it was its turn");
    }
}
