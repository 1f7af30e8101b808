//! Who is measured: Rekindle, the bare floor, and the supervisors that are installed.

use std::path::Path;
use std::time::Duration;

use crate::args::Part;
use crate::birth::{Birth, Births, Manners};
use crate::clock::Moment;
use crate::programs::{Programs, installed};

mod floor;
mod rekindle;
mod service_dir;
mod supervisord;

/// The grace between SIGTERM and SIGKILL in [`Part::Grace`].
pub const GRACE: Duration = Duration::from_secs(1);

/// Keeps one child running. Ended when it is dropped.
pub trait Supervisor {
    /// Restarts the child, as an operator's program would. Tells when the supervisor answered, where it does.
    ///
    /// # Errors
    /// It could not be asked, or refused.
    fn restart(&mut self, child: &Birth) -> anyhow::Result<Option<Moment>>;
}

/// What a supervisor is started with.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The programs.
    pub programs: &'a Programs,
    /// A folder of its own.
    pub dir: &'a Path,
    /// Where its children announce themselves.
    pub births: &'a Births,
    /// How they take SIGTERM.
    pub manners: Manners,
}

/// Every supervisor that the bench knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bare loop of fork, exec and wait.
    Floor,
    /// A shim and its server.
    Rekindle,
    /// runit's `runsv`.
    Runit,
    /// daemontools' `supervise`.
    Daemontools,
    /// s6's `s6-supervise`.
    S6,
    /// `supervisord`.
    Supervisord,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Floor,
        Self::Rekindle,
        Self::Runit,
        Self::Daemontools,
        Self::S6,
        Self::Supervisord,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "fork+exec+wait",
            Self::Rekindle => "rekindle",
            Self::Runit => "runit",
            Self::Daemontools => "daemontools",
            Self::S6 => "s6",
            Self::Supervisord => "supervisord",
        }
    }

    /// Whether it can do what a part measures.
    pub fn takes_part(self, part: Part) -> bool {
        match self {
            // Nothing escalates there.
            Self::Floor | Self::Daemontools => part != Part::Grace,
            Self::Rekindle | Self::Runit | Self::S6 | Self::Supervisord => true,
        }
    }

    /// The program that must be installed for it, and is not.
    pub fn missing_program(self) -> Option<&'static str> {
        let needed: &[&'static str] = match self {
            Self::Floor | Self::Rekindle => &[],
            Self::Runit => &["runsv", "sv"],
            Self::Daemontools => &["supervise"],
            Self::S6 => &["s6-supervise"],
            Self::Supervisord => &["supervisord"],
        };
        needed.iter().copied().find(|program| installed(program).is_none())
    }

    /// Starts one, with its first child.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(self, launch: &Launch<'_>) -> anyhow::Result<Box<dyn Supervisor>> {
        Ok(match self {
            Self::Floor => Box::new(floor::Floor::start(launch)?),
            Self::Rekindle => Box::new(rekindle::Rekindle::start(launch)?),
            Self::Runit => Box::new(service_dir::Runit::start(launch)?),
            Self::Daemontools => Box::new(service_dir::Daemontools::start(launch)?),
            Self::S6 => Box::new(service_dir::S6::start(launch)?),
            Self::Supervisord => Box::new(supervisord::Supervisord::start(launch)?),
        })
    }
}
