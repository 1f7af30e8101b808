//! Executions of one name: an agent is deleted and made again while its shim is away, and the name of its work is used again.

use rekindle::wire::v1;
use rekindle_e2e::client::{Client, is, name, runs};
use rekindle_e2e::shim::Shim;
use rekindle_e2e::work::{in_state, is_over, open_gate};
use rekindle_e2e::{World, process};
use v1::{AgentState, EventType, Execution, ExecutionState};

/// What a message's process notes when it begins, and says when it is done, which it is when there is the file that it names.
fn script(world: &World) -> String {
    let gates = world.path("");
    format!(
        "read -r file; echo $file >> begun; while ! [ -e {}/$file ]; do sleep 0.02; done; echo $file is done",
        gates.display()
    )
}

/// Gives the agent work under the one name.
async fn nightly(client: &mut Client, message: &str) -> Execution {
    let named = |request: &mut v1::CreateExecutionRequest| request.execution_id = "nightly".to_owned();
    client
        .give_with("a", message, named)
        .await
        .expect("CreateExecution succeeds")
}

/// Takes the shim away, which goes on with its work, and has the server forget the agent and know it anew.
async fn forget(client: &mut Client, shim: &mut Shim<'_>) {
    shim.pause();
    client.until("a", is(AgentState::Unreachable)).await;
    let delete = v1::DeleteAgentRequest {
        name: name("a"),
        force: true,
        ..Default::default()
    };
    client.agents.delete_agent(delete).await.expect("DeleteAgent succeeds");
    client
        .set_policy("a", v1::AgentPolicy::default())
        .await
        .expect("UpdateAgent succeeds");
}

/// The work that was given first goes on alone, and what was given under its name since is done after it.
async fn is_done_after(world: &World, client: &mut Client, (first, second): (u32, &Execution)) {
    let waiting = client.execution(&second.name).await.expect("GetExecution succeeds");
    assert_eq!(
        (waiting.state(), waiting.attempt),
        (ExecutionState::Queued, 0),
        "{waiting:#?}"
    );
    assert!(process::is_alive(first), "nothing destructive follows");
    open_gate(world, "one");
    process::is_gone(first).await;
    let history = client.until_told(EventType::ExecutionDisowned).await;
    let told = history.all(EventType::ExecutionDisowned);
    assert_eq!(told[0].attributes["verdict"], "succeeded", "{told:#?}");
    let pid = client.pid_of(&second.name).await;
    assert_ne!(pid, first);
    open_gate(world, "two");
    let done = client.until_execution(&second.name, is_over).await;
    assert_eq!(
        (done.state(), done.attempt, done.output.as_str()),
        (ExecutionState::Succeeded, 1, "two is done\n"),
        "{done:#?}"
    );
    let begun = std::fs::read_to_string(world.path("begun")).expect("they have noted that they begin");
    assert_eq!(begun, "one\ntwo\n", "each ran once");
}

#[tokio::test]
async fn what_a_shim_brings_back_is_no_result_of_the_work_that_has_its_name_by_then() {
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "500ms").start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").per_message(&script(&world)).start(&server);
    client.until("a", runs(1)).await;
    let first = nightly(&mut client, "one").await.name;
    let pid = client.pid_of(&first).await;
    forget(&mut client, &mut shim).await;

    let second = nightly(&mut client, "two").await;
    client
        .until_execution(&second.name, in_state(ExecutionState::Queued))
        .await;
    shim.resume();
    client.until("a", runs(1)).await;
    is_done_after(&world, &mut client, (pid, &second)).await;
}

#[tokio::test]
async fn work_is_done_that_is_given_under_a_name_which_a_shim_has_brought_back() {
    let world = World::new();
    let server = world.server().flag("--heartbeat-interval", "500ms").start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").per_message(&script(&world)).start(&server);
    client.until("a", runs(1)).await;
    let first = nightly(&mut client, "one").await.name;
    let pid = client.pid_of(&first).await;
    forget(&mut client, &mut shim).await;

    shim.resume();
    client.until("a", runs(1)).await;
    let second = nightly(&mut client, "two").await;
    is_done_after(&world, &mut client, (pid, &second)).await;
}
