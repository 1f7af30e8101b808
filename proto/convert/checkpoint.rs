//! Checkpoints, on the shim's stream.

use std::sync::Arc;

use super::report::MESSAGE_MAX_BYTES;
use super::text::cut_line;
use super::time::{required_timestamp, timestamp_to_wire};
use super::{WireError, counter, counter_or_zero, known};
use crate::checkpoint::{
    AskedSave, Checkpoint, CheckpointBody, CheckpointDraft, CheckpointError, CheckpointFields, CheckpointId,
    CheckpointState, ClosedBy, Flags, HeldCheckpoint, IN_FLIGHT_MAX, OfferedCheckpoint, Resumption, RunContext,
    Standing,
};
use crate::execution::ExecutionId;
use crate::id::Incarnation;
use crate::session::{CheckpointKept, CheckpointStock};
use crate::wire::v1;

impl From<CheckpointError> for WireError {
    fn from(error: CheckpointError) -> Self {
        Self::new(error.field, error.problem)
    }
}

/// Reads a checkpoint's id.
///
/// # Errors
/// Names the field.
pub fn checkpoint_id_from_wire(text: &str, field: &str) -> Result<CheckpointId, WireError> {
    if text.is_empty() {
        return Err(WireError::missing(field));
    }
    let id: CheckpointId = text
        .parse()
        .map_err(|error| WireError::new(field, format!("{error}")))?;
    counter(id.incarnation.get(), field, Incarnation::new)?;
    Ok(id)
}

/// Reads what an agent has saved under this id.
///
/// # Errors
/// Names the field, relative to the content.
pub fn checkpoint_from_wire(id: CheckpointId, content: v1::CheckpointContent) -> Result<Checkpoint, WireError> {
    Ok(Checkpoint {
        id,
        saved: required_timestamp(content.save_time, "save_time")?,
        fields: CheckpointFields::new(CheckpointDraft {
            task_id: content.task_id,
            issue: content.issue,
            workspace: content.workspace,
            branch: content.branch,
            stage: content.stage,
            memory_refs: content.memory_refs,
            values: content.values.into_iter().collect(),
        })?,
        body: CheckpointBody::new(content.body)?,
    })
}

/// Writes what an agent has saved; its id goes beside it.
pub fn checkpoint_to_wire(checkpoint: &Checkpoint) -> v1::CheckpointContent {
    let fields = checkpoint.fields.clone().into_draft();
    v1::CheckpointContent {
        task_id: fields.task_id,
        issue: fields.issue,
        workspace: fields.workspace,
        branch: fields.branch,
        stage: fields.stage,
        memory_refs: fields.memory_refs,
        values: fields.values.into_iter().collect(),
        body: checkpoint.body.as_bytes().to_vec(),
        save_time: Some(timestamp_to_wire(checkpoint.saved)),
    }
}

impl From<Standing> for v1::CheckpointStanding {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Open => Self::Open,
            Standing::Closed(ClosedBy::Agent) => Self::ClosedByAgent,
            Standing::Closed(ClosedBy::Task) => Self::ClosedByTask,
            Standing::Closed(ClosedBy::Fresh) => Self::ClosedByFresh,
            Standing::SetAside => Self::SetAside,
        }
    }
}

fn standing(number: i32) -> Result<Standing, WireError> {
    Ok(match known(number, "standing")? {
        v1::CheckpointStanding::Unspecified => return Err(WireError::missing("standing")),
        v1::CheckpointStanding::Open => Standing::Open,
        v1::CheckpointStanding::ClosedByAgent => Standing::Closed(ClosedBy::Agent),
        v1::CheckpointStanding::ClosedByTask => Standing::Closed(ClosedBy::Task),
        v1::CheckpointStanding::ClosedByFresh => Standing::Closed(ClosedBy::Fresh),
        v1::CheckpointStanding::SetAside => Standing::SetAside,
    })
}

impl TryFrom<v1::CheckpointSummary> for CheckpointState {
    type Error = WireError;

    fn try_from(state: v1::CheckpointSummary) -> Result<Self, WireError> {
        let in_flight = executions(&state.in_flight, "in_flight")?;
        Ok(Self {
            id: checkpoint_id_from_wire(&state.checkpoint, "checkpoint")?,
            standing: standing(state.standing)?,
            flags: Flags {
                unclean: state.unclean,
                in_flight,
            },
            crashes: state.crashes,
        })
    }
}

impl From<CheckpointState> for v1::CheckpointSummary {
    fn from(state: CheckpointState) -> Self {
        Self {
            checkpoint: state.id.to_string(),
            standing: v1::CheckpointStanding::from(state.standing).into(),
            unclean: state.flags.unclean,
            in_flight: state.flags.in_flight.into_iter().map(String::from).collect(),
            crashes: state.crashes,
        }
    }
}

fn executions(ids: &[String], field: &str) -> Result<Vec<ExecutionId>, WireError> {
    if ids.len() > IN_FLIGHT_MAX {
        let problem = format!("has {} entries, and at most {IN_FLIGHT_MAX} are taken", ids.len());
        return Err(WireError::new(field, problem));
    }
    let execution = |id: &String| ExecutionId::new(id).map_err(|error| WireError::new(field, format!("{error}")));
    ids.iter().map(execution).collect()
}

fn required_state(state: Option<v1::CheckpointSummary>) -> Result<CheckpointState, WireError> {
    let state = state.ok_or_else(|| WireError::missing("state"))?;
    state.try_into().map_err(|error: WireError| error.within("state"))
}

impl TryFrom<v1::SavedCheckpoint> for HeldCheckpoint {
    type Error = WireError;

    fn try_from(saved: v1::SavedCheckpoint) -> Result<Self, WireError> {
        let state = required_state(saved.state)?;
        let content = saved.content.ok_or_else(|| WireError::missing("content"))?;
        let checkpoint = checkpoint_from_wire(state.id, content).map_err(|error| error.within("content"))?;
        Ok(Self::new(Arc::new(checkpoint), state))
    }
}

impl From<HeldCheckpoint> for v1::SavedCheckpoint {
    fn from(held: HeldCheckpoint) -> Self {
        Self {
            state: Some(held.state().into()),
            content: Some(checkpoint_to_wire(&held.checkpoint)),
        }
    }
}

impl TryFrom<v1::OfferedCheckpoint> for OfferedCheckpoint {
    type Error = WireError;

    fn try_from(offered: v1::OfferedCheckpoint) -> Result<Self, WireError> {
        let state = required_state(offered.state)?;
        let read = |content| checkpoint_from_wire(state.id, content).map_err(|error| error.within("content"));
        Ok(Self {
            content: offered.content.map(read).transpose()?.map(Arc::new),
            state,
        })
    }
}

impl From<OfferedCheckpoint> for v1::OfferedCheckpoint {
    fn from(offered: OfferedCheckpoint) -> Self {
        Self {
            state: Some(offered.state.into()),
            content: offered.content.map(|content| checkpoint_to_wire(&content)),
        }
    }
}

/// Reads what a life begins with.
pub(super) fn run_context(context: Option<v1::RunContext>) -> Result<RunContext, WireError> {
    let context = context.unwrap_or_default();
    if context.fresh {
        return Ok(RunContext::Fresh);
    }
    let offered = context.offered.map(OfferedCheckpoint::try_from).transpose();
    Ok(RunContext::Resume(Box::new(Resumption {
        offered: offered.map_err(|error| error.within("offered"))?,
        closed_tasks: executions(&context.closed_tasks, "closed_tasks")?,
        late_through: counter_or_zero(context.late_through, "late_through", Incarnation::new)?,
    })))
}

/// Writes it.
pub(super) fn run_context_to_wire(context: RunContext) -> v1::RunContext {
    match context {
        RunContext::Fresh => v1::RunContext {
            fresh: true,
            ..Default::default()
        },
        RunContext::Resume(resumption) => v1::RunContext {
            fresh: false,
            offered: resumption.offered.map(v1::OfferedCheckpoint::from),
            closed_tasks: resumption.closed_tasks.into_iter().map(String::from).collect(),
            late_through: resumption.late_through.get(),
        },
    }
}

pub(super) fn asked_save(asked: Option<v1::AskedSave>) -> Result<AskedSave, WireError> {
    match asked {
        None => Ok(AskedSave::NotAsked),
        Some(asked) if asked.checkpoint.is_empty() => Ok(AskedSave::NotSaved),
        Some(asked) => checkpoint_id_from_wire(&asked.checkpoint, "asked_save.checkpoint").map(AskedSave::Saved),
    }
}

pub(super) fn asked_save_to_wire(asked: AskedSave) -> Option<v1::AskedSave> {
    match asked {
        AskedSave::NotAsked => None,
        AskedSave::NotSaved => Some(v1::AskedSave::default()),
        AskedSave::Saved(id) => Some(v1::AskedSave {
            checkpoint: id.to_string(),
        }),
    }
}

pub(super) fn stock(stock: Option<v1::CheckpointStock>) -> Result<CheckpointStock, WireError> {
    match stock {
        None => Ok(CheckpointStock::NotTaken),
        Some(stock) => {
            let newest = stock.newest.map(CheckpointState::try_from).transpose();
            let newest = newest.map_err(|error| error.within("checkpoints.newest"))?;
            Ok(CheckpointStock::Newest(newest))
        }
    }
}

pub(super) fn stock_to_wire(stock: CheckpointStock) -> Option<v1::CheckpointStock> {
    match stock {
        CheckpointStock::NotTaken => None,
        CheckpointStock::Newest(newest) => Some(v1::CheckpointStock {
            newest: newest.map(v1::CheckpointSummary::from),
        }),
    }
}

impl TryFrom<v1::CheckpointKept> for CheckpointKept {
    type Error = WireError;

    fn try_from(kept: v1::CheckpointKept) -> Result<Self, WireError> {
        let refused = cut_line(&kept.refused, MESSAGE_MAX_BYTES);
        Ok(Self {
            id: checkpoint_id_from_wire(&kept.checkpoint, "checkpoint")?,
            refused: Some(refused).filter(|refused| !refused.is_empty()),
        })
    }
}

impl From<CheckpointKept> for v1::CheckpointKept {
    fn from(kept: CheckpointKept) -> Self {
        Self {
            checkpoint: kept.id.to_string(),
            refused: kept.refused.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::COUNTER_MAX;
    use super::*;
    use crate::time::Timestamp;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    pub(in super::super) fn any_id() -> impl Strategy<Value = CheckpointId> {
        (1..=COUNTER_MAX, 1u32..).prop_map(|(life, number)| CheckpointId::new(Incarnation::new(life), number))
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        proptest::sample::select(vec![
            Standing::Open,
            Standing::Closed(ClosedBy::Agent),
            Standing::Closed(ClosedBy::Task),
            Standing::Closed(ClosedBy::Fresh),
            Standing::SetAside,
        ])
    }

    pub(in super::super) fn any_state() -> impl Strategy<Value = CheckpointState> {
        let flags = (any::<bool>(), any_executions());
        (any_id(), any_standing(), flags, any::<u32>()).prop_map(|(id, standing, (unclean, in_flight), crashes)| {
            CheckpointState {
                id,
                standing,
                flags: Flags { unclean, in_flight },
                crashes,
            }
        })
    }

    fn any_executions() -> impl Strategy<Value = Vec<ExecutionId>> {
        vec(
            "[a-z]{1,5}".prop_map(|id| ExecutionId::new(&id).expect("in the alphabet")),
            0..4,
        )
    }

    fn any_content() -> impl Strategy<Value = Checkpoint> {
        let texts = ["[ -~ä]{0,20}", "[ -~]{0,9}", "[ -~]{0,9}", "[ -~]{0,9}", "[ -~]{0,9}"];
        let many = (
            vec("[ -~]{1,9}", 0..3),
            btree_map("[a-zA-Z_]{1,9}", "[ -~\n]{0,9}", 0..3),
        );
        let rest = (vec(any::<u8>(), 0..99), any::<u64>());
        (any_id(), texts, many, rest).prop_map(|(id, texts, (memory_refs, values), (body, saved))| {
            let [task_id, issue, workspace, branch, stage] = texts;
            Checkpoint {
                id,
                fields: CheckpointFields::new(CheckpointDraft {
                    task_id,
                    issue,
                    workspace,
                    branch,
                    stage,
                    memory_refs,
                    values,
                })
                .expect("within limits"),
                body: CheckpointBody::new(body).expect("within limits"),
                saved: Timestamp::from_unix_nanos(saved),
            }
        })
    }

    pub(in super::super) fn any_held() -> impl Strategy<Value = HeldCheckpoint> {
        (any_state(), any_content()).prop_map(|(state, content)| {
            let checkpoint = Checkpoint {
                id: state.id,
                ..content
            };
            HeldCheckpoint::new(Arc::new(checkpoint), state)
        })
    }

    pub(in super::super) fn any_context() -> impl Strategy<Value = RunContext> {
        let offered = (any_state(), proptest::option::of(any_content())).prop_map(|(state, content)| {
            let content = content.map(|content| {
                Arc::new(Checkpoint {
                    id: state.id,
                    ..content
                })
            });
            OfferedCheckpoint { state, content }
        });
        let resumption = (proptest::option::of(offered), any_executions(), 0..=COUNTER_MAX);
        prop_oneof![
            Just(RunContext::Fresh),
            Just(RunContext::default()),
            resumption.prop_map(|(offered, closed_tasks, late_through)| {
                RunContext::Resume(Box::new(Resumption {
                    offered,
                    closed_tasks,
                    late_through: Incarnation::new(late_through),
                }))
            })
        ]
    }

    pub(in super::super) fn any_asked_save() -> impl Strategy<Value = AskedSave> {
        prop_oneof![
            Just(AskedSave::NotAsked),
            Just(AskedSave::NotSaved),
            any_id().prop_map(AskedSave::Saved)
        ]
    }

    pub(in super::super) fn any_stock() -> impl Strategy<Value = CheckpointStock> {
        prop_oneof![
            Just(CheckpointStock::NotTaken),
            proptest::option::of(any_state()).prop_map(CheckpointStock::Newest),
        ]
    }

    proptest! {
        #[test]
        fn held_ones_round_trip(held in any_held()) {
            prop_assert_eq!(HeldCheckpoint::try_from(v1::SavedCheckpoint::from(held.clone())), Ok(held));
        }

        #[test]
        fn contexts_round_trip(context in any_context()) {
            prop_assert_eq!(run_context(Some(run_context_to_wire(context.clone()))), Ok(context));
        }

        #[test]
        fn what_was_asked_round_trips(asked in any_asked_save()) {
            prop_assert_eq!(asked_save(asked_save_to_wire(asked)), Ok(asked));
        }
    }

    #[test]
    fn a_server_of_an_earlier_version_offers_nothing() {
        assert_eq!(run_context(None), Ok(RunContext::default()));
    }

    #[test]
    fn errors_name_the_field() {
        let state = v1::CheckpointSummary {
            checkpoint: "7.3".into(),
            standing: v1::CheckpointStanding::Open.into(),
            ..Default::default()
        };
        let content = v1::CheckpointContent {
            save_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        let whole = v1::SavedCheckpoint {
            state: Some(state.clone()),
            content: Some(content.clone()),
        };
        assert!(HeldCheckpoint::try_from(whole.clone()).is_ok());
        let with_state = |state| v1::SavedCheckpoint {
            state: Some(state),
            ..whole.clone()
        };
        let with_content = |content| v1::SavedCheckpoint {
            content: Some(content),
            ..whole.clone()
        };
        let far = format!("{}.1", u64::MAX);
        for (wrong, field) in [
            (v1::SavedCheckpoint::default(), "state"),
            (
                with_state(v1::CheckpointSummary {
                    checkpoint: String::new(),
                    ..state.clone()
                }),
                "state.checkpoint",
            ),
            (
                with_state(v1::CheckpointSummary {
                    checkpoint: far,
                    ..state.clone()
                }),
                "state.checkpoint",
            ),
            (
                with_state(v1::CheckpointSummary {
                    standing: 0,
                    ..state.clone()
                }),
                "state.standing",
            ),
            (
                with_state(v1::CheckpointSummary {
                    standing: 9,
                    ..state.clone()
                }),
                "state.standing",
            ),
            (
                with_state(v1::CheckpointSummary {
                    in_flight: vec!["e".into(); IN_FLIGHT_MAX + 1],
                    ..state.clone()
                }),
                "state.in_flight",
            ),
            (with_content(v1::CheckpointContent::default()), "content.save_time"),
            (
                with_content(v1::CheckpointContent {
                    branch: "\n".into(),
                    ..content.clone()
                }),
                "content.branch",
            ),
            (
                with_content(v1::CheckpointContent {
                    body: vec![0; crate::checkpoint::BODY_MAX_BYTES + 1],
                    ..content.clone()
                }),
                "content.body",
            ),
        ] {
            assert_eq!(HeldCheckpoint::try_from(wrong).expect_err(field).field, field);
        }
    }
}
