//! Filters of lists and watches: the part of AIP-160 that fits flat fields and one level of map.
//!
//! ```text
//! filter      = [ and ]
//! and         = or { "AND" or }
//! or          = term { "OR" term }                        OR binds tighter than AND, as AIP-160 has it
//! term        = [ "NOT" | "-" ] ( restriction | "(" and ")" )
//! restriction = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | ":" ) value
//! field       = word { "." ( word | string ) }
//! value       = word | string                             a string may start or end with "*"
//! ```
//!
//! A filter is parsed once per call and checked against the fields of what it filters, so that a misspelt field is an
//! error and not an empty list. The crates that exist were looked at: those on crates.io know neither `labels.team`
//! nor bare words such as `RUNNING`, and nest without a limit.

mod compile;
mod parse;
mod token;

use std::borrow::Cow;

use compile::Condition;

/// Longest filter, in bytes.
pub(crate) const FILTER_MAX_BYTES: usize = 4096;
/// Deepest nesting of parentheses; parsing and matching recurse as deep.
const DEPTH_MAX: usize = 16;

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// Longer than [`FILTER_MAX_BYTES`].
    #[error("has {0} bytes, and at most {FILTER_MAX_BYTES} are taken")]
    TooLong(usize),
    /// More than [`DEPTH_MAX`] parentheses within one another.
    #[error("is nested deeper than {DEPTH_MAX} parentheses")]
    TooDeep,
    /// A quoted string without its end.
    #[error("the string that starts at character {position} has no closing quote")]
    OpenString {
        /// Counted from 1.
        position: usize,
    },
    /// Something else was expected.
    #[error("at character {position}: expected {expected}, found {found}")]
    Unexpected {
        /// Counted from 1.
        position: usize,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A word without a comparison.
    #[error("{0:?} alone says nothing; write FIELD = VALUE, or another comparison")]
    BareWord(String),
    /// A field that there is none of.
    #[error("there is no field {field:?}; there are {known}")]
    UnknownField {
        /// The caller's.
        field: String,
        /// Those that exist.
        known: String,
    },
    /// A value that the field cannot have.
    #[error("{field}: {value:?} is not {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// The caller's.
        value: String,
        /// What it can have.
        expected: String,
    },
    /// A comparison that the field does not know.
    #[error("{field} cannot be compared by {comparator}; use {allowed}")]
    Comparator {
        /// The field.
        field: &'static str,
        /// The caller's.
        comparator: &'static str,
        /// Those that it knows.
        allowed: &'static str,
    },
    /// A `*` where none can be.
    #[error("{0:?}: \"*\" stands at the start or the end of a string, and only with =, != and :")]
    Wildcard(String),
    /// A map without a key.
    #[error("{field} has keys: write {field}.KEY = VALUE, or {field}:KEY for those that have the key")]
    MissingKey {
        /// The field.
        field: &'static str,
    },
}

/// What a filter can ask of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// The field's name in the API, dots included.
    pub(crate) name: &'static str,
    /// What its values are.
    pub(crate) kind: Kind,
}

/// What the values of a field are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// One of an enum's words, which may have the enum's prefix.
    Word {
        /// `AGENT_STATE_`, for example.
        prefix: &'static str,
        /// Without the prefix.
        words: &'static [&'static str],
    },
    /// A whole number that is not negative.
    Number,
    /// `true` or `false`.
    Flag,
    /// Texts by their keys.
    Map,
}

/// What a subject has in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// For [`Kind::Text`], [`Kind::Word`], and one key of a [`Kind::Map`].
    Text(Cow<'a, str>),
    /// For [`Kind::Number`].
    Number(u64),
    /// For [`Kind::Flag`].
    Flag(bool),
}

/// What can be filtered.
pub(crate) trait Subject {
    /// Every field that a filter may name.
    const FIELDS: &'static [Field];

    /// The value of a field of [`Subject::FIELDS`]; of one key where the field is a map, which has the empty key
    /// otherwise. `None` where it has none: then no comparison holds, `!=` included.
    fn value(&self, field: &'static str, key: &str) -> Option<Value<'_>>;
}

/// A filter that was checked against the fields of one kind of subject.
#[derive(Debug, Clone)]
pub(crate) struct Filter<S> {
    condition: Option<Condition>,
    subject: std::marker::PhantomData<fn() -> S>,
}

impl<S: Subject> Filter<S> {
    /// Parses and checks a filter; an empty one matches everything.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > FILTER_MAX_BYTES {
            return Err(FilterError::TooLong(text.len()));
        }
        let condition = match parse::parse(text)? {
            Some(expression) => Some(compile::compile(expression, S::FIELDS)?),
            None => None,
        };
        Ok(Self {
            condition,
            subject: std::marker::PhantomData,
        })
    }

    /// Whether a subject passes.
    pub(crate) fn matches(&self, subject: &S) -> bool {
        match &self.condition {
            Some(condition) => condition.holds(subject),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests;
