//! What happens to what the agent's program writes.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rekindle_shim_core::OnShimExit;

use super::byte_size::ByteSize;
use crate::process::{Log, LogFiles, Sink};
use crate::redaction::{Pattern, Redaction, RedactionError};

/// Smallest size at which a file is rotated: several times what a child can write at once, and what of a file is kept
/// as evidence.
const FILE_MIN: ByteSize = ByteSize(64 << 10);

/// Largest size at which a file is rotated: nobody opens larger ones.
const FILE_MAX: ByteSize = ByteSize(1 << 40);

/// Most old files of each stream: each rotation renames all of them.
const OLD_FILES_MAX: i64 = 1000;

/// Flags of the output; flattened into those of the shim.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputFlags {
    /// Where what the program writes goes [default: inherit, and file with --on-shim-exit keep]
    #[arg(long, value_enum, value_name = "WHERE")]
    log: Option<LogTo>,
    /// Where the files of --log=file are; each agent needs its own [default: logs in the state directory]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Size at which a file of --log=file becomes an old one, 64K to 1024G
    #[arg(long, default_value = "10M", value_name = "SIZE")]
    log_max_bytes: ByteSize,
    /// How many old files are kept of each stream, at most 1000
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=OLD_FILES_MAX))]
    log_files: u16,
    /// Hides what matches in what goes to the server: the last lines of an end, why a start failed, the program's own
    /// STATUS=, and the directory and arguments that it is run with, of which what is named a secret is hidden anyway (see
    /// --launch). What stays on this host is not touched: the shim's output, and the files of --log=file. May be given
    /// several times; commas separate patterns in the environment, so that one with a comma must be a flag or in the file
    #[arg(long, value_name = "REGEX")]
    redact: Vec<Pattern>,
}

/// Where what the program writes goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogTo {
    /// To the shim's own stdout and stderr
    Inherit,
    /// To stdout.log and stderr.log, which are rotated
    File,
    /// Nowhere; the last lines are kept for the server all the same, but with --on-shim-exit keep
    Off,
}

/// Which flag of the output has a value that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("--log-max-bytes: {0} is not between {FILE_MIN} and {FILE_MAX}")]
    FileSize(ByteSize),
    #[error(
        "--log: what the program writes cannot go through a shim that it outlives; with --on-shim-exit keep write --log \
         file, or --log off"
    )]
    InheritOfKept,
    #[error("--redact: {0}")]
    Redaction(RedactionError),
}

impl OutputFlags {
    /// Checks what the flags alone could not.
    pub(super) fn plan(self, state_dir: &Path, on_shim_exit: OnShimExit) -> Result<(Log, Redaction), OutputError> {
        if !(FILE_MIN..=FILE_MAX).contains(&self.log_max_bytes) {
            return Err(OutputError::FileSize(self.log_max_bytes));
        }
        let files = LogFiles {
            dir: self.log_dir.unwrap_or_else(|| state_dir.join("logs")),
            max_bytes: self.log_max_bytes.0,
            old_files: self.log_files,
        };
        let log = match (on_shim_exit, self.log) {
            (OnShimExit::Kill, Some(LogTo::Inherit) | None) => Log::Inherit,
            (OnShimExit::Kill, Some(LogTo::File)) => Log::Files(files, Sink::Pipe),
            (OnShimExit::Kill, Some(LogTo::Off)) => Log::Off,
            (OnShimExit::Keep, Some(LogTo::Inherit)) => return Err(OutputError::InheritOfKept),
            (OnShimExit::Keep, Some(LogTo::File) | None) => Log::Files(files, Sink::File),
            (OnShimExit::Keep, Some(LogTo::Off)) => Log::Null,
        };
        let redaction = Redaction::new(self.redact).map_err(OutputError::Redaction)?;
        Ok((log, redaction))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        output: OutputFlags,
    }

    fn plan(flags: &[&str]) -> Result<(Log, Redaction), String> {
        let flags = Flags::try_parse_from(["shim"].iter().chain(flags)).map_err(|error| error.to_string())?;
        let plan = flags.output.plan(Path::new("/s"), OnShimExit::Kill);
        plan.map_err(|error| error.to_string())
    }

    fn log(flags: &[&str]) -> Log {
        plan(flags).expect("valid").0
    }

    #[test]
    fn flags_are_heard() {
        assert_eq!(log(&[]), Log::Inherit);
        assert_eq!(log(&["--log", "off"]), Log::Off);
        let files = |dir: &str, max_bytes, old_files| {
            let dir = dir.into();
            Log::Files(
                LogFiles {
                    dir,
                    max_bytes,
                    old_files,
                },
                Sink::Pipe,
            )
        };
        assert_eq!(log(&["--log=file"]), files("/s/logs", 10 << 20, 5));
        let own = ["--log=file", "--log-dir=/l", "--log-max-bytes=64K", "--log-files=0"];
        assert_eq!(log(&own), files("/l", 64 << 10, 0));
        let (_, redaction) = plan(&["--redact", "a+", "--redact", "b"]).expect("valid");
        assert_eq!(redaction.apply("caab"), "c[redacted][redacted]");
    }

    #[test]
    fn what_outlives_the_shim_does_not_write_through_it() {
        let plan = |flags: &[&str]| {
            let flags = Flags::try_parse_from(["shim"].iter().chain(flags)).expect("valid");
            let plan = flags.output.plan(Path::new("/s"), OnShimExit::Keep);
            plan.map(|(log, _)| log).map_err(|error| error.to_string())
        };
        for flags in [&[][..], &["--log=file"]] {
            assert!(matches!(plan(flags), Ok(Log::Files(_, Sink::File))));
        }
        assert_eq!(plan(&["--log=off"]), Ok(Log::Null));
        let refusal = plan(&["--log=inherit"]).expect_err("refused");
        assert!(
            refusal.starts_with("--log: ") && refusal.contains("write --log file, or --log off"),
            "{refusal}"
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        for (flags, expected) in [
            (&["--log=there"][..], "error: invalid value 'there' for '--log <WHERE>'"),
            (
                &["--log-max-bytes=1K"],
                "--log-max-bytes: 1K is not between 64K and 1024G",
            ),
            (
                &["--log-max-bytes=2048G"],
                "--log-max-bytes: 2048G is not between 64K and 1024G",
            ),
            (
                &["--log-max-bytes=big"],
                "error: invalid value 'big' for '--log-max-bytes <SIZE>'",
            ),
            (
                &["--log-files=1001"],
                "error: invalid value '1001' for '--log-files <COUNT>'",
            ),
            (&["--redact=("], "error: invalid value '(' for '--redact <REGEX>'"),
            (&["--redact="], "error: invalid value '' for '--redact <REGEX>'"),
            (&["--redact=a"; 33], "--redact: at most 32 patterns; join some with |"),
        ] {
            let error = plan(flags).map(|_| ()).expect_err("refused");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
