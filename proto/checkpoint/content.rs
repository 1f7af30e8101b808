//! What a checkpoint says: a few typed fields, and a body that only the agent understands.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CheckpointId;
use crate::time::Timestamp;

/// Longest of the single texts, in bytes: a path, a branch, a line of words.
pub const TEXT_MAX_BYTES: usize = 1024;
/// Most memory references: more belong in the body.
pub const MEMORY_REFS_MAX: usize = 64;
/// Longest memory reference, in bytes: a key or a URL.
pub const MEMORY_REF_MAX_BYTES: usize = 512;
/// Most named values: they become variables of the next life's environment.
pub const VALUES_MAX: usize = 64;
/// Longest name of a value, in bytes.
pub const VALUE_KEY_MAX_BYTES: usize = 64;
/// Longest value, in bytes.
pub const VALUE_MAX_BYTES: usize = 4096;
/// Most bytes of all fields together: a record that lists are made of stays far below the store's limit.
pub const FIELDS_MAX_BYTES: usize = 16 * 1024;
/// Largest body, in bytes. More belongs in a file or a memory that the checkpoint refers to.
pub const BODY_MAX_BYTES: usize = 256 * 1024;

/// A checkpoint's fields before their limits are checked: what [`CheckpointFields`] are made of, and what they read as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointDraft {
    /// What the agent works on: the id or the name of an execution, or a word of its own. Empty for none, as each text.
    pub task_id: String,
    /// The issue that it is about.
    pub issue: String,
    /// Where the agent works.
    pub workspace: String,
    /// The branch of it.
    pub branch: String,
    /// How far it is.
    pub stage: String,
    /// Where more is kept that it knows, in its own order.
    pub memory_refs: Vec<String>,
    /// What else it has to know, by name.
    pub values: BTreeMap<String, String>,
}

/// A checkpoint's fields, within their limits. Read them as those of [`CheckpointDraft`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CheckpointDraft", into = "CheckpointDraft")]
pub struct CheckpointFields(CheckpointDraft);

/// What a checkpoint carries that only its agent understands; at most [`BODY_MAX_BYTES`]. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CheckpointBody(Arc<[u8]>);

/// Which part of a checkpoint is out of its limits, and what they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct CheckpointError {
    /// The field's name in the API, with its place or key where it has several.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// What an agent has saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which one of the agent's.
    pub id: CheckpointId,
    /// Its fields.
    pub fields: CheckpointFields,
    /// Its body.
    pub body: CheckpointBody,
    /// When it was saved, by the wall clock of its host.
    pub saved: Timestamp,
}

impl CheckpointFields {
    /// Checks every limit.
    pub fn new(draft: CheckpointDraft) -> Result<Self, CheckpointError> {
        for (field, text) in [
            ("task_id", &draft.task_id),
            ("issue", &draft.issue),
            ("workspace", &draft.workspace),
            ("branch", &draft.branch),
            ("stage", &draft.stage),
        ] {
            one_line(field, text, TEXT_MAX_BYTES)?;
        }
        at_most("memory_refs", "entries", draft.memory_refs.len(), MEMORY_REFS_MAX)?;
        for (place, reference) in draft.memory_refs.iter().enumerate() {
            let field = format!("memory_refs[{place}]");
            if reference.is_empty() {
                return Err(error(field, "must not be empty"));
            }
            one_line(&field, reference, MEMORY_REF_MAX_BYTES)?;
        }
        at_most("values", "entries", draft.values.len(), VALUES_MAX)?;
        for (key, value) in &draft.values {
            check_value(key, value)?;
        }
        let fields = Self(draft);
        at_most("fields", "bytes in all", fields.size_bytes(), FIELDS_MAX_BYTES)?;
        Ok(fields)
    }

    /// The fields, to be changed and checked again.
    pub fn into_draft(self) -> CheckpointDraft {
        self.0
    }

    /// The bytes of all texts.
    pub fn size_bytes(&self) -> usize {
        let texts = [&self.task_id, &self.issue, &self.workspace, &self.branch, &self.stage];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let references: usize = self.memory_refs.iter().map(String::len).sum();
        let values: usize = self.values.iter().map(|(key, value)| key.len() + value.len()).sum();
        texts + references + values
    }
}

impl Deref for CheckpointFields {
    type Target = CheckpointDraft;

    fn deref(&self) -> &CheckpointDraft {
        &self.0
    }
}

impl TryFrom<CheckpointDraft> for CheckpointFields {
    type Error = CheckpointError;

    fn try_from(draft: CheckpointDraft) -> Result<Self, CheckpointError> {
        Self::new(draft)
    }
}

impl From<CheckpointFields> for CheckpointDraft {
    fn from(fields: CheckpointFields) -> Self {
        fields.0
    }
}

impl CheckpointBody {
    /// Checks the limit.
    pub fn new(bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        at_most("body", "bytes", bytes.len(), BODY_MAX_BYTES)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes as the agent gave them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Only how long it is: what an agent keeps is nobody's to log.
impl fmt::Debug for CheckpointBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointBody({} bytes)", self.0.len())
    }
}

impl Checkpoint {
    /// The bytes of its fields and its body.
    pub fn size_bytes(&self) -> usize {
        self.fields.size_bytes() + self.body.as_bytes().len()
    }
}

/// It is shown to people on one line, and given to the next life as a variable.
fn one_line(field: &str, text: &str, max_bytes: usize) -> Result<(), CheckpointError> {
    at_most(field, "bytes", text.len(), max_bytes)?;
    if text.contains(char::is_control) {
        return Err(error(
            field,
            "must have no control characters; what has several lines belongs in the body",
        ));
    }
    Ok(())
}

fn check_value(key: &str, value: &str) -> Result<(), CheckpointError> {
    let shown: String = key.chars().take(VALUE_KEY_MAX_BYTES).collect();
    let field = format!("values[{shown:?}]");
    let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let problem = "a value's name has letters, digits and \"_\", and does not start with a digit";
        return Err(error(field, problem));
    }
    at_most(&field, "characters in its name", key.len(), VALUE_KEY_MAX_BYTES)?;
    at_most(&field, "bytes", value.len(), VALUE_MAX_BYTES)?;
    if value.contains('\0') {
        return Err(error(field, "must have no NUL: no variable can"));
    }
    Ok(())
}

fn at_most(field: &str, what: &str, number: usize, max: usize) -> Result<(), CheckpointError> {
    if number <= max {
        return Ok(());
    }
    Err(error(
        field,
        format!("has {number} {what}, and at most {max} are taken"),
    ))
}

fn error(field: impl Into<String>, problem: impl Into<String>) -> CheckpointError {
    CheckpointError {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut CheckpointDraft)) -> Option<String> {
        let mut draft = CheckpointDraft::default();
        change(&mut draft);
        CheckpointFields::new(draft).err().map(|error| error.to_string())
    }

    fn value(key: &str, value: &str) -> Option<String> {
        refused(|draft| {
            draft.values.insert(key.into(), value.into());
        })
    }

    #[test]
    fn limits_name_their_field() {
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|draft| draft.stage = "x".repeat(TEXT_MAX_BYTES)), None);
        let over = |problem: &str| Some(problem.to_owned());
        assert_eq!(
            refused(|draft| draft.stage = "x".repeat(TEXT_MAX_BYTES + 1)),
            over("stage: has 1025 bytes, and at most 1024 are taken")
        );
        assert_eq!(
            refused(|draft| draft.branch = "a\nb".into()),
            over("branch: must have no control characters; what has several lines belongs in the body")
        );
        assert_eq!(
            refused(|draft| draft.memory_refs = vec!["m".into(); MEMORY_REFS_MAX]),
            None
        );
        assert_eq!(
            refused(|draft| draft.memory_refs = vec!["m".into(); MEMORY_REFS_MAX + 1]),
            over("memory_refs: has 65 entries, and at most 64 are taken")
        );
        assert_eq!(
            refused(|draft| draft.memory_refs = vec!["m".into(), String::new()]),
            over("memory_refs[1]: must not be empty")
        );
        assert!(refused(|draft| draft.memory_refs = vec!["m".repeat(513)]).is_some());
        assert_eq!(value("_a1", "line\nline"), None);
        assert_eq!(
            value("1a", ""),
            over("values[\"1a\"]: a value's name has letters, digits and \"_\", and does not start with a digit")
        );
        assert!(value("", "").is_some() && value("a-b", "").is_some() && value("ä", "").is_some());
        assert!(value(&"k".repeat(64), "").is_none() && value(&"k".repeat(65), "").is_some());
        assert_eq!(
            value("a", "\0"),
            over("values[\"a\"]: must have no NUL: no variable can")
        );
        assert!(value("a", &"v".repeat(4096)).is_none() && value("a", &"v".repeat(4097)).is_some());
        let many = |draft: &mut CheckpointDraft| {
            draft.values = (0..5).map(|n| (format!("k{n}"), "v".repeat(4000))).collect();
        };
        assert_eq!(
            refused(many),
            over("fields: has 20010 bytes in all, and at most 16384 are taken")
        );
        assert!(CheckpointBody::new(vec![0; BODY_MAX_BYTES]).is_ok());
        assert_eq!(
            CheckpointBody::new(vec![0; BODY_MAX_BYTES + 1]).map_err(|error| error.to_string()),
            Err("body: has 262145 bytes, and at most 262144 are taken".into())
        );
    }

    #[test]
    fn what_is_stored_is_checked_when_it_is_read() {
        let fields = CheckpointFields::new(CheckpointDraft {
            task_id: "e-1".into(),
            values: [("step".to_owned(), "3".to_owned())].into(),
            ..Default::default()
        })
        .expect("valid");
        let stored = serde_json::to_string(&fields).expect("plain fields");
        assert_eq!(serde_json::from_str::<CheckpointFields>(&stored).ok(), Some(fields));
        assert_eq!(
            serde_json::from_str::<CheckpointFields>("{}").ok(),
            Some(CheckpointFields::default())
        );
        assert!(serde_json::from_str::<CheckpointFields>(r#"{"stage":"a\u0007"}"#).is_err());
    }

    #[test]
    fn a_body_is_not_shown() {
        let body = CheckpointBody::new(b"secret".to_vec()).expect("short");
        assert_eq!(format!("{body:?}"), "CheckpointBody(6 bytes)");
    }
}
