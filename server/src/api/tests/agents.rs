//! Reading, changing and deleting agents.

use rekindle::wire::v1;

use super::shim::FakeShim;
use super::{World, soon, told};

fn list(filter: &str, size: i32, token: &str) -> v1::ListAgentsRequest {
    v1::ListAgentsRequest {
        page_size: size,
        page_token: token.to_owned(),
        filter: filter.to_owned(),
    }
}

fn names(agents: &[v1::Agent]) -> Vec<&str> {
    agents.iter().map(|agent| agent.name.as_str()).collect()
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let world = World::start().await;
    for name in ["agents/a", "agents/b", "agents/c", "agents/x"] {
        world.create(name).await;
    }
    let mut client = world.agents();
    let first = client.list_agents(list("", 3, "")).await.expect("listed").into_inner();
    assert_eq!(names(&first.agents), ["agents/a", "agents/b", "agents/c"]);
    let second = client.list_agents(list("", 3, &first.next_page_token)).await;
    let second = second.expect("listed").into_inner();
    assert_eq!(names(&second.agents), ["agents/x"]);
    assert_eq!(second.next_page_token, "", "the last page says so");
    let exact = client.list_agents(list("", 4, "")).await.expect("listed").into_inner();
    assert_eq!(exact.next_page_token, "", "a full page that is the last says so too");

    let some = client
        .list_agents(list("name = agents/b OR name = *x", 0, ""))
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(names(&some.agents), ["agents/b", "agents/x"]);
    let other = client
        .list_agents(list("state = PENDING", 3, &first.next_page_token))
        .await;
    let refused = told(&other.expect_err("the token goes with another filter"));
    assert_eq!(refused.2, "page_token");
}

#[tokio::test]
async fn an_agent_shows_its_session_and_its_process() {
    let world = World::start().await;
    let shim = FakeShim::run(&world, "agents/a").await;
    let agent = world.get("agents/a").await;
    assert_eq!(agent.state, v1::AgentState::Running as i32);
    assert!(agent.ready);
    assert_eq!(agent.labels.get("team").map(String::as_str), Some("search"));
    let connection = agent.connection.expect("a shim has it");
    assert!(connection.connected && connection.last_heartbeat_time.is_some());
    assert!(connection.peer.starts_with("127.0.0.1:"), "{}", connection.peer);
    assert_eq!((connection.epoch, connection.host.as_str()), (1, "h1"));

    world.create("agents/b").await;
    let processes = world
        .agents()
        .list_processes(v1::ListProcessesRequest::default())
        .await
        .expect("listed")
        .into_inner()
        .processes;
    assert_eq!(processes.len(), 1, "an agent without a process has none to list");
    assert_eq!(processes[0].process.as_ref().map(|process| process.pid), Some(1001));
    let fleet = world.fleet().get_fleet(v1::GetFleetRequest {}).await.expect("counted");
    let fleet = fleet.into_inner().fleet.expect("the answer has it");
    assert_eq!((fleet.agents, fleet.connected), (2, 1));
    let states: Vec<_> = fleet.states.iter().map(|count| (count.state(), count.agents)).collect();
    assert_eq!(states, [(v1::AgentState::Pending, 1), (v1::AgentState::Running, 1)]);
    assert_eq!(
        fleet.store.expect("the answer has it").last_sequence,
        world.handle.snapshot().last_event.get()
    );

    drop(shim);
    // What is live and what is durable of the session's end come one after the other.
    soon(async {
        let gone = |agent: v1::Agent| {
            let connection = agent.connection.expect("a shim had it");
            !connection.connected && connection.last_heartbeat_time.is_some()
        };
        while !gone(world.get("agents/a").await) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let connection = world.get("agents/a").await.connection.expect("a shim had it");
    assert_eq!(connection.peer, "");
    assert!(connection.last_heartbeat_time.is_some(), "what was known of it stays");
}

/// How often a goodbye and the end of its stream race in one test.
const RACES: u128 = 50;

#[tokio::test]
async fn a_goodbye_that_comes_with_the_end_of_its_stream_is_heard() {
    let world = World::start().await;
    for shim in 1..=RACES {
        // Refused for as long as the one before has a claim.
        let welcomed = soon(async {
            loop {
                match FakeShim::connect_as(&world, "agents/a", shim).await {
                    Ok(shim) => return shim,
                    Err(_held) => tokio::task::yield_now().await,
                }
            }
        });
        welcomed.await.leave().await;
    }
}

#[tokio::test]
async fn updates_follow_the_mask_the_etag_and_validate_only() {
    let world = World::start().await;
    let mut client = world.agents();
    let update = |policy: v1::AgentPolicy, etag: &str, paths: &[&str], validate_only| v1::UpdateAgentRequest {
        agent: Some(v1::Agent {
            name: "agents/a".into(),
            labels: [("team".to_owned(), "search".to_owned())].into(),
            policy: Some(policy),
            etag: etag.to_owned(),
            ..v1::Agent::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }),
        allow_missing: true,
        validate_only,
    };
    let five = v1::AgentPolicy {
        max_attempts: Some(5),
        ..v1::AgentPolicy::default()
    };
    client
        .update_agent(update(five.clone(), "", &["policy.max_attempts"], true))
        .await
        .expect("valid");
    assert!(world.handle.snapshot().agents.is_empty(), "only checked");
    let created = client
        .update_agent(update(five.clone(), "", &["policy.max_attempts"], false))
        .await;
    let created = created.expect("created").into_inner().agent.expect("the answer has it");
    assert_eq!(created.policy.as_ref().and_then(|policy| policy.max_attempts), Some(5));
    assert!(created.labels.is_empty(), "labels are not in the mask");
    assert_eq!(created, world.get("agents/a").await);

    let again = client
        .update_agent(update(five.clone(), &created.etag, &["labels.team"], false))
        .await;
    let again = again.expect("changed").into_inner().agent.expect("the answer has it");
    assert_ne!(again.etag, created.etag);
    assert_eq!(again.labels.len(), 1);
    let late = client
        .update_agent(update(five, &created.etag, &["labels.team"], false))
        .await;
    let refused = told(&late.expect_err("the etag is an old one"));
    assert_eq!((refused.0, refused.1.as_str()), (tonic::Code::Aborted, "ETAG_MISMATCH"));
}

#[tokio::test]
async fn an_agent_is_deleted_and_explained() {
    let world = World::start().await;
    world.create("agents/a").await;
    let mut client = world.agents();
    let explained = client
        .explain_agent(v1::ExplainAgentRequest {
            name: "agents/a".into(),
        })
        .await
        .expect("explained")
        .into_inner();
    assert!(
        explained.summary.contains("no shim has ever connected"),
        "{}",
        explained.summary
    );
    assert_eq!(explained.facts[0].name, "state");
    let delete = v1::DeleteAgentRequest {
        name: "agents/a".into(),
        ..v1::DeleteAgentRequest::default()
    };
    client.delete_agent(delete.clone()).await.expect("deleted");
    let twice = told(&client.delete_agent(delete).await.expect_err("it is gone"));
    assert_eq!((twice.0, twice.1.as_str()), (tonic::Code::NotFound, "AGENT_NOT_FOUND"));
}
