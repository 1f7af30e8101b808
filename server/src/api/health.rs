//! `grpc.health.v1.Health`: what meshes and load balancers ask.
//!
//! `""` is the process; a service's full name is its readiness; `agents/{agent}` is that agent, SERVING exactly while it
//! is RUNNING.

use std::collections::BTreeMap;
use std::pin::Pin;

use rekindle::id::AgentId;
use rekindle::wire::health::health_check_response::ServingStatus;
use rekindle::wire::health::health_server::{Health, HealthServer};
use rekindle::wire::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use rekindle::wire::v1::{agent_service_server, event_service_server, fleet_service_server, shim_service_server};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::handle::Handle;
use crate::snapshot::Snapshot;

/// The services whose readiness is told: they are ready once the fleet's state is read, until the driver ends.
const SERVICES: [&str; 4] = [
    agent_service_server::SERVICE_NAME,
    event_service_server::SERVICE_NAME,
    fleet_service_server::SERVICE_NAME,
    shim_service_server::SERVICE_NAME,
];

/// Most names that `List` gives; some 60 bytes each, this stays below the 4 MiB that clients take by default.
const LIST_MAX: usize = 50_000;

/// The service.
pub(super) fn service(handle: Handle) -> HealthServer<HealthService> {
    HealthServer::new(HealthService { handle })
}

pub(super) struct HealthService {
    handle: Handle,
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match status_of(&service, &self.handle.snapshot()) {
            Some(status) => Ok(Response::new(response(status))),
            None => Err(Status::not_found(format!(
                "nothing named {:?} has a health; ask for \"\", a service's full name, or agents/NAME",
                service.chars().take(100).collect::<String>()
            ))),
        }
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let snapshot = self.handle.snapshot();
        if snapshot.agents.len() + SERVICES.len() >= LIST_MAX {
            return Err(Status::resource_exhausted(format!(
                "more than {LIST_MAX} names have a health; check them one by one"
            )));
        }
        let agents = snapshot.agents.keys().map(AgentId::name);
        let names = std::iter::once(String::new())
            .chain(SERVICES.map(str::to_owned))
            .chain(agents);
        let statuses: BTreeMap<String, HealthCheckResponse> = names
            .filter_map(|name| status_of(&name, &snapshot).map(|status| (name, response(status))))
            .collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (statuses, stream) = mpsc::channel(1);
        tokio::spawn(follow(request.into_inner().service, self.handle.changes(), statuses));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Sends a service's status whenever it changes, until nobody listens or the driver has ended. A slow watcher is sent
/// the newest status when it is ready, not every one between.
async fn follow(
    service: String,
    mut snapshots: watch::Receiver<std::sync::Arc<Snapshot>>,
    statuses: mpsc::Sender<Result<HealthCheckResponse, Status>>,
) {
    let mut sent = None;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let status = status_of(&service, &snapshot).unwrap_or(ServingStatus::ServiceUnknown);
        if sent != Some(status) {
            if statuses.send(Ok(response(status))).await.is_err() {
                return;
            }
            sent = Some(status);
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() {
                // Whether anybody still listens matters no more.
                let _ = statuses.send(Ok(response(ServingStatus::NotServing))).await;
                return;
            },
            () = statuses.closed() => return,
        }
    }
}

fn status_of(service: &str, snapshot: &Snapshot) -> Option<ServingStatus> {
    if service.is_empty() || SERVICES.contains(&service) {
        return Some(ServingStatus::Serving);
    }
    let agent = snapshot.agents.get(&AgentId::from_name(service).ok()?)?;
    Some(if agent.is_ready() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    })
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
