//! How a child comes to be.
#![expect(unsafe_code, reason = "what runs between fork and exec has no safe form")]

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::libc;
use rekindle::id::{AgentId, Incarnation, Marker};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

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
}

/// Why there is no child: which program, why, and what may help.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}: {}; {}", describe(.source), advice(.source))]
pub(crate) struct SpawnError {
    program: String,
    source: io::Error,
}

impl SpawnError {
    pub(super) fn new(program: &Program, source: io::Error) -> Self {
        Self {
            program: program.path.to_string_lossy().into_owned(),
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
/// one), reads from /dev/null, and has default signal dispositions and no signal blocked. Its environment is the
/// shim's without `REKINDLE_*` and without what a service manager told the shim, and with what `birth` tells.
pub(super) fn spawn(program: &Program, birth: &Birth, ends: Ends) -> Result<std::process::Child, SpawnError> {
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .stdin(Stdio::null())
        .stdout(ends.stdout)
        .stderr(ends.stderr);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"REKINDLE_") || OF_THE_SERVICE.iter().any(|own| name == *own) {
            command.env_remove(name);
        }
    }
    command
        .env("REKINDLE_AGENT", birth.agent.as_str())
        .env("REKINDLE_INCARNATION", birth.incarnation.to_string())
        .env(MARKER_VARIABLE, birth.marker.to_string());
    // A group rather than a session: the child keeps the terminal that a person started the shim on.
    command.process_group(0);
    let shim = getpid();
    // SAFETY: between fork and exec the closure only makes system calls, on values that were made before.
    unsafe { command.pre_exec(move || before_exec(shim)) };
    command.spawn().map_err(|source| SpawnError::new(program, source))
}

fn before_exec(shim: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The shim may have died before the call above could notice.
    if getppid() != Some(shim) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
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
    Ok(())
}
