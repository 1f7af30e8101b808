//! Health, as a client that is not ours asks for it.

use rekindle::wire::health::HealthListRequest;
use rekindle::wire::health::health_client::HealthClient as OurClient;
use rekindle::wire::v1;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::shim::FakeShim;
use super::{World, soon, told};
use crate::store::memory::Fault;

fn client(world: &World) -> HealthClient<Channel> {
    HealthClient::new(world.channel.clone())
}

fn name(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn check(world: &World, service: &str) -> Result<ServingStatus, Code> {
    let checked = client(world).check(name(service)).await;
    checked
        .map(|status| status.into_inner().status())
        .map_err(|status| told(&status).0)
}

async fn next(stream: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    let message = soon(stream.message()).await.expect("the stream ends well");
    message.map(|message| message.status())
}

#[tokio::test]
async fn the_process_its_services_and_its_agents_have_a_health() {
    let world = World::start().await;
    world.create("agents/a").await;
    for service in [
        "",
        "rekindle.v1.AgentService",
        "rekindle.v1.EventService",
        "rekindle.v1.FleetService",
        "rekindle.v1.ShimService",
    ] {
        assert_eq!(check(&world, service).await, Ok(ServingStatus::Serving), "{service:?}");
    }
    assert_eq!(check(&world, "agents/a").await, Ok(ServingStatus::NotServing));
    let _shim = FakeShim::run(&world, "agents/a").await;
    assert_eq!(check(&world, "agents/a").await, Ok(ServingStatus::Serving));
    for unknown in ["agents/b", "a", "rekindle.v1.Nothing"] {
        assert_eq!(check(&world, unknown).await, Err(Code::NotFound), "{unknown:?}");
    }
}

#[tokio::test]
async fn a_watch_waits_for_an_agent_that_is_not_there_yet() {
    let world = World::start().await;
    let mut stream = client(&world)
        .watch(name("agents/a"))
        .await
        .expect("watched")
        .into_inner();
    assert_eq!(next(&mut stream).await, Some(ServingStatus::ServiceUnknown));
    world.create("agents/a").await;
    assert_eq!(next(&mut stream).await, Some(ServingStatus::NotServing));
    let _shim = FakeShim::run(&world, "agents/a").await;
    assert_eq!(next(&mut stream).await, Some(ServingStatus::Serving));
}

#[tokio::test]
async fn a_list_has_every_name_up_to_the_protocols_limit() {
    let world = World::start().await;
    world.create("agents/a").await;
    let mut client = OurClient::new(world.channel.clone());
    let listed = client.list(HealthListRequest {}).await.expect("listed").into_inner();
    let names: Vec<&str> = listed.statuses.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "",
            "agents/a",
            "rekindle.v1.AgentService",
            "rekindle.v1.CheckpointService",
            "rekindle.v1.EventService",
            "rekindle.v1.ExecutionService",
            "rekindle.v1.FleetService",
            "rekindle.v1.ShimService",
            "rekindle.v1.WorkflowService"
        ]
    );
    for index in 0..100 {
        world.create(&format!("agents/b{index}")).await;
    }
    let refused = client.list(HealthListRequest {}).await.expect_err("they are too many");
    assert_eq!(told(&refused).0, Code::ResourceExhausted);
}

#[tokio::test]
async fn a_server_that_can_keep_nothing_is_not_ready() {
    let world = World::start().await;
    let service = "rekindle.v1.AgentService";
    let mut stream = client(&world).watch(name(service)).await.expect("watched").into_inner();
    assert_eq!(next(&mut stream).await, Some(ServingStatus::Serving));
    world.disk.fail_next_commit(Fault::Lost);
    let request = v1::UpdateAgentRequest {
        agent: Some(v1::Agent {
            name: "agents/a".into(),
            ..v1::Agent::default()
        }),
        allow_missing: true,
        ..v1::UpdateAgentRequest::default()
    };
    let lost = told(&world.agents().update_agent(request).await.expect_err("it was not kept"));
    assert_eq!((lost.0, lost.1.as_str()), (Code::Unavailable, "SERVER_ENDING"));
    assert_eq!(next(&mut stream).await, Some(ServingStatus::NotServing));
    assert_eq!(check(&world, service).await, Ok(ServingStatus::NotServing));
    assert_eq!(
        check(&world, "").await,
        Ok(ServingStatus::Serving),
        "the process is there"
    );
}
