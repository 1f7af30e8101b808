//! A shim under test, and the lives of its child.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::process::{self, Daemon};
use crate::server::Server;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// The environment variable that tells a child's script where to write that it lives.
const LIVES: &str = "E2E_LIVES";

/// A child that runs until it is told to end, and dies at once on TERM.
pub const SLEEPER: &str = "exec sleep 1000";

/// A child that only SIGKILL ends.
pub const STUBBORN: &str = "trap '' TERM; exec sleep 1000";

/// A shim that is still to be started.
#[derive(Debug, Clone)]
pub struct ShimBuilder<'w> {
    world: &'w World,
    agent: String,
    state: PathBuf,
    directory: PathBuf,
    flags: Vec<String>,
    program: Vec<String>,
    /// A command that runs the shim, where that is not run as it is.
    inside: Vec<String>,
}

impl<'w> ShimBuilder<'w> {
    pub(crate) fn new(world: &'w World, agent: &str) -> Self {
        Self {
            world,
            agent: agent.to_owned(),
            state: world.path(format!("state-{agent}")),
            directory: world.path(""),
            flags: Vec::new(),
            program: Vec::new(),
            inside: Vec::new(),
        }
        .script(SLEEPER)
    }

    /// Adds a flag with its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Keeps its state in another directory than the one that all shims of the agent share.
    #[must_use]
    pub fn state(mut self, name: &str) -> Self {
        self.state = self.world.path(name);
        self
    }

    /// Is started in another directory than the world's own.
    #[must_use]
    pub fn directory(mut self, name: &str) -> Self {
        self.directory = self.world.path(name);
        self
    }

    /// What the child is: a script for sh that first notes its life.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        let noted = format!("echo \"$REKINDLE_INCARNATION $$\" >> \"${LIVES}\"\n{script}");
        self.program = ["sh", "-c", &noted].map(str::to_owned).to_vec();
        self
    }

    /// What the child is: a program with its arguments, that notes nothing.
    #[must_use]
    pub fn command<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.program = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// Is run by another command, which becomes the shim: its arguments come first.
    #[must_use]
    pub fn inside<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.inside = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// What each message is given to: a script for sh.
    #[must_use]
    pub fn per_message(self, script: &str) -> Self {
        self.flag("--delivery", "per-message").command(["sh", "-c", script])
    }

    /// What the child is: a program that notes nothing.
    #[must_use]
    pub fn program(mut self, program: &str) -> Self {
        self.program = vec![program.to_owned()];
        self
    }

    /// Starts it.
    pub fn start(self, server: &Server<'_>) -> Shim<'w> {
        self.start_at(&server.url())
    }

    /// Starts it with the address of a server that may not be there.
    pub fn start_at(self, server: &str) -> Shim<'w> {
        Shim {
            daemon: self.spawn(server),
            launch: self,
            server: server.to_owned(),
        }
    }

    fn spawn(&self, server: &str) -> Daemon {
        let shim = tools::under_test("shim-under-test");
        let mut command = match self.inside.split_first() {
            None => self.world.command(shim),
            Some((first, rest)) => {
                let mut command = self.world.command(first);
                command.args(rest).arg(shim);
                command
            }
        };
        command
            .env(LIVES, self.lives_file())
            .current_dir(&self.directory)
            .args(["--agent", &self.agent, "--server", server, "--log-format", "json"])
            .arg("--state-dir")
            .arg(&self.state)
            .args(&self.flags)
            .arg("--")
            .args(&self.program);
        Daemon::start(command, &self.log_file())
    }

    fn lives_file(&self) -> PathBuf {
        self.world.path(format!("lives-{}", self.agent))
    }

    fn log_file(&self) -> PathBuf {
        let state = self.state.file_name().unwrap_or_default().to_string_lossy();
        self.world.path(format!("shim-{state}.log"))
    }
}

/// One life of a child, as its script noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The incarnation that the child was told.
    pub incarnation: u64,
    /// Its own process id.
    pub pid: u32,
}

/// A shim that was started. Ended when it is dropped.
#[derive(Debug)]
pub struct Shim<'w> {
    launch: ShimBuilder<'w>,
    daemon: Daemon,
    server: String,
}

impl Shim<'_> {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.daemon.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.daemon.signal(Signal::CONT);
    }

    /// SIGUSR2: it runs its program anew in its place.
    pub fn upgrade(&mut self) {
        self.daemon.signal(Signal::USR2);
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.daemon.signal(Signal::TERM);
        self.daemon.end().await
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.ended()
    }

    /// Starts another life of the same shim: the same agent, flags and state directory.
    pub fn start_again(&mut self) {
        self.daemon.kill();
        self.daemon = self.launch.spawn(&self.server);
    }

    /// Starts another life of the same shim, in another directory.
    pub fn start_again_in(&mut self, directory: &str) {
        self.launch.directory = self.launch.world.path(directory);
        self.start_again();
    }

    /// How many results of messages wait for the server: each has a file in the state directory.
    ///
    /// # Panics
    /// When the state directory cannot be read.
    pub fn results_kept(&self) -> usize {
        let files = fs::read_dir(&self.launch.state).expect("the state directory can be read");
        let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("output.")).count()
    }

    /// Waits until so many results wait for the server.
    pub async fn keeps_results(&self, count: usize) {
        eventually(&format!("{count} results that wait"), async || {
            (self.results_kept() == count).then_some(())
        })
        .await;
    }

    /// All that it and its children have written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.launch.log_file()).unwrap_or_default()
    }

    /// Waits until its log has `text`.
    pub async fn says(&self, text: &str) {
        eventually(&format!("{text:?} in the shim's log"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// The lives of the agent's children so far, in the order in which they began.
    ///
    /// # Panics
    /// When a child wrote what its script cannot have written.
    pub fn lives(&self) -> Vec<Life> {
        let text = fs::read_to_string(self.launch.lives_file()).unwrap_or_default();
        text.lines()
            .map(|line| {
                let (incarnation, pid) = line.split_once(' ').expect("two words are noted");
                Life {
                    incarnation: incarnation.parse().expect("REKINDLE_INCARNATION is a number"),
                    pid: pid.parse().expect("a pid is a number"),
                }
            })
            .collect()
    }

    /// Waits for the life with this number.
    pub async fn life(&self, incarnation: u64) -> Life {
        eventually(&format!("a life with incarnation {incarnation}"), async || {
            self.lives().into_iter().find(|life| life.incarnation == incarnation)
        })
        .await
    }

    /// Checks that no two lives had one incarnation, that incarnations rose, and that at most the newest lives.
    ///
    /// # Panics
    /// When one of these does not hold.
    pub fn check_lives(&self) {
        let lives = self.lives();
        for pair in lives.windows(2) {
            assert!(
                pair[0].incarnation < pair[1].incarnation,
                "incarnations rise: {lives:?}"
            );
            assert!(!process::is_alive(pair[0].pid), "an older life goes on: {lives:?}");
        }
    }
}
