//! What a shim tells before its inventory, over the real stream.

use rekindle::execution::{AttemptId, AttemptPhase, Delivery, ExecutionId, HeldAttempt};
use rekindle::id::{ExecutionUid, Incarnation, ReportSequence};
use rekindle::report::{Child, ChildPhase, Hello, INVENTORY_REPORTS_MAX, Inventory, Report, ReportFact};
use rekindle::session::{ServerMessage, ShimMessage};
use rekindle::time::Timestamp;
use rekindle::wire::v1;
use tonic::Code;

use super::World;
use super::shim::{FakeShim, hello};

/// The longest outbox that a shim has: its agent began and is ready, and the rest is of executions.
fn outbox() -> Vec<Report> {
    (1..=INVENTORY_REPORTS_MAX as u64).map(report).collect()
}

fn report(number: u64) -> Report {
    Report {
        sequence: ReportSequence::new(number),
        time: Timestamp::from_unix_nanos(1_700_000_000_000_000_000),
        incarnation: Incarnation::new(1),
        fact: match number {
            1 => ReportFact::Spawned(None),
            2 => ReportFact::Ready,
            _ => ReportFact::AttemptAccepted(attempt(number)),
        },
    }
}

fn attempt(number: u64) -> AttemptId {
    AttemptId {
        execution: ExecutionId::new(&format!("e{number}")).expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    }
}

fn worker() -> Hello {
    Hello {
        delivery: Delivery::PerMessage,
        ..hello("agents/a", 1)
    }
}

#[tokio::test]
async fn the_longest_outbox_comes_before_the_inventory_and_is_applied_once() {
    let world = World::start().await;
    let mut shim = FakeShim::greet(&world, worker()).await.expect("it is welcome");
    shim.send(ShimMessage::Heartbeat).await;
    let inventory = Inventory {
        last_incarnation: Incarnation::new(1),
        child: Some(Child {
            incarnation: Incarnation::new(1),
            process: None,
            phase: ChildPhase::Ready,
        }),
        attempts: vec![HeldAttempt {
            attempt: attempt(9),
            phase: AttemptPhase::Running,
        }],
        reports: outbox(),
        ..Inventory::default()
    };
    shim.send(ShimMessage::Inventory(Box::new(inventory))).await;
    let newest = ReportSequence::new(INVENTORY_REPORTS_MAX as u64);
    loop {
        if let ServerMessage::Acknowledge(through) = shim.next().await {
            assert_eq!(through, newest, "all of them at once");
            break;
        }
    }
    world.until("agents/a", v1::AgentState::Running).await;
    let agent = world.get("agents/a").await;
    assert_eq!((agent.incarnation, agent.ready, agent.process), (1, true, None));
    let processes = world
        .agents()
        .list_processes(v1::ListProcessesRequest::default())
        .await
        .expect("listed");
    assert_eq!(processes.into_inner().processes, []);
}

#[tokio::test]
async fn one_report_too_many_ends_the_stream() {
    let world = World::start().await;
    let mut shim = FakeShim::greet(&world, worker()).await.expect("it is welcome");
    for number in 1..=INVENTORY_REPORTS_MAX as u64 + 1 {
        shim.send(ShimMessage::Report(Box::new(report(number)))).await;
    }
    let refused = shim.refusal().await;
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let says = format!("more than {INVENTORY_REPORTS_MAX} reports came before the inventory");
    assert!(refused.message().contains(&says), "{refused}");
    assert_eq!(
        world.get("agents/a").await.state(),
        v1::AgentState::Pending,
        "nothing of it is applied"
    );
}

#[tokio::test]
async fn nothing_but_reports_and_beats_comes_before_the_inventory() {
    let world = World::start().await;
    let mut shim = FakeShim::greet(&world, worker()).await.expect("it is welcome");
    shim.send(ShimMessage::Report(Box::new(report(1)))).await;
    shim.send(ShimMessage::Goodbye).await;
    let refused = shim.refusal().await;
    assert!(refused.message().contains("must be inventory"), "{refused}");
}
