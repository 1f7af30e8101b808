//! Rekindle's own processes, started as users start them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::birth::Births;
use crate::daemon::Daemon;
use crate::programs::Programs;

/// An empty store opens in milliseconds.
const START_LIMIT: Duration = Duration::from_secs(20);

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
        let port_file = dir.join("server.port");
        let mut command = Command::new(&programs.server);
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
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

/// A shim around the bench's child.
#[derive(Debug)]
pub struct Shim {
    daemon: Daemon,
}

impl Shim {
    /// Starts one for `agent`, with a budget that no bench exhausts and no wait between attempts.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        programs: &Programs,
        dir: &Path,
        server: &Server,
        agent: &str,
        births: &Births,
    ) -> anyhow::Result<Self> {
        let mut command = births.command(&programs.shim);
        command.args(["--agent", agent, "--server", &server.url(), "--log-format", "json"]);
        command.args(["--max-attempts", "1000", "--cooldown", "0s"]);
        command.arg("--state-dir").arg(dir.join(format!("state-{agent}")));
        command.arg("--").arg(&programs.child);
        Ok(Self {
            daemon: Daemon::start(command, &dir.join(format!("shim-{agent}.log")))?,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}
