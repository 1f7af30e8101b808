//! The services over a real connection on loopback, with the driver and the fake store behind them, and a shim that the
//! test plays.

mod agents;
mod checkpoints;
mod events;
mod executions;
mod health;
mod inventories;
mod operations;
mod reflection;
mod refusals;
mod shim;
mod webhooks;
mod workflows;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rekindle::id::Sequence;
use rekindle::wire::v1;
use rekindle::wire::v1::agent_service_client::AgentServiceClient;
use rekindle::wire::v1::checkpoint_service_client::CheckpointServiceClient;
use rekindle::wire::v1::event_service_client::EventServiceClient;
use rekindle::wire::v1::execution_service_client::ExecutionServiceClient;
use rekindle::wire::v1::fleet_service_client::FleetServiceClient;
use rekindle::wire::v1::shim_service_server::ShimServiceServer;
use rekindle::wire::v1::workflow_service_client::WorkflowServiceClient;
use rekindle_server_core::input::Input;
use rekindle_server_core::machine::Policy;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{routes, with_webhooks};
use crate::accept;
use crate::clock::Clock;
use crate::driver::{Driver, Message};
use crate::handle::Handle;
use crate::http1::Http1;
use crate::shim_service::Shims;
use crate::store::Store as _;
use crate::store::memory::MemoryDisk;
use crate::webhook::Webhooks;

/// Longest wait for something that must happen.
const SOON: Duration = Duration::from_secs(10);

/// A server of this process.
struct World {
    disk: MemoryDisk,
    handle: Handle,
    channel: Channel,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl World {
    async fn start() -> Self {
        let disk = MemoryDisk::default();
        let store = Arc::new(disk.open());
        let records = store.load().expect("the fake loads");
        let policy = Policy {
            lease: Duration::from_secs(3600),
            ..Policy::default()
        };
        let (driver, handle) = Driver::new(policy, 7, records, store, Clock::start()).expect("threads start");
        tokio::spawn(driver.run());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let mut routes = routes(&handle).expect("the descriptors are whole");
        routes.add_service(ShimServiceServer::new(Shims::new(
            handle.clone(),
            Duration::from_secs(1200),
        )));
        let webhooks = Webhooks::new(handle.clone());
        let (stop, stopped) = watch::channel(false);
        let incoming = accept::incoming(listener, Http1::new(webhooks.clone(), stopped));
        let serving = Server::builder().add_routes(with_webhooks(routes, &webhooks));
        tokio::spawn(serving.serve_with_incoming(incoming));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a URL");
        let channel = endpoint.connect().await.expect("the server listens");
        Self {
            disk,
            handle,
            channel,
            address,
            _stop: stop,
        }
    }

    fn agents(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel.clone())
    }

    fn checkpoints(&self) -> CheckpointServiceClient<Channel> {
        CheckpointServiceClient::new(self.channel.clone())
    }

    fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    fn executions(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.channel.clone())
    }

    fn workflows(&self) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::new(self.channel.clone())
    }

    fn fleet(&self) -> FleetServiceClient<Channel> {
        FleetServiceClient::new(self.channel.clone())
    }

    /// Makes an agent known that no shim has.
    async fn create(&self, name: &str) -> v1::Agent {
        let request = v1::UpdateAgentRequest {
            agent: Some(v1::Agent {
                name: name.to_owned(),
                ..v1::Agent::default()
            }),
            allow_missing: true,
            ..v1::UpdateAgentRequest::default()
        };
        let updated = self.agents().update_agent(request).await.expect("it is created");
        updated.into_inner().agent.expect("the answer has it")
    }

    async fn get(&self, name: &str) -> v1::Agent {
        let request = v1::GetAgentRequest { name: name.to_owned() };
        let found = self.agents().get_agent(request).await.expect("it is there");
        found.into_inner().agent.expect("the answer has it")
    }

    /// Waits until an agent is in a state.
    async fn until(&self, name: &str, state: v1::AgentState) {
        let mut changes = self.handle.changes();
        soon(changes.wait_for(|snapshot| {
            let record = snapshot.agents.values().find(|record| record.id.name() == name);
            record.is_some_and(|record| v1::AgentState::from(record.state) == state)
        }))
        .await
        .expect("the driver runs");
    }

    /// Waits until no shim is connected any more.
    async fn until_disconnected(&self) {
        soon(async {
            while self.handle.connected() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Forgets the events through this one, as retention does.
    async fn trim(&self, through: u64) {
        let through = Sequence::new(through);
        let aged = Message::Input(Input::EventsAged { through });
        self.handle.send(aged).await.expect("the driver runs");
        let mut changes = self.handle.changes();
        soon(changes.wait_for(|snapshot| snapshot.first_event > through))
            .await
            .expect("the driver runs");
    }
}

/// What must come soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes soon")
}

/// A status as its code, reason and violated field.
fn told(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let info = details.error_info().expect("every error has its reason");
    assert_eq!(info.domain, "rekindle");
    let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
    (status.code(), info.reason.clone(), field.unwrap_or_default())
}
