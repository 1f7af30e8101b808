//! `rekindle-shim doctor`: what this host offers, and what the shim makes of it.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use nix::unistd::{User, geteuid};
use rekindle::exit::ExitStatus;
use rustix::process::{Resource, getpid, getrlimit};

use crate::config::MACHINE_ID;
use crate::process::{self, NoGroups, host};
use crate::{chain, driver};

/// What the shim does but running an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Task {
    /// Says what this host offers, and what the shim makes of it; fails where the shim cannot work
    Doctor,
}

/// Looks, prints a table, and fails where something is missing that the shim cannot do without.
pub(crate) fn run() -> ExitCode {
    let report = Report::of_this_host();
    print!("{report}");
    if report.can_work() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One line each.
#[derive(Debug, PartialEq, Eq)]
struct Report(Vec<Finding>);

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    state: State,
    /// What there is or why there is not, and what follows.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Here,
    /// The shim does without.
    Absent,
    /// The shim cannot work.
    Missing,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Here => "yes",
            Self::Absent => "no",
            Self::Missing => "MISSING",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|finding| finding.what.len())
            .max()
            .unwrap_or_default();
        for Finding { what, state, text } in &self.0 {
            writeln!(f, "{what:width$}  {:7}  {text}", state.as_str())?;
        }
        let verdict = if self.can_work() { "can" } else { "cannot" };
        writeln!(f, "\nThe shim {verdict} work here.")
    }
}

fn here(what: &'static str, text: impl Into<String>) -> Finding {
    let text = text.into();
    let state = State::Here;
    Finding { what, state, text }
}

fn absent(what: &'static str, text: impl Into<String>) -> Finding {
    let text = text.into();
    let state = State::Absent;
    Finding { what, state, text }
}

fn missing(what: &'static str, why: &dyn std::error::Error) -> Finding {
    let text = chain(why);
    let state = State::Missing;
    Finding { what, state, text }
}

impl Report {
    fn of_this_host() -> Self {
        let mut findings = vec![kernel(), proc_tells(), boot_id(), machine_id()];
        findings.extend(pidfd());
        findings.extend([exit_by_pidfd(), subreaper()]);
        findings.extend(cgroups());
        findings.extend([out_of_memory(), notify_socket(), user(), open_files()]);
        Self(findings)
    }

    fn can_work(&self) -> bool {
        self.0.iter().all(|finding| finding.state != State::Missing)
    }
}

fn kernel() -> Finding {
    here("kernel", rustix::system::uname().release().to_string_lossy())
}

fn proc_tells() -> Finding {
    const WHAT: &str = "/proc";
    match host::proc_tells() {
        Ok(()) => here(WHAT, "tells of processes"),
        Err(error) => missing(WHAT, &error),
    }
}

fn boot_id() -> Finding {
    const WHAT: &str = "boot id";
    match process::boot_id(Path::new("/proc/sys/kernel/random/boot_id")) {
        Ok(id) => here(WHAT, id.to_string()),
        Err(error) => missing(WHAT, &error),
    }
}

fn machine_id() -> Finding {
    const WHAT: &str = "machine id";
    match driver::machine_id(Path::new(MACHINE_ID)) {
        Some(id) => here(WHAT, id),
        None => absent(
            WHAT,
            "/etc/machine-id has none; hosts are told apart by name and boot id",
        ),
    }
}

fn pidfd() -> [Finding; 2] {
    const OPEN: &str = "pidfd_open";
    const INODE: &str = "pidfd inode";
    let found = host::pidfd();
    let open = match &found {
        Ok(_) => here(OPEN, "processes are watched and signalled by descriptor"),
        Err(error) => missing(OPEN, error),
    };
    let inode = match found {
        Ok(Some(_)) => here(INODE, "tells processes apart that have had the same pid"),
        Ok(None) | Err(_) => absent(
            INODE,
            "the start time stands in, which has a grain of 10 ms (inodes: Linux 6.9)",
        ),
    };
    [open, inode]
}

fn exit_by_pidfd() -> Finding {
    const WHAT: &str = "pidfd exit status";
    match host::exit_by_pidfd() {
        Ok(ExitStatus::Exited(0)) => here(WHAT, "how a process ended is known without being its parent"),
        Ok(other) => absent(WHAT, format!("a process that exited with code 0 {other}")),
        Err(error) => absent(
            WHAT,
            format!("how another's process ended is unknown (Linux 6.15): {error}"),
        ),
    }
}

fn subreaper() -> Finding {
    const WHAT: &str = "child subreaper";
    match host::subreaper() {
        Ok(true) => here(WHAT, "descendants that lose their parents stay with the shim"),
        Ok(false) => missing(WHAT, &std::io::Error::other("the kernel does not keep the setting")),
        Err(error) => missing(WHAT, &error),
    }
}

fn cgroups() -> [Finding; 2] {
    const GROUPS: &str = "cgroup v2";
    const KILL: &str = "cgroup.kill";
    const WITHOUT: &str = "what wipes its environment and daemonizes is lost when its shim is killed";
    match host::grouping() {
        Ok(grouping) => {
            let below = grouping.below.display();
            let kill = if grouping.can_kill {
                here(KILL, "a group is killed in one go")
            } else {
                absent(KILL, "a group is killed process by process (Linux 5.14)")
            };
            [
                here(
                    GROUPS,
                    format!("each life gets a group below {below}, unless --cgroup off"),
                ),
                kill,
            ]
        }
        Err(error) => {
            let advice = match &error {
                NoGroups::Denied { .. } | NoGroups::Captive { .. } => {
                    "; run as root, or with Delegate=yes under systemd"
                }
                NoGroups::NotMounted | NoGroups::Unreadable(_) | NoGroups::Threaded { .. } => "",
            };
            let groups = absent(GROUPS, format!("{}{advice}; {WITHOUT}", chain(&error)));
            [groups, absent(KILL, "there is no group to kill")]
        }
    }
}

fn out_of_memory() -> Finding {
    const WHAT: &str = "out of memory";
    match host::oom_counter() {
        Some(file) => here(WHAT, format!("kills for want of memory are told by {}", file.display())),
        None => absent(WHAT, "kills for want of memory look like any SIGKILL (Linux 4.13)"),
    }
}

fn notify_socket() -> Finding {
    const WHAT: &str = "NOTIFY_SOCKET";
    let unused = |why: String| absent(WHAT, format!("{why}; agents cannot say READY=1 or WATCHDOG=1"));
    match host::sender_of_datagram() {
        Ok(Some(pid)) if pid == getpid().as_raw_pid() => here(WHAT, "an abstract datagram socket tells who sends"),
        Ok(_) => unused("an abstract datagram socket does not tell who sends".to_owned()),
        Err(error) => unused(error.to_string()),
    }
}

fn user() -> Finding {
    const WHAT: &str = "root";
    let uid = geteuid();
    let name = User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(String::new, |user| format!(" ({})", user.name));
    if uid.is_root() {
        here(WHAT, "--user and --group can be used")
    } else {
        absent(
            WHAT,
            format!("the shim runs as uid {uid}{name}; --user and --group cannot be used"),
        )
    }
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let show = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let (soft, hard) = (show(limit.current), show(limit.maximum));
    here(
        "open files",
        format!("{soft}, and {hard} where a program raises its limit"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_that_is_missing_is_enough() {
        let works = Report(vec![here("kernel", "6.1"), absent("cgroup v2", "not mounted")]);
        assert_eq!(
            works.to_string(),
            "kernel     yes      6.1\ncgroup v2  no       not mounted\n\nThe shim can work here.\n"
        );
        let error = std::io::Error::other("not mounted");
        let fails = Report(vec![here("kernel", "6.1"), missing("/proc", &error)]);
        assert_eq!(
            fails.to_string(),
            "kernel  yes      6.1\n/proc   MISSING  not mounted\n\nThe shim cannot work here.\n"
        );
        assert!(works.can_work() && !fails.can_work());
    }
}
