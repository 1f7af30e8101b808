//! What a filter can ask of an agent.

use rekindle::state::{AgentState, Desired};
use rekindle_server_core::record::AgentRecord;

use super::{Field, Kind, Subject, Value};

const STATES: [&str; AgentState::ALL.len()] = {
    let mut words = [""; AgentState::ALL.len()];
    let mut index = 0;
    while index < words.len() {
        words[index] = AgentState::ALL[index].as_str();
        index += 1;
    }
    words
};

/// An agent, as a filter sees it.
pub(in super::super) struct FilteredAgent<'a> {
    /// Its record.
    pub(in super::super) record: &'a AgentRecord,
    /// Tells whether its shim is connected: asked only by filters that ask for it.
    pub(in super::super) is_connected: &'a dyn Fn(&AgentRecord) -> bool,
}

impl Subject for FilteredAgent<'_> {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "name",
            kind: Kind::Text,
        },
        Field {
            name: "state",
            kind: Kind::Word {
                prefix: "AGENT_STATE_",
                words: &STATES,
            },
        },
        Field {
            name: "state_reason",
            kind: Kind::Text,
        },
        Field {
            name: "desired_state",
            kind: Kind::Word {
                prefix: "DESIRED_STATE_",
                words: &["RUNNING", "STOPPED"],
            },
        },
        Field {
            name: "ready",
            kind: Kind::Flag,
        },
        Field {
            name: "incarnation",
            kind: Kind::Number,
        },
        Field {
            name: "connection.connected",
            kind: Kind::Flag,
        },
        Field {
            name: "connection.host",
            kind: Kind::Text,
        },
        Field {
            name: "labels",
            kind: Kind::Map,
        },
    ];

    fn value(&self, field: &'static str, key: &str) -> Option<Value<'_>> {
        let record = self.record;
        match field {
            "name" => Some(Value::Text(record.id.name().into())),
            "state" => Some(Value::Text(record.state.as_str().into())),
            "state_reason" => Some(Value::Text(record.reason.as_str().into())),
            "desired_state" => {
                let word = match record.desired {
                    Desired::Running => "RUNNING",
                    Desired::Stopped => "STOPPED",
                };
                Some(Value::Text(word.into()))
            }
            "ready" => Some(Value::Flag(record.is_ready())),
            "incarnation" => Some(Value::Number(record.incarnation.get())),
            "connection.connected" => Some(Value::Flag((self.is_connected)(record))),
            "connection.host" => record
                .holder
                .as_ref()
                .map(|holder| Value::Text(holder.host.name.as_str().into())),
            "labels" => record.labels.get(key).map(|value| Value::Text(value.as_str().into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use rekindle::id::AgentId;
    use rekindle::time::Timestamp;

    #[test]
    fn every_field_can_be_asked_for() {
        let mut record = AgentRecord::unborn(AgentId::new("a-1").expect("valid"), Timestamp::UNIX_EPOCH);
        record.labels.insert("team".into(), "search".into());
        let agent = FilteredAgent {
            record: &record,
            is_connected: &|_| true,
        };
        for filter in [
            "name = agents/a-*",
            "state = PENDING",
            "state = AGENT_STATE_PENDING",
            "state_reason = \"\"",
            "desired_state = RUNNING",
            "ready = false",
            "incarnation = 0",
            "connection.connected = true",
            "NOT connection.host:*",
            "labels.team = search",
        ] {
            assert!(Filter::parse(filter).expect("valid").matches(&agent), "{filter}");
        }
        for field in FilteredAgent::FIELDS {
            assert!(
                agent.value(field.name, "team").is_some() || field.name == "connection.host",
                "{} has no value",
                field.name
            );
        }
    }
}
