use std::sync::Arc;

use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, ExecutionUid};
use rekindle_server_core::execution::{OutputSize, Times};
use rekindle_server_core::machine::Policy;
use rekindle_server_core::record::{AgentRecord, Record};

use super::*;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::store::Store as _;
use crate::store::memory::MemoryDisk;

const DAY: Duration = Duration::from_secs(24 * 3600);
const NOW: Timestamp = Timestamp::from_unix_nanos(1_795_435_200_000_000_000);

fn days_ago(days: u32) -> Timestamp {
    NOW.saturating_sub(DAY.saturating_mul(days))
}

/// One that is in this state, since the server learned of its end where it is over.
fn execution(number: u64, state: ExecutionState, closed: Timestamp) -> Record {
    let id = ExecutionId::new(&format!("e{number}")).expect("valid");
    Record::Execution(Arc::new(ExecutionRecord {
        agent: agent(),
        id,
        uid: ExecutionUid::from_u128(number.into()),
        revision: 1,
        state,
        ending: None,
        priority: 0,
        order: number,
        timeout: Duration::from_secs(300),
        start_by: None,
        attempt: 1,
        given_to: None,
        given_before: None,
        end_order: state.is_over().then_some(number),
        process: None,
        times: Times {
            closed: state.is_over().then_some(closed),
            ..Times::created(closed)
        },
        failure: None,
        output: OutputSize::default(),
        request: None,
        redrive_of: None,
        redriven_as: None,
        workflow: None,
    }))
}

fn agent() -> AgentId {
    AgentId::new("a").expect("valid")
}

/// A server whose store has one agent, which nobody runs, and these executions.
fn with(executions: impl IntoIterator<Item = Record>) -> (MemoryDisk, Handle) {
    let disk = MemoryDisk::default();
    let store = disk.open();
    let agent = Record::Agent(Arc::new(AgentRecord::unborn(agent(), NOW)));
    let batch: Vec<Record> = std::iter::once(agent).chain(executions).collect();
    store.commit(&batch).expect("the fake takes it");
    let records = store.load().expect("the fake loads");
    let (driver, handle) =
        Driver::new(Policy::default(), 7, records, Arc::new(store), Clock::start()).expect("threads start");
    tokio::spawn(driver.run());
    (disk, handle)
}

/// What is durable after one look.
async fn left(disk: &MemoryDisk, handle: &Handle, limits: Limits, steady_for: Duration) -> Vec<String> {
    forget_past(handle, limits, NOW, steady_for)
        .await
        .expect("the driver runs");
    let records = disk.open().load().expect("the fake loads");
    records.executions.iter().map(|record| record.id.to_string()).collect()
}

const WEEK: Limits = Limits {
    max: 1_000_000,
    max_age: Duration::from_secs(7 * 24 * 3600),
};

#[tokio::test]
async fn the_old_go_by_age() {
    let (disk, handle) = with([
        execution(1, ExecutionState::Succeeded, days_ago(8)),
        execution(
            2,
            ExecutionState::DeadLetter,
            days_ago(7).saturating_sub(Duration::from_nanos(1)),
        ),
        execution(3, ExecutionState::Failed, days_ago(7)),
        execution(4, ExecutionState::Queued, days_ago(90)),
    ]);
    assert_eq!(left(&disk, &handle, WEEK, DAY).await, ["e3", "e4"]);
    assert_eq!(left(&disk, &handle, WEEK, DAY).await, ["e3", "e4"]);
}

#[tokio::test]
async fn the_oldest_go_by_count_in_batches() {
    const MANY: u64 = 3 * STEP as u64 + 7;
    let (disk, handle) = with((1..=MANY).map(|number| execution(number, ExecutionState::Succeeded, NOW)));
    let limits = Limits { max: 2, ..WEEK };
    let newest = [format!("e{}", MANY - 1), format!("e{MANY}")];
    assert_eq!(left(&disk, &handle, limits, Duration::ZERO).await, newest);
}

#[tokio::test]
async fn a_misread_clock_forgets_nothing() {
    let old = || execution(1, ExecutionState::Succeeded, days_ago(400));
    // Not steady for long enough: it may have jumped by years, or the host may just have come up.
    let (disk, handle) = with([old()]);
    for steady_for in [Duration::ZERO, DAY - Duration::from_nanos(1)] {
        assert_eq!(left(&disk, &handle, WEEK, steady_for).await, ["e1"], "{steady_for:?}");
    }
    // Ends that a clock tells of which began at zero, and of which it was ahead.
    let (disk, handle) = with([
        execution(1, ExecutionState::Succeeded, Timestamp::from_unix_nanos(1)),
        execution(2, ExecutionState::Succeeded, days_ago(8)),
        execution(3, ExecutionState::Succeeded, NOW.saturating_add(DAY)),
    ]);
    assert_eq!(left(&disk, &handle, WEEK, DAY).await, ["e1", "e3"]);
}

#[tokio::test]
async fn a_short_age_needs_no_longer_steadiness() {
    let hour = Duration::from_secs(3600);
    let (disk, handle) = with([execution(1, ExecutionState::Succeeded, days_ago(1))]);
    let limits = Limits { max_age: hour, ..WEEK };
    assert_eq!(left(&disk, &handle, limits, hour / 2).await, ["e1"]);
    assert_eq!(left(&disk, &handle, limits, hour).await, [""; 0]);
}

#[tokio::test]
async fn one_that_is_lost_holds_up_nothing() {
    let (disk, handle) = with([
        execution(1, ExecutionState::Lost, days_ago(9)),
        execution(2, ExecutionState::Succeeded, days_ago(8)),
    ]);
    assert_eq!(left(&disk, &handle, WEEK, DAY).await, ["e1"], "its shim is away");
}

#[tokio::test]
async fn nothing_is_forgotten_of_an_empty_fleet() {
    let (disk, handle) = with([]);
    let limits = Limits {
        max: 0,
        max_age: Duration::ZERO,
    };
    assert_eq!(left(&disk, &handle, limits, DAY).await, [""; 0]);
}

#[tokio::test]
async fn how_many_are_kept_no_clock_decides() {
    // The clock was ahead by years when the first of them ended, and began at zero before the last.
    let (disk, handle) = with([
        execution(
            1,
            ExecutionState::Succeeded,
            NOW.saturating_add(DAY.saturating_mul(4000)),
        ),
        execution(2, ExecutionState::Succeeded, days_ago(1)),
        execution(3, ExecutionState::Succeeded, Timestamp::from_unix_nanos(1)),
    ]);
    let limits = Limits { max: 1, ..WEEK };
    assert_eq!(left(&disk, &handle, limits, Duration::ZERO).await, ["e3"]);
}

#[tokio::test]
async fn one_that_is_lost_and_kept_spends_nothing_of_the_surplus() {
    const LOST: u64 = 2 * STEP as u64;
    let lost = (1..=LOST).map(|number| execution(number, ExecutionState::Lost, days_ago(1)));
    let others = (LOST + 1..=LOST + 3).map(|number| execution(number, ExecutionState::Succeeded, NOW));
    let (disk, handle) = with(lost.chain(others));
    let limits = Limits {
        max: LOST as usize + 1,
        ..WEEK
    };
    let left = left(&disk, &handle, limits, Duration::ZERO).await;
    assert_eq!(left.len(), limits.max);
    assert!(left.contains(&format!("e{}", LOST + 3)), "the last to end stays");
}
