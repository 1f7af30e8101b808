//! Cancels: before the dispatch, while the agent has it, and after the end; and callers who hang up.

use std::time::Duration;

use super::*;

fn cancel(id: &str) -> v1::CancelExecutionRequest {
    v1::CancelExecutionRequest {
        name: name(id),
        reason: "not needed".into(),
        grace_period: None,
    }
}

impl World {
    /// The answer to a cancel: what came of it, and the execution's state by then.
    async fn cancel(&self, id: &str) -> (v1::CancelOutcome, v1::ExecutionState) {
        let answer = soon(self.executions().cancel_execution(cancel(id))).await;
        outcome(answer.expect("answered").into_inner())
    }
}

fn outcome(answer: v1::CancelExecutionResponse) -> (v1::CancelOutcome, v1::ExecutionState) {
    let execution = answer.execution.as_ref().expect("the answer has it");
    (answer.outcome(), execution.state())
}

#[tokio::test]
async fn before_the_dispatch_it_never_reaches_the_shim() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    for id in ["runs", "never", "next"] {
        world.message(id).await;
    }
    let cancelled = (v1::CancelOutcome::Cancelled, v1::ExecutionState::Cancelled);
    assert_eq!(world.cancel("never").await, cancelled);
    assert_eq!(world.cancel("never").await, cancelled, "as often as one likes");
    let given = shim.given().await;
    shim.begin(&given.attempt).await;
    shim.finish(&given.attempt, Verdict::Succeeded, "", 0).await;
    assert_eq!(shim.given().await.attempt.execution.as_str(), "next");
}

#[tokio::test]
async fn while_it_is_held_it_is_answered_when_nothing_of_it_is_left() {
    for is_begun in [false, true] {
        let world = World::start().await;
        let mut shim = FakeShim::at_work(&world, |_| ()).await;
        world.message("e").await;
        let given = shim.given().await;
        if is_begun {
            shim.begin(&given.attempt).await;
            world.execution_is("e", v1::ExecutionState::Running).await;
        }
        let obey = async {
            assert_eq!(shim.told_to_end().await, given.attempt);
            let verdict = if is_begun {
                Verdict::Cancelled
            } else {
                Verdict::NotBegun
            };
            shim.finish(&given.attempt, verdict, "half", 0).await;
        };
        let (answer, ()) = tokio::join!(world.cancel("e"), obey);
        let cancelled = (v1::CancelOutcome::Cancelled, v1::ExecutionState::Cancelled);
        assert_eq!(answer, cancelled, "begun: {is_begun}");
        assert_eq!(world.execution("e").await.output, "half", "what there was is kept");
    }
}

#[tokio::test]
async fn an_end_that_comes_first_wins() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let given = shim.given().await;
    shim.begin(&given.attempt).await;
    let races = async {
        shim.told_to_end().await;
        shim.finish(&given.attempt, Verdict::Succeeded, "done", 0).await;
    };
    let over = (v1::CancelOutcome::AlreadyOver, v1::ExecutionState::Succeeded);
    let (answer, ()) = tokio::join!(world.cancel("e"), races);
    assert_eq!(answer, over);
    assert_eq!(world.cancel("e").await, over);
    let unknown = world.executions().cancel_execution(cancel("unknown")).await;
    let refused = told(&unknown.expect_err("there is none"));
    assert_eq!((refused.0, refused.1.as_str()), (Code::NotFound, "EXECUTION_NOT_FOUND"));
}

#[tokio::test]
async fn a_caller_with_a_deadline_hears_that_the_end_goes_on() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let given = shim.given().await;
    shim.begin(&given.attempt).await;
    world.execution_is("e", v1::ExecutionState::Running).await;
    let mut request = tonic::Request::new(cancel("e"));
    request.set_timeout(Duration::from_millis(400));
    let answer = world.executions().cancel_execution(request).await;
    let answer = answer.expect("not DEADLINE_EXCEEDED").into_inner();
    assert!(answer.execution.as_ref().is_some_and(|execution| execution.cancelling));
    assert_eq!(
        outcome(answer),
        (v1::CancelOutcome::Pending, v1::ExecutionState::Running)
    );
    shim.told_to_end().await;
    shim.finish(&given.attempt, Verdict::Cancelled, "", 0).await;
    world.execution_is("e", v1::ExecutionState::Cancelled).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_the_work_and_the_cancel() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    let mut client = world.executions();
    let hung_up = tokio::spawn(async move { client.create_execution(create("e")).await });
    let given = shim.given().await;
    hung_up.abort();
    shim.begin(&given.attempt).await;
    world.execution_is("e", v1::ExecutionState::Running).await;

    let mut client = world.executions();
    let hung_up = tokio::spawn(async move { client.cancel_execution(cancel("e")).await });
    assert_eq!(shim.told_to_end().await, given.attempt);
    hung_up.abort();
    shim.finish(&given.attempt, Verdict::Cancelled, "", 0).await;
    world.execution_is("e", v1::ExecutionState::Cancelled).await;
}
