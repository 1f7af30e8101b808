//! Rekindle: a shim around the child, a server over loopback, and an operator's gRPC channel that is kept open.

use super::{GRACE, Launch, Supervisor};
use crate::birth::{Birth, Manners};
use crate::clock::Moment;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};

const AGENT: &str = "bench";

/// A server with one shim.
pub(super) struct Rekindle {
    operator: Operator,
    manners: Manners,
    _shim: Shim,
    _server: Server,
}

impl Rekindle {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let server = Server::start(launch.programs, launch.dir)?;
        let shim = Shim::start(&Agent {
            programs: launch.programs,
            dir: launch.dir,
            server: &server,
            name: AGENT,
            births: launch.births,
        })?;
        Ok(Self {
            operator: Operator::connect(&server)?,
            manners: launch.manners,
            _shim: shim,
            _server: server,
        })
    }
}

impl Supervisor for Rekindle {
    fn restart(&mut self, _child: &Birth) -> anyhow::Result<Option<Moment>> {
        let grace = match self.manners {
            Manners::Polite => None,
            Manners::Deaf => Some(GRACE),
        };
        self.operator.restart(AGENT, grace).map(Some)
    }
}
