//! Where a program's log goes: to standard error or a file, as text for people and as JSON for programs.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::prelude::*;

use super::value::ValueError;

/// Flags of every program that logs; flatten it into the program's own.
#[derive(Debug, Clone, clap::Args)]
pub struct Logging {
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What is logged: a level, or levels per module such as info,h2=warn
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log_level: LogFilter,
    /// Adds the log to this file, rather than writing it to standard error
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// Why a log cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log to {}: {error}; name another file with --log-file", path.display())]
pub struct LogError {
    path: PathBuf,
    error: io::Error,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere
    Auto,
    /// One line of text for each event
    Text,
    /// One JSON object for each event
    Json,
}

/// Which events are logged: one level, or levels per module.
#[derive(Debug, Clone)]
pub struct LogFilter(Targets);

impl FromStr for LogFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bare word that is no level would be taken for a module, and silence everything else.
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let known = |part: &str| part.contains('=') || levels.contains(&part.to_ascii_lowercase().as_str());
        let wrong = || ValueError::LogFilter(text.to_owned());
        if !text.split(',').all(known) {
            return Err(wrong());
        }
        text.parse().map(Self).map_err(|_| wrong())
    }
}

impl Logging {
    /// Starts the log of the process. A second call in one process has no effect.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn init(&self) -> Result<(), LogError> {
        self.init_to(io::stderr)
    }

    /// The same, for a program that has its own way to standard error. Each line is one write.
    ///
    /// # Errors
    /// As [`Logging::init`].
    pub fn init_to<W: io::Write + 'static>(
        &self,
        stderr: impl Fn() -> W + Send + Sync + 'static,
    ) -> Result<(), LogError> {
        let terminal = self.log_file.is_none() && io::stderr().is_terminal();
        let writer = match &self.log_file {
            None => BoxMakeWriter::new(stderr),
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                BoxMakeWriter::new(file.map_err(|error| LogError {
                    path: path.clone(),
                    error,
                })?)
            }
        };
        let json = match self.log_format {
            LogFormat::Auto => !terminal,
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let registry = tracing_subscriber::registry().with(self.log_level.0.clone());
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        // The error says that a log exists already.
        let _ = if json {
            registry.with(lines.json().flatten_event(true)).try_init()
        } else {
            let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            registry.with(lines.with_ansi(colour)).try_init()
        };
        Ok(())
    }
}
