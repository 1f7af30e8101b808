//! The file that `REKINDLE_STATE_FILE` names, as JSON: what a life is handed, and what it writes to save its state. `rekindle
//! self load` prints the same.
//!
//! ```json
//! {"task_id": "T-7", "stage": "2 of 3", "memory_refs": ["mem://a"], "values": {"line": "12"}, "body": "anything"}
//! ```
//!
//! A body that is no text is `body_base64` (RFC 4648, section 4). `"closed": true` says that the task is over with this state. What
//! a handed one tells of itself (`checkpoint`, `saved`, `unclean`, `in_flight`) means nothing when it is written back.
//! Called by the shim and the command line; how long the parts may be is [`crate::checkpoint`]'s to say.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::checkpoint::{CheckpointDraft, HeldCheckpoint, VALUE_KEY_MAX_BYTES};
use crate::convert::timestamp_to_wire;

/// Largest file that is read: every character of the longest state may be escaped, which makes six of one, and the rest
/// are names and white space.
pub const FILE_MAX_BYTES: usize = 2 << 20;

/// Characters of a field's name that an error shows: those of `values` and of the longest key there is.
const NAME_SHOWN_MAX: usize = "values.".len() + VALUE_KEY_MAX_BYTES;

/// Variables of the environment in which a life is told of the checkpoint that it is handed; an absent one is empty.
pub const VARIABLES: [&str; 9] = [
    "REKINDLE_CHECKPOINT",
    "REKINDLE_TASK_ID",
    "REKINDLE_ISSUE",
    "REKINDLE_WORKSPACE",
    "REKINDLE_BRANCH",
    "REKINDLE_STAGE",
    "REKINDLE_MEMORY_REFS",
    "REKINDLE_UNCLEAN",
    "REKINDLE_IN_FLIGHT",
];

/// Before the key of a value, in the name of its variable: under a name of its own one called `PATH` would be more than a
/// value.
pub const VALUE_VARIABLE: &str = "REKINDLE_VALUE_";

/// What stands in a state file. Not checked for what a checkpoint may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateFile {
    /// The fields.
    pub draft: CheckpointDraft,
    /// Anything.
    pub body: Vec<u8>,
    /// Whether the task is over.
    pub closed: bool,
    /// Of one that is handed over. None of one that was read.
    pub handed: Option<Handed>,
}

/// What a checkpoint that is handed over tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handed {
    /// Its id, `7.3`.
    pub checkpoint: String,
    /// When it was saved (RFC 3339).
    pub saved: String,
    /// Whether the life that saved it ended without a word.
    pub unclean: bool,
    /// Executions that life had begun, and not finished.
    pub in_flight: Vec<String>,
}

/// Why a text is no state file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateFileError {
    /// It was cut off, or never was JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// It is JSON of another form.
    #[error("it must be a JSON object, {{\"task_id\": ...}}, not {0}")]
    NoObject(&'static str),
    /// A field has another type.
    #[error("`{}` must be {wanted}, not {found}", shown(field))]
    Type {
        /// Its name; that of an entry too.
        field: String,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field that there is not: it would be lost.
    #[error("`{}` is no field of a state; put what is your own into `values` or `body`", shown(.0))]
    Unknown(String),
    /// Both forms of one thing.
    #[error("`body` and `body_base64` are two bodies; leave one of them out")]
    TwoBodies,
    /// What should be base64 is not.
    #[error("`body_base64` is no base64: {0}")]
    Base64(String),
}

impl StateFile {
    /// What a life is handed.
    pub fn of(held: &HeldCheckpoint) -> Self {
        let checkpoint = &held.checkpoint;
        let in_flight = held.flags.in_flight.iter().map(ToString::to_string);
        Self {
            draft: checkpoint.fields.clone().into_draft(),
            body: checkpoint.body.as_bytes().to_vec(),
            closed: false,
            handed: Some(Handed {
                checkpoint: checkpoint.id.to_string(),
                saved: timestamp_to_wire(checkpoint.saved).to_string(),
                unclean: held.flags.unclean,
                in_flight: in_flight.collect(),
            }),
        }
    }

    /// Those variables that have something to say: of [`VARIABLES`] the ones that are not empty, and one for each value.
    pub fn variables(&self) -> Vec<(String, String)> {
        let (draft, handed) = (&self.draft, self.handed.clone().unwrap_or_default());
        let unclean = if handed.unclean { "1" } else { "" };
        let fixed = [
            handed.checkpoint.as_str(),
            &draft.task_id,
            &draft.issue,
            &draft.workspace,
            &draft.branch,
            &draft.stage,
            &draft.memory_refs.join("\n"),
            unclean,
            &handed.in_flight.join(" "),
        ];
        let fixed = VARIABLES.iter().zip(fixed).filter(|(_, value)| !value.is_empty());
        let values = draft.values.iter();
        let values = values.map(|(key, value)| (format!("{VALUE_VARIABLE}{key}"), value.clone()));
        let fixed = fixed.map(|(name, value)| ((*name).to_owned(), value.to_owned()));
        fixed.chain(values).collect()
    }

    /// Reads what was written. What is absent, or null, is empty.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn parse(json: &[u8]) -> Result<Self, StateFileError> {
        let value: Value = serde_json::from_slice(json).map_err(|error| StateFileError::Json(error.to_string()))?;
        let Value::Object(fields) = value else {
            return Err(StateFileError::NoObject(kind(&value)));
        };
        let mut state = Self::default();
        let draft = &mut state.draft;
        let (mut text_body, mut bytes_body) = (None, None);
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            match name.as_str() {
                "task_id" => draft.task_id = text(&name, value)?,
                "issue" => draft.issue = text(&name, value)?,
                "workspace" => draft.workspace = text(&name, value)?,
                "branch" => draft.branch = text(&name, value)?,
                "stage" => draft.stage = text(&name, value)?,
                "memory_refs" => draft.memory_refs = texts(&name, value)?,
                "values" => draft.values = named_texts(&name, value)?,
                "body" => text_body = Some(text(&name, value)?),
                "body_base64" => bytes_body = Some(text(&name, value)?),
                "closed" => {
                    let wrong = wrong(&name, "true or false", &value);
                    state.closed = value.as_bool().ok_or(wrong)?;
                }
                "checkpoint" | "saved" | "unclean" | "in_flight" => {}
                _ => return Err(StateFileError::Unknown(name)),
            }
        }
        state.body = match (text_body, bytes_body) {
            (Some(_), Some(_)) => return Err(StateFileError::TwoBodies),
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                let decoded = STANDARD.decode(base64);
                decoded.map_err(|error| StateFileError::Base64(error.to_string()))?
            }
            (None, None) => Vec::new(),
        };
        Ok(state)
    }

    /// As a life reads it, with every field that it may look for.
    pub fn print(&self) -> String {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if let Some(handed) = &self.handed {
            put("checkpoint", handed.checkpoint.as_str().into());
            put("saved", handed.saved.as_str().into());
            put("unclean", handed.unclean.into());
            put("in_flight", handed.in_flight.clone().into());
        }
        let draft = &self.draft;
        put("task_id", draft.task_id.as_str().into());
        put("issue", draft.issue.as_str().into());
        put("workspace", draft.workspace.as_str().into());
        put("branch", draft.branch.as_str().into());
        put("stage", draft.stage.as_str().into());
        put("memory_refs", draft.memory_refs.clone().into());
        let values = draft.values.iter();
        let values = values.map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        put("values", Value::Object(values.collect()));
        match std::str::from_utf8(&self.body) {
            Ok(text) => put("body", text.into()),
            Err(_) => put("body_base64", STANDARD.encode(&self.body).into()),
        };
        if self.closed {
            put("closed", true.into());
        }
        format!("{:#}\n", Value::Object(fields))
    }
}

fn text(field: &str, value: Value) -> Result<String, StateFileError> {
    let wrong = wrong(field, "a string", &value);
    if let Value::String(text) = value {
        Ok(text)
    } else {
        Err(wrong)
    }
}

fn texts(field: &str, value: Value) -> Result<Vec<String>, StateFileError> {
    let Value::Array(entries) = value else {
        return Err(wrong(field, "a list of strings", &value));
    };
    let numbered = entries.into_iter().enumerate();
    numbered
        .map(|(index, entry)| text(&format!("{field}[{index}]"), entry))
        .collect()
}

fn named_texts(field: &str, value: Value) -> Result<BTreeMap<String, String>, StateFileError> {
    let Value::Object(entries) = value else {
        return Err(wrong(field, "an object of strings", &value));
    };
    let entries = entries.into_iter();
    entries
        .map(|(key, entry)| Ok((key.clone(), text(&format!("{field}.{key}"), entry)?)))
        .collect()
}

fn wrong(field: &str, wanted: &'static str, found: &Value) -> StateFileError {
    StateFileError::Type {
        field: field.to_owned(),
        wanted,
        found: kind(found),
    }
}

/// A name that anybody may have made up, for a line of a log.
fn shown(name: &str) -> String {
    let cut = name
        .char_indices()
        .nth(NAME_SHOWN_MAX)
        .map_or(name.len(), |(end, _)| end);
    let dots = if cut < name.len() { "..." } else { "" };
    format!("{}{dots}", name[..cut].escape_debug())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    fn any_state() -> impl Strategy<Value = StateFile> {
        let texts = [
            any::<String>(),
            any::<String>(),
            any::<String>(),
            any::<String>(),
            any::<String>(),
        ];
        let rest = (
            vec(any::<String>(), 0..3),
            btree_map(any::<String>(), any::<String>(), 0..3),
            prop_oneof![vec(any::<u8>(), 0..20), any::<String>().prop_map(String::into_bytes)],
            any::<bool>(),
        );
        (texts, rest).prop_map(
            |([task_id, issue, workspace, branch, stage], (memory_refs, values, body, closed))| StateFile {
                draft: CheckpointDraft {
                    task_id,
                    issue,
                    workspace,
                    branch,
                    stage,
                    memory_refs,
                    values,
                },
                body,
                closed,
                handed: None,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(state in any_state(), handed in any::<bool>(), id in any::<String>()) {
            let printed = StateFile {
                handed: handed.then(|| Handed { checkpoint: id.clone(), in_flight: vec![id], ..Handed::default() }),
                ..state.clone()
            };
            prop_assert_eq!(StateFile::parse(printed.print().as_bytes()), Ok(state));
        }

        #[test]
        fn what_was_cut_off_is_refused(state in any_state(), cut in any::<prop::sample::Index>()) {
            let printed = state.print();
            let whole = printed.trim_end();
            let cut = cut.index(whole.len());
            prop_assert!(StateFile::parse(&whole.as_bytes()[..cut]).is_err());
        }

        #[test]
        fn no_bytes_are_too_much(bytes in vec(any::<u8>(), 0..200)) {
            let _ = StateFile::parse(&bytes);
        }
    }

    #[test]
    fn what_is_absent_or_null_is_empty() {
        for empty in [
            "{}",
            r#"{"task_id": null, "values": null, "body": null, "closed": null}"#,
            " { } \n",
        ] {
            assert_eq!(StateFile::parse(empty.as_bytes()), Ok(StateFile::default()), "{empty}");
        }
    }

    #[test]
    fn a_body_is_text_or_base64() {
        let body = |json: &str| StateFile::parse(json.as_bytes()).map(|state| state.body);
        assert_eq!(body(r#"{"body": "a\u0000b"}"#), Ok(b"a\0b".to_vec()));
        assert_eq!(body(r#"{"body_base64": "/wA="}"#), Ok(vec![0xff, 0]));
        let printed = StateFile {
            body: vec![0xff, 0],
            ..StateFile::default()
        };
        assert!(printed.print().contains(r#""body_base64": "/wA=""#));
    }

    #[test]
    fn names_are_shown_on_one_short_line() {
        let long = "k".repeat(1 << 20);
        for (json, expected) in [
            (
                format!("{{\"{long}\": 1}}"),
                format!("`{}...` is no field of a state;", &long[..71]),
            ),
            (
                format!("{{\"values\": {{\"{long}\": 1}}}}"),
                format!("`values.{}...` must be a string, not a number", &long[..64]),
            ),
            (
                r#"{"values": {"a\nERROR\u001b[31m ü": 1}}"#.to_owned(),
                r"`values.a\nERROR\u{1b}[31m ü` must be a string, not a number".to_owned(),
            ),
        ] {
            let error = StateFile::parse(json.as_bytes()).expect_err("no state").to_string();
            assert!(error.starts_with(&expected), "{error:.200}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (json, expected) in [
            ("", "it is no JSON: EOF while parsing a value at line 1 column 0"),
            ("{", "it is no JSON: EOF while parsing an object at line 1 column 1"),
            ("[]", r#"it must be a JSON object, {"task_id": ...}, not a list"#),
            (r#"{"stage": 3}"#, "`stage` must be a string, not a number"),
            (
                r#"{"memory_refs": ["a", {}]}"#,
                "`memory_refs[1]` must be a string, not an object",
            ),
            (
                r#"{"memory_refs": "a"}"#,
                "`memory_refs` must be a list of strings, not a string",
            ),
            (
                r#"{"values": {"line": true}}"#,
                "`values.line` must be a string, not true or false",
            ),
            (
                r#"{"values": {"line": null}}"#,
                "`values.line` must be a string, not null",
            ),
            (r#"{"values": []}"#, "`values` must be an object of strings, not a list"),
            (r#"{"closed": "yes"}"#, "`closed` must be true or false, not a string"),
            (
                r#"{"task": "t"}"#,
                "`task` is no field of a state; put what is your own into `values` or `body`",
            ),
            (
                r#"{"body": "", "body_base64": ""}"#,
                "`body` and `body_base64` are two bodies; leave one of them out",
            ),
            (
                r#"{"body_base64": "?"}"#,
                "`body_base64` is no base64: Invalid symbol 63, offset 0.",
            ),
        ] {
            let error = StateFile::parse(json.as_bytes()).expect_err(json).to_string();
            assert_eq!(error, expected, "{json}");
        }
    }
}
