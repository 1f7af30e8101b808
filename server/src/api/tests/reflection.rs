//! Reflection, in both versions that clients ask for.

use tokio_stream::StreamExt as _;
use tonic_reflection::pb::{v1, v1alpha};

use super::World;

#[tokio::test]
async fn both_versions_know_every_service_and_the_errors_details() {
    let world = World::start().await;

    let ask = |message_request| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    use v1::server_reflection_request::MessageRequest;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".into())),
        ask(MessageRequest::FileContainingSymbol(
            "rekindle.v1.AgentService.RestartAgent".into(),
        )),
    ]);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .expect("asked")
        .into_inner();
    let mut next = async || {
        let answer = answers.next().await.expect("an answer each").expect("no error");
        answer.message_response.expect("an answer has something")
    };
    use v1::server_reflection_response::MessageResponse;
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("services were asked for");
    };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    insta::assert_snapshot!(names.join("\n"), @r"
    grpc.health.v1.Health
    grpc.reflection.v1.ServerReflection
    rekindle.v1.AgentService
    rekindle.v1.CheckpointService
    rekindle.v1.EventService
    rekindle.v1.ExecutionService
    rekindle.v1.FleetService
    rekindle.v1.ShimService
    rekindle.v1.WorkflowService
    ");
    for what in ["the details", "the method"] {
        let found = matches!(next().await, MessageResponse::FileDescriptorResponse(_));
        assert!(found, "{what}");
    }

    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol("rekindle.v1.AgentService".into()),
        ),
    };
    let mut answers = old
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .expect("asked")
        .into_inner();
    let answer = answers
        .next()
        .await
        .expect("an answer")
        .expect("no error")
        .message_response;
    use v1alpha::server_reflection_response::MessageResponse as Old;
    assert!(matches!(answer, Some(Old::FileDescriptorResponse(_))), "{answer:?}");
}
