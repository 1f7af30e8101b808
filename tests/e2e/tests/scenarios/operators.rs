//! What operators get for names and values that are wrong.

use rekindle::wire::v1::{Agent, AgentPolicy, RestartAgentRequest};
use rekindle_e2e::World;
use rekindle_e2e::client::runs;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The fields that a status complains about.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn an_unknown_agent_is_not_found() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    for status in [
        client.get("nobody").await.expect_err("nobody is there"),
        client.restart("nobody").await.expect_err("nobody is there"),
        client.stop("nobody").await.expect_err("nobody is there"),
        client.start("nobody").await.expect_err("nobody is there"),
    ] {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert!(status.message().contains("agents/nobody"), "{status:?}");
        let info = status
            .get_error_details()
            .error_info()
            .cloned()
            .expect("an error has a reason");
        assert_eq!(info.domain, "rekindle");
        assert!(!info.reason.is_empty());
    }
}

#[tokio::test]
async fn a_bad_name_is_an_invalid_argument_with_its_field() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let long = "x".repeat(64);
    for bad in [
        "",
        "planner",
        "agents/",
        "agents/Planner",
        "agents/a/b",
        "agents/ä",
        &format!("agents/{long}"),
    ] {
        let request = RestartAgentRequest {
            name: bad.to_owned(),
            ..Default::default()
        };
        let status = client.restart_with(request).await.expect_err("a bad name");
        assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}: {status:?}");
        assert_eq!(fields(&status), ["name"], "{bad:?}: {status:?}");
    }
}

#[tokio::test]
async fn a_bad_policy_is_an_invalid_argument_with_its_field() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let day = prost_types::Duration {
        seconds: 2 * 24 * 3600,
        nanos: 0,
    };
    let negative = prost_types::Duration { seconds: -1, nanos: 0 };
    for (policy, field) in [
        (
            AgentPolicy {
                max_attempts: Some(1001),
                ..Default::default()
            },
            "max_attempts",
        ),
        (
            AgentPolicy {
                cooldown: Some(day),
                ..Default::default()
            },
            "cooldown",
        ),
        (
            AgentPolicy {
                stop_grace: Some(negative),
                ..Default::default()
            },
            "stop_grace",
        ),
        (
            AgentPolicy {
                stop_signal: "STOP".to_owned(),
                ..Default::default()
            },
            "stop_signal",
        ),
    ] {
        let status = client.set_policy("a", policy).await.expect_err("a bad policy");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(
            fields(&status).iter().any(|named| named.ends_with(field)),
            "{field}: {status:?}"
        );
    }
}

#[tokio::test]
async fn a_policy_set_here_wins_over_the_shim_s_flags() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").flag("--max-attempts", "5").start(&server);
    let attempts = |agent: Agent| agent.policy.and_then(|policy| policy.max_attempts);
    assert_eq!(attempts(client.until("a", runs(1)).await), Some(5));

    let policy = AgentPolicy {
        max_attempts: Some(1),
        ..Default::default()
    };
    client.set_policy("a", policy).await.expect("UpdateAgent succeeds");
    shim.terminate().await;
    shim.start_again();
    assert_eq!(attempts(client.until("a", runs(2)).await), Some(1));
}
