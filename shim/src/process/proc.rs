//! What is read from /proc (proc(5)).

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use rekindle::id::Marker;
use rustix::process::{Pid, RawUid};

use super::want::of_process;

/// Of /proc/PID/stat (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 3.
    pub(super) life: Life,
    /// Field 4; `None` for a process whose parent is outside of the pid namespace.
    pub(super) parent: Option<Pid>,
    /// Field 5; `None` for a group whose leader is outside of the pid namespace.
    pub(super) group: Option<Pid>,
    /// Field 6; `None` for a session whose leader is outside of the pid namespace.
    pub(super) session: Option<Pid>,
    /// Fields 14 to 17: user and system time of the process and of the dead that it has waited for, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// Field 22, in clock ticks since boot.
    pub(super) start_time_ticks: u64,
}

/// Whether a process that has an entry runs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Living,
    /// It is a zombie, or on its way to be one (`Z`, `X`).
    Dead,
}

/// Reads a process's line.
pub(super) fn stat(pid: Pid) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat", pid = pid.as_raw_pid()))?;
    parse_stat(&text).ok_or_else(|| io::Error::other("a stat line of proc_pid_stat(5) was expected"))
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name, field 2, may hold anything, closing parentheses too.
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut from_state = rest.split_ascii_whitespace();
    let life = match from_state.next()? {
        "Z" | "X" | "x" => Life::Dead,
        _ => Life::Living,
    };
    let parent = from_state.next()?.parse().ok()?;
    let group = from_state.next()?.parse().ok()?;
    let session = from_state.next()?.parse().ok()?;
    let mut from_user_time = from_state.skip(7);
    let mut cpu_ticks: u64 = 0;
    for _ in 14..=17 {
        cpu_ticks = cpu_ticks.saturating_add(from_user_time.next()?.parse().ok()?);
    }
    let start_time_ticks = from_user_time.nth(4)?.parse().ok()?;
    Some(Stat {
        life,
        parent: Pid::from_raw(parent),
        group: Pid::from_raw(group),
        session: Pid::from_raw(session),
        cpu_ticks,
        start_time_ticks,
    })
}

/// Clock ticks as time: their length is the kernel's USER_HZ, 10 ms nearly everywhere.
pub(super) fn of_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let rest_nanos = (ticks % per_second).saturating_mul(1_000_000_000) / per_second;
    Duration::from_secs(ticks / per_second) + Duration::from_nanos(rest_nanos)
}

/// The real user id of a process, a dead one too.
pub(super) fn real_uid(pid: Pid) -> io::Result<RawUid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status", pid = pid.as_raw_pid()))?;
    parse_real_uid(&status).ok_or_else(|| io::Error::other("a Uid line of proc_pid_status(5) was expected"))
}

fn parse_real_uid(status: &str) -> Option<RawUid> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// Signals that a process ignores, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    /// Whether a signal, by its number, is one of them.
    pub(crate) fn has(self, signal: i32) -> bool {
        let bit = u32::try_from(signal - 1).ok();
        bit.is_some_and(|bit| self.0.checked_shr(bit).is_some_and(|rest| rest & 1 == 1))
    }
}

/// What this process ignores: at its start, what whoever started it had it ignore.
pub(crate) fn ignored_signals() -> io::Result<SignalSet> {
    let status = fs::read_to_string("/proc/self/status")?;
    parse_ignored(&status).ok_or_else(|| io::Error::other("a SigIgn line of proc_pid_status(5) was expected"))
}

fn parse_ignored(status: &str) -> Option<SignalSet> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok().map(SignalSet)
}

/// When this boot began, to the second (proc_stat(5), btime), by the wall clock as it is set.
pub(crate) fn booted() -> io::Result<SystemTime> {
    let stat = fs::read_to_string("/proc/stat")?;
    let seconds =
        parse_boot_time(&stat).ok_or_else(|| io::Error::other("a btime line of proc_stat(5) was expected"))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn parse_boot_time(stat: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// The name of a process, for people.
pub(super) fn command(pid: Pid) -> String {
    fs::read(format!("/proc/{pid}/comm", pid = pid.as_raw_pid()))
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .unwrap_or_default()
}

/// The children of a process, zombies included.
///
/// Complete for the caller itself as long as it does not reap at the same time: only a reap takes an entry out of the
/// list that is being read. Of another process an entry can be missing (proc_tid_children(5)).
pub(super) fn children(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task", parent = parent.as_raw_pid()))? {
        match fs::read_to_string(task?.path().join("children")) {
            Ok(text) => children.extend(text.split_ascii_whitespace().filter_map(parse_pid)),
            // A kernel without CONFIG_PROC_CHILDREN, or a thread that has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return children_by_scan(parent),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

fn children_by_scan(parent: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for pid in pids()? {
        if of_process(stat(pid))?.is_some_and(|stat| stat.parent == Some(parent)) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// Every process of the pid namespace.
pub(super) fn pids() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(parse_pid));
    }
    Ok(pids)
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// Whether a process was started with this marker in its environment. `false` where that cannot be read, as with other
/// users' processes: it proves nothing then.
///
/// # Errors
/// Want.
pub(super) fn carries(pid: Pid, marker: Marker) -> io::Result<bool> {
    Ok(match Environ::of(pid)? {
        Environ::Readable(variables) => variables.has_all(&[marked(marker)]),
        Environ::Hidden | Environ::NotYet => false,
    })
}

/// The variable by which processes of one state directory are told, as `NAME=value`.
pub(super) fn marked(marker: Marker) -> String {
    format!("{}={marker}", super::spawn::MARKER_VARIABLE)
}

/// What a living process was started with.
#[derive(Debug)]
pub(super) enum Environ {
    Readable(Variables),
    /// Another user's, or it is dead.
    Hidden,
    /// It is running another program at this moment: the kernel shows neither its environment nor its arguments until
    /// both are in place (execve(2)).
    NotYet,
}

/// Variables, as /proc/PID/environ has them (proc_pid_environ(5)).
#[derive(Debug)]
pub(super) struct Variables(Vec<u8>);

impl Environ {
    /// # Errors
    /// Want.
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let read = |file: &str| of_process(fs::read(format!("/proc/{pid}/{file}", pid = pid.as_raw_pid())));
        let Some(mut variables) = read("environ")? else {
            return Ok(Self::Hidden);
        };
        if variables.is_empty() {
            // A program that was started without any variable has its arguments at least.
            match read("cmdline")? {
                Some(arguments) if arguments.is_empty() => return Ok(Self::NotYet),
                // It may have been put in place between the two.
                Some(_) => variables = read("environ")?.unwrap_or_default(),
                None => return Ok(Self::Hidden),
            }
        }
        Ok(Self::Readable(Variables(variables)))
    }
}

impl Variables {
    /// Whether each of these, `NAME=value`, is one of them.
    pub(super) fn has_all(&self, wanted: &[String]) -> bool {
        let has = |entry: &String| self.0.split(|byte| *byte == 0).any(|own| own == entry.as_bytes());
        wanted.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line =
            b"42 (a) S 7 (x)) R 17 41 42 0 -1 4194304 97 98 99 100 1 20 300 4000 20 0 1 0 123456 2703360 183 18446744";
        let stat = parse_stat(line).expect("parses");
        assert_eq!(
            stat,
            Stat {
                life: Life::Living,
                parent: Pid::from_raw(17),
                group: Pid::from_raw(41),
                session: Pid::from_raw(42),
                cpu_ticks: 4321,
                start_time_ticks: 123_456
            }
        );
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b"42 (a) R 1"), None);
    }

    #[test]
    fn ignored_signals_are_bits() {
        let set = parse_ignored("Name:\ta\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n").expect("parses");
        let has: Vec<i32> = (-1..70).filter(|signal| set.has(*signal)).collect();
        assert_eq!(has, [1, 13]);
        assert_eq!(parse_ignored("SigBlk:\t0"), None);
    }

    #[test]
    fn a_zombie_is_dead() {
        let line = b"42 (a) Z 17 41 42 0 -1 4227084 0 0 0 0 0 0 0 0 20 0 1 0 123456 0 0 18446744073709551615";
        assert_eq!(parse_stat(line).map(|stat| stat.life), Some(Life::Dead));
    }

    #[test]
    fn the_real_user_is_the_first() {
        let status = "Name:\tUid:\nTgid:\t7\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n";
        assert_eq!(parse_real_uid(status), Some(1000));
        assert_eq!(parse_real_uid("Gid:\t5\n"), None);
        let own = real_uid(rustix::process::getpid()).expect("read");
        assert_eq!(own, rustix::process::getuid().as_raw());
    }

    #[test]
    fn ticks_are_time() {
        let per_second = rustix::param::clock_ticks_per_second();
        assert_eq!(of_ticks(3 * per_second), Duration::from_secs(3));
        assert_eq!(of_ticks(per_second / 2), Duration::from_millis(500));
        assert!(of_ticks(u64::MAX) > Duration::ZERO);
    }

    #[test]
    fn the_boot_was_before_now() {
        assert_eq!(parse_boot_time("cpu 1 2\nbtime 17\nprocesses 3\n"), Some(17));
        assert!(booted().expect("read") <= SystemTime::now());
    }

    #[test]
    fn the_scan_finds_what_the_list_has() {
        let _turn = crate::process::tests::turn();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep runs");
        let pid = Pid::from_child(&child);
        let me = rustix::process::getpid();
        assert!(children(me).expect("listed").contains(&pid));
        assert!(children_by_scan(me).expect("scanned").contains(&pid));
        assert_eq!(command(pid), "sleep");
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(!children(me).expect("listed").contains(&pid));
    }
}
