//! `grpc.health.v1.Health`: what meshes and load balancers ask.
//!
//! `""` is the process; a service's full name is its readiness; `agents/{agent}` is that agent, SERVING exactly while it
//! is RUNNING.

use std::pin::Pin;
use std::sync::Arc;

use rekindle::id::AgentId;
use rekindle::wire::health::health_check_response::ServingStatus;
use rekindle::wire::health::health_server::{Health, HealthServer};
use rekindle::wire::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use rekindle::wire::v1::{
    agent_service_server, checkpoint_service_server, event_service_server, execution_service_server,
    fleet_service_server, shim_service_server, workflow_service_server,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use crate::handle::Handle;
use crate::snapshot::Snapshot;
use crate::status::rich;

/// The services whose readiness is told: they are ready once the fleet's state is read, until the driver ends.
const SERVICES: [&str; 7] = [
    agent_service_server::SERVICE_NAME,
    checkpoint_service_server::SERVICE_NAME,
    event_service_server::SERVICE_NAME,
    execution_service_server::SERVICE_NAME,
    fleet_service_server::SERVICE_NAME,
    shim_service_server::SERVICE_NAME,
    workflow_service_server::SERVICE_NAME,
];

/// Most names that `List` gives: the protocol's own limit (grpc/health/v1/health.proto).
const LIST_MAX: usize = 100;

/// Characters of an unknown name that are shown again.
const SHOWN_MAX: usize = 80;

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
        let snapshots = self.handle.changes();
        let status = status_of(&service, &snapshots.borrow(), driver_of(&snapshots));
        match status {
            Some(status) => Ok(Response::new(response(status))),
            None => {
                let shown: String = service.chars().take(SHOWN_MAX).collect();
                let message = format!(
                    "nothing named {shown:?} has a health; ask for \"\", a service's full name, or agents/NAME"
                );
                Err(rich(
                    Code::NotFound,
                    "HEALTH_NAME_NOT_FOUND",
                    message,
                    [("service", shown)],
                ))
            }
        }
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let snapshots = self.handle.changes();
        let driver = driver_of(&snapshots);
        let snapshot = snapshots.borrow().clone();
        if 1 + SERVICES.len() + snapshot.agents.len() > LIST_MAX {
            let message = format!(
                "more than {LIST_MAX} names have a health; use ListAgents with ready = true, or Check with one name"
            );
            return Err(rich(
                Code::ResourceExhausted,
                "TOO_MANY_NAMES",
                message,
                [("limit", LIST_MAX.to_string())],
            ));
        }
        let agents = snapshot.agents.keys().map(AgentId::name);
        let names = std::iter::once(String::new())
            .chain(SERVICES.map(str::to_owned))
            .chain(agents);
        let statuses = names
            .filter_map(|name| status_of(&name, &snapshot, driver).map(|status| (name, response(status))))
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
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    statuses: mpsc::Sender<Result<HealthCheckResponse, Status>>,
) {
    let mut sent = None;
    loop {
        let status = {
            let snapshot = snapshots.borrow_and_update();
            status_of(&service, &snapshot, Driver::Runs).unwrap_or(ServingStatus::ServiceUnknown)
        };
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

/// Whether the fleet's state is kept.
#[derive(Clone, Copy)]
enum Driver {
    /// It is.
    Runs,
    /// It is not any more; the process is ending.
    Ended,
}

fn driver_of(snapshots: &watch::Receiver<Arc<Snapshot>>) -> Driver {
    match snapshots.has_changed() {
        Ok(_) => Driver::Runs,
        Err(_closed) => Driver::Ended,
    }
}

fn status_of(service: &str, snapshot: &Snapshot, driver: Driver) -> Option<ServingStatus> {
    if service.is_empty() {
        return Some(ServingStatus::Serving);
    }
    let serves = if SERVICES.contains(&service) {
        true
    } else {
        snapshot.agents.get(&AgentId::from_name(service).ok()?)?.is_ready()
    };
    Some(match driver {
        Driver::Runs if serves => ServingStatus::Serving,
        Driver::Runs | Driver::Ended => ServingStatus::NotServing,
    })
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
