//! Arbitrary checkpoints.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::checkpoint::{AskedSave, CheckpointDraft, CheckpointFields, CheckpointId, ClosedBy, Flags, Standing};
use rekindle::id::{Incarnation, Marker};
use rekindle_server_core::checkpoint::{Begun, CheckpointRecord, Line, Reading};

use super::{agent_id, execution_id, incarnation, timestamp};

/// Any checkpoint.
pub(in super::super) fn checkpoint() -> impl Strategy<Value = CheckpointRecord> {
    let flags = (any::<bool>(), vec(execution_id(), 0..3));
    let read = (incarnation(), any::<u32>()).prop_map(|(by, crashes)| Reading { by, crashes });
    let lives = (option::of(read), option::of(incarnation()));
    let told = (fields(), any::<u64>(), timestamp());
    (
        agent_id(),
        checkpoint_id(),
        told,
        standing(),
        flags,
        (any::<u32>(), lives),
    )
        .prop_map(
            |(agent, id, (fields, body_bytes, saved), standing, (unclean, in_flight), (crashes, lives))| {
                let (read, confirmed_by) = lives;
                CheckpointRecord {
                    agent,
                    id,
                    fields: Arc::new(fields),
                    body_bytes,
                    saved,
                    standing,
                    flags: Flags { unclean, in_flight },
                    crashes,
                    read,
                    confirmed_by,
                }
            },
        )
}

/// Any checkpoint's id.
pub(in super::super) fn checkpoint_id() -> impl Strategy<Value = CheckpointId> {
    (1u64.., 1u32..).prop_map(|(incarnation, number)| CheckpointId::new(Incarnation::new(incarnation), number))
}

/// Any agent's line.
pub(super) fn line() -> impl Strategy<Value = Line> {
    let begun = || {
        let begun = (incarnation(), any::<u128>(), option::of(checkpoint_id()));
        option::of(begun.prop_map(|(incarnation, marker, handed)| Begun {
            incarnation,
            marker: Marker::from_u128(marker),
            handed,
        }))
    };
    (option::of(checkpoint_id()), begun(), begun()).prop_map(|(deleted, begun, begun_elsewhere)| Line {
        deleted,
        begun,
        begun_elsewhere,
    })
}

/// Any word on whether a life saved.
pub(super) fn asked() -> impl Strategy<Value = AskedSave> {
    prop_oneof![
        Just(AskedSave::NotAsked),
        Just(AskedSave::NotSaved),
        checkpoint_id().prop_map(AskedSave::Saved)
    ]
}

fn fields() -> impl Strategy<Value = CheckpointFields> {
    let text = || "[^\\p{Cc}]{0,20}";
    let texts = (text(), text(), text(), text(), text());
    let values = btree_map("[A-Za-z_][A-Za-z0-9_]{0,8}", "[^\\x00]{0,20}", 0..3);
    (texts, vec("[^\\p{Cc}]{1,20}", 0..3), values).prop_map(|(texts, memory_refs, values)| {
        let (task_id, issue, workspace, branch, stage) = texts;
        CheckpointFields::new(CheckpointDraft {
            task_id,
            issue,
            workspace,
            branch,
            stage,
            memory_refs,
            values,
        })
        .expect("within its limits")
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    select(vec![
        Standing::Open,
        Standing::Closed(ClosedBy::Agent),
        Standing::Closed(ClosedBy::Task),
        Standing::Closed(ClosedBy::Fresh),
        Standing::SetAside,
    ])
}
