//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use tempfile::TempDir;

use crate::watchdog::LIVE_MIN;

/// Measures how fast a dead process comes back, beside other supervisors, and what supervision costs
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// Rounds of each measurement; an agent is recovered at most 1000 times
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=900))]
    pub rounds: u16,
    /// Measures only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    pub only: Vec<Part>,
    /// For how long idle processes are watched
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = rekindle::duration::parse)]
    pub window: Duration,
    /// Shims that are connected to one server at once
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=9_000))]
    pub shims: u16,
    /// Executions that are live while the watchdog looks at them
    #[arg(long, default_value_t = 100_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(i64::from(LIVE_MIN)..=190_000))]
    pub live: u32,
    /// Descendants of the tree that is killed
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub descendants: u16,
    /// MiB of one flood
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u16).range(1..))]
    pub flood_mib: u16,
    /// Floods of everybody
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub floods: u16,
    /// Where the server's data lives while it is measured; a real disk [default: beside the built programs]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Begins a round only once the machine was idle for a moment; waits for at most a minute
    #[arg(long)]
    pub quiet: bool,
    /// Writes the figures to this file too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How the tables are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Measures the programs as they were last built
    #[arg(long = "no-build", action = clap::ArgAction::SetFalse)]
    pub build: bool,
}

/// How tables are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For terminals
    Text,
    /// For documents
    Markdown,
}

/// One part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What one durable write costs on this disk
    Disk,
    /// SIGKILL of the child to the next child's first instruction
    Crash,
    /// The call for a restart to the next child's first instruction, and to the answer
    Restart,
    /// A restart with one second of grace of a child that ignores SIGTERM, over that second
    Grace,
    /// SIGKILL of the child to the event of it
    Exit,
    /// The call for a stop at once of a tree of processes to its answer, when all of them are dead
    Tree,
    /// A shim, SIGKILLed and started again, to its watching the child that went on, and to the server's knowing
    Adoption,
    /// Memory and heartbeats of a shim whose child writes as fast as it can
    Flood,
    /// Memory and wake-ups of an idle shim
    Memory,
    /// Memory and CPU of a server with many idle shims
    Fleet,
    /// CreateExecution to the first instruction of the message's process, to RUNNING, and to the answer
    Work,
    /// Executions through one server in a second
    Executions,
    /// The pass over many live executions, and what a call waits for it
    Watchdog,
    /// The limit of a message to the death of its tree
    Limit,
    /// An agent's call to save to its answer, and to the event of it
    Save,
    /// SIGKILL of the child to the next child's having read what was saved
    Restore,
    /// SIGKILL of the child to the events of its readiness and of its armed workflow
    Armed,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Crash => "crash",
            Self::Restart => "restart",
            Self::Grace => "grace",
            Self::Exit => "exit",
            Self::Tree => "tree",
            Self::Adoption => "adoption",
            Self::Flood => "flood",
            Self::Memory => "memory",
            Self::Fleet => "fleet",
            Self::Work => "work",
            Self::Executions => "executions",
            Self::Watchdog => "watchdog",
            Self::Limit => "limit",
            Self::Save => "save",
            Self::Restore => "restore",
            Self::Armed => "armed",
        })
    }
}

impl Args {
    /// The parts that were asked for, each once, in their usual order.
    pub fn parts(&self) -> Vec<Part> {
        let all = Part::value_variants().iter().copied();
        all.filter(|part| self.only.is_empty() || self.only.contains(part))
            .collect()
    }

    /// A folder for this run, removed when it is dropped.
    ///
    /// # Errors
    /// It could not be made.
    pub fn site(&self) -> anyhow::Result<TempDir> {
        let parent = match &self.data_dir {
            Some(dir) => dir.clone(),
            None => std::env::current_exe()?
                .parent()
                .context("the program lies in no folder")?
                .join("bench-data"),
        };
        std::fs::create_dir_all(&parent)
            .and_then(|()| tempfile::Builder::new().prefix("run-").tempdir_in(&parent))
            .with_context(|| {
                format!(
                    "cannot make a folder in {}; choose another with --data-dir",
                    parent.display()
                )
            })
    }
}
