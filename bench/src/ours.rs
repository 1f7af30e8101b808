//! Rekindle's own processes, started as users start them.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::birth::Births;
use crate::daemon::{Daemon, Lines};
use crate::programs::Programs;

/// An empty store opens in milliseconds.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Longest wait for the end of a shim, which waits for its server for 5 s.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A server on a free port, with a data directory of its own.
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    address: SocketAddr,
}

impl Server {
    /// Starts one in `dir`, and waits until it listens.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start(programs: &Programs, dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(programs, dir, &[])
    }

    /// As [`Server::start`], with these flags.
    ///
    /// # Errors
    /// It did not come up.
    pub fn start_with(programs: &Programs, dir: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let port_file = dir.join("server.port");
        let mut command = Command::new(&programs.server);
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(flags);
        command.arg("--data-dir").arg(dir.join("data"));
        command.arg("--port-file").arg(&port_file);
        let mut daemon = Daemon::start(command, &dir.join("server.log"))?;
        let address = daemon.wait_for("the server's address", START_LIMIT, || {
            fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        })?;
        Ok(Self { daemon, address })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An agent that a shim is started for.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    /// The programs.
    pub programs: &'a Programs,
    /// Where its files go.
    pub dir: &'a Path,
    /// What its shim connects to.
    pub server: &'a Server,
    /// Its name.
    pub name: &'a str,
    /// Where its children announce themselves.
    pub births: &'a Births,
}

impl Agent<'_> {
    /// A shim's command: a budget that no bench exhausts, no wait between attempts, these flags, and a child with its
    /// arguments.
    pub fn command(&self, flags: &[&str], child: &[&OsStr]) -> Command {
        let mut command = self.births.command(&self.programs.shim);
        command.args(["--agent", self.name, "--server", &self.server.url()]);
        command.args(["--log-format", "json", "--max-attempts", "1000", "--cooldown", "0s"]);
        command
            .arg("--state-dir")
            .arg(self.dir.join(format!("state-{}", self.name)));
        command.args(flags).arg("--").args(child);
        command
    }

    /// The file that its shim logs to.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("shim-{}.log", self.name))
    }
}

/// A shim around a child. Ended when it is dropped, with what it has made: a shim that is killed leaves a control group
/// behind, through which every later one has to look.
#[derive(Debug)]
pub struct Shim {
    daemon: Daemon,
}

impl Shim {
    /// Starts one around the child that everybody supervises.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(agent: &Agent<'_>) -> anyhow::Result<Self> {
        Self::start_with(agent, &[], &[agent.programs.child.as_os_str()])
    }

    /// Starts one with these flags, around a child with its arguments.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_with(agent: &Agent<'_>, flags: &[&str], child: &[&OsStr]) -> anyhow::Result<Self> {
        Ok(Self {
            daemon: Daemon::start(agent.command(flags, child), &agent.log())?,
        })
    }

    /// As [`Shim::start_with`]; what the child writes, and the shim hands on, goes to /dev/null.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_unheard(agent: &Agent<'_>, flags: &[&str], child: &[&OsStr]) -> anyhow::Result<Self> {
        Ok(Self {
            daemon: Daemon::start_between(agent.command(flags, child), Stdio::null(), Stdio::null(), &agent.log())?,
        })
    }

    /// As [`Shim::start_with`], with what it logs, line by line.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_told(agent: &Agent<'_>, flags: &[&str], child: &[&OsStr]) -> anyhow::Result<(Self, Lines)> {
        let (daemon, lines) = Daemon::start_told(agent.command(flags, child))?;
        Ok((Self { daemon }, lines))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.daemon.kill();
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.daemon.end(END_LIMIT);
    }
}
