//! The settings file: a flat TOML table, keyed by flag.

use std::path::{Path, PathBuf};

use toml::Value;

/// Why a settings file is refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the settings file {} is not valid TOML: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        error: Box<toml::de::Error>,
    },
    /// A key that names no flag of the program.
    #[error("{key:?} in the settings file {} is not a setting of this program{}", path.display(), hint(similar))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, as written.
        key: String,
        /// Settings with a name like it.
        similar: Vec<String>,
    },
    /// One setting under both of its spellings.
    #[error("{key:?} is set twice in the settings file {}, as {key:?} and with \"_\" for \"-\"; keep one", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: String,
    },
    /// A value of the wrong shape.
    #[error("{key:?} in the settings file {} must be {wanted}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The key, as written.
        key: String,
        /// What would be right.
        wanted: &'static str,
    },
}

fn hint(similar: &[String]) -> String {
    if similar.is_empty() {
        "; --help lists them all".to_owned()
    } else {
        format!("; did you mean {}?", similar.join(" or "))
    }
}

/// Reads a settings file.
pub(super) fn read(path: &Path) -> Result<toml::Table, FileError> {
    let text = std::fs::read_to_string(path).map_err(|error| FileError::Read {
        path: path.to_owned(),
        error,
    })?;
    text.parse().map_err(|error| FileError::Syntax {
        path: path.to_owned(),
        error: Box::new(error),
    })
}

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    /// Just `true` or `false`.
    Switch,
    /// One.
    One,
    /// Any number.
    Many,
}

/// The texts that a value stands for, or what it should have been.
pub(super) fn texts(value: &Value, arity: Arity) -> Result<Vec<String>, &'static str> {
    match arity {
        Arity::Switch => match value.as_bool() {
            Some(on) => Ok(vec![on.to_string()]),
            None => Err("true or false"),
        },
        Arity::One => scalar(value)
            .map(|text| vec![text])
            .ok_or("one value: a text or a number"),
        Arity::Many => many(value).ok_or("a text, a list of texts, or a table of texts"),
    }
}

fn many(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.iter().map(scalar).collect(),
        Value::Table(table) => {
            let pair = |(key, value)| scalar(value).map(|value| format!("{key}={value}"));
            table.iter().map(pair).collect()
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            scalar(value).map(|text| vec![text])
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(on) => Some(on.to_string()),
        Value::Datetime(time) => Some(time.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    }
}
