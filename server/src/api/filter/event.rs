//! What a filter can ask of an event.

use rekindle_server_core::event::{Event, EventKind};

use super::{Field, Kind, Subject, Value};

const TYPES: [&str; EventKind::ALL.len()] = {
    let mut words = [""; EventKind::ALL.len()];
    let mut index = 0;
    while index < words.len() {
        words[index] = EventKind::ALL[index].as_str();
        index += 1;
    }
    words
};

impl Subject for Event {
    const FIELDS: &'static [Field] = &[
        Field {
            name: "type",
            kind: Kind::Word {
                prefix: "EVENT_TYPE_",
                words: &TYPES,
            },
        },
        Field {
            name: "agent",
            kind: Kind::Text,
        },
        Field {
            name: "sequence",
            kind: Kind::Number,
        },
        Field {
            name: "incarnation",
            kind: Kind::Number,
        },
        Field {
            name: "attributes",
            kind: Kind::Map,
        },
    ];

    fn value(&self, field: &'static str, key: &str) -> Option<Value<'_>> {
        match field {
            "type" => Some(Value::Text(self.kind.as_str().into())),
            "agent" => self.agent.as_ref().map(|agent| Value::Text(agent.name().into())),
            "sequence" => Some(Value::Number(self.sequence.get())),
            "incarnation" => Some(Value::Number(self.incarnation.get())),
            "attributes" => self.attributes.get(key).map(|value| Value::Text(value.as_str().into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use rekindle::id::{AgentId, Incarnation, Sequence};
    use rekindle::time::Timestamp;

    #[test]
    fn every_field_can_be_asked_for() {
        let event = Event {
            sequence: Sequence::new(7),
            time: Timestamp::UNIX_EPOCH,
            kind: EventKind::AgentCrashed,
            agent: Some(AgentId::new("a-1").expect("valid")),
            incarnation: Incarnation::new(3),
            message: String::new(),
            attributes: [("signal".to_owned(), "9".to_owned())].into(),
        };
        for filter in [
            "type = AGENT_CRASHED",
            "type = EVENT_TYPE_AGENT_*",
            "type = *CRASHED OR type = RECOVERY_*",
            "agent = agents/a-1",
            "sequence > 6",
            "incarnation = 3",
            "attributes.signal = 9",
        ] {
            assert!(Filter::parse(filter).expect("valid").matches(&event), "{filter}");
        }
        for field in Event::FIELDS {
            assert!(
                event.value(field.name, "signal").is_some(),
                "{} has no value",
                field.name
            );
        }
        assert!(Filter::<Event>::parse("type = AGENT_SLEEPY").is_err());
    }
}
