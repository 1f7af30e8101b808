//! The programs under test, each in a world of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

/// How long anything may take before its test fails: far more than on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `probe` has a value.
///
/// # Panics
/// At the limit.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        if let Some(value) = probe() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited for {what}");
}

/// `rekindle` with arguments, and nothing of the tester's own settings.
pub(crate) fn rekindle(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REKINDLE_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// What `rekindle` printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Answer {
    /// Runs `rekindle` to its end.
    pub(crate) fn of(args: &[&str]) -> Self {
        Self::of_command(rekindle(args))
    }

    /// Runs a command of it to its end.
    pub(crate) fn of_command(mut command: Command) -> Self {
        Self::of_output(command.output().expect("rekindle can be started"))
    }

    /// Of one that has ended.
    pub(crate) fn of_output(Output { status, stdout, stderr }: Output) -> Self {
        Self {
            code: status.code().expect("no signal ends rekindle"),
            out: String::from_utf8(stdout).expect("UTF-8"),
            err: String::from_utf8(stderr).expect("UTF-8"),
        }
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A program that runs beside the test. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts a command, and reads its stdout.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        Self::start_unread(command)
    }

    /// Starts a command whose stdout is the caller's choice. There are lines only of a piped one.
    pub(crate) fn start_unread(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).spawn().expect("it can be started");
        let lines = child.stdout.take().map(read).unwrap_or_else(|| channel().1);
        Self { child, lines }
    }

    /// Waits for the next line on its stdout that `wanted` takes.
    ///
    /// # Panics
    /// At the limit, or when there are no more lines.
    pub(crate) fn line<T>(&mut self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match wanted(&line) {
                    Some(value) => return value,
                    None => before.push(line),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited for {what} after {before:#?}")
                }
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // Not reaped before, so that the number is still its own.
        if self.child.try_wait().expect("a child can be waited for").is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
        }
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        eventually("the end of the program", || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

fn read(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A server with an empty fleet.
pub(crate) struct Server {
    running: Running,
    dir: tempfile::TempDir,
    /// `HOST:PORT`, in all its lives.
    pub(crate) address: String,
}

impl Server {
    /// Starts it, and waits until it listens.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (running, address) = Self::launch(dir.path(), "127.0.0.1:0");
        Self { running, dir, address }
    }

    /// SIGKILL, and another life on the same data and address.
    pub(crate) fn restart(&mut self) {
        self.running.signal(Signal::KILL);
        self.running.end();
        let (running, address) = Self::launch(self.dir.path(), &self.address);
        assert_eq!(address, self.address);
        self.running = running;
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.running.signal(Signal::KILL);
        self.running.end();
    }

    /// Runs `rekindle` against it.
    pub(crate) fn rekindle(&self, args: &[&str]) -> Answer {
        Answer::of(&[&["--server", &self.address], args].concat())
    }

    fn launch(dir: &Path, listen: &str) -> (Running, String) {
        let port_file = dir.join("address");
        let _none_yet = std::fs::remove_file(&port_file);
        let parent = std::process::id().to_string();
        let mut command = rekindle(&["__server", &parent, "--listen", listen, "--log-level", "warn"]);
        command
            .arg("--data-dir")
            .arg(dir.join("data"))
            .arg("--port-file")
            .arg(&port_file);
        let running = Running::start(command);
        let address = eventually("the server's address", || std::fs::read_to_string(&port_file).ok());
        (running, address.trim().to_owned())
    }
}
