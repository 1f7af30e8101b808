//! A shim under test.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rekindle::id::{Incarnation, Marker};
use rekindle::process::ProcessIdentity;
use rekindle::report::{Report, ReportFact};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fake::{Fake, Session};
use crate::launcher::Launcher;

/// Longest time that a test waits for what must happen.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) server: Fake,
    pub(crate) dir: TempDir,
    launcher: Launcher,
}

/// A shim; killed with everything it runs when dropped.
pub(crate) struct Shim(Child);

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Launcher::None)
    }

    /// One whose shims are started by something else.
    pub(crate) fn with(launcher: Launcher) -> Self {
        Self {
            server: Fake::start(),
            dir: tempfile::tempdir().expect("a folder"),
            launcher,
        }
    }

    /// The command line of the shim, without arguments.
    pub(crate) fn program(&self) -> Command {
        self.launcher.command(self.dir.path())
    }

    /// The command line of a shim that runs a shell script, in which `D` is the test's folder.
    pub(crate) fn command(&self, flags: &[&str], script: &str) -> Command {
        let mut command = self.program();
        command.args([
            "--agent",
            "planner-1",
            "--server",
            &format!("http://{}", self.server.address),
        ]);
        command.arg("--state-dir").arg(self.file("state"));
        command.args(flags);
        command.args([
            "--",
            "/bin/sh",
            "-c",
            &format!("D={}; {script}", self.dir.path().display()),
        ]);
        command
    }

    pub(crate) fn spawn(&self, flags: &[&str], script: &str) -> Shim {
        Shim(self.command(flags, script).spawn().expect("the shim runs"))
    }

    /// A shim whose first life runs.
    pub(crate) fn running(&mut self, flags: &[&str], script: &str) -> (Shim, Session, ProcessIdentity) {
        let shim = self.spawn(flags, script);
        let mut session = self.server.welcome();
        session.run(1);
        let process = spawned(&mut session, 1);
        (shim, session, process)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until a file has a line, and gives it.
    pub(crate) fn told(&self, name: &str) -> String {
        let path = self.file(name);
        wait_for(&format!("the file {name}"), || {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
                .map(|text| text.trim().to_owned())
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        crate::groups::end(&self.file("state"));
    }
}

/// The shim.
pub(crate) fn command() -> Command {
    program(env!("CARGO_BIN_EXE_rekindle-shim"))
}

/// A program, without anything of this process's environment that a shim would take for its settings.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"REKINDLE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().expect("runs")
}

/// Takes the reports of a life that begins: spawned, ready.
pub(crate) fn spawned(session: &mut Session, incarnation: u64) -> ProcessIdentity {
    let first = session.report();
    let ReportFact::Spawned(Some(process)) = first.fact else {
        panic!("a life was expected, not {first:?}")
    };
    assert_eq!(first.incarnation, Incarnation::new(incarnation));
    let ready = session.report();
    assert_eq!(ready.fact, ReportFact::Ready);
    session.acknowledge(&ready);
    process
}

/// Takes the report of a life that is over.
pub(crate) fn exited(report: &Report) -> &rekindle::exit::ExitEvidence {
    let ReportFact::Exited(evidence) = &report.fact else {
        panic!("an end was expected, not {report:?}")
    };
    evidence
}

/// Sends a signal to a process that a test's own shim runs.
pub(crate) fn kill(process: &ProcessIdentity, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.pid).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("it lives");
}

/// Says why a test is skipped; in CI nothing may be.
pub(crate) fn skip(why: &str) {
    let ci = std::env::var_os("CI").unwrap_or_default();
    assert!(["", "false", "0"].iter().any(|no| ci == *no), "{why}");
    eprintln!("skipped: {why}");
}

/// Whether the shim can make control groups here, as root can where cgroup v2 is mounted.
pub(crate) fn cgroups_are_here() -> bool {
    let here = is_root() && crate::groups::own().is_some();
    if !here {
        skip("cgroups need root, and cgroup v2");
    }
    here
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a process lives, by a number that a test's own process has told.
pub(crate) fn lives(pid: impl std::fmt::Display) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Who lives and was started for a life with this marker.
pub(crate) fn of_life(marker: Marker, incarnation: u64) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").expect("listed").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    let wanted = [
        format!("REKINDLE_MARKER={marker}"),
        format!("REKINDLE_INCARNATION={incarnation}"),
    ];
    let is_of = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let variables: Vec<&[u8]> = environ.split(|byte| *byte == 0).collect();
        wanted.iter().all(|wanted| variables.contains(&wanted.as_bytes()))
    };
    pids.filter(is_of).collect()
}

/// Checks that who was started for a life is dead by then.
#[track_caller]
pub(crate) fn nobody_lives(marker: Marker, incarnation: u64, by_then: &str) {
    let left = of_life(marker, incarnation);
    assert!(left.is_empty(), "{left:?} live {by_then}");
}

/// Waits for a condition, with a limit.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Shim {
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it lives");
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait_for("the shim's end", || self.0.try_wait().expect("a child"))
    }

    /// As `kill -9` does it.
    pub(crate) fn killed(self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended().signal(), Some(Signal::KILL.as_raw()));
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // Its end may have been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
