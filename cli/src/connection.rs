//! The connection to a server.

use std::time::Duration;

use rekindle::wire::v1::agent_service_client::AgentServiceClient;
use rekindle::wire::v1::checkpoint_service_client::CheckpointServiceClient;
use rekindle::wire::v1::event_service_client::EventServiceClient;
use rekindle::wire::v1::execution_service_client::ExecutionServiceClient;
use rekindle::wire::v1::fleet_service_client::FleetServiceClient;
use rekindle::wire::v1::workflow_service_client::WorkflowServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::failure::Failure;

/// How long one attempt to connect may take: a few retransmissions of a lost SYN packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is silent for this long is asked whether it lives, so that a watcher notices a dead host.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// An unanswered question of this age ends the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A page's length: the messages of a page of agents with the longest evidence stay under [`MESSAGE_MAX_BYTES`].
pub(crate) const PAGE_SIZE: i32 = 500;
/// Largest answer that is read.
const MESSAGE_MAX_BYTES: usize = 32 << 20;

/// A connected server.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Channel);

impl Connection {
    /// Connects to a server's URL, or to its bare `HOST:PORT`.
    pub(crate) async fn open(server: &str) -> Result<Self, Failure> {
        let channel = endpoint(server)?.connect().await;
        channel.map(Self).map_err(|source| Failure::Unreachable {
            server: server.to_owned(),
            source,
        })
    }

    /// Looks at agents, and operates them.
    pub(crate) fn agents(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// Gives agents work, and looks at it.
    pub(crate) fn executions(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// Looks at what gives agents their work by itself, and operates it.
    pub(crate) fn workflows(&self) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// Looks at what agents have saved.
    pub(crate) fn checkpoints(&self) -> CheckpointServiceClient<Channel> {
        CheckpointServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// Reads the log of events.
    pub(crate) fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// Looks at all agents at once.
    pub(crate) fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }
}

/// A server's URL, from that or from its bare `HOST:PORT`.
pub(crate) fn url(server: &str) -> String {
    if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    }
}

fn endpoint(server: &str) -> Result<Endpoint, Failure> {
    let wrong = |reason: String| Failure::Address {
        server: server.to_owned(),
        reason,
    };
    let url = url(server);
    if !url.starts_with("http://") {
        return Err(wrong("it must begin with http://".to_owned()));
    }
    let endpoint = Endpoint::from_shared(url).map_err(|error| wrong(error.to_string()))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(wrong("it names no host".to_owned()));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "http://127.0.0.1:7420",
            "127.0.0.1:7420",
            "http://[::1]:1",
            "localhost:1",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "https://host:1", "http://", "http://a b"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
