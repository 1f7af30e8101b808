//! A process that the bench has started, and ends with it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::Moment;

/// Time between two looks at something that is not measured.
const LOOK: Duration = Duration::from_millis(10);

/// A child of the bench, killed when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts a command; what it writes goes to the file `log`.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(command: Command, log: &Path) -> anyhow::Result<Self> {
        let out = append_to(log)?;
        Self::spawn(command, Stdio::null(), out.try_clone()?, out)
    }

    /// Starts a command between these; its stderr goes to the file `log`.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_between(
        command: Command,
        stdin: impl Into<Stdio>,
        stdout: impl Into<Stdio>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::spawn(command, stdin, stdout, append_to(log)?)
    }

    /// Starts a command; its stdout goes to /dev/null, its stderr to the bench.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_told(command: Command) -> anyhow::Result<(Self, Lines)> {
        let (reader, writer) = std::io::pipe()?;
        let daemon = Self::spawn(command, Stdio::null(), Stdio::null(), writer)?;
        Ok((daemon, Lines::of(reader)))
    }

    fn spawn(
        mut command: Command,
        stdin: impl Into<Stdio>,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> anyhow::Result<Self> {
        let child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` gives something, for what is set up before anything is measured.
    ///
    /// # Errors
    /// The process ended first, or `limit` passed.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + limit;
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("waited for {what}, but the process ended: {status}");
            }
            if Instant::now() >= end {
                bail!("waited for {what}, but it did not come within {limit:?}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Has it end by SIGTERM, told again and again, as shims kill at the second one; by SIGKILL after `limit`.
    pub fn end(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < end {
            // Not reaped yet, so that its pid is nobody else's.
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            let _gone = pid.map(|pid| kill_process(pid, Signal::TERM));
            std::thread::sleep(LOOK);
        }
    }
}

/// What a process writes, line by line, each with the moment at which it was read.
#[derive(Debug)]
pub struct Lines {
    lines: Receiver<(Moment, String)>,
}

impl Lines {
    /// Read by a thread of its own until the process ends, so that nothing that the bench does meanwhile holds the
    /// process up or puts a moment off.
    fn of(reader: PipeReader) -> Self {
        let (read, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                // Nobody wants them any more, but the process must not be told so.
                let _unheard = read.send((Moment::now(), line));
            }
        });
        Self { lines }
    }

    /// When the first line was read that has `words` in it, of those that were not looked at.
    ///
    /// # Errors
    /// None came within `limit`, or before the process ended.
    pub fn moment_of(&self, words: &str, limit: Duration) -> anyhow::Result<Moment> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let (at, line) = line.with_context(|| format!("a process did not write {words:?} within {limit:?}"))?;
            if line.contains(words) {
                return Ok(at);
            }
        }
    }
}

fn append_to(log: &Path) -> anyhow::Result<File> {
    Ok(File::options().create(true).append(true).open(log)?)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
