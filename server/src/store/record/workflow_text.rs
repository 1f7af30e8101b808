//! `v/{workflow}/...`: what a workflow asks for, and what its fires that wait have brought, in parts that each fit a value.

use std::sync::Arc;

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::id::FireNumber;
use rekindle::workflow::{PAYLOAD_MAX_BYTES, WorkflowId};

use super::super::StoreError;
use super::parts::{self, PART_BYTES, PARTS_MAX};
use super::{DecodeError, corrupt};

/// What the keys of these texts begin with.
pub(in super::super) const PREFIX: &[u8] = b"v/";

const MESSAGE: &[u8] = b"/message/";
const FIRE: &[u8] = b"/fire/";

/// Parts of what one fire has brought.
const PAYLOAD_PARTS: u8 = 1;

const _: () = assert!(
    MESSAGE_MAX_BYTES <= PART_BYTES * PARTS_MAX as usize && PAYLOAD_MAX_BYTES <= PART_BYTES * PAYLOAD_PARTS as usize,
    "a text fits its parts"
);

/// Texts of workflows, and of their fires.
pub(in super::super) type Texts = (Vec<(WorkflowId, Arc<str>)>, Vec<(WorkflowId, FireNumber, Arc<str>)>);

/// A part of a text of a workflow.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Part {
    workflow: WorkflowId,
    of: Of,
    bytes: Vec<u8>,
}

/// Which text of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Message,
    Fire(FireNumber),
}

fn key(id: &WorkflowId, of: Of, part: u8) -> Vec<u8> {
    let id = id.as_str().as_bytes();
    match of {
        Of::Message => [PREFIX, id, MESSAGE, &[part]].concat(),
        Of::Fire(fire) => [PREFIX, id, FIRE, &fire.get().to_be_bytes(), &[part]].concat(),
    }
}

/// What writing a workflow's message changes.
pub(in super::super) fn message_writes<'a>(
    id: &'a WorkflowId,
    text: &'a str,
) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a {
    parts::writes(text, PARTS_MAX, |part| key(id, Of::Message, part))
}

/// The keys that a workflow's message may have.
pub(in super::super) fn message_keys(id: &WorkflowId) -> impl Iterator<Item = Vec<u8>> {
    (0..PARTS_MAX).map(|part| key(id, Of::Message, part))
}

/// What writing what a fire has brought changes.
pub(in super::super) fn payload_writes<'a>(
    id: &'a WorkflowId,
    fire: FireNumber,
    text: &'a str,
) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> + 'a {
    parts::writes(text, PAYLOAD_PARTS, move |part| key(id, Of::Fire(fire), part))
}

/// The keys that what a fire has brought may have.
pub(in super::super) fn payload_keys(id: &WorkflowId, fire: FireNumber) -> impl Iterator<Item = Vec<u8>> {
    (0..PAYLOAD_PARTS).map(move |part| key(id, Of::Fire(fire), part))
}

/// The part that is stored under this key.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<Part, StoreError> {
    let read = || {
        let rest = key.strip_prefix(PREFIX)?;
        let id = rest.split(|byte| *byte == b'/').next()?;
        let of = &rest[id.len()..];
        let of = match (of.strip_prefix(MESSAGE), of.strip_prefix(FIRE)) {
            (Some([_part]), _) => Of::Message,
            (_, Some([number @ .., _part])) => Of::Fire(FireNumber::new(u64::from_be_bytes(number.try_into().ok()?))),
            (Some(_) | None, None | Some([])) => return None,
        };
        let workflow = WorkflowId::new(std::str::from_utf8(id).ok()?).ok()?;
        let bytes = value.to_vec();
        Some(Part { workflow, of, bytes })
    };
    let expected = "a text of a workflow";
    read().ok_or_else(|| corrupt(key, DecodeError::Key { expected }))
}

/// Whole texts, from all parts in the order of their keys.
pub(in super::super) fn gather(parts: Vec<Part>) -> Result<Texts, StoreError> {
    let mut whole: Vec<Part> = Vec::new();
    for part in parts {
        match whole.last_mut() {
            Some(last) if (&last.workflow, last.of) == (&part.workflow, part.of) => last.bytes.extend(part.bytes),
            Some(_) | None => whole.push(part),
        }
    }
    let mut texts = Texts::default();
    for Part { workflow, of, bytes } in whole {
        let text = parts::text(bytes, || key(&workflow, of, 0))?.into();
        match of {
            Of::Message => texts.0.push((workflow, text)),
            Of::Fire(fire) => texts.1.push((workflow, fire, text)),
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn texts_are_put_together_again() {
        let (one, two) = (
            WorkflowId::new("w").expect("valid"),
            WorkflowId::new("w.x").expect("valid"),
        );
        // A character lies across two parts.
        let long = format!("x{}", "ä".repeat(MESSAGE_MAX_BYTES / 2 - 1));
        let payload = "p".repeat(PAYLOAD_MAX_BYTES);
        // Its bytes have a separator.
        let fire = FireNumber::new(u64::from(b'/'));
        let mut stored: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut write = |writes: Vec<(Vec<u8>, Option<Vec<u8>>)>| {
            for (key, value) in writes {
                match value {
                    Some(value) => _ = stored.insert(key, value),
                    None => _ = stored.remove(&key),
                }
            }
            let parts = stored.iter().map(|(key, value)| decode(key, value).expect("its own"));
            gather(parts.collect()).expect("whole")
        };
        write(message_writes(&one, &long).collect());
        write(message_writes(&two, "other").collect());
        write(payload_writes(&one, fire, &payload).collect());
        let (messages, payloads) = write(payload_writes(&one, FireNumber::new(256), "b").collect());
        // In the order of their keys: "." is before "/".
        assert!(messages == [(two.clone(), "other".into()), (one.clone(), long.into())]);
        let expected = [
            (one.clone(), fire, payload.into()),
            (one.clone(), FireNumber::new(256), "b".into()),
        ];
        assert!(payloads == expected);
        let (messages, _) = write(message_writes(&one, "short").collect());
        assert_eq!(messages, [(two.clone(), "other".into()), (one.clone(), "short".into())]);
        let (messages, _) = write(message_keys(&one).map(|key| (key, None)).collect());
        assert_eq!(messages, [(two, "other".into())]);
        let (_, payloads) = write(payload_keys(&one, fire).map(|key| (key, None)).collect());
        assert_eq!(payloads, [(one, FireNumber::new(256), "b".into())]);
    }

    #[test]
    fn a_key_of_another_form_is_refused() {
        for bad in [
            &b"v/"[..],
            b"v/w",
            b"v/w/message/",
            b"v/w/message/00",
            b"v/w/fire/0",
            b"v/W/message/0",
            b"x/w",
        ] {
            assert!(decode(bad, b"").is_err(), "{}", bad.escape_ascii());
        }
    }
}
