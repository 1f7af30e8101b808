//! Live output, from a shim to a watcher.

use rekindle::execution::{Follow, OutputKind, OutputPart};
use rekindle::id::ExecutionUid;
use rekindle::session::ServerMessage;
use tonic::Streaming;

use super::*;

impl FakeShim {
    /// What it is told next of the watchers; commands and acknowledgements are passed over.
    async fn told_to_follow(&mut self) -> Follow {
        loop {
            match self.next().await {
                ServerMessage::Follow(follow) => return follow,
                ServerMessage::Acknowledge(_) | ServerMessage::Command(..) | ServerMessage::CheckpointKept(_) => {}
                ServerMessage::Welcome(_) => panic!("welcomed twice"),
            }
        }
    }

    async fn writes(&self, attempt: &AttemptId, offset: u64, text: &str) {
        let part = OutputPart {
            attempt: attempt.clone(),
            kind: OutputKind::default(),
            offset,
            data: text.into(),
        };
        self.send(ShimMessage::Output(part)).await;
    }
}

/// The next piece of output, as its attempt, its offset and its text.
async fn piece(watch: &mut Streaming<v1::WatchExecutionResponse>) -> (u32, u64, String) {
    loop {
        let update = soon(watch.message()).await.expect("the stream is whole");
        let update = update.expect("the end has not come").update;
        match update.expect("an update has something") {
            v1::watch_execution_response::Update::Execution(_) => {}
            v1::watch_execution_response::Update::Output(piece) => {
                let text = String::from_utf8(piece.data).expect("text was sent");
                return (piece.attempt, piece.offset, text);
            }
        }
    }
}

async fn watch(world: &World) -> Streaming<v1::WatchExecutionResponse> {
    let request = v1::WatchExecutionRequest { name: name("e") };
    let watch = soon(world.executions().watch_execution(request)).await;
    watch.expect("it is kept").into_inner()
}

#[tokio::test]
async fn a_watcher_sees_output_as_it_comes_and_all_of_it_before_the_end() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let attempt = shim.given().await.attempt;
    let mut watch = watch(&world).await;
    shim.begin(&attempt).await;
    let follow = shim.told_to_follow().await;
    assert_eq!((&follow.attempt, follow.from), (&attempt, Some(0)));
    assert!(follow.credit > 0);
    shim.writes(&attempt, 0, "one ").await;
    assert_eq!(piece(&mut watch).await, (1, 0, "one ".to_owned()));
    shim.writes(&attempt, 4, "two ").await;
    shim.writes(&attempt, 100, "late").await;
    shim.finish(&attempt, Verdict::Succeeded, "late", 100).await;
    assert_eq!(piece(&mut watch).await, (1, 4, "two ".to_owned()));
    assert_eq!(piece(&mut watch).await, (1, 100, "late".to_owned()));
    let over = loop {
        let update = soon(watch.message()).await.expect("whole").expect("the end comes");
        if let Some(v1::watch_execution_response::Update::Execution(execution)) = update.update
            && execution.state() == v1::ExecutionState::Succeeded
        {
            break execution;
        }
    };
    assert_eq!(over.output, "late");
    let follow = shim.told_to_follow().await;
    assert_eq!(follow.credit, 0, "nobody watches any more");
}

#[tokio::test]
async fn the_last_watcher_that_hangs_up_ends_it() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let attempt = shim.given().await.attempt;
    shim.begin(&attempt).await;
    world.execution_is("e", v1::ExecutionState::Running).await;
    let (first, second) = (watch(&world).await, watch(&world).await);
    for _ in 0..2 {
        assert!(shim.told_to_follow().await.credit > 0);
    }
    drop(first);
    let mut second = second;
    shim.writes(&attempt, 0, "text").await;
    assert_eq!(piece(&mut second).await.2, "text");
    drop(second);
    assert_eq!(shim.told_to_follow().await.credit, 0);
    // What was under way still is nobody's, and no fault.
    shim.writes(&attempt, 4, "more").await;
    shim.finish(&attempt, Verdict::Succeeded, "textmore", 0).await;
    world.execution_is("e", v1::ExecutionState::Succeeded).await;
}

#[tokio::test]
async fn what_is_given_again_is_followed_anew() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |policy| policy.max_deliveries = 2).await;
    world.message("e").await;
    let first = shim.given().await.attempt;
    let mut watch = watch(&world).await;
    shim.begin(&first).await;
    shim.told_to_follow().await;
    shim.writes(&first, 0, "first").await;
    assert_eq!(piece(&mut watch).await, (1, 0, "first".to_owned()));
    shim.finish(&first, Verdict::Interrupted, "first", 0).await;
    let second = AttemptId { number: 2, ..first };
    shim.begin(&second).await;
    let follow = loop {
        let follow = shim.told_to_follow().await;
        if follow.attempt == second {
            break follow;
        }
    };
    assert_eq!(follow.from, Some(0));
    shim.writes(&second, 0, "second").await;
    assert_eq!(piece(&mut watch).await, (2, 0, "second".to_owned()));
}

#[tokio::test]
async fn a_piece_that_is_too_long_breaks_the_protocol() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let attempt = shim.given().await.attempt;
    let long = "x".repeat(rekindle::execution::OUTPUT_PART_MAX_BYTES + 1);
    shim.writes(&attempt, 0, &long).await;
    let refused = shim.refusal().await;
    assert!(refused.message().contains("output_part.data"), "{refused}");
}

#[tokio::test]
async fn who_comes_while_a_shim_is_behind_sees_output_all_the_same() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let attempt = shim.given().await.attempt;
    shim.begin(&attempt).await;
    world.execution_is("e", v1::ExecutionState::Running).await;
    let (agent, _) = ExecutionId::from_name(&name("e")).expect("valid");
    // Nothing is sent meanwhile: the queue to the shim fills up to what is left for orders.
    let other = AttemptId {
        execution: ExecutionId::new("other").expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    };
    for _ in 0..1_000 {
        drop(world.handle.outputs().watch(&agent, &other));
    }
    let mut watcher = world.handle.outputs().watch(&agent, &attempt);
    loop {
        let follow = shim.told_to_follow().await;
        if follow.attempt == attempt {
            assert_eq!(follow.from, Some(0));
            break;
        }
    }
    shim.writes(&attempt, 0, "text").await;
    assert_eq!(soon(watcher.next()).await.data, b"text");
}
