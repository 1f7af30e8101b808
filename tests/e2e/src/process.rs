//! What /proc says, signals that reach only who is meant, and children that do not outlive their test.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::wait::eventually;

/// The live processes (zombies have no environment) whose environment has `entry`, of the form `NAME=VALUE`.
pub(crate) fn tagged(entry: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|dir| dir.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| has_environment(pid, entry))
        .collect()
}

/// Sends SIGKILL to every live process whose environment has `entry`, and says how many there were.
pub(crate) fn kill_tagged(entry: &str) -> usize {
    let found = tagged(entry);
    for &pid in &found {
        let Some(handle) = pid_of(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            continue;
        };
        // The handle holds the process: whoever it is by then is who gets the signal.
        if has_environment(pid, entry) {
            let _gone_already = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
    found.len()
}

/// The arguments of a process with spaces between them; empty when there is none.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// What is no other process's of this boot: the inode of its pidfd, and the clock ticks from the boot to its start. `None`
/// when there is none.
pub fn identity(pid: u32) -> Option<(u64, u64)> {
    let handle = pidfd_open(pid_of(pid)?, PidfdFlags::empty()).ok()?;
    let inode = File::from(handle).metadata().ok()?.ino();
    Some((inode, field(pid, 22)?.parse().ok()?))
}

/// Whether a process with this number exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Waits until `pid` is no live process.
pub async fn is_gone(pid: u32) {
    eventually(&format!("the end of process {pid}"), async || {
        (!is_alive(pid)).then_some(())
    })
    .await;
}

/// Sends a signal to a process that this test's scripts have named by their own pid.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, signal: Signal) {
    let pid = pid_of(pid).expect("no process has the number 0");
    let handle = pidfd_open(pid, PidfdFlags::empty()).expect("the process to be signalled lives");
    pidfd_send_signal(&handle, signal).expect("the process to be signalled lives");
}

/// The letter of its state (proc_pid_stat(5)); `None` when there is none.
pub fn state(pid: u32) -> Option<char> {
    field(pid, 3)?.chars().next()
}

/// A field of /proc/pid/stat (proc_pid_stat(5)), counted from 1; those up to the command, the second, are not needed.
fn field(pid: u32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    fields.nth(number - 3).map(str::to_owned)
}

fn has_environment(pid: u32, entry: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|one| one == entry.as_bytes()))
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// A child of the test, ended when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts a command; what it writes is added to the file `log`.
    ///
    /// # Panics
    /// When the command cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log can be opened");
        let err = out.try_clone().expect("the log's handle can be copied");
        let child = command
            .stdout(Stdio::from(out))
            .stderr(Stdio::from(err))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        // Not reaped before, so that the number is still its own.
        if let Ok(None) = self.child.try_wait() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> ExitStatus {
        eventually(&format!("the end of child {}", self.pid()), async || {
            self.child.try_wait().ok().flatten()
        })
        .await
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
