//! Watches: every state that a watcher is in time for, and always the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Streaming;

use super::*;

/// Watchers at the same time, each of an execution of its own.
const WATCHERS: usize = 1_000;

/// Commits that concern none of them.
const COMMITS: usize = 20;

impl World {
    async fn watch(&self, id: &str) -> Streaming<v1::WatchExecutionResponse> {
        let request = v1::WatchExecutionRequest { name: name(id) };
        let watch = soon(self.executions().watch_execution(request)).await;
        watch.expect("it is kept").into_inner()
    }
}

/// The next change of state; `None` at the stream's end.
async fn next(watch: &mut Streaming<v1::WatchExecutionResponse>) -> Option<v1::Execution> {
    loop {
        let update = soon(watch.message()).await.expect("the stream is whole")?;
        match update.update.expect("an update has something") {
            v1::watch_execution_response::Update::Execution(execution) => return Some(*execution),
            v1::watch_execution_response::Update::Output(_) => {}
        }
    }
}

/// Reads until the execution is in a state.
async fn until(watch: &mut Streaming<v1::WatchExecutionResponse>, state: v1::ExecutionState) -> v1::Execution {
    loop {
        let execution = next(watch).await.expect("the end has not come");
        if execution.state() == state {
            return execution;
        }
        assert!(execution.output.is_empty(), "the output comes with the end");
    }
}

#[tokio::test]
async fn a_watch_shows_the_way_and_ends_with_the_end() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let mut watch = world.watch("e").await;
    let given = shim.given().await;
    until(&mut watch, v1::ExecutionState::Dispatched).await;
    shim.begin(&given.attempt).await;
    until(&mut watch, v1::ExecutionState::Running).await;
    shim.finish(&given.attempt, Verdict::Failed, "half", 0).await;
    let over = until(&mut watch, v1::ExecutionState::Failed).await;
    assert_eq!((over.message.as_str(), over.output.as_str()), ("do e", "half"));
    assert_eq!(
        over.failure.map(|failure| failure.cause()),
        Some(v1::FailureCause::Reported)
    );
    assert_eq!(next(&mut watch).await, None);

    let mut late = world.watch("e").await;
    assert_eq!(next(&mut late).await.map(|over| over.output), Some("half".to_owned()));
    assert_eq!(next(&mut late).await, None, "what is over does not change");
}

#[tokio::test]
async fn a_watcher_that_leaves_takes_nothing_with_it() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let given = shim.given().await;
    drop(world.watch("e").await);
    shim.begin(&given.attempt).await;
    shim.finish(&given.attempt, Verdict::Succeeded, "", 0).await;
    world.execution_is("e", v1::ExecutionState::Succeeded).await;
}

#[tokio::test]
async fn a_watch_of_nothing_is_refused() {
    let world = World::start().await;
    let request = v1::WatchExecutionRequest { name: name("e") };
    let refused = told(
        &world
            .executions()
            .watch_execution(request)
            .await
            .expect_err("there is none"),
    );
    assert_eq!((refused.0, refused.1.as_str()), (Code::NotFound, "EXECUTION_NOT_FOUND"));
}

#[tokio::test]
async fn a_commit_wakes_only_those_who_watch_what_it_changes() {
    let world = World::start().await;
    let _shim = FakeShim::at_work(&world, |policy| {
        policy.queue_limit = u32::try_from(WATCHERS).expect("a thousand");
    })
    .await;
    let woken: Arc<[AtomicUsize]> = (0..WATCHERS).map(|_| AtomicUsize::new(0)).collect();
    for number in 0..WATCHERS {
        world.message(&format!("e{number}")).await;
        let (agent, id) = ExecutionId::from_name(&name(&format!("e{number}"))).expect("valid");
        let mut changes = world.handle.subscribe(&agent, &id);
        let woken = woken.clone();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                woken[number].fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let at = |number: usize| woken[number].load(Ordering::Relaxed);
    let all = || (0..WATCHERS).map(at).sum::<usize>();
    let before = all();
    for number in 0..COMMITS {
        world.create(&format!("agents/other-{number}")).await;
    }
    // Who is woken runs in the order of the wakes: by the last one's turn all others had theirs.
    for number in [WATCHERS / 2, WATCHERS - 1] {
        let cancel = v1::CancelExecutionRequest {
            name: name(&format!("e{number}")),
            ..v1::CancelExecutionRequest::default()
        };
        soon(world.executions().cancel_execution(cancel))
            .await
            .expect("cancelled");
        soon(async {
            while at(number) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(all() - before, 2, "one for each of the two that changed");
}
