//! What every backend keeps to of checkpoints and their bodies.

use rekindle::checkpoint::{BODY_MAX_BYTES, Standing};
use rekindle_server_core::checkpoint::CheckpointRecord;
use rekindle_server_core::record::{Record, Records};

use super::super::Store;
use super::super::sample::{checkpoint, content, largest_checkpoint, put_checkpoint};
use super::{Backend, id};

fn body(store: &impl Store, agent: &str, checkpoint: &str) -> Vec<u8> {
    let body = store.checkpoint_body(&id(agent), checkpoint.parse().expect("a valid id"));
    body.expect("readable")
}

fn forgotten(agent: &str, checkpoint: &str) -> Record {
    Record::CheckpointForgotten {
        agent: id(agent),
        id: checkpoint.parse().expect("a valid id"),
    }
}

pub(super) fn checkpoints_and_their_bodies_are_kept(backend: &impl Backend) {
    let store = backend.open();
    let largest = largest_checkpoint();
    let long: Vec<u8> = (0..BODY_MAX_BYTES).map(|byte| (byte % 251) as u8).collect();
    let first = checkpoint("a", "7.3");
    let batch = [
        put_checkpoint(first.clone()),
        content(&first, long.clone()),
        put_checkpoint(largest.clone()),
        content(&largest, Vec::new()),
    ];
    store.commit(&batch).expect("committed");
    let later = CheckpointRecord {
        standing: Standing::SetAside,
        ..first
    };
    store.commit(&[put_checkpoint(later.clone())]).expect("committed");
    assert!(body(&store, "a", "7.3") == long, "by the store that wrote it");
    drop(store);
    let store = backend.open();
    assert_eq!(store.load().expect("loaded").checkpoints, [later, largest]);
    assert!(body(&store, "a", "7.3") == long);
}

pub(super) fn what_is_forgotten_of_a_checkpoint_is_forgotten_whole(backend: &impl Backend) {
    let store = backend.open();
    let (old, new) = (checkpoint("a", "7.3"), checkpoint("a", "7.30"));
    let batch = [
        put_checkpoint(old.clone()),
        content(&old, vec![1; BODY_MAX_BYTES]),
        put_checkpoint(new.clone()),
        content(&new, vec![2]),
    ];
    store.commit(&batch).expect("committed");
    store
        .commit(&[forgotten("a", "7.3"), forgotten("b", "7.30")])
        .expect("committed");
    drop(store);
    let store = backend.open();
    let expected = Records {
        checkpoints: vec![new],
        ..Records::default()
    };
    assert_eq!(store.load().expect("loaded"), expected);
    assert_eq!(body(&store, "a", "7.3"), [0u8; 0]);
    assert_eq!(body(&store, "a", "7.30"), [2]);
}
