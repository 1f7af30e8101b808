//! What every backend keeps to, checked against each of them.

mod checkpoints;
mod executions;
mod workflows;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rekindle::execution::OUTPUT_MAX_BYTES;
use rekindle::id::{AgentId, RequestId, Sequence};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::{Record, Records};

use super::memory::{Fault, MemoryDisk, MemoryStore};
use super::sample::{
    agent, checkpoint, content, event, execution, host, oversized_agent, put_agent, put_checkpoint, put_event,
    put_execution, put_host, put_request, request,
};
use super::sled_store::tests::{SledFolder, SledInFolder};
use super::{SCHEMA_VERSION, Store, StoreError};
use checkpoints::{checkpoints_and_their_bodies_are_kept, what_is_forgotten_of_a_checkpoint_is_forgotten_whole};
use executions::{
    a_shorter_output_leaves_nothing_of_a_longer_one, executions_and_their_texts_are_kept, forgotten, longest, output,
    texts, texts_of_different_executions_are_apart, the_longest_texts_of_many_executions_fit_one_batch,
    what_is_forgotten_of_an_execution_is_forgotten_whole,
};
use workflows::{
    a_shorter_message_leaves_nothing_of_a_longer_one, what_is_deleted_of_a_workflow_is_deleted_whole,
    workflows_and_their_texts_are_kept,
};

/// Where a backend's stores live, one after the other.
trait Backend: Default {
    /// The backend.
    type Store: Store;

    /// A store on what its predecessors committed. They are gone by then.
    fn open(&self) -> Self::Store;
}

impl Backend for MemoryDisk {
    type Store = MemoryStore;

    fn open(&self) -> MemoryStore {
        MemoryDisk::open(self)
    }
}

impl Backend for SledFolder {
    type Store = SledInFolder;

    fn open(&self) -> SledInFolder {
        SledFolder::open(self)
    }
}

macro_rules! contract {
    ($($property:ident,)*) => {
        mod memory {
            $(#[test] fn $property() { super::$property(&super::MemoryDisk::default()); })*
        }
        mod sled {
            $(#[test] fn $property() { super::$property(&super::SledFolder::default()); })*
        }
    };
}

contract! {
    a_fresh_store_is_empty,
    what_was_committed_is_loaded_again,
    an_empty_batch_writes_nothing,
    the_last_change_of_a_key_counts,
    deleting_what_is_not_there_is_no_error,
    requests_of_different_agents_are_apart,
    events_come_in_order_and_in_their_range,
    a_trim_takes_the_oldest_events,
    a_trim_in_the_batch_that_wrote_them,
    the_newest_event_is_never_trimmed,
    the_log_has_no_hole,
    an_oversized_record_is_refused_by_name,
    a_refused_batch_leaves_no_trace,
    a_failed_store_takes_no_more,
    it_describes_itself,
    any_history_is_kept,
    executions_and_their_texts_are_kept,
    a_shorter_output_leaves_nothing_of_a_longer_one,
    what_is_forgotten_of_an_execution_is_forgotten_whole,
    texts_of_different_executions_are_apart,
    the_longest_texts_of_many_executions_fit_one_batch,
    checkpoints_and_their_bodies_are_kept,
    what_is_forgotten_of_a_checkpoint_is_forgotten_whole,
    workflows_and_their_texts_are_kept,
    a_shorter_message_leaves_nothing_of_a_longer_one,
    what_is_deleted_of_a_workflow_is_deleted_whole,
}

fn id(id: &str) -> AgentId {
    AgentId::new(id).expect("a valid id")
}

fn seq(number: u64) -> Sequence {
    Sequence::new(number)
}

fn numbers(store: &impl Store, after: u64, through: u64, limit: usize) -> Vec<u64> {
    let events = store.events(seq(after), seq(through), limit).expect("readable");
    events.iter().map(|event| event.sequence.get()).collect()
}

fn with_events<B: Backend>(backend: &B, numbers: std::ops::RangeInclusive<u64>) -> B::Store {
    let store = backend.open();
    store
        .commit(&numbers.map(put_event).collect::<Vec<_>>())
        .expect("committed");
    store
}

fn a_fresh_store_is_empty(backend: &impl Backend) {
    let store = backend.open();
    assert_eq!(store.load().expect("loaded"), Records::default());
    assert_eq!(numbers(&store, 0, u64::MAX, 10), [0u64; 0]);
}

fn what_was_committed_is_loaded_again(backend: &impl Backend) {
    let store = backend.open();
    let batch = [
        put_agent(agent("b", 1)),
        put_agent(agent("a", 1)),
        put_event(1),
        put_request(request("a", "r1")),
        put_host(host("h1", 1)),
        put_execution(execution("b", "e1")),
        put_execution(execution("a", "e2")),
        put_checkpoint(checkpoint("a", "1.2")),
        content(&checkpoint("a", "1.2"), Vec::new()),
    ];
    store.commit(&batch).expect("committed");
    let later = ExecutionRecord {
        revision: 5,
        ..execution("b", "e1")
    };
    let batch = [
        put_agent(agent("a", 2)),
        put_event(2),
        put_host(host("h1", 2)),
        put_execution(later.clone()),
    ];
    store.commit(&batch).expect("committed");
    let expected = Records {
        agents: vec![agent("a", 2), agent("b", 1)],
        requests: vec![request("a", "r1")],
        executions: vec![execution("a", "e2"), later],
        checkpoints: vec![checkpoint("a", "1.2")],
        hosts: vec![host("h1", 2)],
        events: Some((seq(1), seq(2))),
        ..Records::default()
    };
    assert_eq!(store.load().expect("loaded"), expected, "by the store that wrote it");
    drop(store);
    let store = backend.open();
    assert_eq!(store.load().expect("loaded"), expected, "by its successor");
    let events = store.events(seq(0), seq(2), 10).expect("readable");
    assert_eq!(events, [event(1), event(2)]);
}

fn an_empty_batch_writes_nothing(backend: &impl Backend) {
    let store = with_events(backend, 1..=1);
    let before = store.load().expect("loaded");
    store.commit(&[]).expect("committed");
    assert_eq!(store.load().expect("loaded"), before);
}

fn the_last_change_of_a_key_counts(backend: &impl Backend) {
    let store = backend.open();
    let forget = Record::RequestForgotten {
        agent: id("a"),
        id: RequestId::new("r1").expect("a valid id"),
    };
    let batch = [
        put_agent(agent("put-then-deleted", 1)),
        Record::AgentDeleted(id("put-then-deleted")),
        Record::AgentDeleted(id("deleted-then-put")),
        put_agent(agent("deleted-then-put", 1)),
        put_agent(agent("put-twice", 1)),
        put_agent(agent("put-twice", 2)),
        put_request(request("a", "r1")),
        forget,
        put_host(host("h1", 1)),
        Record::HostForgotten(host("h1", 1).key),
    ];
    store.commit(&batch).expect("committed");
    drop(store);
    let records = backend.open().load().expect("loaded");
    assert_eq!(records.agents, [agent("deleted-then-put", 1), agent("put-twice", 2)]);
    assert_eq!(records.requests, []);
    assert_eq!(records.hosts, []);
}

fn deleting_what_is_not_there_is_no_error(backend: &impl Backend) {
    let store = backend.open();
    store.commit(&[Record::AgentDeleted(id("nobody"))]).expect("committed");
    store
        .commit(&[Record::EventsTrimmed { through: seq(9) }])
        .expect("an empty log has nothing to trim");
    assert_eq!(store.load().expect("loaded"), Records::default());
}

fn requests_of_different_agents_are_apart(backend: &impl Backend) {
    let store = backend.open();
    let requests = [request("a", "b/c"), request("a.b", "c"), request("b", "b/c")];
    store.commit(&requests.clone().map(put_request)).expect("committed");
    let forget = Record::RequestForgotten {
        agent: id("a"),
        id: RequestId::new("b/c").expect("a valid id"),
    };
    store
        .commit(&[forget, Record::AgentDeleted(id("b"))])
        .expect("committed");
    drop(store);
    let [_, second, third] = requests;
    assert_eq!(backend.open().load().expect("loaded").requests, [second, third]);
}

fn events_come_in_order_and_in_their_range(backend: &impl Backend) {
    // Past 255, so that the order of the keys is seen to be that of the numbers.
    let store = with_events(backend, 1..=600);
    assert_eq!(numbers(&store, 0, 600, 1000), (1..=600).collect::<Vec<_>>());
    assert_eq!(numbers(&store, 254, 258, 1000), [255, 256, 257, 258]);
    assert_eq!(numbers(&store, 254, 600, 3), [255, 256, 257]);
    assert_eq!(numbers(&store, 598, u64::MAX, 10), [599, 600]);
    for (after, through, limit) in [
        (600, 700, 10),
        (5, 5, 10),
        (6, 5, 10),
        (u64::MAX, u64::MAX, 10),
        (0, 9, 0),
    ] {
        assert_eq!(
            numbers(&store, after, through, limit),
            [0u64; 0],
            "({after}, {through}]"
        );
    }
}

fn a_trim_takes_the_oldest_events(backend: &impl Backend) {
    let store = with_events(backend, 1..=20);
    store
        .commit(&[Record::EventsTrimmed { through: seq(12) }])
        .expect("committed");
    store
        .commit(&[Record::EventsTrimmed { through: seq(5) }])
        .expect("what is gone is gone");
    drop(store);
    let store = backend.open();
    assert_eq!(store.load().expect("loaded").events, Some((seq(13), seq(20))));
    assert_eq!(numbers(&store, 0, 20, 100), (13..=20).collect::<Vec<_>>());
    store.commit(&[put_event(21)]).expect("the numbering goes on");
}

fn a_trim_in_the_batch_that_wrote_them(backend: &impl Backend) {
    let store = with_events(backend, 1..=2);
    let batch = [
        put_event(3),
        put_event(4),
        Record::EventsTrimmed { through: seq(3) },
        put_event(5),
    ];
    store.commit(&batch).expect("committed");
    drop(store);
    let store = backend.open();
    assert_eq!(numbers(&store, 0, 9, 100), [4, 5]);
    assert_eq!(store.load().expect("loaded").events, Some((seq(4), seq(5))));
}

fn the_newest_event_is_never_trimmed(backend: &impl Backend) {
    let store = with_events(backend, 1..=3);
    let error = store.commit(&[Record::EventsTrimmed { through: seq(3) }]);
    assert!(matches!(error, Err(StoreError::NewestEventTrimmed { .. })), "{error:?}");
    drop(store);
    assert_eq!(numbers(&backend.open(), 0, 9, 100), [1, 2, 3]);
}

fn the_log_has_no_hole(backend: &impl Backend) {
    for wrong in [2, 3, 5] {
        let store = backend.open();
        if wrong == 2 {
            store
                .commit(&[put_event(1), put_event(2), put_event(3)])
                .expect("committed");
        }
        let error = store.commit(&[put_event(wrong)]);
        assert!(
            matches!(error, Err(StoreError::EventOutOfSequence { newest, .. }) if newest == seq(3)),
            "{error:?}"
        );
    }
    assert_eq!(numbers(&backend.open(), 0, 9, 100), [1, 2, 3]);
}

fn an_oversized_record_is_refused_by_name(backend: &impl Backend) {
    let store = backend.open();
    let error = store
        .commit(&[put_agent(oversized_agent("whale"))])
        .expect_err("it is too large");
    assert!(error.is_refusal());
    assert!(error.to_string().contains("agents/whale"), "{error}");
}

fn a_refused_batch_leaves_no_trace(backend: &impl Backend) {
    let store = with_events(backend, 1..=1);
    let batch = [
        put_agent(agent("small", 1)),
        put_event(2),
        put_agent(oversized_agent("whale")),
    ];
    store.commit(&batch).expect_err("its last record is too large");
    assert_eq!(numbers(&store, 0, 9, 100), [1], "what was durable is still shown");
    drop(store);
    let store = backend.open();
    let expected = Records {
        events: Some((seq(1), seq(1))),
        ..Records::default()
    };
    assert_eq!(store.load().expect("loaded"), expected);
    store.commit(&[put_event(2)]).expect("its successor goes on");
}

fn a_failed_store_takes_no_more(backend: &impl Backend) {
    let store = backend.open();
    store
        .commit(&[put_agent(oversized_agent("whale"))])
        .expect_err("it is too large");
    for batch in [&[put_agent(agent("small", 1))][..], &[]] {
        let error = store.commit(batch).expect_err("the store has failed");
        assert!(matches!(error, StoreError::Poisoned { .. }));
        assert!(error.to_string().contains("agents/whale"), "the first failure: {error}");
    }
    assert!(matches!(store.load(), Err(StoreError::Poisoned { .. })));
    drop(store);
    assert_eq!(backend.open().load().expect("loaded"), Records::default());
}

fn it_describes_itself(backend: &impl Backend) {
    let store = with_events(backend, 1..=1);
    let description = store.describe().expect("described");
    assert_eq!(description.schema_version, SCHEMA_VERSION);
    assert!(description.size_bytes > 0);
    assert!(!description.backend.is_empty());
}

/// Batches at random, and now and then a successor: always what a map would hold.
fn any_history_is_kept<B: Backend>(_: &B) {
    let change = prop_oneof![
        4 => (0..6u8, any::<u64>()).prop_map(|(name, revision)| Change::Put(name, revision)),
        1 => (0..6u8).prop_map(Change::Delete),
        4 => (0..4u8, 0..3u8).prop_map(|(name, length)| Change::Output(name, length)),
        1 => (0..4u8).prop_map(Change::Forget),
        4 => Just(Change::Event),
        1 => (1..9u64).prop_map(Change::Trim),
    ];
    let batches = proptest::collection::vec((proptest::collection::vec(change, 0..12), any::<bool>()), 1..12);
    let mut runner = TestRunner::new(Config::with_cases(16));
    let result = runner.run(&batches, |batches| {
        let backend = B::default();
        let mut model = Model::default();
        let mut store = backend.open();
        for (changes, reopens) in batches {
            let batch: Vec<Record> = changes.into_iter().filter_map(|change| model.apply(change)).collect();
            store
                .commit(&batch)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            if reopens {
                drop(store);
                store = backend.open();
            }
            model.check(&store)?;
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Put(u8, u64),
    Delete(u8),
    /// The output of an execution, of none, one or all of the parts that it may have.
    Output(u8, u8),
    Forget(u8),
    Event,
    /// Leaves so many.
    Trim(u64),
}

#[derive(Default)]
struct Model {
    agents: BTreeMap<String, u64>,
    outputs: BTreeMap<String, String>,
    oldest: u64,
    newest: u64,
}

impl Model {
    fn apply(&mut self, change: Change) -> Option<Record> {
        match change {
            Change::Put(name, revision) => {
                self.agents.insert(format!("agent-{name}"), revision);
                Some(put_agent(agent(&format!("agent-{name}"), revision)))
            }
            Change::Delete(name) => {
                self.agents.remove(&format!("agent-{name}"));
                Some(Record::AgentDeleted(id(&format!("agent-{name}"))))
            }
            Change::Output(name, length) => {
                let name = format!("e{name}");
                let text = match length {
                    0 => String::new(),
                    1 => name.clone(),
                    _ => longest(OUTPUT_MAX_BYTES),
                };
                let record = output("a", &name, &text);
                self.outputs.insert(name, text);
                Some(record)
            }
            Change::Forget(name) => {
                let name = format!("e{name}");
                self.outputs.remove(&name);
                Some(forgotten("a", &name))
            }
            Change::Event => {
                self.newest += 1;
                self.oldest = self.oldest.max(1);
                Some(put_event(self.newest))
            }
            Change::Trim(leaves) => {
                let through = self.newest.checked_sub(leaves)?;
                self.oldest = self.oldest.max(through + 1);
                Some(Record::EventsTrimmed { through: seq(through) })
            }
        }
    }

    fn check(&self, store: &impl Store) -> Result<(), TestCaseError> {
        let records = store.load().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let agents = self.agents.iter().map(|(name, revision)| agent(name, *revision));
        prop_assert_eq!(records.agents, agents.collect::<Vec<_>>());
        for name in (0..4).map(|name| format!("e{name}")) {
            let expected = self.outputs.get(&name).cloned().unwrap_or_default();
            prop_assert_eq!(texts(store, "a", &name).1, expected);
        }
        let ends = (self.newest > 0).then(|| (seq(self.oldest), seq(self.newest)));
        prop_assert_eq!(records.events, ends);
        let kept: Vec<u64> = (self.oldest..=self.newest).filter(|_| ends.is_some()).collect();
        prop_assert_eq!(numbers(store, 0, u64::MAX, 1000), kept);
        Ok(())
    }
}

#[test]
fn an_ordered_fault_fails_one_commit_and_the_store() {
    for (fault, kept) in [(Fault::Lost, vec![]), (Fault::Written, vec![agent("a", 1)])] {
        let disk = MemoryDisk::default();
        let store = disk.open();
        disk.fail_next_commit(fault);
        let error = store.commit(&[put_agent(agent("a", 1))]).expect_err("ordered");
        assert!(!error.is_refusal(), "it may have happened");
        assert!(matches!(store.commit(&[]), Err(StoreError::Poisoned { .. })));
        assert_eq!(disk.open().load().expect("loaded").agents, kept, "{fault:?}");
    }
}
