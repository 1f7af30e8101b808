//! The gRPC services for operators and meshes.
//!
//! Reads are answered from the published snapshot, which holds nothing that is not durable. What changes something is
//! parsed once into a valid request, and handed to the driver.

mod agents;
mod checkpoints;
mod deadline;
mod events;
mod executions;
mod filter;
mod fleet;
mod health;
mod operations;
mod page;
mod processes;
mod subject;
mod view;
mod workflows;

use std::convert::Infallible;

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::wire::v1::agent_service_server::AgentServiceServer;
use rekindle::wire::v1::checkpoint_service_server::CheckpointServiceServer;
use rekindle::wire::v1::event_service_server::EventServiceServer;
use rekindle::wire::v1::execution_service_server::ExecutionServiceServer;
use rekindle::wire::v1::fleet_service_server::FleetServiceServer;
use rekindle::wire::v1::workflow_service_server::WorkflowServiceServer;
use rekindle::workflow::PAYLOAD_MAX_BYTES;
use tonic::service::{Routes, RoutesBuilder};

use crate::handle::Handle;
use crate::webhook::{self, Webhooks};

/// Largest request: an UpdateAgent with every label, many times over.
const REQUEST_MAX_BYTES: usize = 256 * 1024;

/// Largest CreateExecution: the longest message, with room for the rest.
const EXECUTION_REQUEST_MAX_BYTES: usize = MESSAGE_MAX_BYTES + 16 * 1024;

/// Largest CreateWorkflow, UpdateWorkflow or TriggerWorkflow: the longest message or payload, with room for the rest.
const WORKFLOW_REQUEST_MAX_BYTES: usize = EXECUTION_REQUEST_MAX_BYTES;

const _: () = assert!(PAYLOAD_MAX_BYTES <= MESSAGE_MAX_BYTES, "a payload fits its request");

/// Every service but the shims'.
///
/// # Errors
/// The descriptors that reflection answers from cannot be read, which is a defect of the build.
pub fn routes(handle: &Handle) -> Result<RoutesBuilder, tonic_reflection::server::Error> {
    let mut routes = Routes::builder();
    let agents = agents::Agents::new(handle.clone());
    let checkpoints = checkpoints::Checkpoints::new(handle.clone());
    let events = events::Events::new(handle.clone());
    let executions = executions::Executions::new(handle.clone());
    let fleet = fleet::Fleet::new(handle.clone());
    let workflows = workflows::Workflows::new(handle.clone());
    routes
        .add_service(AgentServiceServer::new(agents).max_decoding_message_size(REQUEST_MAX_BYTES))
        .add_service(CheckpointServiceServer::new(checkpoints).max_decoding_message_size(REQUEST_MAX_BYTES))
        .add_service(EventServiceServer::new(events).max_decoding_message_size(REQUEST_MAX_BYTES))
        .add_service(ExecutionServiceServer::new(executions).max_decoding_message_size(EXECUTION_REQUEST_MAX_BYTES))
        .add_service(FleetServiceServer::new(fleet).max_decoding_message_size(REQUEST_MAX_BYTES))
        .add_service(WorkflowServiceServer::new(workflows).max_decoding_message_size(WORKFLOW_REQUEST_MAX_BYTES))
        .add_service(health::service(handle.clone()).max_decoding_message_size(REQUEST_MAX_BYTES))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes)
}

/// The services with the webhooks beside them, for those who call them over HTTP/2.
pub fn with_webhooks(routes: RoutesBuilder, webhooks: &Webhooks) -> Routes {
    let mut routes = routes.routes();
    let webhooks = webhooks.clone();
    let service = tower::service_fn(move |request| {
        let webhooks = webhooks.clone();
        async move { Ok::<_, Infallible>(webhooks.answer(request).await) }
    });
    let router = routes.axum_router_mut();
    *router = std::mem::take(router).route_service(&format!("{}{{*rest}}", webhook::PATH), service);
    routes
}

/// With the descriptors of the errors' details too, so that a client such as grpcurl can show them.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(rekindle::wire::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests;
