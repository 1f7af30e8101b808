//! How a child comes to be.

mod fork;
mod image;
mod message;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use rekindle::execution::{AttemptId, Delivery};
use rekindle::id::{AgentId, Incarnation, Marker};
use rekindle_shim_core::{OnShimExit, TreeId};
use rustix::process::{Pid, getpid};

use super::cgroup::Group;
use super::confinement::{Confinement, Step};
use super::notify::NotifyName;
use super::output::Ends;
use super::proc;

use fork::{Failure, Newborn};
use image::Image;

/// Tells the processes of one state directory from all others.
pub(super) const MARKER_VARIABLE: &str = "REKINDLE_MARKER";

/// What systemd tells a service of itself (sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)): meant for the shim,
/// and a lie to any other process.
const OF_THE_SERVICE: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// What a shim runs. It comes from the shim's own command line, never from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// A path, or a name that is looked up in `PATH`.
    pub(crate) path: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// How its process differs from the shim.
    pub(crate) confinement: Confinement,
    /// What becomes of its process when the shim is gone.
    pub(crate) on_shim_exit: OnShimExit,
    /// How messages reach it.
    pub(crate) delivery: Delivery,
}

impl Program {
    fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Names of the variables that it gets of the shim's, or for its account; sorted. Not of those that `birth` tells.
    pub(crate) fn environment_names(&self) -> Vec<String> {
        let account = self.confinement.account.iter().flat_map(|account| &account.variables);
        let passed = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| goes_on(name, &self.confinement))
            .map(|name| name.to_string_lossy().into_owned());
        let names: BTreeSet<String> = passed.chain(account.map(|(name, _)| (*name).to_owned())).collect();
        names.into_iter().collect()
    }
}

/// Names the execution that a process was run for; with [`ATTEMPT_VARIABLE`] and the marker, no other process has it.
const EXECUTION_VARIABLE: &str = "REKINDLE_EXECUTION";

/// Which attempt at it.
const ATTEMPT_VARIABLE: &str = "REKINDLE_ATTEMPT";

/// What a process is told of itself, in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Birth {
    /// `REKINDLE_AGENT`.
    pub(crate) agent: AgentId,
    /// `REKINDLE_INCARNATION`.
    pub(crate) incarnation: Incarnation,
    /// `REKINDLE_MARKER`.
    pub(crate) marker: Marker,
    /// `REKINDLE_SOCKET`; absolute.
    pub(crate) socket: PathBuf,
    /// `REKINDLE_STATE_FILE`; absolute.
    pub(crate) state_file: PathBuf,
    /// Variables that tell what is handed over to it.
    pub(crate) handed: Vec<(String, String)>,
    /// `REKINDLE_RESUMED_INCARNATION`: the life that a reboot has ended, where none was ready since.
    pub(crate) resumed: Option<Incarnation>,
    /// What it is there for.
    pub(crate) purpose: Purpose,
}

/// What a process is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be the agent, for a life.
    Life {
        /// `WATCHDOG_USEC`: the time from ping to ping. `None`: nobody waits for pings.
        watchdog: Option<Duration>,
        /// `NOTIFY_SOCKET`.
        notify: NotifyName,
    },
    /// To do what one message asks for.
    Attempt {
        /// `REKINDLE_EXECUTION` and `REKINDLE_ATTEMPT`.
        attempt: AttemptId,
        message: Arc<str>,
    },
    /// To save for a life that is about to be ended.
    CheckpointCommand,
}

impl Purpose {
    /// Whose tree grows from it, in this life.
    pub(crate) fn tree(&self, incarnation: Incarnation) -> TreeId {
        match self {
            Self::Life { .. } | Self::CheckpointCommand => TreeId::Life(incarnation),
            Self::Attempt { attempt, .. } => TreeId::Attempt(attempt.clone()),
        }
    }
}

impl Birth {
    /// Whose tree grows from it.
    pub(crate) fn tree(&self) -> TreeId {
        self.purpose.tree(self.incarnation)
    }

    /// The variables that its tree alone has, each as `NAME=value`. None of a life, beside which there is nobody.
    pub(super) fn marks(&self) -> Vec<String> {
        match &self.purpose {
            Purpose::Life { .. } | Purpose::CheckpointCommand => Vec::new(),
            Purpose::Attempt { attempt, .. } => vec![
                proc::marked(self.marker),
                format!("{EXECUTION_VARIABLE}={}", attempt.execution),
                format!("{ATTEMPT_VARIABLE}={}", attempt.number),
            ],
        }
    }
}

/// Why there is no child: which program, why, and what may help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// It could not be run.
    #[error("cannot run {program}: {}; {}", describe(.source), advice(.source))]
    Exec { program: String, source: io::Error },
    /// It was not tried, as a step before could not be done.
    #[error("cannot run {program}: cannot {step}: {}; {}", describe(.source), .step.advice())]
    Step {
        program: String,
        step: Step,
        source: io::Error,
    },
    /// It was not tried, as no program could get these arguments.
    #[error(
        "cannot run {program}: the message has a NUL byte, which no argument can have; leave {{message}} out of the \
         command, and it comes on stdin"
    )]
    NulInArgument { program: String },
}

impl SpawnError {
    pub(super) fn new(program: &Program, source: io::Error) -> Self {
        Self::Exec {
            program: program.name(),
            source,
        }
    }
}

/// The system's words, without Rust's number behind them.
fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |code| nix::errno::Errno::from_raw(code).desc().to_owned(),
    )
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "check the path after `--`, and the interpreter that a script names in its first line",
        Some(libc::EACCES) => "make it executable with chmod +x, and check the permissions of its directories",
        Some(libc::EAGAIN) => "the limit of processes is reached; see ulimit -u and pids.max",
        Some(libc::EMFILE) => {
            "the shim's limit of open files is reached; raise it with ulimit -n, or LimitNOFILE= of its service"
        }
        Some(libc::ENFILE) => "the host's limit of open files is reached; see fs.file-max",
        Some(libc::ENOMEM) => "the host is out of memory",
        Some(libc::E2BIG) => {
            "the arguments and the environment are too long; a message of 128 KiB and more fits stdin alone, so leave \
             {message} out of the command"
        }
        Some(_) | None => "check the command after `--`",
    }
}

/// Spawns the program, and returns once its exec has succeeded or failed.
///
/// The child leads a process group of its own, dies with the thread that calls this (which must therefore be the main
/// one) unless it is to outlive the shim, reads from `stdin`, writes to `ends`, and has default signal dispositions and
/// no signal blocked. Its environment is what its confinement passes of the shim's, without `REKINDLE_*` and without
/// what a service manager told the shim, and with what `birth` tells.
///
/// It is in `group`, if the kernel lets it: see [`Group::holds`].
pub(super) fn spawn(
    program: &Program,
    birth: &Birth,
    stdin: OwnedFd,
    ends: Ends,
    group: Option<&Group>,
) -> Result<Pid, SpawnError> {
    let failed = |source| SpawnError::new(program, source);
    let environment = environment(birth, &program.confinement);
    let arguments = arguments(program, birth)?;
    let image = Image::of(&program.path, &arguments, environment).map_err(failed)?;
    let steps = program.confinement.steps().map_err(failed)?;
    let newborn = Newborn {
        image,
        stdin,
        ends,
        steps: &steps,
        shim: match program.on_shim_exit {
            OnShimExit::Kill => Some(getpid()),
            OnShimExit::Keep => None,
        },
    };
    newborn.spawn(group).map_err(
        |Failure { step, source }| match step.and_then(|number| steps.get(number)) {
            Some(step) => SpawnError::Step {
                program: program.name(),
                step: step.clone(),
                source,
            },
            None => failed(source),
        },
    )
}

/// What a process that is about to be reads, and the way in, of one that reads messages for as long as it lives.
pub(super) fn stdin(program: &Program, birth: &Birth) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    match &birth.purpose {
        Purpose::Attempt { message, .. } if !message::is_argument(&program.arguments) => {
            Ok((message::file_of(message)?, None))
        }
        Purpose::Life { .. } if program.delivery == Delivery::Stdin => {
            let (read, write) = io::pipe()?;
            Ok((read.into(), Some(write.into())))
        }
        Purpose::Attempt { .. } | Purpose::Life { .. } | Purpose::CheckpointCommand => {
            Ok((File::open("/dev/null")?.into(), None))
        }
    }
}

/// The program's arguments, with the message where it goes.
fn arguments<'a>(program: &'a Program, birth: &Birth) -> Result<Cow<'a, [OsString]>, SpawnError> {
    match &birth.purpose {
        Purpose::Attempt { message, .. } if message::is_argument(&program.arguments) => {
            if message.contains('\0') {
                return Err(SpawnError::NulInArgument {
                    program: program.name(),
                });
            }
            Ok(message::fill_in(&program.arguments, message).into())
        }
        Purpose::Attempt { .. } | Purpose::Life { .. } | Purpose::CheckpointCommand => {
            Ok(Cow::Borrowed(&program.arguments))
        }
    }
}

/// What of the shim's environment goes on, what else follows from how the child is confined, and what it is told.
fn environment(birth: &Birth, confinement: &Confinement) -> BTreeMap<OsString, OsString> {
    let own = std::env::vars_os().filter(|(name, _)| goes_on(name, confinement));
    let mut environment: BTreeMap<_, _> = own.collect();
    let mut tell = |name: &str, value: OsString| environment.insert(name.into(), value);
    if let Some(directory) = &confinement.directory {
        tell("PWD", directory.into());
    }
    for (name, value) in confinement.account.iter().flat_map(|account| &account.variables) {
        tell(name, value.clone());
    }
    tell("REKINDLE_AGENT", birth.agent.as_str().into());
    tell("REKINDLE_INCARNATION", birth.incarnation.to_string().into());
    tell(MARKER_VARIABLE, birth.marker.to_string().into());
    tell("REKINDLE_SOCKET", birth.socket.clone().into());
    tell("REKINDLE_STATE_FILE", birth.state_file.clone().into());
    for (name, value) in &birth.handed {
        tell(name, value.into());
    }
    if let Some(resumed) = birth.resumed {
        tell("REKINDLE_RESUMED_INCARNATION", resumed.to_string().into());
    }
    match &birth.purpose {
        Purpose::Life { watchdog, notify } => {
            tell("NOTIFY_SOCKET", notify.to_string().into());
            if let Some(watchdog) = watchdog {
                // Without WATCHDOG_PID, which nobody knows before the fork: any process may take it as meant for itself
                // (sd_watchdog_enabled(3)), and whoever of the tree pings is heard.
                tell("WATCHDOG_USEC", watchdog.as_micros().to_string().into());
            }
        }
        Purpose::Attempt { attempt, .. } => {
            tell(EXECUTION_VARIABLE, attempt.execution.as_str().into());
            tell(ATTEMPT_VARIABLE, attempt.number.to_string().into());
        }
        Purpose::CheckpointCommand => {}
    }
    environment
}

/// Whether a variable of the shim's is one of the child's.
fn goes_on(name: &OsStr, confinement: &Confinement) -> bool {
    let of_the_shim =
        name.as_encoded_bytes().starts_with(b"REKINDLE_") || OF_THE_SERVICE.iter().any(|own| name == *own);
    !of_the_shim && confinement.environment.passes(name)
}
