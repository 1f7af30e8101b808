//! The processes of `rekindle dev`: this program again, under hidden subcommands.
//!
//! Each has its own process group, so that Ctrl-C in the terminal reaches `rekindle dev` alone, which ends them in
//! order. A child asks the kernel for TERM at its parent's death, so that none stays when `rekindle dev` is killed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::sample;
use crate::failure::Failure;

const SERVER: &str = "__server";
const SHIM: &str = "__shim";
const SAMPLE_AGENT: &str = "__sample-agent";

/// Runs one of the hidden subcommands, if the command line has one. To be called on the main thread, before others
/// exist.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.skip(1);
    let role = args.next()?.into_string().ok()?;
    match role.as_str() {
        SERVER => Some(guarded(args, "rekindle-server", rekindle_server::run)),
        SHIM => Some(guarded(args, "rekindle-shim", rekindle_shim::run)),
        SAMPLE_AGENT => Some(sample::run()),
        _ => None,
    }
}

/// Runs a program for as long as its parent lives, whose pid is the first argument.
fn guarded(
    mut args: impl Iterator<Item = OsString>,
    name: &str,
    program: impl FnOnce(Vec<OsString>) -> ExitCode,
) -> ExitCode {
    let parent = args
        .next()
        .and_then(|pid| pid.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("error: cannot be told of the parent's death: {error}");
        return ExitCode::FAILURE;
    }
    // A parent that died before is not told of any more.
    if parent.is_none() || getppid() != parent {
        eprintln!("error: `rekindle dev` is gone");
        return ExitCode::FAILURE;
    }
    program(std::iter::once(name.into()).chain(args).collect())
}

/// The command line of the sample agent.
pub(super) fn sample_agent() -> Result<[OsString; 2], Failure> {
    Ok([this_program()?.into(), SAMPLE_AGENT.into()])
}

/// A server or shim. Killed when it is dropped, which is for a panic: SIGKILL for a shim leaves grandchildren behind.
#[derive(Debug)]
pub(super) struct Child(tokio::process::Child);

impl Child {
    /// Starts a server that writes everything to its log.
    pub(super) fn server(args: Vec<OsString>, log: &Path) -> Result<Self, Failure> {
        let open = || File::options().create(true).append(true).open(log);
        let mut command = command(SERVER, args)?;
        command.stdout(open().map_err(|error| failed("server", &error))?);
        command.stderr(open().map_err(|error| failed("server", &error))?);
        command.spawn().map(Self).map_err(|error| failed("server", &error))
    }

    /// Starts a shim. What it writes is its agent's, because its own log goes to a file.
    pub(super) fn shim(args: Vec<OsString>) -> Result<Self, Failure> {
        let mut command = command(SHIM, args)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map(Self).map_err(|error| failed("shim", &error))
    }

    /// What the process writes, where it is piped; once.
    pub(super) fn take_output(&mut self) -> Option<(ChildStdout, ChildStderr)> {
        self.0.stdout.take().zip(self.0.stderr.take())
    }

    /// Waits for the end, and says how it was. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> String {
        match self.0.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Sends a signal, unless it has ended.
    pub(super) fn signal(&mut self, signal: Signal) {
        // An id is there exactly until the process has been waited for: the number is its own.
        let pid = self
            .0
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ended_already = kill_process(pid, signal);
        }
    }

    /// Ends the process: TERM, and KILL at the limit.
    pub(super) async fn end(&mut self, limit: Duration) {
        self.signal(Signal::TERM);
        if timeout(limit, self.wait()).await.is_err() {
            self.signal(Signal::KILL);
            self.wait().await;
        }
    }
}

fn command(role: &str, args: Vec<OsString>) -> Result<Command, Failure> {
    let mut command = Command::new(this_program()?);
    command.arg(role).arg(std::process::id().to_string()).args(args);
    // What configures this machine's other servers and shims is not meant for these.
    let foreign = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("REKINDLE_") && name != "REKINDLE_LOG_LEVEL"
    });
    for name in foreign {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    Ok(command)
}

fn this_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|error| failed("program itself", &error))
}

fn failed(who: &str, error: &io::Error) -> Failure {
    Failure::Dev {
        message: format!("cannot start the {who}: {error}"),
        hint: "Was the program replaced or removed while it runs?".to_owned(),
    }
}
