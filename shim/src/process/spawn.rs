//! How a child comes to be.
#![expect(unsafe_code, reason = "what runs between fork and exec has no safe form")]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::libc;
use rekindle::id::{AgentId, Incarnation, Marker};
use rekindle_shim_core::OnShimExit;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use super::confinement::{Confinement, Step};
use super::notify::NotifyName;
use super::output::Ends;

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

/// What a life is told of itself, in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Birth {
    /// `REKINDLE_AGENT`.
    pub(crate) agent: AgentId,
    /// `REKINDLE_INCARNATION`.
    pub(crate) incarnation: Incarnation,
    /// `REKINDLE_MARKER`.
    pub(crate) marker: Marker,
    /// `WATCHDOG_USEC`: the time from ping to ping. `None`: nobody waits for pings.
    pub(crate) watchdog: Option<Duration>,
    /// `NOTIFY_SOCKET`.
    pub(crate) notify: NotifyName,
    /// `REKINDLE_RESUMED_INCARNATION`: the life that a reboot has ended, where none was ready since.
    pub(crate) resumed: Option<Incarnation>,
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
        Some(libc::E2BIG) => "the arguments and the environment are too long",
        Some(_) | None => "check the command after `--`",
    }
}

/// Spawns the program, and returns once its exec has succeeded or failed.
///
/// The child leads a process group of its own, dies with the thread that calls this (which must therefore be the main
/// one) unless it is to outlive the shim, reads from /dev/null, writes to `ends`, and has default signal dispositions and
/// no signal blocked. Its environment is what its confinement passes of the shim's, without `REKINDLE_*` and without
/// what a service manager told the shim, and with what `birth` tells.
///
/// It enters the control group whose `door` is given, if the kernel lets it: see [`super::cgroup::Group::holds`].
pub(super) fn spawn(
    program: &Program,
    birth: &Birth,
    ends: Ends,
    door: Option<File>,
) -> Result<std::process::Child, SpawnError> {
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .stdin(Stdio::null())
        .stdout(ends.stdout)
        .stderr(ends.stderr);
    environment(&mut command, &program.confinement);
    command
        .env("REKINDLE_AGENT", birth.agent.as_str())
        .env("REKINDLE_INCARNATION", birth.incarnation.to_string())
        .env(MARKER_VARIABLE, birth.marker.to_string())
        .env("NOTIFY_SOCKET", birth.notify.to_string());
    if let Some(watchdog) = birth.watchdog {
        // Without WATCHDOG_PID, which nobody knows before the fork: any process may take it as meant for itself
        // (sd_watchdog_enabled(3)), and whoever of the tree pings is heard.
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    if let Some(resumed) = birth.resumed {
        command.env("REKINDLE_RESUMED_INCARNATION", resumed.to_string());
    }
    // A group rather than a session: the child keeps the terminal that a person started the shim on.
    command.process_group(0);
    let failed = |source| SpawnError::new(program, source);
    let steps = program.confinement.steps().map_err(failed)?;
    let (failed_step, tell) =
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
    let preparation = Preparation {
        shim: match program.on_shim_exit {
            OnShimExit::Kill => Some(getpid()),
            OnShimExit::Keep => None,
        },
        door,
        steps: steps.clone(),
        tell,
    };
    // SAFETY: between fork and exec the closure only makes system calls, on values that were made before.
    unsafe { command.pre_exec(move || preparation.before_exec()) };
    command.spawn().map_err(
        |source| match told(&failed_step).and_then(|number| steps.into_iter().nth(number)) {
            Some(step) => SpawnError::Step {
                program: program.name(),
                step,
                source,
            },
            None => failed(source),
        },
    )
}

/// What of the shim's environment goes on, and what else follows from how the child is confined.
fn environment(command: &mut Command, confinement: &Confinement) {
    for (name, _) in std::env::vars_os() {
        if !goes_on(&name, confinement) {
            command.env_remove(name);
        }
    }
    if let Some(directory) = &confinement.directory {
        command.env("PWD", directory);
    }
    for (name, value) in confinement.account.iter().flat_map(|account| &account.variables) {
        command.env(name, value);
    }
}

/// Whether a variable of the shim's is one of the child's.
fn goes_on(name: &OsStr, confinement: &Confinement) -> bool {
    let of_the_shim =
        name.as_encoded_bytes().starts_with(b"REKINDLE_") || OF_THE_SERVICE.iter().any(|own| name == *own);
    !of_the_shim && confinement.environment.passes(name)
}

/// What the child does between fork and exec. Everything in it is made before the fork.
struct Preparation {
    /// With whom the child dies.
    shim: Option<Pid>,
    door: Option<File>,
    steps: Vec<Step>,
    /// Gets the number of the step that failed.
    tell: OwnedFd,
}

impl Preparation {
    fn before_exec(&self) -> io::Result<()> {
        if let Some(door) = &self.door {
            // Who is kept out runs all the same: the shim sees it, and does without the group.
            let _ = rustix::io::write(door, b"0");
        }
        for (number, step) in self.steps.iter().enumerate() {
            if let Err(error) = step.take() {
                // Where this fails too, the error alone is told.
                let _ = rustix::io::write(&self.tell, &number.to_ne_bytes());
                return Err(error);
            }
        }
        if let Some(shim) = self.shim {
            die_with(shim)?;
        }
        reset_signals();
        Ok(())
    }
}

/// Which step failed, if one has.
fn told(failed_step: &OwnedFd) -> Option<usize> {
    let mut number = [0; size_of::<usize>()];
    match rustix::io::read(failed_step, &mut number) {
        // Whole, as every write to a pipe of so few bytes is (pipe(7)).
        Ok(read) if read == number.len() => Some(usize::from_ne_bytes(number)),
        Ok(_) | Err(_) => None,
    }
}

/// Comes after the steps, as the kernel forgets it when credentials change (PR_SET_PDEATHSIG(2const)).
fn die_with(shim: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The shim may have died before the call above could notice.
    if getppid() != Some(shim) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: signal(2) with a default disposition. It fails, without harm, for the two that have none other.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset(3), which is async-signal-safe, as is sigprocmask(2).
    unsafe {
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}
