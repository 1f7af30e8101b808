//! Many sessions at once: what is in memory of what they tell has its bound, and all of it is applied.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rekindle::execution::{AttemptId, AttemptResult, Delivery, ExecutionId, Output, Verdict};
use rekindle::host::Host;
use rekindle::id::{BootId, ExecutionUid, Incarnation, Marker, ReportSequence, Sequence, ShimInstance};
use rekindle::policy::AgentPolicy;
use rekindle::report::{Hello, HelloOrder, Report, ReportFact};
use rekindle::time::Timestamp;
use rekindle_server_core::event::Event;
use rekindle_server_core::machine::Policy;
use rekindle_server_core::record::{Record, Records};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::lease::LeaseTable;
use crate::store::memory::{MemoryDisk, MemoryStore};
use crate::store::{Store, StoreDescription, StoreError, Text};

const KIB: usize = 1024;

/// Bytes of one result on the wire: its text, and less than a unit of all else.
const RESULT_BYTES: usize = 8 * KIB;

/// Longest wait for something that must happen.
const SOON: Duration = Duration::from_secs(60);

/// What sessions have read, and what is durable of it.
#[derive(Default)]
struct Meter {
    read: AtomicUsize,
    durable: AtomicUsize,
    /// The most that was read and not durable.
    peak: AtomicUsize,
}

impl Meter {
    fn reads(&self, bytes: usize) {
        let read = self.read.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let waits = read.saturating_sub(self.durable.load(Ordering::SeqCst));
        self.peak.fetch_max(waits, Ordering::SeqCst);
    }
}

/// A store that knows what is durable of results, and can be told to wait until there is no room left.
struct MeteredStore {
    inner: MemoryStore,
    meter: Arc<Meter>,
    room: Room,
    waits: AtomicBool,
    reports: Mutex<HashMap<AgentId, u64>>,
}

impl Store for MeteredStore {
    fn load(&self) -> Result<Records, StoreError> {
        self.inner.load()
    }

    fn commit(&self, batch: &[Record]) -> Result<(), StoreError> {
        if self.waits.swap(false, Ordering::SeqCst) {
            let begun = std::time::Instant::now();
            while self.room.try_take(RESULT_BYTES).is_some() {
                assert!(begun.elapsed() < SOON, "sessions read on until there is no room");
                std::thread::yield_now();
            }
        }
        self.inner.commit(batch)?;
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        for record in batch {
            if let Record::Agent(agent) = record
                && let Some(cursor) = agent.reports
            {
                let before = reports.insert(agent.id.clone(), cursor.sequence.get());
                let more = cursor.sequence.get() - before.unwrap_or(0);
                let more = usize::try_from(more).expect("few reports");
                self.meter.durable.fetch_add(more * RESULT_BYTES, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn events(&self, after: Sequence, through: Sequence, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.inner.events(after, through, limit)
    }

    fn text(&self, agent: &AgentId, id: &rekindle::execution::ExecutionId, text: Text) -> Result<String, StoreError> {
        self.inner.text(agent, id, text)
    }

    fn checkpoint_body(&self, agent: &AgentId, id: rekindle::checkpoint::CheckpointId) -> Result<Vec<u8>, StoreError> {
        self.inner.checkpoint_body(agent, id)
    }

    fn describe(&self) -> Result<StoreDescription, StoreError> {
        self.inner.describe()
    }
}

/// A driver, and sessions whose streams the test has made.
struct World {
    handle: Handle,
    room: Room,
    meter: Arc<Meter>,
    store: Arc<MeteredStore>,
    go: watch::Sender<bool>,
    /// The ways to the shims: a stream ends whose way is gone.
    outs: Vec<mpsc::Receiver<ToShim>>,
    _driver: JoinHandle<()>,
}

impl World {
    fn new(room_bytes: usize) -> Self {
        let room = Room::new(room_bytes);
        let meter = Arc::new(Meter::default());
        let store = Arc::new(MeteredStore {
            inner: MemoryDisk::default().open(),
            meter: meter.clone(),
            room: room.clone(),
            waits: AtomicBool::new(false),
            reports: Mutex::default(),
        });
        let records = store.load().expect("the fake loads");
        let policy = Policy {
            lease: Duration::from_secs(3600),
            ..Policy::default()
        };
        let (driver, handle) = Driver::new(policy, 7, records, store.clone(), Clock::start()).expect("threads start");
        let _driver = tokio::spawn(async { driver.run().await.expect("the fake takes every commit") });
        Self {
            handle,
            room,
            meter,
            store,
            go: watch::Sender::new(false),
            outs: Vec::new(),
            _driver,
        }
    }

    /// A session that says hello at once, and the rest when it is told to go on.
    fn session(&mut self, number: usize, before: Vec<ShimMessage>, after: Vec<ShimMessage>) {
        let (give, stream) = mpsc::channel(1);
        let (meter, mut go) = (self.meter.clone(), self.go.subscribe());
        tokio::spawn(async move {
            for message in before.into_iter().flat_map(ShimMessage::into_wire) {
                give.send(message).await.expect("the session reads");
            }
            go.wait_for(|go| *go).await.expect("the test goes on");
            for message in after.into_iter().flat_map(ShimMessage::into_wire) {
                // By its place the session has taken the one before.
                let place = give.reserve().await.expect("the session reads");
                if message.encoded_len() >= KIB {
                    meter.reads(RESULT_BYTES);
                }
                place.send(message);
            }
            give.closed().await;
        });
        let (out, outbox) = mpsc::channel(64);
        self.outs.push(outbox);
        let inbound = Inbound {
            session: SessionId(number as u64),
            handle: self.handle.clone(),
            room: self.room.clone(),
            stream: tokio_stream::wrappers::ReceiverStream::new(stream).map(Ok),
        };
        tokio::spawn(inbound.run(out, "test".into()));
    }

    async fn all_durable(&self, bytes: usize) {
        until(|| self.meter.durable.load(Ordering::SeqCst) == bytes).await;
        until(|| self.room.try_take(RESULT_BYTES).is_some()).await;
    }
}

/// Waits for a condition.
async fn until(is_so: impl Fn() -> bool) {
    tokio::time::timeout(SOON, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it comes soon");
}

fn hello(number: usize) -> ShimMessage {
    let id = 1 + number as u128;
    ShimMessage::Hello(Box::new(Hello {
        agent: AgentId::new(&format!("a{number}")).expect("valid"),
        shim_version: "test".into(),
        instance: ShimInstance::from_u128(id),
        host: Host {
            name: "h1".into(),
            machine_id: None,
            boot_id: BootId::from_u128(1),
        },
        marker: Marker::from_u128(id),
        labels: std::collections::BTreeMap::new(),
        policy: AgentPolicy::default(),
        fence_after: None,
        order: HelloOrder::default(),
        launch: None,
        delivery: Delivery::PerMessage,
    }))
}

/// Results, as a shim numbers them that has told nothing before.
fn results(count: u64) -> impl Iterator<Item = Report> {
    let text = "x".repeat(RESULT_BYTES - KIB / 2);
    (1..=count).map(move |number| {
        let result = AttemptResult {
            verdict: Verdict::Succeeded,
            message: String::new(),
            evidence: None,
            output: Output {
                text: text.as_str().into(),
                dropped: 0,
            },
        };
        report(number, ReportFact::AttemptFinished(attempt(number), Box::new(result)))
    })
}

fn told_of(report: Report) -> ShimMessage {
    ShimMessage::Report(Box::new(report))
}

/// Some bytes.
fn accepted(number: u64) -> Report {
    report(number, ReportFact::AttemptAccepted(attempt(number)))
}

fn attempt(number: u64) -> AttemptId {
    AttemptId {
        execution: ExecutionId::new(&format!("e{number}")).expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    }
}

fn report(number: u64, fact: ReportFact) -> Report {
    Report {
        sequence: ReportSequence::new(number),
        time: Timestamp::from_unix_nanos(1_700_000_000_000_000_000),
        incarnation: Incarnation::new(1),
        fact,
    }
}

#[tokio::test]
async fn a_thousand_sessions_keep_within_the_room_and_all_that_they_tell_is_applied() {
    const SESSIONS: usize = 1_000;
    const EACH: u64 = 8;
    const ROOM: usize = 1024 * KIB;
    let mut world = World::new(ROOM);
    for number in 0..SESSIONS {
        let reports = results(EACH).map(told_of);
        let inventory = ShimMessage::Inventory(Box::default());
        world.session(number, vec![hello(number), inventory], reports.collect());
    }
    until(|| world.handle.connected() == SESSIONS).await;
    world.store.waits.store(true, Ordering::SeqCst);
    world.go.send_replace(true);
    world.all_durable(SESSIONS * EACH as usize * RESULT_BYTES).await;
    // One goes on past the room. Each session has one in its hand, and one that its stream has in front of it.
    let bound = ROOM + RESULT_BYTES + SESSIONS * 2 * RESULT_BYTES;
    let peak = world.meter.peak.load(Ordering::SeqCst);
    assert!(peak <= bound, "{peak} bytes in memory are more than {bound}");
    assert_eq!(world.handle.connected(), SESSIONS, "nobody was cut off");
}

#[tokio::test]
async fn inventories_that_wait_for_one_anothers_room_are_all_applied() {
    const SESSIONS: usize = 20;
    const EACH: u64 = 8;
    // More than half of the room each.
    let mut world = World::new(12 * RESULT_BYTES);
    for number in 0..SESSIONS {
        let inventory = Inventory {
            reports: results(EACH).collect(),
            ..Inventory::default()
        };
        let inventory = ShimMessage::Inventory(Box::new(inventory));
        world.session(number, vec![hello(number)], vec![inventory]);
    }
    until(|| world.handle.connected() == SESSIONS).await;
    world.go.send_replace(true);
    world.all_durable(SESSIONS * EACH as usize * RESULT_BYTES).await;
    assert_eq!(world.handle.connected(), SESSIONS, "nobody was cut off");
}

/// The place past a room of [`RESULT_BYTES`], so that the next who finds none waits.
async fn past(room: &Room) -> Held {
    let _all = room.try_take(RESULT_BYTES).expect("there is room");
    let mut held = Held::default();
    room.grow(&mut held, RESULT_BYTES).await;
    held
}

#[tokio::test]
async fn who_waits_for_room_is_not_silent() {
    let mut world = World::new(RESULT_BYTES);
    let beyond = past(&world.room).await;
    let all = world.room.try_take(RESULT_BYTES).expect("there is room");
    let report = results(1).map(told_of).collect();
    let inventory = ShimMessage::Inventory(Box::default());
    world.session(0, vec![hello(0), inventory], report);
    until(|| world.handle.connected() == 1).await;
    world.go.send_replace(true);
    until(|| world.meter.read.load(Ordering::SeqCst) == RESULT_BYTES).await;
    let agent = AgentId::new("a0").expect("valid");
    let epoch = world.handle.snapshot().agents[&agent].epoch;
    let last_heard = || world.handle.live(&agent, epoch).expect("it is connected").last_heard;
    for _ in 0..2 {
        let heard = last_heard();
        until(|| last_heard() > heard).await;
    }
    drop((all, beyond));
    world.all_durable(RESULT_BYTES).await;
}

/// What a session makes of a peer that says each of these after so long.
async fn inventoried_after(told: Vec<(Duration, ShimMessage)>) -> Option<Result<usize, String>> {
    inventoried_beside(&World::new(1024 * KIB), told).await
}

async fn inventoried_beside(world: &World, told: Vec<(Duration, ShimMessage)>) -> Option<Result<usize, String>> {
    let (give, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        for (pause, message) in told {
            tokio::time::sleep(pause).await;
            for message in message.into_wire() {
                // A session that has given up reads no more.
                let _ = give.send(message).await;
            }
        }
        give.closed().await;
    });
    let session = SessionId(0);
    let lease = LeaseTable::default().grant(session, world.handle.clock().mono()).1;
    let mut inbound = Inbound {
        session,
        handle: world.handle.clone(),
        room: world.room.clone(),
        stream: tokio_stream::wrappers::ReceiverStream::new(stream).map(Ok),
    };
    let inventory = inbound.inventory(&lease).await?;
    Some(inventory.map(|(inventory, _)| inventory.reports.len()))
}

// The clock is paused: nothing but the peer's pauses takes time.
#[tokio::test(start_paused = true)]
async fn a_slow_link_has_the_time_anew_for_each_report_and_beats_alone_have_not() {
    let slow = INVENTORY_TIMEOUT - Duration::from_millis(1);
    let reports = results(8).map(told_of);
    let inventory = ShimMessage::Inventory(Box::default());
    let told = reports.chain([inventory.clone()]).map(|message| (slow, message));
    assert_eq!(inventoried_after(told.collect()).await, Some(Ok(8)));
    let told = [ShimMessage::Heartbeat, inventory].map(|message| (slow, message));
    assert_eq!(inventoried_after(told.into()).await, Some(Err(no_inventory())));
}

#[tokio::test(start_paused = true)]
async fn who_trickles_does_not_hold_the_room_that_others_wait_for() {
    let slow = INVENTORY_TIMEOUT - Duration::from_millis(1);
    let told = || {
        let first = results(1).map(told_of);
        let small = (2..=8).map(|number| told_of(accepted(number)));
        let inventory = ShimMessage::Inventory(Box::default());
        let told = first.chain(small).chain([inventory]);
        told.map(|message| (slow, message)).collect::<Vec<_>>()
    };
    let world = World::new(RESULT_BYTES);
    assert_eq!(inventoried_beside(&world, told()).await, Some(Ok(8)), "nobody waits");
    let (_past, room) = (past(&world.room).await, world.room.clone());
    let other = tokio::spawn(async move {
        tokio::time::sleep(slow + slow / 2).await;
        assert!(room.try_take(RESULT_BYTES).is_none(), "the one that trickles has it");
        room.grow(&mut Held::default(), RESULT_BYTES).await;
    });
    assert_eq!(inventoried_beside(&world, told()).await, Some(Err(no_inventory())));
    other.await.expect("it got the room");
}
