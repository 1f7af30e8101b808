//! Layered settings of the binaries: flag over environment over file over default, with clap as the only parser.
//!
//! A program declares its settings once, as a [`clap::Parser`]. Each long flag `--stop-grace` is then also the
//! environment variable `REKINDLE_STOP_GRACE`, and the key `stop-grace` (or `stop_grace`) of the TOML file that
//! `--config FILE` or `REKINDLE_CONFIG` names. Both layers become defaults of the flag, so that every value goes
//! through the same parser, whichever way it came, and clap's own precedence decides.
//!
//! - Flags that repeat take a list in the file, and comma-separated values in the environment. A table in the file
//!   is a list of `KEY=VALUE`.
//! - Switches are `true` or `false`.
//! - A positional argument, such as the shim's command, can be a list in the file, under its name.
//! - The value of an argument with `hide_env_values = true` is a secret: it is never printed.
//!
//! The flag `--config` and the subcommand `config` are added here. A program can have further subcommands, its tasks,
//! for which nothing of its settings is required.

mod file;
mod layer;
mod logging;
mod table;
mod value;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, Parser, Subcommand};

pub use file::FileError;
pub use logging::{LogError, LogFilter, LogFormat, Logging};
pub use table::{Setting, Source, Table};
pub use value::{OrNever, ValueError, key_value};

use layer::{Environment, Layers};

const CONFIG: &str = "config";

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation<A, T = Infallible> {
    /// To run with these settings.
    Run(Loaded<A>),
    /// To print the settings in force, and nothing else: the subcommand `config`.
    ShowConfig(Table),
    /// To do this, and nothing else: one of the program's own subcommands.
    Task(T),
}

/// Settings, and where each came from.
#[derive(Debug)]
pub struct Loaded<A> {
    /// The settings.
    pub settings: A,
    /// The same for people, with the source of each.
    pub table: Table,
}

/// Why a program cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A wrong flag or value. Also the answers to `--help` and `--version`, which go to standard output.
    #[error("{}", with_origin(.error, .origin.as_ref()))]
    Usage {
        /// What clap says.
        error: Box<clap::Error>,
        /// Where the wrong value came from, when it was not a flag.
        origin: Option<Source>,
    },
    /// A wrong secret, which is not repeated.
    #[error("error: invalid value for '--{flag}', from {origin}")]
    Secret {
        /// The flag's name, without dashes.
        flag: String,
        /// Where the value came from.
        origin: Source,
    },
    /// An environment variable that cannot be read.
    #[error("error: {0} is set in the environment to {1}")]
    Environment(String, ValueError),
    /// The file that `--config` names.
    #[error("error: {0}")]
    File(#[from] FileError),
}

impl SettingsError {
    /// Prints the error, or the help that was asked for, and gives the exit code: 0 for help and version, 2 for usage.
    pub fn report(&self) -> ExitCode {
        if let Self::Usage { error, .. } = self
            && !error.use_stderr()
        {
            // Nobody is left to tell when standard output is closed.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        eprintln!("{self}");
        ExitCode::from(2)
    }
}

fn with_origin(error: &clap::Error, origin: Option<&Source>) -> String {
    let text = error.render().to_string();
    let text = text.trim_end();
    match origin {
        Some(origin) => format!("{text}\n\nThe value comes from {origin}."),
        None => text.to_owned(),
    }
}

/// Reads the settings of the program `A` from its command line (with the program's name first), the environment of
/// the process, and the file that one of them names.
pub fn load<A: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<Invocation<A>, SettingsError> {
    load_with_tasks(args)
}

/// As [`load`], for a program that has the subcommands `T` too.
pub fn load_with_tasks<A: Parser, T: Subcommand>(
    args: impl IntoIterator<Item = OsString>,
) -> Result<Invocation<A, T>, SettingsError> {
    load_with(args, &|name| std::env::var_os(name))
}

fn load_with<A: Parser, T: Subcommand>(
    args: impl IntoIterator<Item = OsString>,
    environment: Environment<'_>,
) -> Result<Invocation<A, T>, SettingsError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let config_first = args.get(1).is_some_and(|word| word == CONFIG);
    if config_first {
        args.remove(1);
    }
    let command = declare(T::augment_subcommands(A::command()));
    let (file, config_last) = find_file(&command, &args, environment)?;
    let show_config = config_first || config_last;

    let mut layers = Layers::default();
    if let Some(path) = file {
        layers.add_file(&command, file::read(&path)?, &path)?;
    }
    layers.add_environment(&command, environment)?;
    let command = layers.apply(command, show_config);

    let matches = command.clone().try_get_matches_from(args);
    let matches = matches.map_err(|error| layers.explain(&command, error))?;
    let table = table::build(&command, &matches, &layers);
    if show_config {
        return Ok(Invocation::ShowConfig(table));
    }
    if matches.subcommand_name().is_some() {
        return T::from_arg_matches(&matches).map(Invocation::Task).map_err(usage);
    }
    let settings = A::from_arg_matches(&matches).map_err(usage)?;
    Ok(Invocation::Run(Loaded { settings, table }))
}

/// The program's own arguments, with what every program has.
fn declare(command: Command) -> Command {
    command
        .subcommand_negates_reqs(true)
        .mut_args(layer::document_environment)
        .arg(
            Arg::new(CONFIG)
                .long(CONFIG)
                .value_name("FILE")
                .value_parser(ValueParser::path_buf())
                .help("TOML file with further settings, keyed by flag [env: REKINDLE_CONFIG]"),
        )
        .subcommand(Command::new(CONFIG).about("Prints the settings in force, and where each comes from"))
}

/// The settings file, and whether the subcommand `config` follows the flags. Wrong flags, help and version end here.
fn find_file(
    command: &Command,
    args: &[OsString],
    environment: Environment<'_>,
) -> Result<(Option<PathBuf>, bool), SettingsError> {
    let lenient = command.clone().mut_args(|arg| arg.required(false));
    let matches: ArgMatches = match lenient.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            // The strict form knows which arguments the usage line must show as required.
            let strict = command.clone().try_get_matches_from(args);
            return Err(usage(strict.err().unwrap_or(error)));
        }
        Err(error) => return Err(Layers::default().explain(command, error)),
    };
    let flag = matches.get_one::<PathBuf>(CONFIG).cloned();
    let file = flag.or_else(|| environment("REKINDLE_CONFIG").map(PathBuf::from));
    Ok((file, matches.subcommand_name() == Some(CONFIG)))
}

fn usage(error: clap::Error) -> SettingsError {
    SettingsError::Usage {
        error: Box::new(error),
        origin: None,
    }
}

#[cfg(test)]
mod tests;
