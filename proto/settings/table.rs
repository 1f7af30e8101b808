//! The settings in force, for people.

use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::layer::{self, Layers};

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// This variable of the environment.
    Environment(String),
    /// This settings file.
    File(PathBuf),
    /// The program.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As its flag has it, without dashes.
    pub name: String,
    /// As it was written; `None` where there is none. A secret is `(hidden)`.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: Source,
}

/// Every setting in force, in the order of their declaration. Shown as one line each: name, value, source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(pub Vec<Setting>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |setting: &Setting| setting.value.clone().unwrap_or_else(|| "(none)".to_owned());
        let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
        let names = width(&mut self.0.iter().map(|setting| setting.name.chars().count()));
        let values = width(&mut self.0.iter().map(|setting| shown(setting).chars().count()));
        for setting in &self.0 {
            let value = shown(setting);
            writeln!(f, "{:names$}  {value:values$}  {}", setting.name, setting.source)?;
        }
        Ok(())
    }
}

pub(super) fn build(command: &Command, matches: &ArgMatches, layers: &Layers) -> Table {
    let setting = |arg: &clap::Arg| {
        let id = arg.get_id().as_str();
        let raw: Option<Vec<_>> = matches
            .get_raw(id)
            .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect());
        let separator = if arg.is_positional() { " " } else { "," };
        let source = if matches.value_source(id) == Some(ValueSource::CommandLine) {
            Source::Flag
        } else {
            layers.source(id)
        };
        Setting {
            name: layer::key_of(arg),
            value: raw.map(|values| match layer::is_secret(arg) {
                true => "(hidden)".to_owned(),
                false => values.join(separator),
            }),
            source,
        }
    };
    Table(layer::settings(command).map(setting).collect())
}
