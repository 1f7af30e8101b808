//! Rekindle: a shim around the child, a server over loopback, and an operator's gRPC channel that is kept open.

use anyhow::{Context as _, bail};
use prost_types::Duration;
use rekindle::wire::v1;
use rekindle::wire::v1::agent_service_client::AgentServiceClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use super::{GRACE, Launch, Supervisor};
use crate::birth::{Birth, Manners};
use crate::clock::Moment;
use crate::ours::{Server, Shim};

const AGENT: &str = "bench";

/// A server with one shim.
pub(super) struct Rekindle {
    client: AgentServiceClient<Channel>,
    runtime: Runtime,
    manners: Manners,
    _shim: Shim,
    _server: Server,
}

impl Rekindle {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let server = Server::start(launch.programs, launch.dir)?;
        let shim = Shim::start(launch.programs, launch.dir, &server, AGENT, launch.births)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(server.url())?;
        let channel = runtime
            .block_on(endpoint.connect())
            .context("cannot connect to the server")?;
        Ok(Self {
            client: AgentServiceClient::new(channel),
            runtime,
            manners: launch.manners,
            _shim: shim,
            _server: server,
        })
    }
}

impl Supervisor for Rekindle {
    fn restart(&mut self, _child: &Birth) -> anyhow::Result<Option<Moment>> {
        let request = v1::RestartAgentRequest {
            name: format!("agents/{AGENT}"),
            reason: "benchmark".to_owned(),
            grace_period: match self.manners {
                Manners::Polite => None,
                Manners::Deaf => Some(Duration {
                    seconds: GRACE.as_secs().cast_signed(),
                    nanos: 0,
                }),
            },
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.restart_agent(request));
        let answered = Moment::now();
        let answer = answer.context("RestartAgent failed")?.into_inner();
        if answer.outcome() != v1::Outcome::Completed {
            bail!(
                "RestartAgent answered {}: {}",
                answer.outcome().as_str_name(),
                answer.detail
            );
        }
        Ok(Some(answered))
    }
}
