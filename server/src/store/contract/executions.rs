//! What every backend keeps to of executions and their texts.

use rekindle::execution::{ExecutionId, ExecutionState, MESSAGE_MAX_BYTES, OUTPUT_MAX_BYTES};
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::record::{Record, Records};

use super::super::sample::{execution, put_execution};
use super::super::{Store, Text};
use super::{Backend, id};

fn name(execution: &str) -> ExecutionId {
    ExecutionId::new(execution).expect("a valid id")
}

fn message(agent: &str, execution: &str, text: &str) -> Record {
    Record::ExecutionMessage {
        agent: id(agent),
        id: name(execution),
        text: text.to_owned(),
    }
}

pub(super) fn output(agent: &str, execution: &str, text: &str) -> Record {
    Record::ExecutionOutput {
        agent: id(agent),
        id: name(execution),
        text: text.into(),
    }
}

pub(super) fn forgotten(agent: &str, execution: &str) -> Record {
    Record::ExecutionForgotten {
        agent: id(agent),
        id: name(execution),
    }
}

/// The message and the output of an execution.
pub(super) fn texts(store: &impl Store, agent: &str, execution: &str) -> (String, String) {
    let read = |text| {
        let found = store.text(&id(agent), &name(execution), text);
        found.expect("readable")
    };
    (read(Text::Message), read(Text::Output))
}

/// A text as long as one may be, of characters of two bytes that lie across its parts.
pub(super) fn longest(max_bytes: usize) -> String {
    format!("x{}", "\u{e4}".repeat((max_bytes - 1) / 2))
}

pub(super) fn executions_and_their_texts_are_kept(backend: &impl Backend) {
    let store = backend.open();
    let long = longest(MESSAGE_MAX_BYTES);
    store
        .commit(&[put_execution(execution("a", "e")), message("a", "e", &long)])
        .expect("committed");
    assert_eq!(texts(&store, "a", "e"), (long.clone(), String::new()));
    let over = ExecutionRecord {
        state: ExecutionState::Succeeded,
        process: None,
        ..execution("a", "e")
    };
    store
        .commit(&[put_execution(over.clone()), output("a", "e", "done\n")])
        .expect("committed");
    drop(store);
    let store = backend.open();
    assert_eq!(store.load().expect("loaded").executions, [over]);
    assert_eq!(texts(&store, "a", "e"), (long, "done\n".to_owned()));
}

pub(super) fn a_shorter_output_leaves_nothing_of_a_longer_one(backend: &impl Backend) {
    let long = longest(OUTPUT_MAX_BYTES);
    for next in [long.as_str(), "short", "", long.as_str(), ""] {
        let store = backend.open();
        store
            .commit(&[message("a", "e", "do"), output("a", "e", next)])
            .expect("committed");
        assert_eq!(texts(&store, "a", "e").1, next, "by the store that wrote it");
        drop(store);
        let found = texts(&backend.open(), "a", "e");
        assert_eq!(found, ("do".to_owned(), next.to_owned()), "by its successor");
    }
    let store = backend.open();
    store
        .commit(&[output("a", "e", &long), output("a", "e", "newer")])
        .expect("committed");
    assert_eq!(texts(&store, "a", "e").1, "newer", "the last word of a batch counts");
}

pub(super) fn what_is_forgotten_of_an_execution_is_forgotten_whole(backend: &impl Backend) {
    let store = backend.open();
    let batch = [
        put_execution(execution("a", "e")),
        message("a", "e", &longest(MESSAGE_MAX_BYTES)),
        output("a", "e", &longest(OUTPUT_MAX_BYTES)),
    ];
    store.commit(&batch).expect("committed");
    store.commit(&[forgotten("a", "e")]).expect("committed");
    store
        .commit(&[forgotten("a", "e"), forgotten("nobody", "e")])
        .expect("what is not there is no error");
    drop(store);
    let store = backend.open();
    assert_eq!(store.load().expect("loaded"), Records::default());
    assert_eq!(texts(&store, "a", "e"), (String::new(), String::new()));
    let batch = [
        put_execution(execution("a", "e")),
        message("a", "e", &longest(MESSAGE_MAX_BYTES)),
        forgotten("a", "e"),
        put_execution(execution("a", "e")),
        message("a", "e", "anew"),
    ];
    store.commit(&batch).expect("committed");
    drop(store);
    let store = backend.open();
    assert_eq!(store.load().expect("loaded").executions, [execution("a", "e")]);
    assert_eq!(texts(&store, "a", "e"), ("anew".to_owned(), String::new()));
}

pub(super) fn texts_of_different_executions_are_apart(backend: &impl Backend) {
    let store = backend.open();
    let others = [("a", "e"), ("a", "e.output"), ("a.e", "e"), ("a", "message")];
    for (agent, execution) in others {
        let text = format!("{agent} {execution}");
        store
            .commit(&[message(agent, execution, &text), output(agent, execution, &text)])
            .expect("committed");
    }
    store.commit(&[forgotten("a", "e")]).expect("committed");
    assert_eq!(texts(&store, "a", "e"), (String::new(), String::new()));
    for (agent, execution) in &others[1..] {
        let text = format!("{agent} {execution}");
        assert_eq!(texts(&store, agent, execution), (text.clone(), text));
    }
}

/// As many of the longest outputs as the driver gathers for one commit.
pub(super) fn the_longest_texts_of_many_executions_fit_one_batch(backend: &impl Backend) {
    const MANY: usize = 32;
    let store = backend.open();
    let long = longest(OUTPUT_MAX_BYTES);
    let names: Vec<String> = (0..MANY).map(|number| format!("e{number}")).collect();
    let batch: Vec<Record> = names.iter().map(|name| output("a", name, &long)).collect();
    store.commit(&batch).expect("committed");
    drop(store);
    let store = backend.open();
    assert!(names.iter().all(|name| texts(&store, "a", name).1 == long));
}
