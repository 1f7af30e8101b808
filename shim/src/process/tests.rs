//! Real processes, and nasty ones. A tree is all that descends from this process, so these tests take turns.

mod attempts;
mod births;
mod checkpoint_commands;
mod clients;
mod confined;
mod ends;
mod feeds;
mod floods;
mod groups;
mod notices;
mod spawns;
mod sweeps;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rekindle::execution::Delivery;
use rekindle::id::{AgentId, BootId, Incarnation, Marker};
use rekindle_shim_core::{OnShimExit, Remains};
use tempfile::TempDir;

use super::spawn::SpawnError;
use super::tree::Root;
use super::{
    Answered, Birth, Buried, Child, Confinement, Console, Force, Groups, Log, NoChild, NotifyName, Outputs, Program,
    Purpose, Stillborn, Tree,
};
use crate::redaction::Redaction;

/// Longest time that any of these tests waits for what must happen.
const LIMIT: Duration = Duration::from_secs(20);

/// What is at once, on a host under load.
pub(super) const AT_ONCE: Duration = Duration::from_millis(900);

static TURN: Mutex<()> = Mutex::new(());

/// The standard output of a shim.
#[derive(Debug, Clone, Default)]
struct Passed(Arc<Mutex<Vec<u8>>>);

impl Passed {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Passed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) struct Bench {
    pub(super) tree: Tree,
    outputs: Outputs,
    passed: Passed,
    pub(super) dir: TempDir,
    /// What children are told of a watchdog.
    pub(super) watchdog: Option<Duration>,
    /// How messages reach those that are lives.
    pub(super) delivery: Delivery,
    runtime: tokio::runtime::Runtime,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(&Log::Inherit, Redaction::default())
    }

    /// A shim whose children's output goes there.
    pub(super) fn with(log: &Log, redaction: Redaction) -> Self {
        let turn = turn();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("a subreaper");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let _inside = runtime.enter();
        let passed = Passed::default();
        let console = Console::of(passed.clone(), std::io::sink()).expect("a thread");
        let outputs = Outputs::new(console, log, Arc::new(redaction), &mut Vec::new()).expect("outputs");
        Self {
            tree: Tree::new(None).expect("a tree"),
            outputs,
            passed,
            dir: tempfile::tempdir().expect("a folder"),
            watchdog: None,
            delivery: Delivery::None,
            runtime,
            _turn: turn,
        }
    }

    /// As [`Bench::new`], where lives get control groups; `None` where this host gives none.
    pub(super) fn grouped() -> Option<Self> {
        let mut bench = Self::new();
        // Not that of `birth`: another run of these tests must not find its groups.
        match Groups::open(marker()) {
            Ok(groups) => bench.tree = Tree::new(Some(groups)).expect("a tree"),
            Err(error) => {
                skip(&format!("cgroups need root, or a delegated hierarchy: {error}"));
                return None;
            }
        }
        Some(bench)
    }

    /// Sends what children write from here on somewhere else.
    pub(super) fn output_to(&mut self, log: &Log) {
        let _inside = self.runtime.enter();
        let console = Console::of(std::io::sink(), std::io::sink()).expect("a thread");
        self.outputs = Outputs::new(console, log, Arc::default(), &mut Vec::new()).expect("outputs");
    }

    /// Runs a program; `$D` is the test's folder.
    pub(super) fn try_spawn(&mut self, path: &str, arguments: &[&str]) -> Result<Child, SpawnError> {
        self.try_run(path, arguments, Confinement::default())
    }

    /// As [`Bench::try_spawn`], for a program that differs from this process.
    pub(super) fn try_run(
        &mut self,
        path: &str,
        arguments: &[&str],
        confinement: Confinement,
    ) -> Result<Child, SpawnError> {
        let purpose = Purpose::Life {
            watchdog: self.watchdog,
            notify: NotifyName::random(),
        };
        self.try_give_birth(path, arguments, confinement, purpose)
    }

    fn try_give_birth(
        &mut self,
        path: &str,
        arguments: &[&str],
        confinement: Confinement,
        purpose: Purpose,
    ) -> Result<Child, SpawnError> {
        let program = Program {
            path: path.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            confinement,
            on_shim_exit: OnShimExit::Kill,
            delivery: self.delivery,
        };
        let birth = Birth { purpose, ..birth() };
        let _inside = self.runtime.enter();
        let spawn = Child::spawn(&program, &birth, BootId::from_u128(9), &mut self.outputs, &self.tree);
        spawn.map_err(|error| match error {
            NoChild::NotRun(error) => error,
            NoChild::Unwatched(stillborn) => panic!("{stillborn:?}"),
        })
    }

    /// Runs a shell script in which `D` is the test's folder.
    pub(super) fn sh(&mut self, script: &str) -> Child {
        let script = format!("D={}; {script}", self.dir.path().display());
        self.try_spawn("/bin/sh", &["-c", &script]).expect("sh runs")
    }

    /// Runs Python in which `D` is the test's folder.
    pub(super) fn python(&mut self, script: &str) -> Child {
        let script = format!(
            "import os, signal, sys, time\nD = {:?}\n{script}",
            self.dir.path().display().to_string()
        );
        self.try_spawn("python3", &["-c", &script]).expect("python3 runs")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until a file is there and not empty, and gives what it says.
    pub(super) fn told(&self, name: &str) -> String {
        wait_for(&format!("the file {name}"), || read(&self.file(name)))
    }

    /// Waits for something, with a limit.
    #[track_caller]
    pub(super) fn within<T>(&self, limit: Duration, what: impl Future<Output = std::io::Result<T>>) -> Option<T> {
        self.runtime
            .block_on(async { tokio::time::timeout(limit, what).await.ok() })
            .map(|result| result.expect("works"))
    }

    #[track_caller]
    pub(super) fn exited(&self, child: &Child) {
        self.within(LIMIT, child.exited()).expect("exits");
    }

    #[track_caller]
    pub(super) fn gone(&self, child: &Child, force: Force) {
        self.within(LIMIT, child.tree_gone(&self.tree, force))
            .expect("the tree ends");
    }

    /// Everything that was passed on to stdout.
    pub(super) fn passed(self) -> Vec<u8> {
        self.runtime.block_on(self.outputs.finish());
        self.passed.lock().clone()
    }

    /// Ends what is left, and reaps.
    #[track_caller]
    pub(super) fn end(&self, child: Child) -> Remains {
        self.gone(&child, Force::Kill);
        self.bury(child)
    }

    fn buried(&self, child: Child) -> Remains {
        self.last_words(child).0
    }

    /// What is left of a dead child, and what it has answered last.
    pub(super) fn last_words(&self, child: Child) -> (Remains, Vec<Answered>) {
        match child.bury() {
            Buried::Whole(remains) => (remains, Vec::new()),
            Buried::UnderWay(remains) => self.runtime.block_on(remains.whole()),
        }
    }

    #[track_caller]
    pub(super) fn bury(&self, child: Child) -> Remains {
        let remains = self.buried(child);
        self.tree.reap().expect("reaped");
        let mine = super::proc::children(rustix::process::getpid()).expect("listed");
        let left: Vec<_> = mine
            .into_iter()
            .filter(|pid| super::reap::is_dead(*pid).expect("mine"))
            .collect();
        assert_eq!(left, [], "zombies");
        remains
    }
}

/// For a test that has children: nobody else's tree holds them.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A marker that nobody else has.
pub(super) fn marker() -> Marker {
    Marker::from_u128(uuid::Uuid::new_v4().as_u128())
}

/// Says why a test is skipped; in CI nothing may be.
pub(super) fn skip(why: &str) {
    let ci = std::env::var_os("CI").unwrap_or_default();
    assert!(["", "false", "0"].iter().any(|no| ci == *no), "{why}");
    eprintln!("skipped: {why}");
}

pub(super) fn birth() -> Birth {
    Birth {
        agent: AgentId::new("planner-1").expect("valid"),
        incarnation: Incarnation::new(3),
        marker: Marker::from_u128(0xfeed),
        socket: "/nowhere/agent".into(),
        state_file: "/nowhere/state/3.json".into(),
        handed: Vec::new(),
        resumed: None,
        purpose: Purpose::Life {
            watchdog: None,
            notify: NotifyName::random(),
        },
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
}

/// Waits for a condition, with a limit.
#[track_caller]
pub(super) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process lives, by a number that a test's own process has told.
pub(super) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}
