//! Answers for programs: the messages of the API as JSON, by their descriptors.
//!
//! Proto3 JSON with the names of the proto files, and three differences that make it easier to use: every field is
//! there (null when absent), 64-bit numbers are numbers, and enums are the bare words of the documentation.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use serde_json::Value as Json;

use crate::time;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    for set in [rekindle::wire::DESCRIPTOR_SET, rekindle::wire::AGENT_DESCRIPTOR_SET] {
        pool.decode_file_descriptor_set(set)
            .expect("the build wrote valid descriptor sets, with the same files of protobuf's own");
    }
    pool
});

/// A message of package `rekindle.v1` as JSON.
///
/// # Panics
/// When `name` is not the name of `message`'s type.
pub(crate) fn of(name: &str, message: &impl Message) -> Json {
    of_full_name(&format!("rekindle.v1.{name}"), message)
}

/// A message of package `rekindle.agent.v1` as JSON.
///
/// # Panics
/// As [`of`].
pub(crate) fn of_shim(name: &str, message: &impl Message) -> Json {
    of_full_name(&format!("rekindle.agent.v1.{name}"), message)
}

fn of_full_name(name: &str, message: &impl Message) -> Json {
    let descriptor = POOL.get_message_by_name(name).expect("a message of the API");
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message can be read as what it is");
    object(&message)
}

fn object(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    let fields = descriptor.fields().map(|field| {
        let absent = field.supports_presence() && !message.has_field(&field);
        let value = match absent {
            true => Json::Null,
            false => json(&field, &message.get_field(&field)),
        };
        (field.name().to_owned(), value)
    });
    Json::Object(fields.collect())
}

fn json(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::I32(value) => Json::from(*value),
        Value::I64(value) => Json::from(*value),
        Value::U32(value) => Json::from(*value),
        Value::U64(value) => Json::from(*value),
        Value::F32(value) => Json::from(*value),
        Value::F64(value) => Json::from(*value),
        Value::String(value) => Json::from(value.as_str()),
        Value::Bytes(value) => Json::from(BASE64_STANDARD.encode(value)),
        Value::EnumNumber(number) => match field.kind().as_enum() {
            Some(descriptor) => word(descriptor, *number),
            None => Json::from(*number),
        },
        Value::Message(message) => special(message).unwrap_or_else(|| object(message)),
        Value::List(values) => values.iter().map(|value| json(field, value)).collect(),
        Value::Map(entries) => {
            let kind = field.kind();
            let value_field = kind.as_message().map(MessageDescriptor::map_entry_value_field);
            let value_field = value_field.as_ref().unwrap_or(field);
            let mut pairs: Vec<(String, Json)> = entries
                .iter()
                .map(|(key, value)| (key_text(key), json(value_field, value)))
                .collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(pairs.into_iter().collect())
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The well-known types that are texts.
fn special(message: &DynamicMessage) -> Option<Json> {
    let bytes = || message.encode_to_vec();
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let timestamp = prost_types::Timestamp::decode(bytes().as_slice()).ok()?;
            Some(Json::from(time::rfc3339(&timestamp)))
        }
        "google.protobuf.Duration" => {
            let duration = prost_types::Duration::decode(bytes().as_slice()).ok()?;
            Some(Json::from(duration.to_string()))
        }
        _ => None,
    }
}

/// An enum's value without its prefix, so `AGENT_STATE_RUNNING` is `RUNNING`. A number of a later version stays one.
fn word(descriptor: &EnumDescriptor, number: i32) -> Json {
    let Some(value) = descriptor.get_value(number) else {
        return Json::from(number);
    };
    let prefix = descriptor.values().next().map(|zero| {
        let zero = zero.name().to_owned();
        zero.trim_end_matches("UNSPECIFIED").to_owned()
    });
    let name = value.name();
    let bare = prefix.and_then(|prefix| name.strip_prefix(prefix.as_str()).map(str::to_owned));
    Json::from(bare.unwrap_or_else(|| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use rekindle::wire::v1;

    use super::*;

    #[test]
    fn an_agent() {
        let agent = v1::Agent {
            name: "agents/planner".to_owned(),
            labels: [("team".to_owned(), "search".to_owned())].into(),
            policy: Some(v1::AgentPolicy {
                cooldown: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 500_000_000,
                }),
                ..v1::AgentPolicy::default()
            }),
            state: v1::AgentState::Running.into(),
            incarnation: 7,
            create_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            ..v1::Agent::default()
        };
        let json = of("Agent", &agent);
        assert_eq!(json["name"], "agents/planner");
        assert_eq!(json["labels"]["team"], "search");
        assert_eq!(json["policy"]["cooldown"], "1.500s");
        assert_eq!(json["policy"]["max_attempts"], Json::Null);
        assert_eq!(json["state"], "RUNNING");
        assert_eq!(json["desired_state"], "UNSPECIFIED");
        assert_eq!(json["incarnation"], 7);
        assert_eq!(json["process"], Json::Null);
        assert_eq!(json["ready"], false);
        assert_eq!(json["create_time"], "2023-11-14T22:13:20Z");
    }

    #[test]
    fn bytes_are_text_for_programs() {
        let checkpoint = v1::Checkpoint {
            body: vec![0, 0xff, 0xfe, b'a'],
            ..v1::Checkpoint::default()
        };
        assert_eq!(of("Checkpoint", &checkpoint)["body"], "AP/+YQ==");
    }

    #[test]
    fn a_later_enum_stays_a_number() {
        let event = v1::Event {
            r#type: 999,
            ..v1::Event::default()
        };
        assert_eq!(of("Event", &event)["type"], 999);
    }
}
