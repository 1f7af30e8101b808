//! What every backend keeps to of workflows, what they ask for, and what their fires have brought.

use std::sync::Arc;

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::id::FireNumber;
use rekindle::workflow::{PAYLOAD_MAX_BYTES, WorkflowId};
use rekindle_server_core::record::{Record, Records};
use rekindle_server_core::workflow::WorkflowRecord;

use super::super::Store;
use super::super::sample::{largest_workflow, put_workflow, workflow};
use super::Backend;
use super::executions::longest;

fn name(id: &str) -> WorkflowId {
    WorkflowId::new(id).expect("a valid id")
}

fn message(id: &str, text: &str) -> Record {
    let text = text.into();
    Record::WorkflowMessage { id: name(id), text }
}

fn payload(id: &str, fire: u64, text: &str) -> Record {
    Record::FirePayload {
        id: name(id),
        fire: FireNumber::new(fire),
        text: text.into(),
    }
}

fn taken(id: &str, fire: u64) -> Record {
    Record::FirePayloadForgotten {
        id: name(id),
        fire: FireNumber::new(fire),
    }
}

fn messages(records: &Records) -> Vec<(&str, &str)> {
    let all = records.workflow_messages.iter();
    all.map(|(id, text)| (id.as_str(), &**text)).collect()
}

pub(super) fn workflows_and_their_texts_are_kept(backend: &impl Backend) {
    let store = backend.open();
    let (long, brought) = (longest(MESSAGE_MAX_BYTES), longest(PAYLOAD_MAX_BYTES));
    let batch = [
        put_workflow(workflow("b")),
        put_workflow(workflow("a")),
        put_workflow(largest_workflow()),
        message("b", &long),
        message("a", "do"),
        payload("b", 7, &brought),
        payload("b", 256, "x"),
        payload("a", 1, "y"),
    ];
    store.commit(&batch).expect("committed");
    let later = WorkflowRecord {
        revision: 9,
        ..workflow("a")
    };
    let batch = [put_workflow(later.clone()), taken("b", 256), taken("nobody", 1)];
    store.commit(&batch).expect("committed");
    let texts: [Arc<str>; 2] = [brought.into(), "y".into()];
    let expected = Records {
        workflows: vec![later, workflow("b"), largest_workflow()],
        workflow_messages: vec![(name("a"), "do".into()), (name("b"), long.into())],
        fire_payloads: vec![
            (name("a"), FireNumber::new(1), texts[1].clone()),
            (name("b"), FireNumber::new(7), texts[0].clone()),
        ],
        ..Records::default()
    };
    assert_eq!(store.load().expect("loaded"), expected, "by the store that wrote it");
    drop(store);
    assert_eq!(backend.open().load().expect("loaded"), expected, "by its successor");
}

pub(super) fn a_shorter_message_leaves_nothing_of_a_longer_one(backend: &impl Backend) {
    let long = longest(MESSAGE_MAX_BYTES);
    for next in [long.as_str(), "short", long.as_str(), "shorter"] {
        let store = backend.open();
        store.commit(&[message("w", next)]).expect("committed");
        drop(store);
        let records = backend.open().load().expect("loaded");
        assert_eq!(messages(&records), [("w", next)]);
    }
}

pub(super) fn what_is_deleted_of_a_workflow_is_deleted_whole(backend: &impl Backend) {
    let store = backend.open();
    let long = longest(MESSAGE_MAX_BYTES);
    let batch = [
        put_workflow(workflow("w")),
        message("w", &long),
        payload("w", 7, "p"),
        message("w.x", "another's"),
    ];
    store.commit(&batch).expect("committed");
    let gone = [taken("w", 7), Record::WorkflowDeleted(name("w"))];
    store.commit(&gone).expect("committed");
    store.commit(&gone).expect("what is not there is no error");
    drop(store);
    let records = backend.open().load().expect("loaded");
    assert_eq!(messages(&records), [("w.x", "another's")]);
    assert_eq!((records.workflows.len(), records.fire_payloads.len()), (0, 0));
}
