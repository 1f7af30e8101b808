//! The driver over the fake store: what is seen and answered is durable, and a failed commit is the end.

use std::sync::Mutex;
use std::sync::mpsc as gate;

use rekindle::checkpoint::CheckpointId;
use rekindle::execution::ExecutionId;
use rekindle::id::{AgentId, Sequence};
use rekindle_server_core::effect::OperationOutcome;
use rekindle_server_core::event::Event;
use rekindle_server_core::input::{Force, RunRequest, Unless};
use rekindle_server_core::input::{Missing, UpdateMode, UpdateRequest, Wait};
use rekindle_server_core::record::OperationKind;

use super::*;
use crate::handle::Unavailable;
use crate::store::memory::{Fault, MemoryDisk, MemoryStore};
use crate::store::{StoreDescription, StoreError, Text};

fn create(name: &str) -> Request {
    Request::Update(Box::new(UpdateRequest {
        agent: AgentId::new(name).expect("valid"),
        policy: None,
        labels: None,
        etag: None,
        missing: Missing::Create,
        mode: UpdateMode::Apply,
    }))
}

fn restart(name: &str) -> Request {
    Request::Run(RunRequest {
        agent: AgentId::new(name).expect("valid"),
        kind: OperationKind::Restart,
        reason: String::new(),
        request_id: None,
        expected_incarnation: None,
        grace: None,
        unless: Unless::Never,
        force: Force::No,
        context: rekindle_server_core::record::Context::Resume,
        wait: Wait::Ready,
    })
}

fn start(store: Arc<dyn Store>) -> (tokio::task::JoinHandle<Result<(), DriverError>>, Handle) {
    let records = store.load().expect("the fake loads");
    let (driver, handle) = Driver::new(Policy::default(), 7, records, store, Clock::start()).expect("threads start");
    (tokio::spawn(driver.run()), handle)
}

/// A store whose commits wait until the test lets each of them through.
struct GatedStore {
    inner: MemoryStore,
    gate: Mutex<gate::Receiver<()>>,
}

impl Store for GatedStore {
    fn load(&self) -> Result<Records, StoreError> {
        self.inner.load()
    }

    fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        let gate = self.gate.lock().expect("no test panics while it holds the gate");
        gate.recv().expect("the test lets every commit through");
        self.inner.commit(batch)
    }

    fn events(&self, after: Sequence, through: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.inner.events(after, through, limit)
    }

    fn text(&self, agent: &AgentId, id: &ExecutionId, text: Text) -> Result<String, StoreError> {
        self.inner.text(agent, id, text)
    }

    fn checkpoint_body(&self, agent: &AgentId, id: CheckpointId) -> Result<Vec<u8>, StoreError> {
        self.inner.checkpoint_body(agent, id)
    }

    fn describe(&self) -> Result<StoreDescription, StoreError> {
        self.inner.describe()
    }
}

#[tokio::test]
async fn an_answer_is_durable_and_seen() {
    let disk = MemoryDisk::default();
    let (_driver, handle) = start(Arc::new(disk.open()));
    let answer = handle.call(create("a"), None).await;
    assert!(matches!(answer, Ok(Answer::Updated(Ok(_)))), "{answer:?}");
    assert!(
        handle
            .snapshot()
            .agents
            .contains_key(&AgentId::new("a").expect("valid"))
    );
    let durable = disk.open().load().expect("loads");
    assert_eq!(durable.agents.len(), 1);
    let events = handle.events(Sequence::ZERO, 10).await.expect("readable");
    assert_eq!(
        events.last().map(|event| event.sequence),
        durable.events.map(|(_, last)| last)
    );
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_durable_and_steps_gather_meanwhile() {
    let disk = MemoryDisk::default();
    let (let_through, gate) = gate::channel();
    let_through.send(()).expect("open");
    let (_driver, handle) = start(Arc::new(GatedStore {
        inner: disk.open(),
        gate: Mutex::new(gate),
    }));
    let mut changes = handle.changes();
    changes
        .wait_for(|snapshot| snapshot.last_event == Sequence::new(1))
        .await
        .expect("the start is committed");
    let calls: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.call(create(name), None).await })
        })
        .into();
    // A deadline that passes goes through the driver's queue behind the three creations.
    let impatient = handle.clone();
    let pending = tokio::spawn(async move { impatient.call(create("d"), Some(Duration::from_millis(20))).await });
    tokio::task::yield_now().await;
    assert!(handle.snapshot().agents.is_empty());
    assert!(calls.iter().all(|call| !call.is_finished()));
    for _ in 0..4 {
        let_through.send(()).expect("open");
    }
    for call in calls {
        assert!(matches!(call.await.expect("no panic"), Ok(Answer::Updated(Ok(_)))));
    }
    assert!(matches!(pending.await.expect("no panic"), Ok(Answer::Updated(Ok(_)))));
    assert_eq!(handle.snapshot().agents.len(), 4);
}

#[tokio::test]
async fn a_failed_commit_ends_the_driver_and_answers_nobody() {
    for fault in [Fault::Lost, Fault::Written] {
        let disk = MemoryDisk::default();
        let (driver, handle) = start(Arc::new(disk.open()));
        assert!(handle.call(create("a"), None).await.is_ok());
        disk.fail_next_commit(fault);
        assert_eq!(handle.call(create("b"), None).await, Err(Unavailable));
        let ended = driver.await.expect("no panic");
        assert!(matches!(ended, Err(DriverError::Commit(CommitError::Store(_)))));
        assert_eq!(
            handle.snapshot().agents.len(),
            1,
            "readers see what is known to be durable"
        );
        assert_eq!(handle.call(create("c"), None).await, Err(Unavailable));
    }
}

#[tokio::test]
async fn a_read_that_a_command_waits_for_ends_the_driver_where_it_fails() {
    let (driver, handle) = start(Arc::new(MemoryDisk::default().open()));
    let first = "the test ordered it".to_owned();
    let unreadable = Message::Unreadable(StoreError::Poisoned { first });
    handle.send(unreadable).await.expect("the driver runs");
    let ended = driver.await.expect("no panic");
    assert!(matches!(ended, Err(DriverError::Read(_))), "{ended:?}");
}

#[tokio::test]
async fn a_call_that_cannot_be_done_in_time_is_told_that_it_is_pending() {
    let (_driver, handle) = start(Arc::new(MemoryDisk::default().open()));
    assert!(handle.call(create("a"), None).await.is_ok());
    let answer = handle
        .call(restart("a"), Some(Duration::from_secs(3600)))
        .await
        .expect("the driver runs");
    let Answer::Operation(Ok(answer)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(answer.outcome, OperationOutcome::Pending, "no shim is connected");
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_nothing_behind() {
    let store: Arc<dyn Store> = Arc::new(MemoryDisk::default().open());
    let records = store.load().expect("the fake loads");
    let (mut driver, _handle) =
        Driver::new(Policy::default(), 7, records, store, Clock::start()).expect("threads start");
    let call = CallId(1);
    let (reply, _answer) = oneshot::channel();
    let now = driver.clock.now();
    let request = restart("nobody");
    for message in [
        Message::Call { call, request, reply },
        Message::Input(Input::CallAbandoned { call }),
    ] {
        driver.take(now, message).expect("the store is well");
    }
    assert!(driver.calls.is_empty());
}
