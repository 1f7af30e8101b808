//! Parsers of values that several programs take as flags.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::{self, DurationError};

/// A duration, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrNever(pub Option<Duration>);

impl FromStr for OrNever {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        duration::parse_or_never(text).map(Self)
    }
}

impl fmt::Display for OrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => f.pad(&duration::show(duration)),
            None => f.pad("never"),
        }
    }
}

/// Why a value does not fit its argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not `KEY=VALUE`.
    #[error("{0:?} is not KEY=VALUE; write for example team=search")]
    KeyValue(String),
    /// A switch that is neither on nor off.
    #[error("{0:?}, which is neither true nor false")]
    Switch(String),
    /// Bytes that are no text where text is needed.
    #[error("bytes that are not UTF-8 text")]
    NotText,
    /// Not a level, nor a list of `TARGET=LEVEL`.
    #[error("{0:?} is not a level (error, warn, info, debug, trace, off), nor a list such as info,h2=warn")]
    LogFilter(String),
}

/// Parses `KEY=VALUE`, at the first `=`.
pub fn key_value(text: &str) -> Result<(String, String), ValueError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(ValueError::KeyValue(text.to_owned())),
    }
}

/// Reads a switch from the environment.
pub(super) fn switch(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err(ValueError::Switch(text.to_owned())),
    }
}
