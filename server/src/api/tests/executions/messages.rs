//! Messages that the store does not give back: each that is lost fails its execution alone, and a store that cannot be read
//! loses none.

use rekindle::execution::ExecutionState;

use super::*;
use crate::store::Store as _;
use crate::store::memory::Damage;

impl World {
    fn damage(&self, id: &str, damage: Damage) {
        let (agent, id) = ExecutionId::from_name(&name(id)).expect("valid");
        self.disk.damage_message(&agent, &id, damage);
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_fails_alone() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    for id in ["first", "gone", "garbled", "last"] {
        world.message(id).await;
    }
    world.damage("gone", Damage::Gone);
    world.damage("garbled", Damage::Garbled);
    let first = shim.given().await.attempt;
    shim.begin(&first).await;
    shim.finish(&first, Verdict::Succeeded, "", 0).await;
    let last = shim.given().await;
    assert_eq!(
        last.attempt.execution.as_str(),
        "last",
        "by the same stream, and nothing in between"
    );
    assert_eq!(last.message, "do last");
    for id in ["gone", "garbled"] {
        world.execution_is(id, v1::ExecutionState::Failed).await;
    }
    let failure = world.execution("gone").await.failure.expect("it tells why");
    assert_eq!(failure.cause(), v1::FailureCause::MessageLost);
    assert!(failure.message.contains("the server's log says why"), "{failure:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_ends_the_server_and_fails_nothing() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    for id in ["first", "second", "third"] {
        world.message(id).await;
    }
    let first = shim.given().await.attempt;
    world.disk.fail_reads();
    shim.begin(&first).await;
    shim.finish(&first, Verdict::Succeeded, "", 0).await;
    soon(async {
        while world.handle.reserve().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let durable = world.disk.open().load().expect("its records are whole");
    let states: Vec<_> = durable
        .executions
        .iter()
        .map(|record| (record.id.as_str(), record.state))
        .collect();
    assert_eq!(
        states,
        [
            ("first", ExecutionState::Succeeded),
            ("second", ExecutionState::Dispatched),
            ("third", ExecutionState::Queued)
        ],
        "for its successor"
    );
}

#[tokio::test]
async fn what_has_no_message_any_more_is_not_done_again() {
    let world = World::start().await;
    let mut shim = FakeShim::at_work(&world, |_| ()).await;
    world.message("e").await;
    let given = shim.given().await.attempt;
    shim.begin(&given).await;
    shim.finish(&given, Verdict::Succeeded, "", 0).await;
    world.execution_is("e", v1::ExecutionState::Succeeded).await;
    world.damage("e", Damage::Gone);
    let request = v1::RedriveExecutionRequest {
        name: name("e"),
        ..v1::RedriveExecutionRequest::default()
    };
    let refused = soon(world.executions().redrive_execution(request)).await;
    let refused = told(&refused.expect_err("there is nothing to do again"));
    assert_eq!((refused.0, refused.1.as_str()), (Code::DataLoss, "MESSAGE_LOST"));
}
