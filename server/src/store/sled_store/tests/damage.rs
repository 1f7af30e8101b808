//! What is stored is not what should be, or where it should be.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use super::*;
use crate::store::sample::{agent, largest_agent, put_agent, put_event};

#[test]
fn a_corrupt_value_is_named_by_its_key() {
    for (key, value) in [
        (&b"a/planner"[..], &b"{\"id\":"[..]),
        (b"a/planner", b"{}"),
        (b"r/planner/1", b"\xff\xfe"),
    ] {
        let folder = SledFolder::default();
        let store = folder.open();
        plant(&store, key, value);
        let error = store.load().expect_err("it is no record");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(&key.escape_ascii().to_string()), "{error}");
    }
}

#[test]
fn a_corrupt_event_is_named_by_its_key() {
    let folder = SledFolder::default();
    let store = folder.open();
    store.commit(&[put_event(1), put_event(2)]).expect("committed");
    plant(&store, b"e/\0\0\0\0\0\0\0\x02", b"no event");
    let error = store
        .events(Sequence::ZERO, Sequence::new(2), 9)
        .expect_err("it is no event");
    assert!(error.to_string().contains("x02"), "{error}");
}

#[test]
fn a_key_that_is_no_event_is_found_when_the_store_is_opened() {
    let folder = SledFolder::default();
    let store = folder.open();
    plant(&store, b"e/short", b"no event");
    drop(store);
    let error = open_result(&folder.data_dir()).expect_err("it is no event");
    let source = std::error::Error::source(&error).expect("a source").to_string();
    assert!(source.contains("e/short"), "{error}: {source}");
}

/// A store with a hundred events, of which bytes of the log are then overwritten.
fn overwritten(at: u64, bytes: usize) -> (SledFolder, OpenError) {
    let folder = SledFolder::default();
    let store = folder.open();
    for number in 1..=100 {
        store
            .commit(&[put_agent(agent("planner", number)), put_event(number)])
            .expect("committed");
    }
    drop(store);
    let log = folder.data_dir().join("store").join("db");
    let file = OpenOptions::new().write(true).open(&log).expect("opened");
    file.write_all_at(&vec![0xa5; bytes], at).expect("written");
    drop(file);
    let error = open_result(&folder.data_dir()).expect_err("the damage must not go unseen");
    (folder, error)
}

#[test]
fn a_log_that_sled_takes_for_empty_is_refused() {
    let (_folder, error) = overwritten(64, 200_000);
    assert!(matches!(error, OpenError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("restore"), "{error}");
}

#[test]
fn a_log_that_sled_cuts_short_is_refused() {
    let (folder, error) = overwritten(20_000, 16);
    let OpenError::RolledBack { found, noted, mark, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(found < noted && noted.get() == 100, "{error}");
    assert!(error.to_string().contains(&mark.display().to_string()), "{error}");
    fs::remove_file(mark).expect("removed");
    let left = folder.open().load().expect("an operator may go on with what is left");
    assert_eq!(left.events.map(|(_, newest)| newest), Some(*found));
}

#[test]
fn largest_records_stay_out_of_sleds_own_files() {
    let folder = SledFolder::default();
    let store = folder.open();
    for round in 0..12u64 {
        let batch: Vec<Record> = (0..60)
            .map(|number| {
                let mut agent = largest_agent();
                agent.id = agent_id(number);
                agent.revision = round;
                if (number + round) % 5 == 0 {
                    Record::AgentDeleted(agent.id)
                } else {
                    put_agent(agent)
                }
            })
            .collect();
        store.commit(&batch).expect("committed, with blobs/ empty");
    }
}

#[test]
fn a_blob_is_an_alarm() {
    let folder = SledFolder::default();
    let store = folder.open();
    let blobs = folder.data_dir().join("store").join("blobs");
    fs::write(blobs.join("12345"), "").expect("written");
    let error = store
        .commit(&[put_agent(agent("a", 1))])
        .expect_err("blobs/ is not empty");
    assert!(matches!(error, StoreError::BlobWritten { .. }), "{error:?}");
    assert!(error.to_string().contains(&blobs.display().to_string()), "{error}");
    assert!(matches!(store.commit(&[]), Err(StoreError::Poisoned { .. })));
}

fn agent_id(number: u64) -> rekindle::id::AgentId {
    rekindle::id::AgentId::new(&format!("agent-{number:02}")).expect("a valid id")
}
