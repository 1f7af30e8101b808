//! What an agent has saved reaches its next life, whatever ended the one before, and nobody else.

mod closed;
mod hosts;
mod lost;
mod server;

use std::fs;

use rekindle::wire::v1::{self, CheckpointState, EventType};
use rekindle_e2e::client::{name, runs};
use rekindle_e2e::process::{self, signal};
use rekindle_e2e::{Client, Shim, World, eventually, tools};
use rustix::process::Signal;

/// What every agent here does first: it notes what it was handed, and has `self` speak to its shim.
fn agent(script: &str) -> String {
    format!(
        "self() {{ {} self \"$@\"; }}\n\
         echo \"$REKINDLE_INCARNATION [$REKINDLE_CHECKPOINT] [$REKINDLE_STAGE] [$REKINDLE_UNCLEAN]\" >> \"$E2E_LIVES.handed\"\n\
         {script}",
        tools::under_test("rekindle-under-test").display()
    )
}

/// Saves once in its first life, and waits.
const SAVES_ONCE: &str =
    "[ -n \"$REKINDLE_CHECKPOINT\" ] || self save --task-id t --stage half --set step=3 --memory-ref m:1
exec sleep 1000";

/// What a life was handed, as it noted it: id, stage and flag.
async fn handed(world: &World, agent: &str, incarnation: u64) -> String {
    let file = world.path(format!("lives-{agent}.handed"));
    let begin = format!("{incarnation} ");
    eventually(&format!("what life {incarnation} of {agent} was handed"), async || {
        let text = fs::read_to_string(&file).ok()?;
        let noted = text.lines().find_map(|line| line.strip_prefix(&begin));
        noted.map(str::to_owned)
    })
    .await
}

/// What a life notes that was handed nothing.
const NOTHING: &str = "[] [] []";

async fn kill(shim: &Shim<'_>, incarnation: u64) {
    signal(shim.life(incarnation).await.pid, Signal::KILL);
}

fn is_open(checkpoint: &v1::Checkpoint) -> bool {
    checkpoint.state() == CheckpointState::Open
}

/// What the agent's next life gets, and why.
async fn explained(client: &mut Client, agent: &str) -> String {
    let request = v1::ExplainAgentRequest { name: name(agent) };
    let explained = client
        .agents
        .explain_agent(request)
        .await
        .expect("ExplainAgent answers");
    let facts = explained.into_inner().facts;
    let fact = facts.into_iter().find(|fact| fact.name == "checkpoint");
    fact.map(|fact| fact.value).unwrap_or_default()
}

#[tokio::test]
async fn after_a_sigkill_the_next_life_goes_on() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let shim = world.shim("a").script(&agent(SAVES_ONCE)).start(&server);
    client.until("a", runs(1)).await;
    assert_eq!(handed(&world, "a", 1).await, NOTHING);
    let saved = client.until_saved("a", is_open).await;
    assert_eq!(saved.name, "agents/a/checkpoints/1.1");
    assert_eq!((saved.task_id.as_str(), saved.stage.as_str()), ("t", "half"));
    assert_eq!(saved.memory_refs, ["m:1"]);
    assert_eq!(saved.values["step"], "3");
    assert!(!saved.unclean);

    kill(&shim, 1).await;
    client.until("a", runs(2)).await;
    assert_eq!(
        handed(&world, "a", 2).await,
        "[1.1] [half] [1]",
        "it is told that nobody finished it"
    );
    let history = client.until_told(EventType::CheckpointHandedOver).await;
    let told = history.all(EventType::CheckpointHandedOver);
    assert_eq!((told.len(), told[0].incarnation), (1, 2));
    assert_eq!(told[0].attributes["checkpoint"], "1.1");
    assert_eq!(told[0].attributes["unclean"], "true");
    let newest = client.until_saved("a", is_open).await;
    assert!(newest.unclean, "offered still, as nobody has confirmed it");
    let why = explained(&mut client, "a").await;
    assert!(
        why.starts_with("1.1, saved ") && why.contains("ended uncleanly"),
        "{why}"
    );
    shim.check_lives();
}

#[tokio::test]
async fn who_kills_shim_and_agent_together_takes_nothing_away() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let mut shim = world.shim("a").script(&agent(SAVES_ONCE)).start(&server);
    client.until_saved("a", is_open).await;
    let first = shim.life(1).await;
    signal(first.pid, Signal::KILL);
    shim.kill();
    process::is_gone(first.pid).await;
    shim.start_again();
    client.until("a", runs(2)).await;
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [half] [1]");
}

#[tokio::test]
async fn a_fresh_start_begins_without_and_says_so() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = "self save --stage $REKINDLE_INCARNATION; exec sleep 1000";
    let _shim = world.shim("a").script(&agent(script)).start(&server);
    client.until_saved("a", is_open).await;
    let request = v1::RestartAgentRequest {
        name: name("a"),
        context: v1::Context::Fresh.into(),
        ..Default::default()
    };
    let answer = client.restart_with(request).await.expect("restarted");
    assert_eq!(answer.checkpoint, "", "the new life was handed nothing");
    assert_eq!(handed(&world, "a", 2).await, NOTHING);
    let own = client.until_saved("a", |newest| newest.incarnation == 2).await;
    assert!(is_open(&own), "what the new life saves is its own");
    let all = client.checkpoints_of("a").await.expect("listed");
    assert_eq!(all[1].closed_by(), v1::CheckpointClosedBy::Fresh);
    let history = client.history().await;
    assert_eq!(history.count("a", EventType::CheckpointClosed), 1);
    assert_eq!(history.count("a", EventType::CheckpointHandedOver), 0);
}

#[tokio::test]
async fn what_crashes_its_readers_is_set_aside_and_the_next_start_is_fresh() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    // Life 1 saves, and crashes; lives that read that crash, too; one that is handed nothing stays.
    let script = "case $REKINDLE_INCARNATION-$REKINDLE_CHECKPOINT in
        1-) self save --stage poison; exit 3;;
        *-) exec sleep 1000;;
        *) self load > /dev/null; exit 3;;
        esac";
    let shim = world.shim("a").flag("--cooldown", "50ms").flag("--max-attempts", "10");
    let shim = shim.script(&agent(script)).start(&server);
    client.until("a", runs(4)).await;
    assert_eq!(handed(&world, "a", 2).await, "[1.1] [poison] [1]");
    assert_eq!(handed(&world, "a", 3).await, "[1.1] [poison] [1]");
    assert_eq!(handed(&world, "a", 4).await, NOTHING);
    let poison = client
        .until_saved("a", |newest| newest.state() == CheckpointState::SetAside)
        .await;
    assert_eq!(poison.crashes, 2);
    let history = client.history().await;
    assert_eq!(history.count("a", EventType::CheckpointSetAside), 1);
    assert_eq!(history.count("a", EventType::CheckpointHandedOver), 2);
    let why = explained(&mut client, "a").await;
    assert!(why.contains("1.1 is set aside"), "{why}");
    shim.check_lives();
}

#[tokio::test]
async fn two_agents_of_one_user_get_their_own() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script = |stage: &str| {
        agent(&format!(
            "[ -n \"$REKINDLE_CHECKPOINT\" ] || self save --stage {stage}\nexec sleep 1000"
        ))
    };
    let shims = ["a", "b"].map(|agent| world.shim(agent).script(&script(agent)).start(&server));
    for (agent, shim) in ["a", "b"].iter().zip(&shims) {
        client.until_saved(agent, is_open).await;
        kill(shim, 1).await;
    }
    for agent in ["a", "b"] {
        client.until(agent, runs(2)).await;
        assert_eq!(handed(&world, agent, 2).await, format!("[1.1] [{agent}] [1]"));
        assert_eq!(client.checkpoints_of(agent).await.expect("listed").len(), 1);
    }
}

#[tokio::test]
async fn the_largest_body_is_whole_and_a_larger_one_leaves_the_one_before() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let body: Vec<u8> = (0..256 * 1024).map(|byte| (byte % 251) as u8).collect();
    fs::write(world.path("body"), &body).expect("writable");
    fs::write(world.path("more"), vec![0; body.len() + 1]).expect("writable");
    let script = format!(
        "cd {}
        [ -n \"$REKINDLE_CHECKPOINT\" ] && self load --body loaded > /dev/null && touch done
        self save --stage whole --body body
        self save --stage cut --body more 2> why || touch refused
        exec sleep 1000",
        world.path("").display()
    );
    let shim = world.shim("a").script(&agent(&script)).start(&server);
    let there = async |file: &str| {
        let path = world.path(file);
        eventually(file, async || path.exists().then_some(())).await;
    };
    there("refused").await;
    let why = fs::read_to_string(world.path("why")).expect("written");
    assert!(why.contains("256 KiB"), "{why}");
    let saved = client.until_saved("a", is_open).await;
    assert!(
        saved.body == body && saved.stage == "whole",
        "{} bytes",
        saved.body.len()
    );
    kill(&shim, 1).await;
    there("done").await;
    assert!(fs::read(world.path("loaded")).expect("written") == body);
}

#[tokio::test]
async fn operators_see_them_by_the_command_line() {
    let world = World::new();
    let server = world.server().start().await;
    let mut client = server.client();
    let script =
        "self save --task-id t --stage one; printf body | self save --task-id t --stage two --body -; exec sleep 1000";
    let _shim = world.shim("a").script(&agent(script)).start(&server);
    client.until_saved("a", |newest| newest.stage == "two").await;
    let run = |arguments: &[&str]| {
        let mut command = world.command(tools::under_test("rekindle-under-test"));
        command
            .args(["--server", &server.url(), "checkpoint", "a"])
            .args(arguments);
        let done = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, open, _) = run(&[]);
    assert_eq!(code, Some(0));
    assert!(
        open.contains("agents/a/checkpoints/1.2  OPEN") && open.contains("Body, 4 bytes"),
        "{open}"
    );
    let (_, list, _) = run(&["list"]);
    let newest_first = list.find("1.2").zip(list.find("1.1"));
    assert!(
        newest_first.is_some_and(|(newest, older)| newest < older) && list.contains("SUPERSEDED"),
        "{list}"
    );
    assert_eq!(
        run(&["get", "1.2", "--body", "-"]),
        (Some(0), "body".into(), String::new())
    );
    let (_, json, _) = run(&["get", "1.2", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["state"], &json["body"]), (&"OPEN".into(), &"Ym9keQ==".into()));
    assert_eq!(run(&["delete", "1.2"]).0, Some(0));
    let (code, _, why) = run(&[]);
    assert_eq!(code, Some(3));
    assert!(
        why.contains("a has no checkpoint that is open; the newest, 1.1, is SUPERSEDED"),
        "{why}"
    );
    let (code, _, why) = run(&["get", "1.2"]);
    assert_eq!(code, Some(3));
    assert!(why.contains("CHECKPOINT_NOT_FOUND"), "{why}");
    // What was deleted is handed to nobody, though its shim has it still.
    client.restart("a").await.expect("restarted");
    assert_eq!(handed(&world, "a", 2).await, NOTHING);
}
