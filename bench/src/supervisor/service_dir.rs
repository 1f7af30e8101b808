//! The daemontools family: a folder with a `run` file, and one letter written to `supervise/control`.
//!
//! `run` is the child itself, not a script: no shell is measured.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::{GRACE, Launch, Supervisor};
use crate::birth::{Birth, Manners};
use crate::clock::Moment;
use crate::daemon::Daemon;

/// A service folder, and the supervisor of it.
struct Service {
    dir: PathBuf,
    _supervisor: Daemon,
}

impl Service {
    fn start(supervisor: &str, launch: &Launch<'_>) -> anyhow::Result<Self> {
        let service = launch.dir.join("service");
        fs::create_dir_all(&service)?;
        symlink(&launch.programs.child, service.join("run"))?;
        Self::supervise(supervisor, service, launch)
    }

    fn supervise(supervisor: &str, service: PathBuf, launch: &Launch<'_>) -> anyhow::Result<Self> {
        let mut command = launch.births.command(supervisor);
        command.arg(&service);
        Ok(Self {
            dir: service,
            _supervisor: Daemon::start(command, &launch.dir.join("log"))?,
        })
    }

    fn control(&self, letters: &str) -> anyhow::Result<()> {
        let control = self.dir.join("supervise/control");
        File::options()
            .write(true)
            .open(&control)
            .and_then(|mut fifo| fifo.write_all(letters.as_bytes()))
            .with_context(|| format!("cannot write to {}", control.display()))
    }
}

/// `runsv`.
pub(super) struct Runit {
    service: Service,
    manners: Manners,
}

impl Runit {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            service: Service::start("runsv", launch)?,
            manners: launch.manners,
        })
    }

    /// Only `sv` escalates: it watches the service's status and sends KILL when the time is over.
    fn force_restart(&self) -> anyhow::Result<()> {
        let status = Command::new("sv")
            .args(["-w", &GRACE.as_secs().to_string(), "force-restart"])
            .arg(&self.service.dir)
            .stdout(Stdio::null())
            .status()
            .context("cannot run sv")?;
        // Its status says whether SIGTERM was enough, which it is not to be.
        if status.code().is_none() {
            bail!("sv was killed");
        }
        Ok(())
    }
}

impl Supervisor for Runit {
    fn restart(&mut self, _child: &Birth) -> anyhow::Result<Option<Moment>> {
        match self.manners {
            Manners::Polite => self.service.control("t")?,
            Manners::Deaf => self.force_restart()?,
        }
        Ok(None)
    }
}

/// `supervise`.
pub(super) struct Daemontools {
    service: Service,
}

impl Daemontools {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            service: Service::start("supervise", launch)?,
        })
    }
}

impl Supervisor for Daemontools {
    fn restart(&mut self, _child: &Birth) -> anyhow::Result<Option<Moment>> {
        self.service.control("t")?;
        Ok(None)
    }
}

/// `s6-supervise`.
pub(super) struct S6 {
    service: Service,
    manners: Manners,
}

impl S6 {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let service = launch.dir.join("service");
        fs::create_dir_all(&service)?;
        fs::write(service.join("timeout-kill"), GRACE.as_millis().to_string())?;
        Ok(Self {
            service: Service::start("s6-supervise", launch)?,
            manners: launch.manners,
        })
    }
}

impl Supervisor for S6 {
    fn restart(&mut self, _child: &Birth) -> anyhow::Result<Option<Moment>> {
        match self.manners {
            Manners::Polite => self.service.control("r")?,
            // `timeout-kill` counts from an order to go down, not from one to restart.
            Manners::Deaf => self.service.control("du")?,
        }
        Ok(None)
    }
}
