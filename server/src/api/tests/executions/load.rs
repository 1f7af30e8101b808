//! Many executions at once: slots are exact, and a burst reaches the shim on one stream.

use std::collections::{BTreeMap, BTreeSet};

use rekindle::id::Sequence;
use rekindle::policy::MAX_CONCURRENT_MAX;
use rekindle_server_core::event::EventKind;
use tokio::task::JoinSet;

use super::*;

/// Creates at the same time.
const CALLS: usize = 1_000;

const SLOTS: u32 = 8;

impl World {
    /// The most executions that the log shows to have had a slot at the same time, and those that are over.
    async fn slots_taken(&self) -> (usize, usize) {
        let newest = self.handle.snapshot().last_event.get();
        let limit = usize::try_from(newest).expect("few events");
        let events = self.handle.events(Sequence::ZERO, limit).await.expect("readable");
        let mut held = BTreeSet::new();
        let (mut most, mut over) = (0, 0);
        for event in events {
            let Some(execution) = &event.execution else { continue };
            let is = |kind| event.kind == kind;
            if is(EventKind::ExecutionDispatched) {
                held.insert(execution.clone());
            } else if is(EventKind::ExecutionSucceeded) {
                held.remove(execution);
                over += 1;
            }
            most = most.max(held.len());
        }
        (most, over)
    }
}

#[tokio::test]
async fn a_thousand_creates_at_once_take_no_more_slots_than_there_are() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |policy| {
        policy.max_concurrent = SLOTS;
        policy.queue_limit = u32::try_from(CALLS).expect("a thousand");
    })
    .await;
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let mut client = world.executions();
        calls.spawn(async move { client.create_execution(create(&format!("e{number}"))).await });
    }
    let mut given: BTreeMap<String, u32> = BTreeMap::new();
    let mut at_work = Vec::new();
    for _ in 0..CALLS {
        // Ends one only where it must, so that as many run as may.
        if at_work.len() == SLOTS as usize {
            let attempt: AttemptId = at_work.remove(0);
            shim.begin(&attempt).await;
            shim.finish(&attempt, Verdict::Succeeded, "", 0).await;
        }
        let dispatch = shim.given().await;
        let execution = dispatch.attempt.execution.to_string();
        assert_eq!(dispatch.message, format!("do {execution}"));
        *given.entry(execution).or_default() += 1;
        at_work.push(dispatch.attempt);
    }
    for attempt in at_work {
        shim.begin(&attempt).await;
        shim.finish(&attempt, Verdict::Succeeded, "", 0).await;
        world
            .execution_is(attempt.execution.as_str(), v1::ExecutionState::Succeeded)
            .await;
    }
    while let Some(call) = calls.join_next().await {
        call.expect("it ran").expect("created");
    }
    assert_eq!(given.len(), CALLS);
    assert!(given.values().all(|times| *times == 1), "each is given once");
    assert_eq!(world.slots_taken().await, (SLOTS as usize, CALLS));
}

#[tokio::test]
async fn all_that_an_agent_can_be_given_at_once_reaches_its_shim() {
    let world = World::start().await;
    let hello = worker(|policy| policy.max_concurrent = MAX_CONCURRENT_MAX);
    let mut shim = FakeShim::greet(&world, hello).await.expect("it is welcome");
    shim.send(ShimMessage::Inventory(Box::default())).await;
    assert_eq!(shim.told_to_run().await, LIFE);
    for number in 0..MAX_CONCURRENT_MAX {
        world.message(&format!("e{number}")).await;
    }
    shim.take_messages(&world).await;
    for _ in 0..MAX_CONCURRENT_MAX {
        shim.given().await;
    }
}

#[tokio::test]
async fn what_was_given_is_not_given_again_when_the_shim_is_back() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let given = shim.given().await;
    drop(shim);
    world.until_disconnected().await;
    let mut shim = FakeShim::greet(&world, worker(|_| ())).await.expect("it is welcome");
    let inventory = Inventory {
        last_incarnation: LIFE,
        child: Some(rekindle::report::Child {
            incarnation: LIFE,
            process: None,
            phase: rekindle::report::ChildPhase::Ready,
        }),
        attempts: vec![rekindle::execution::HeldAttempt {
            attempt: given.attempt.clone(),
            phase: rekindle::execution::AttemptPhase::Accepted,
        }],
        ..Inventory::default()
    };
    shim.send(ShimMessage::Inventory(Box::new(inventory))).await;
    shim.go_on_after(2);
    shim.begin(&given.attempt).await;
    shim.finish(&given.attempt, Verdict::Succeeded, "", 0).await;
    world.execution_is("e", v1::ExecutionState::Succeeded).await;
    assert_eq!(world.slots_taken().await, (1, 1));
}
