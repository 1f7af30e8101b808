//! The layers below the flags: environment over file. Both end as defaults of clap's arguments.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::builder::OsStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

use super::file::{self, Arity, FileError};
use super::table::Source;
use super::value::{self, ValueError};
use super::{CONFIG, SettingsError, usage};

/// Looks a variable of the environment up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Values from below the flags, by the id of the argument.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Layered>);

#[derive(Debug)]
struct Layered {
    values: Vec<OsString>,
    source: Source,
}

impl Layers {
    /// Where the value of an argument comes from when no flag gives it.
    pub(super) fn source(&self, id: &str) -> Source {
        self.0.get(id).map_or(Source::Default, |layered| layered.source.clone())
    }

    /// Adds the keys of a settings file.
    pub(super) fn add_file(&mut self, command: &Command, table: toml::Table, path: &Path) -> Result<(), FileError> {
        for (key, value) in &table {
            let name = key.replace('_', "-");
            let Some(arg) = settings(command).find(|arg| key_of(arg) == name) else {
                return Err(FileError::UnknownKey {
                    path: path.to_owned(),
                    key: key.clone(),
                    similar: similar(command, &name),
                });
            };
            let values = file::texts(value, arity(arg)).map_err(|wanted| FileError::Shape {
                path: path.to_owned(),
                key: key.clone(),
                wanted,
            })?;
            let layered = Layered {
                values: values.into_iter().map(OsString::from).collect(),
                source: Source::File(path.to_owned()),
            };
            if self.0.insert(arg.get_id().to_string(), layered).is_some() {
                return Err(FileError::Twice {
                    path: path.to_owned(),
                    key: name,
                });
            }
        }
        Ok(())
    }

    /// Adds the variables of the environment, which win over the file. Every flag with a long name has one.
    pub(super) fn add_environment(
        &mut self,
        command: &Command,
        environment: Environment<'_>,
    ) -> Result<(), SettingsError> {
        for arg in settings(command) {
            let Some(variable) = variable_of(arg) else {
                continue;
            };
            let Some(text) = environment(&variable) else { continue };
            let values = match arity(arg) {
                Arity::One => vec![text],
                Arity::Switch => vec![switch(&text, &variable)?],
                Arity::Many => split(&text, &variable)?,
            };
            let source = Source::Environment(variable);
            self.0.insert(arg.get_id().to_string(), Layered { values, source });
        }
        Ok(())
    }

    /// Makes the layers the defaults of the arguments. With `show_config` nothing is required, because nothing is run.
    pub(super) fn apply(&self, command: Command, show_config: bool) -> Command {
        command.mut_args(|arg| {
            let arg = if show_config { arg.required(false) } else { arg };
            match self.0.get(arg.get_id().as_str()) {
                Some(layered) => arg
                    .required(false)
                    .default_values(layered.values.iter().map(|value| OsStr::from(value.clone()))),
                None => arg,
            }
        })
    }

    /// Says where a refused value came from.
    pub(super) fn explain(&self, command: &Command, error: clap::Error) -> SettingsError {
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
            return usage(error);
        };
        // Clap knows how to show an argument only once the command is built.
        let mut built = command.clone();
        built.build();
        let Some(arg) = settings(&built).find(|arg| arg.to_string() == *shown) else {
            return usage(error);
        };
        // The flags alone are parsed before the layers apply, so a layered argument that is refused is so for the
        // layer's value.
        let origin = self.0.get(arg.get_id().as_str()).map(|layered| layered.source.clone());
        if is_secret(arg) {
            SettingsError::Secret {
                flag: key_of(arg),
                origin: origin.unwrap_or(Source::Flag),
            }
        } else {
            SettingsError::Usage {
                error: Box::new(error),
                origin,
            }
        }
    }
}

/// The arguments that are settings.
pub(super) fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| is_setting(arg))
}

fn is_setting(arg: &Arg) -> bool {
    let is_action = matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    !is_action && arg.get_id() != CONFIG
}

/// Whether the value must never be shown.
pub(super) fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// The name of a setting, as its flag and its key have it.
pub(super) fn key_of(arg: &Arg) -> String {
    arg.get_long()
        .map_or_else(|| arg.get_id().as_str().replace('_', "-"), str::to_owned)
}

fn variable_of(arg: &Arg) -> Option<String> {
    let long = arg.get_long()?;
    Some(format!("REKINDLE_{}", long.replace('-', "_").to_ascii_uppercase()))
}

/// Names the environment variable in the help of an argument.
pub(super) fn document_environment(arg: Arg) -> Arg {
    let Some(variable) = variable_of(&arg).filter(|_| is_setting(&arg)) else {
        return arg;
    };
    let extend = |help: &clap::builder::StyledStr| format!("{} [env: {variable}]", help.ansi());
    let long = arg.get_long_help().map(extend);
    let short = arg.get_help().map_or_else(|| format!("[env: {variable}]"), extend);
    let arg = arg.help(short);
    match long {
        Some(long) => arg.long_help(long),
        None => arg,
    }
}

fn arity(arg: &Arg) -> Arity {
    let many =
        matches!(arg.get_action(), ArgAction::Append) || arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    if matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse) {
        Arity::Switch
    } else if many {
        Arity::Many
    } else {
        Arity::One
    }
}

fn switch(text: &std::ffi::OsStr, variable: &str) -> Result<OsString, SettingsError> {
    let wrong = |error| SettingsError::Environment(variable.to_owned(), error);
    let text = text.to_str().ok_or_else(|| wrong(ValueError::NotText))?;
    value::switch(text).map(|on| on.to_string().into()).map_err(wrong)
}

fn split(text: &std::ffi::OsStr, variable: &str) -> Result<Vec<OsString>, SettingsError> {
    let text = text
        .to_str()
        .ok_or_else(|| SettingsError::Environment(variable.to_owned(), ValueError::NotText))?;
    Ok(text
        .split(',')
        .filter(|item| !item.is_empty())
        .map(OsString::from)
        .collect())
}

/// Settings with a name like this one, as clap suggests flags.
fn similar(command: &Command, name: &str) -> Vec<String> {
    let lenient = command.clone().mut_args(|arg| arg.required(false));
    let Err(error) = lenient.try_get_matches_from([command.get_name(), &format!("--{name}")]) else {
        return Vec::new();
    };
    let strip = |flag: &String| flag.trim_start_matches('-').to_owned();
    match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(flag)) => vec![strip(flag)],
        Some(ContextValue::Strings(flags)) => flags.iter().map(strip).collect(),
        Some(_) | None => Vec::new(),
    }
}
