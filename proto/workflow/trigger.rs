//! What sets a workflow off.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::WorkflowId;
use crate::execution::ExecutionState;
use crate::id::AgentId;
use crate::time::Timestamp;

/// Shortest interval: a program that shall run more often is a loop of its own.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Longest interval: a year, and a day for those that leap.
pub const INTERVAL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Longest cron expression, in bytes: each minute of an hour in a list, and room for the other fields.
pub const CRON_EXPRESSION_MAX_BYTES: usize = 256;

/// Longest name of a time zone, in bytes: twice the longest of the IANA database.
pub const TIME_ZONE_MAX_BYTES: usize = 64;

/// What sets a workflow off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// Each time so much time has passed.
    Interval(Interval),
    /// At the times that an expression names.
    Cron(CronText),
    /// Once, at this time.
    OneShot(Timestamp),
    /// By TriggerWorkflow alone.
    Manual,
    /// By an HTTP request that knows the workflow's secret.
    Webhook,
    /// When the life of an agent takes such a turn.
    AgentEvent(AgentEvents),
    /// When an execution of another workflow has ended so.
    Completion(Completion),
}

impl Trigger {
    /// The field's name in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Interval(_) => "interval",
            Self::Cron(_) => "cron",
            Self::OneShot(_) => "one_shot",
            Self::Manual => "manual",
            Self::Webhook => "webhook",
            Self::AgentEvent(_) => "agent_event",
            Self::Completion(_) => "completion",
        }
    }

    /// Whether it goes off at times, and not by somebody's doing.
    pub const fn is_schedule(&self) -> bool {
        match self {
            Self::Interval(_) | Self::Cron(_) | Self::OneShot(_) => true,
            Self::Manual | Self::Webhook | Self::AgentEvent(_) | Self::Completion(_) => false,
        }
    }
}

/// Why something is no trigger: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct TriggerError {
    /// The field's path in the API, below the workflow.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A time between [`INTERVAL_MIN`] and [`INTERVAL_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Duration", into = "Duration")]
pub struct Interval(Duration);

impl Interval {
    /// Checks the limits.
    pub fn new(every: Duration) -> Result<Self, TriggerError> {
        if (INTERVAL_MIN..=INTERVAL_MAX).contains(&every) {
            return Ok(Self(every));
        }
        let show = crate::duration::show;
        let problem = format!(
            "{} is not between {} and {}",
            show(every),
            show(INTERVAL_MIN),
            show(INTERVAL_MAX)
        );
        let field = "interval.every";
        Err(TriggerError { field, problem })
    }

    /// From one fire to the next.
    pub const fn every(self) -> Duration {
        self.0
    }
}

impl TryFrom<Duration> for Interval {
    type Error = TriggerError;

    fn try_from(every: Duration) -> Result<Self, TriggerError> {
        Self::new(every)
    }
}

impl From<Interval> for Duration {
    fn from(interval: Interval) -> Self {
        interval.0
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CronFields {
    expression: String,
    time_zone: String,
}

/// A cron expression and the time zone that it is read in: texts that may be looked at. What they mean, and whether that
/// ever comes, the server's core says, which has the rules of the zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CronFields", into = "CronFields")]
pub struct CronText {
    expression: Box<str>,
    time_zone: Box<str>,
}

impl CronText {
    /// Checks the texts' lengths and letters; white space around them goes, and an empty time zone is `UTC`.
    pub fn new(expression: &str, time_zone: &str) -> Result<Self, TriggerError> {
        let (expression, time_zone) = (expression.trim(), time_zone.trim());
        let printable = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if expression.is_empty() || !printable(expression) || expression.len() > CRON_EXPRESSION_MAX_BYTES {
            return Err(TriggerError {
                field: "cron.expression",
                problem: format!(
                    "a cron expression has five fields, minute, hour, day of month, month and day of week, in at most \
                     {CRON_EXPRESSION_MAX_BYTES} printable ASCII characters; write for example \"30 7 * * 1-5\""
                ),
            });
        }
        if time_zone.contains(' ') || !printable(time_zone) || time_zone.len() > TIME_ZONE_MAX_BYTES {
            return Err(TriggerError {
                field: "cron.time_zone",
                problem: "a time zone is a name of the IANA database, for example \"Europe/Berlin\" or \"UTC\""
                    .to_owned(),
            });
        }
        let time_zone = if time_zone.is_empty() { "UTC" } else { time_zone };
        Ok(Self {
            expression: expression.into(),
            time_zone: time_zone.into(),
        })
    }

    /// The expression.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The time zone's name.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }
}

impl TryFrom<CronFields> for CronText {
    type Error = TriggerError;

    fn try_from(fields: CronFields) -> Result<Self, TriggerError> {
        Self::new(&fields.expression, &fields.time_zone)
    }
}

impl From<CronText> for CronFields {
    fn from(cron: CronText) -> Self {
        Self {
            expression: cron.expression.into(),
            time_zone: cron.time_zone.into(),
        }
    }
}

/// Which turns of which agent's life set a workflow off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEvents {
    /// The agent that is watched. It need not exist.
    pub agent: AgentId,
    /// The turns; not empty.
    pub types: BTreeSet<AgentEventKind>,
}

impl AgentEvents {
    /// Checks that there is something to wait for.
    pub fn new(agent: AgentId, types: impl IntoIterator<Item = AgentEventKind>) -> Result<Self, TriggerError> {
        let types: BTreeSet<_> = types.into_iter().collect();
        if types.is_empty() {
            return Err(TriggerError {
                field: "agent_event.types",
                problem: "name at least one type of event, for example AGENT_READY".to_owned(),
            });
        }
        Ok(Self { agent, types })
    }
}

macro_rules! agent_event_kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// A turn in an agent's life, as the event of it is called.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum AgentEventKind {
            $($(#[$doc])* $name,)*
        }

        impl AgentEventKind {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word of the design, as `EVENT_TYPE_` has it in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

agent_event_kinds! {
    /// It became known.
    Registered = "AGENT_REGISTERED",
    /// The order to start is given.
    Starting = "AGENT_STARTING",
    /// The process exists.
    Started = "AGENT_STARTED",
    /// The process is ready.
    Ready = "AGENT_READY",
    /// It has crashed.
    Crashed = "AGENT_CRASHED",
    /// Its shim is silent.
    Unreachable = "AGENT_UNREACHABLE",
    /// It is back from silence.
    Reconnected = "AGENT_RECONNECTED",
    /// An operator's restart or start is done.
    Restarted = "AGENT_RESTARTED",
    /// The old tree is being ended.
    Stopping = "AGENT_STOPPING",
    /// It has stopped.
    Stopped = "AGENT_STOPPED",
    /// Its recovery is exhausted.
    Terminated = "AGENT_TERMINATED",
    /// Processes of it outlived SIGKILL.
    Quarantined = "AGENT_QUARANTINED",
    /// Another shim holds it.
    TakenOver = "AGENT_TAKEN_OVER",
    /// It is forgotten.
    Deleted = "AGENT_DELETED",
}

impl AgentEventKind {
    /// Parses the word of the design.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// Which ends of which workflow's executions set a workflow off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The workflow whose executions are watched. It need not exist.
    pub workflow: WorkflowId,
    /// The ends; not empty.
    pub states: BTreeSet<ExecutionState>,
}

impl Completion {
    /// Checks that each is an end; none means SUCCEEDED. LOST is one that may be followed by the true one.
    pub fn new(workflow: WorkflowId, states: impl IntoIterator<Item = ExecutionState>) -> Result<Self, TriggerError> {
        let mut states: BTreeSet<_> = states.into_iter().collect();
        if let Some(state) = states.iter().find(|state| !state.is_over()) {
            return Err(TriggerError {
                field: "completion.states",
                problem: format!("{state} is no end; write for example SUCCEEDED or FAILED"),
            });
        }
        if states.is_empty() {
            states.insert(ExecutionState::Succeeded);
        }
        Ok(Self { workflow, states })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_trigger_says_why() {
        let problem = |error: TriggerError| error.to_string();
        assert!(Interval::new(Duration::from_secs(1)).is_ok());
        assert_eq!(
            Interval::new(Duration::from_millis(999)).map_err(problem),
            Err("interval.every: 999ms is not between 1s and 1year 18h".to_owned())
        );
        for bad in ["", "  ", "* * * * \u{e4}", &"*".repeat(CRON_EXPRESSION_MAX_BYTES + 1)] {
            let error = CronText::new(bad, "UTC").expect_err(bad);
            assert_eq!(error.field, "cron.expression", "{bad:?}");
        }
        for bad in ["Europe Berlin", "\u{fc}", &"z".repeat(TIME_ZONE_MAX_BYTES + 1)] {
            let error = CronText::new("* * * * *", bad).expect_err(bad);
            assert_eq!(error.field, "cron.time_zone", "{bad:?}");
        }
        let utc = CronText::new(" 0 7 * * * ", "").expect("valid");
        assert_eq!((utc.expression(), utc.time_zone()), ("0 7 * * *", "UTC"));
        let agent = AgentId::new("a").expect("valid");
        assert!(AgentEvents::new(agent, []).is_err());
        let workflow = WorkflowId::new("w").expect("valid");
        assert!(Completion::new(workflow.clone(), [ExecutionState::Running]).is_err());
        let default = Completion::new(workflow, []).expect("valid");
        assert_eq!(default.states, BTreeSet::from([ExecutionState::Succeeded]));
    }

    #[test]
    fn each_turn_of_a_life_has_its_word() {
        for kind in AgentEventKind::ALL {
            assert_eq!(AgentEventKind::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(AgentEventKind::parse("EXECUTION_QUEUED"), None);
    }

    #[test]
    fn what_is_read_back_is_checked_as_well() {
        let read = |text: &str| serde_json::from_str::<Trigger>(text);
        assert!(read(r#"{"Interval":{"secs":1,"nanos":0}}"#).is_ok());
        assert!(read(r#"{"Interval":{"secs":0,"nanos":0}}"#).is_err());
        assert!(read(r#"{"Cron":{"expression":"","time_zone":"UTC"}}"#).is_err());
    }
}
