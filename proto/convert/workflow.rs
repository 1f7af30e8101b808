//! Workflows: what their authors set, and the enums.

use super::time::{duration_to_wire, optional_duration, required_duration, required_timestamp, timestamp_to_wire};
use super::{WireError, known};
use crate::execution::{ExecutionState, MESSAGE_MAX_BYTES};
use crate::id::AgentId;
use crate::wire::v1;
use crate::wire::v1::trigger::Kind;
use crate::workflow::{
    AgentEventKind, AgentEvents, Completion, CronText, Interval, Misfire, Overlap, Trigger, TriggerError, WorkflowId,
    WorkflowPatch,
};

/// Most paths of one mask: every field, a few times.
const PATHS_MAX: usize = 100;

/// Most words of one list: each of those that there are, a few times.
const WORDS_MAX: usize = 100;

/// Every field that a call may set.
const FIELDS: [&str; 8] = [
    "agent",
    "enabled",
    "trigger",
    "message",
    "timeout",
    "misfire",
    "overlap",
    "expires_after",
];

/// What a call sets of a workflow. A field without a change is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkflowChange {
    /// What it shall do.
    pub patch: WorkflowPatch,
    /// What its agent is asked to do.
    pub message: Option<String>,
}

impl WorkflowChange {
    /// Reads a change.
    ///
    /// - no mask: every field that is set;
    /// - `*`: every field is replaced, an absent one by its default;
    /// - the name of a field: that one, by its default where it is absent.
    ///
    /// # Errors
    /// Names the path or the field that is wrong, relative to the request.
    pub fn from_wire(workflow: &v1::Workflow, mask: Option<&prost_types::FieldMask>) -> Result<Self, WireError> {
        let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
        if paths.len() > PATHS_MAX {
            let problem = format!("has {} paths, and at most {PATHS_MAX} are taken", paths.len());
            return Err(WireError::new("update_mask", problem));
        }
        let mut change = Self::default();
        let within = |error: WireError| error.within("workflow");
        for field in FIELDS
            .iter()
            .filter(|field| paths.is_empty() && is_set(workflow, field))
        {
            change.set(workflow, field).map_err(within)?;
        }
        for path in paths {
            match path.as_str() {
                "*" => {
                    for field in FIELDS {
                        change.set(workflow, field).map_err(within)?;
                    }
                }
                field if FIELDS.contains(&field) => change.set(workflow, field).map_err(within)?,
                _ => return Err(unknown(path)),
            }
        }
        Ok(change)
    }

    fn set(&mut self, workflow: &v1::Workflow, field: &str) -> Result<(), WireError> {
        let patch = &mut self.patch;
        match field {
            "agent" => patch.agent = Some(agent(&workflow.agent, "agent")?),
            "enabled" => patch.enabled = Some(workflow.enabled.unwrap_or(true)),
            "trigger" => patch.trigger = Some(trigger(workflow.trigger.as_ref(), &workflow.agent)?),
            "message" => self.message = Some(message(&workflow.message)?),
            "timeout" => patch.timeout = Some(optional_duration(workflow.timeout, "timeout")?),
            "misfire" => patch.misfire = Some(misfire(workflow.misfire)?),
            "overlap" => patch.overlap = Some(overlap(workflow.overlap)?),
            "expires_after" => patch.expires_after = Some(optional_duration(workflow.expires_after, "expires_after")?),
            other => return Err(unknown(other)),
        }
        Ok(())
    }
}

fn is_set(workflow: &v1::Workflow, field: &str) -> bool {
    match field {
        "agent" => !workflow.agent.is_empty(),
        "enabled" => workflow.enabled.is_some(),
        "trigger" => workflow.trigger.is_some(),
        "message" => !workflow.message.is_empty(),
        "timeout" => workflow.timeout.is_some(),
        "misfire" => workflow.misfire != 0,
        "overlap" => workflow.overlap != 0,
        "expires_after" => workflow.expires_after.is_some(),
        _ => false,
    }
}

fn unknown(path: &str) -> WireError {
    let shown: String = path.chars().take(80).collect();
    let problem = format!("{shown:?} cannot be changed; write * or {}", FIELDS.join(", "));
    WireError::new("update_mask", problem)
}

fn agent(name: &str, field: &str) -> Result<AgentId, WireError> {
    AgentId::from_name(name).map_err(|error| WireError::new(field, error.to_string()))
}

fn message(text: &str) -> Result<String, WireError> {
    let bytes = text.len();
    if bytes == 0 {
        return Err(WireError::new("message", "must not be empty"));
    }
    if bytes > MESSAGE_MAX_BYTES {
        let problem = format!(
            "has {bytes} bytes, and at most {MESSAGE_MAX_BYTES} are taken; put what is longer into a file that it names"
        );
        return Err(WireError::new("message", problem));
    }
    Ok(text.to_owned())
}

/// Reads a trigger of a workflow for this agent.
fn trigger(trigger: Option<&v1::Trigger>, own_agent: &str) -> Result<Trigger, WireError> {
    let kind = trigger.and_then(|trigger| trigger.kind.as_ref()).ok_or_else(|| {
        let problem = "is missing; give one of interval, cron, one_shot, manual, webhook, agent_event, completion";
        WireError::new("trigger", problem)
    })?;
    kind_from_wire(kind, own_agent).map_err(|error| error.within("trigger"))
}

fn kind_from_wire(kind: &Kind, own_agent: &str) -> Result<Trigger, WireError> {
    Ok(match kind {
        Kind::Interval(interval) => {
            let every = required_duration(interval.every, "interval.every")?;
            Trigger::Interval(Interval::new(every)?)
        }
        Kind::Cron(cron) => Trigger::Cron(CronText::new(&cron.expression, &cron.time_zone)?),
        Kind::OneShot(once) => Trigger::OneShot(required_timestamp(once.at, "one_shot.at")?),
        Kind::Manual(v1::trigger::Manual {}) => Trigger::Manual,
        Kind::Webhook(v1::trigger::Webhook {}) => Trigger::Webhook,
        Kind::AgentEvent(event) => {
            bounded(event.types.len(), "agent_event.types")?;
            let name = if event.agent.is_empty() {
                own_agent
            } else {
                &event.agent
            };
            let of = agent(name, "agent_event.agent")?;
            let types = event.types.iter().map(|kind| agent_event_kind(*kind));
            Trigger::AgentEvent(AgentEvents::new(of, types.collect::<Result<Vec<_>, _>>()?)?)
        }
        Kind::Completion(completion) => {
            bounded(completion.states.len(), "completion.states")?;
            let workflow = WorkflowId::from_name(&completion.workflow)
                .map_err(|error| WireError::new("completion.workflow", error.to_string()))?;
            let states = completion.states.iter().map(|state| end(*state));
            Trigger::Completion(Completion::new(workflow, states.collect::<Result<Vec<_>, _>>()?)?)
        }
    })
}

impl From<TriggerError> for WireError {
    fn from(error: TriggerError) -> Self {
        Self::new(error.field, error.problem)
    }
}

fn bounded(words: usize, field: &str) -> Result<(), WireError> {
    if words > WORDS_MAX {
        let problem = format!("has {words} items, and at most {WORDS_MAX} are taken");
        return Err(WireError::new(field, problem));
    }
    Ok(())
}

fn agent_event_kind(number: i32) -> Result<AgentEventKind, WireError> {
    let field = "agent_event.types";
    let kind = known::<v1::EventType>(number, field)?.as_str_name();
    let word = kind.strip_prefix("EVENT_TYPE_").unwrap_or(kind);
    AgentEventKind::parse(word).ok_or_else(|| {
        let all: Vec<_> = AgentEventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        WireError::new(field, format!("{word} is none of {}", all.join(", ")))
    })
}

fn end(number: i32) -> Result<ExecutionState, WireError> {
    let field = "completion.states";
    let state: v1::ExecutionState = known(number, field)?;
    let found = ExecutionState::ALL
        .into_iter()
        .find(|known| v1::ExecutionState::from(*known) == state);
    found.ok_or_else(|| WireError::new(field, "must not be UNSPECIFIED; write for example SUCCEEDED or FAILED"))
}

fn misfire(number: i32) -> Result<Misfire, WireError> {
    Ok(match known(number, "misfire")? {
        v1::Misfire::Unspecified | v1::Misfire::Once => Misfire::Once,
        v1::Misfire::Skip => Misfire::Skip,
        v1::Misfire::All => Misfire::All,
    })
}

impl From<Misfire> for v1::Misfire {
    fn from(misfire: Misfire) -> Self {
        match misfire {
            Misfire::Skip => Self::Skip,
            Misfire::Once => Self::Once,
            Misfire::All => Self::All,
        }
    }
}

fn overlap(number: i32) -> Result<Overlap, WireError> {
    Ok(match known(number, "overlap")? {
        v1::Overlap::Unspecified | v1::Overlap::Queue => Overlap::Queue,
        v1::Overlap::Skip => Overlap::Skip,
        v1::Overlap::CancelRunning => Overlap::CancelRunning,
    })
}

impl From<Overlap> for v1::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Queue => Self::Queue,
            Overlap::CancelRunning => Self::CancelRunning,
        }
    }
}

impl From<AgentEventKind> for v1::EventType {
    fn from(kind: AgentEventKind) -> Self {
        match kind {
            AgentEventKind::Registered => Self::AgentRegistered,
            AgentEventKind::Starting => Self::AgentStarting,
            AgentEventKind::Started => Self::AgentStarted,
            AgentEventKind::Ready => Self::AgentReady,
            AgentEventKind::Crashed => Self::AgentCrashed,
            AgentEventKind::Unreachable => Self::AgentUnreachable,
            AgentEventKind::Reconnected => Self::AgentReconnected,
            AgentEventKind::Restarted => Self::AgentRestarted,
            AgentEventKind::Stopping => Self::AgentStopping,
            AgentEventKind::Stopped => Self::AgentStopped,
            AgentEventKind::Terminated => Self::AgentTerminated,
            AgentEventKind::Quarantined => Self::AgentQuarantined,
            AgentEventKind::TakenOver => Self::AgentTakenOver,
            AgentEventKind::Deleted => Self::AgentDeleted,
        }
    }
}

impl From<&Trigger> for v1::Trigger {
    fn from(trigger: &Trigger) -> Self {
        use v1::trigger;
        let kind = match trigger {
            Trigger::Interval(interval) => Kind::Interval(trigger::Interval {
                every: Some(duration_to_wire(interval.every())),
            }),
            Trigger::Cron(cron) => Kind::Cron(trigger::Cron {
                expression: cron.expression().to_owned(),
                time_zone: cron.time_zone().to_owned(),
            }),
            Trigger::OneShot(at) => Kind::OneShot(trigger::OneShot {
                at: Some(timestamp_to_wire(*at)),
            }),
            Trigger::Manual => Kind::Manual(trigger::Manual {}),
            Trigger::Webhook => Kind::Webhook(trigger::Webhook {}),
            Trigger::AgentEvent(events) => Kind::AgentEvent(trigger::AgentEvent {
                agent: events.agent.name(),
                types: events
                    .types
                    .iter()
                    .map(|kind| v1::EventType::from(*kind).into())
                    .collect(),
            }),
            Trigger::Completion(completion) => Kind::Completion(trigger::Completion {
                workflow: completion.workflow.name(),
                states: completion
                    .states
                    .iter()
                    .map(|state| v1::ExecutionState::from(*state).into())
                    .collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::time::Timestamp;

    fn any_trigger() -> impl Strategy<Value = Trigger> {
        let agent = AgentId::new("a").expect("valid");
        let workflow = WorkflowId::new("w").expect("valid");
        let ends: Vec<_> = ExecutionState::ALL
            .into_iter()
            .filter(|state| state.is_over())
            .collect();
        prop_oneof![
            (1u64..100_000, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| {
                Trigger::Interval(Interval::new(Duration::new(seconds, nanos)).expect("within"))
            }),
            ("[0-9*/, ]{1,20}[0-9]", "[A-Za-z/]{1,20}")
                .prop_map(|(expression, zone)| Trigger::Cron(CronText::new(&expression, &zone).expect("valid"))),
            any::<u64>().prop_map(|nanos| Trigger::OneShot(Timestamp::from_unix_nanos(nanos))),
            Just(Trigger::Manual),
            Just(Trigger::Webhook),
            btree_set(select(AgentEventKind::ALL), 1..5)
                .prop_map(move |types| Trigger::AgentEvent(AgentEvents::new(agent.clone(), types).expect("some"))),
            btree_set(select(ends), 1..4)
                .prop_map(move |ends| Trigger::Completion(Completion::new(workflow.clone(), ends).expect("ends"))),
        ]
    }

    proptest! {
        #[test]
        fn triggers_round_trip(trigger in any_trigger()) {
            let wire = v1::Trigger::from(&trigger);
            prop_assert_eq!(super::trigger(Some(&wire), "agents/own"), Ok(trigger));
        }
    }

    #[test]
    fn events_are_the_workflows_own_agents_where_none_is_named() {
        let mut workflow = workflow();
        workflow.trigger = Some(v1::Trigger {
            kind: Some(Kind::AgentEvent(v1::trigger::AgentEvent {
                agent: String::new(),
                types: vec![v1::EventType::AgentReady.into()],
            })),
        });
        let change = WorkflowChange::from_wire(&workflow, None).expect("valid");
        let Some(Trigger::AgentEvent(events)) = change.patch.trigger else {
            panic!("another trigger")
        };
        assert_eq!(events.agent.as_str(), "a");
    }

    #[test]
    fn policies_round_trip() {
        for each in Misfire::ALL {
            assert_eq!(misfire(v1::Misfire::from(each).into()), Ok(each));
        }
        for each in Overlap::ALL {
            assert_eq!(overlap(v1::Overlap::from(each).into()), Ok(each));
        }
        assert_eq!(
            (misfire(0), overlap(0)),
            (Ok(Misfire::default()), Ok(Overlap::default()))
        );
        for kind in AgentEventKind::ALL {
            assert_eq!(agent_event_kind(v1::EventType::from(*kind).into()), Ok(*kind));
        }
    }

    fn workflow() -> v1::Workflow {
        v1::Workflow {
            agent: "agents/a".to_owned(),
            trigger: Some(v1::Trigger::from(&Trigger::Manual)),
            message: "go".to_owned(),
            ..v1::Workflow::default()
        }
    }

    fn mask(paths: &[&str]) -> prost_types::FieldMask {
        prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }
    }

    #[test]
    fn a_mask_says_what_changes() {
        let change = |paths: &[&str]| WorkflowChange::from_wire(&workflow(), Some(&mask(paths)));
        let set = change(&[]).expect("valid");
        assert_eq!(
            (set.patch.enabled, set.patch.timeout, set.message.as_deref()),
            (None, None, Some("go"))
        );
        assert_eq!(WorkflowChange::from_wire(&workflow(), None), Ok(set));
        let one = change(&["timeout"]).expect("valid");
        assert_eq!(one.patch.timeout, Some(None), "by its default");
        assert_eq!((one.message, one.patch.trigger), (None, None));
        let all = change(&["*"]).expect("valid");
        assert_eq!(
            (all.patch.enabled, all.patch.misfire),
            (Some(true), Some(Misfire::Once))
        );
        let none = change(&["runner"]).expect_err("it is not for callers");
        assert_eq!(none.field, "update_mask");
        assert!(none.problem.contains("expires_after"), "{none}");
        assert!(change(&["agent"; PATHS_MAX + 1]).is_err());
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let field = |change: fn(&mut v1::Workflow)| {
            let mut wrong = workflow();
            change(&mut wrong);
            let error = WorkflowChange::from_wire(&wrong, Some(&mask(&["*"])));
            error.map(drop).map_err(|error| error.field)
        };
        fn with(kind: Kind) -> Option<v1::Trigger> {
            Some(v1::Trigger { kind: Some(kind) })
        }
        assert_eq!(field(|_| ()), Ok(()));
        for (change, path) in [
            (
                (|wrong: &mut v1::Workflow| wrong.agent = "a".to_owned()) as fn(&mut v1::Workflow),
                "workflow.agent",
            ),
            (|wrong| wrong.message.clear(), "workflow.message"),
            (
                |wrong| wrong.message = "x".repeat(MESSAGE_MAX_BYTES + 1),
                "workflow.message",
            ),
            (|wrong| wrong.trigger = None, "workflow.trigger"),
            (|wrong| wrong.trigger = Some(v1::Trigger::default()), "workflow.trigger"),
            (
                |wrong| wrong.trigger = with(Kind::Interval(Default::default())),
                "workflow.trigger.interval.every",
            ),
            (
                |wrong| wrong.trigger = with(Kind::Cron(Default::default())),
                "workflow.trigger.cron.expression",
            ),
            (
                |wrong| wrong.trigger = with(Kind::OneShot(Default::default())),
                "workflow.trigger.one_shot.at",
            ),
            (
                |wrong| {
                    wrong.trigger = with(Kind::AgentEvent(v1::trigger::AgentEvent {
                        agent: "agents/a".to_owned(),
                        types: vec![v1::EventType::ServerStarted.into()],
                    }));
                },
                "workflow.trigger.agent_event.types",
            ),
            (
                |wrong| wrong.trigger = with(Kind::Completion(Default::default())),
                "workflow.trigger.completion.workflow",
            ),
            (|wrong| wrong.misfire = 9, "workflow.misfire"),
            (
                |wrong| wrong.timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                "workflow.timeout",
            ),
        ] {
            assert_eq!(field(change), Err(path.to_owned()));
        }
    }
}
