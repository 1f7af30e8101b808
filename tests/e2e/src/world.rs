//! One test's own directory, address and processes.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;

use crate::process;
use crate::server::ServerBuilder;
use crate::shim::ShimBuilder;
use crate::wait::{LIMIT, eventually};

/// The environment variable that carries a world's tag into everything that runs in it.
const TAG: &str = "E2E_WORLD";

/// Most bytes of a log that a failed test shows.
const LOG_SHOWN_BYTES: usize = 12 * 1024;

/// Everything that one test has: a directory, a loopback address, and the processes that carry its tag. Dropping it
/// ends them all, and prints the logs when the test has failed.
#[derive(Debug)]
pub struct World {
    tag: String,
    dir: TempDir,
    address: Ipv4Addr,
}

impl World {
    /// A world with nothing in it.
    ///
    /// # Panics
    /// When no directory can be created.
    #[expect(
        clippy::new_without_default,
        reason = "a default world would not look like a side effect"
    )]
    pub fn new() -> Self {
        let id = Uuid::new_v4();
        let [.., a, b, c] = *id.as_bytes();
        // Nobody else binds this address, and outgoing connections come from 127.0.0.1: a server's port stays free
        // while it is down, and a shim that dials it cannot meet itself.
        let address = Ipv4Addr::new(127, 64 | (a & 0x3f), b, c.clamp(1, 254));
        Self {
            tag: id.to_string(),
            dir: TempDir::with_prefix("rekindle-e2e-").expect("the temporary directory takes a directory"),
            address,
        }
    }

    /// A server that is still to be started.
    pub fn server(&self) -> ServerBuilder<'_> {
        ServerBuilder::new(self)
    }

    /// A shim for `agents/{agent}` that is still to be started.
    pub fn shim(&self, agent: &str) -> ShimBuilder<'_> {
        ShimBuilder::new(self, agent)
    }

    /// A path inside of the world's directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the world's servers listen, with a port that the kernel chooses.
    pub fn any_port(&self) -> SocketAddr {
        SocketAddr::from((self.address, 0))
    }

    /// A command with the world's tag, without the caller's settings of Rekindle, and without input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REKINDLE_") {
                command.env_remove(name);
            }
        }
        command
            .env(TAG, &self.tag)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// The live processes whose command line begins with `command`, of all that run in this world.
    pub fn processes(&self, command: &str) -> Vec<u32> {
        let tag = format!("{TAG}={}", self.tag);
        process::tagged(&tag)
            .into_iter()
            .filter(|&pid| process::command_line(pid).starts_with(command))
            .collect()
    }

    /// Waits until no process of this world has a command line that begins with `command`.
    pub async fn none_left(&self, command: &str) {
        let what = format!("the end of every {command:?}");
        eventually(&what, async || self.processes(command).is_empty().then_some(())).await;
    }

    fn end_everything(&self) {
        let tag = format!("{TAG}={}", self.tag);
        let begin = Instant::now();
        while process::kill_tagged(&tag) > 0 {
            if begin.elapsed() > LIMIT {
                eprintln!("processes of a test outlived SIGKILL: {:?}", process::tagged(&tag));
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn show_logs(&self) {
        let Ok(entries) = fs::read_dir(self.dir.path()) else {
            return;
        };
        let mut logs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension() == Some(OsStr::new("log")))
            .collect();
        logs.sort();
        for log in logs {
            let bytes = fs::read(&log).unwrap_or_default();
            let shown = &bytes[bytes.len().saturating_sub(LOG_SHOWN_BYTES)..];
            eprintln!("---- {}\n{}", log.display(), String::from_utf8_lossy(shown));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.end_everything();
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}
