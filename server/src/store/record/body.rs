//! `t/{agent}/{execution}/{text}` + the part, one byte: the texts of an execution, in parts that each fit a value.

use rekindle::execution::{ExecutionId, MESSAGE_MAX_BYTES, OUTPUT_MAX_BYTES};
use rekindle::id::AgentId;

use super::super::{StoreError, Text};
use super::parts::{self, PART_BYTES, PARTS_MAX};

const _: () = assert!(
    MESSAGE_MAX_BYTES <= PART_BYTES * PARTS_MAX as usize && OUTPUT_MAX_BYTES <= PART_BYTES * PARTS_MAX as usize,
    "a text fits its parts"
);

/// What the keys of texts begin with.
const PREFIX: &[u8] = b"t/";

fn key(agent: &AgentId, id: &ExecutionId, text: Text, part: u8) -> Vec<u8> {
    let kind: &[u8] = match text {
        Text::Message => b"/message/",
        Text::Output => b"/output/",
    };
    [
        PREFIX,
        agent.as_str().as_bytes(),
        b"/",
        id.as_str().as_bytes(),
        kind,
        &[part],
    ]
    .concat()
}

/// What writing a text changes: its parts, and the removal of those that a longer one before it had.
pub(in super::super) fn writes<'a>(
    agent: &'a AgentId,
    id: &'a ExecutionId,
    text: Text,
    value: &'a str,
) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a {
    let may_be_there = match text {
        // Written once.
        Text::Message => 0,
        Text::Output => PARTS_MAX,
    };
    parts::writes(value, may_be_there, move |part| key(agent, id, text, part))
}

/// The keys that the texts of an execution may have.
pub(in super::super) fn keys(agent: &AgentId, id: &ExecutionId) -> impl Iterator<Item = Vec<u8>> {
    [Text::Message, Text::Output]
        .into_iter()
        .flat_map(move |text| (0..PARTS_MAX).map(move |part| key(agent, id, text, part)))
}

/// Reads a text from its parts; empty where there is none.
pub(in super::super) fn read(
    agent: &AgentId,
    id: &ExecutionId,
    text: Text,
    get: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<String, StoreError> {
    parts::read(get, |part| key(agent, id, text, part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_shorter_text_takes_the_place_of_a_longer_one() {
        let (agent, id) = (AgentId::new("a").expect("valid"), ExecutionId::new("e").expect("valid"));
        let mut stored: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        // A character lies across two parts.
        let long = format!("x{}", "ä".repeat(OUTPUT_MAX_BYTES / 2 - 1));
        for text in [long.as_str(), "short", ""] {
            for (key, value) in writes(&agent, &id, Text::Output, text) {
                match value {
                    Some(value) => _ = stored.insert(key, value),
                    None => _ = stored.remove(&key),
                }
            }
            let found = read(&agent, &id, Text::Output, |key| Ok(stored.get(key).cloned()));
            assert_eq!(found.expect("readable"), text);
            let other = read(&agent, &id, Text::Message, |key| Ok(stored.get(key).cloned()));
            assert_eq!(other.expect("readable"), "");
        }
        assert_eq!(stored.len(), 0);
    }
}
