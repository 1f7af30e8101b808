//! Checkpoints: told by shims, offered with their bodies, shown and deleted.

use std::sync::Arc;

use rekindle::checkpoint::{
    AskedSave, BODY_MAX_BYTES, Checkpoint, CheckpointBody, CheckpointDraft, CheckpointFields, CheckpointId, ClosedBy,
    Flags, HeldCheckpoint, OfferedCheckpoint, RunContext, Standing,
};
use rekindle::exit::{EndedBy, ExitStatus};
use rekindle::id::{AgentId, Incarnation};
use rekindle::report::{Inventory, ReportFact};
use rekindle::session::{CheckpointKept, Command, ServerMessage, ShimMessage};
use rekindle::time::Timestamp;

use super::shim::{FakeShim, hello};
use super::*;

fn at(id: &str) -> CheckpointId {
    id.parse().expect("a checkpoint's id")
}

/// What life 1 has saved, with a body of so many bytes.
fn held(id: &str, body_bytes: usize) -> HeldCheckpoint {
    let fields = CheckpointFields::new(CheckpointDraft {
        task_id: "t-1".into(),
        stage: "half".into(),
        values: [("step".to_owned(), "3".to_owned())].into(),
        ..CheckpointDraft::default()
    });
    HeldCheckpoint {
        checkpoint: Arc::new(Checkpoint {
            id: at(id),
            fields: fields.expect("valid"),
            body: CheckpointBody::new(body(body_bytes)).expect("within its limit"),
            saved: Timestamp::from_unix_nanos(1_700_000_000_000_000_000),
        }),
        standing: Standing::Open,
        flags: Flags::default(),
        crashes: 0,
    }
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|byte| (byte % 251) as u8).collect()
}

/// Tells the server of a checkpoint, and waits for the answer.
async fn save(shim: &mut FakeShim, held: HeldCheckpoint) -> CheckpointKept {
    shim.send(ShimMessage::Checkpoint(Box::new(held))).await;
    loop {
        match shim.next().await {
            ServerMessage::CheckpointKept(kept) => return kept,
            ServerMessage::Acknowledge(_)
            | ServerMessage::Follow(_)
            | ServerMessage::Command(_, _)
            | ServerMessage::Welcome(_) => {}
        }
    }
}

/// The order to run, and what it offers.
async fn ordered(shim: &mut FakeShim) -> (Incarnation, RunContext) {
    match shim.command().await.1 {
        Command::Run {
            incarnation, context, ..
        } => (incarnation, context),
        other @ (Command::Stop { .. }
        | Command::Signal { .. }
        | Command::SetPolicy(_)
        | Command::Charge(_)
        | Command::Dispatch(_)
        | Command::EndAttempt { .. }) => panic!("expected to be told to run: {other:?}"),
    }
}

async fn offered(shim: &mut FakeShim) -> OfferedCheckpoint {
    match ordered(shim).await.1 {
        RunContext::Resume(resumption) => resumption.offered.expect("one is offered"),
        RunContext::Fresh => panic!("the order is a fresh start"),
    }
}

async fn get(world: &World, name: &str) -> Result<v1::Checkpoint, Status> {
    let request = v1::GetCheckpointRequest { name: name.to_owned() };
    let answer = world.checkpoints().get_checkpoint(request).await?.into_inner();
    Ok(answer.checkpoint.expect("the answer has it"))
}

async fn list(world: &World, page_size: i32, page_token: &str) -> (Vec<v1::Checkpoint>, String) {
    let request = v1::ListCheckpointsRequest {
        parent: "agents/a".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    let answer = world.checkpoints().list_checkpoints(request).await.expect("listed");
    let answer = answer.into_inner();
    (answer.checkpoints, answer.next_page_token)
}

async fn delete(world: &World, name: &str) -> Result<(), Status> {
    let request = v1::DeleteCheckpointRequest { name: name.to_owned() };
    world.checkpoints().delete_checkpoint(request).await.map(drop)
}

#[tokio::test]
async fn the_largest_is_kept_and_shown_whole() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    let kept = save(&mut shim, held("1.1", BODY_MAX_BYTES)).await;
    assert_eq!(
        kept,
        CheckpointKept {
            id: at("1.1"),
            refused: None
        }
    );
    let durable = world.disk.open();
    assert_eq!(
        durable.load().expect("loaded").checkpoints.len(),
        1,
        "by when it is answered"
    );
    let agent = AgentId::new("a").expect("valid");
    assert!(durable.checkpoint_body(&agent, at("1.1")).expect("readable") == body(BODY_MAX_BYTES));
    let shown = get(&world, "agents/a/checkpoints/1.1").await.expect("it is there");
    assert!(shown.body == body(BODY_MAX_BYTES) && shown.body_bytes == BODY_MAX_BYTES as u64);
    assert_eq!(
        (shown.incarnation, shown.task_id.as_str(), shown.stage.as_str()),
        (1, "t-1", "half")
    );
    assert_eq!(shown.values.get("step").map(String::as_str), Some("3"));
    assert_eq!(shown.state(), v1::CheckpointState::Open);
    assert_eq!(shown.create_time.expect("it has one").seconds, 1_700_000_000);
}

#[tokio::test]
async fn a_shim_that_does_not_have_it_gets_it_with_its_body() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    save(&mut shim, held("1.1", 100_000)).await;
    let crashed = ExitStatus::Exited(3);
    shim.exited(Incarnation::new(1), crashed, EndedBy::Itself).await;
    let again = offered(&mut shim).await;
    assert!(again.content.is_none(), "who has just told it has it");
    assert_eq!((again.state.id, again.state.flags.unclean), (at("1.1"), true));
    shim.leave().await;
    world.until_disconnected().await;
    // Another directory, as on another host.
    let mut other = FakeShim::connect_as(&world, "agents/a", 2)
        .await
        .expect("it is welcome");
    let content = offered(&mut other).await.content.expect("it has never had it");
    assert_eq!(content.id, at("1.1"));
    assert!(content.body.as_bytes() == body(100_000));
    assert_eq!(content.fields, held("1.1", 0).checkpoint.fields);
}

#[tokio::test]
async fn an_inventory_that_has_it_gets_it_without() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    save(&mut shim, held("1.1", 1)).await;
    shim.leave().await;
    world.until_disconnected().await;
    let shim = FakeShim::greet(&world, hello("agents/a", 1)).await;
    let mut shim = shim.expect("it is welcome");
    let inventory = Inventory {
        last_incarnation: Incarnation::new(1),
        checkpoint: Some((at("1.1"), held("1.1", 1).checkpoint.saved)),
        ..Inventory::default()
    };
    shim.send(ShimMessage::Inventory(Box::new(inventory))).await;
    assert!(offered(&mut shim).await.content.is_none());
}

#[tokio::test]
async fn a_body_that_is_lost_is_told_and_leaves_the_life_without() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    save(&mut shim, held("1.1", 100_000)).await;
    shim.leave().await;
    world.until_disconnected().await;
    let agent = AgentId::new("a").expect("valid");
    world.disk.damage_checkpoint(&agent, at("1.1"));
    let lost = get(&world, "agents/a/checkpoints/1.1")
        .await
        .expect_err("it is not whole");
    let (code, reason, _) = told(&lost);
    assert_eq!((code, reason.as_str()), (Code::DataLoss, "CHECKPOINT_DAMAGED"));
    let mut other = FakeShim::connect_as(&world, "agents/a", 2)
        .await
        .expect("it is welcome");
    let offered = offered(&mut other).await;
    assert!(
        offered.content.is_none() && offered.state.id == at("1.1"),
        "the agent is not held up"
    );
}

#[tokio::test]
async fn a_refusal_is_told_in_words() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    save(&mut shim, held("1.2", 1)).await;
    let kept = save(&mut shim, held("1.1", 1)).await;
    assert_eq!(kept.refused.as_deref(), Some("the server has 1.2, which is newer"));
}

#[tokio::test]
async fn those_that_are_kept_are_listed_by_page() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    for id in ["1.1", "1.2", "1.10"] {
        save(&mut shim, held(id, 3)).await;
    }
    let ids = |checkpoints: &[v1::Checkpoint]| -> Vec<String> {
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        checkpoints.iter().map(|checkpoint| last(&checkpoint.name)).collect()
    };
    let (all, token) = list(&world, 0, "").await;
    assert_eq!(
        (ids(&all), token.as_str()),
        (vec!["1.10".into(), "1.2".into(), "1.1".into()], "")
    );
    assert_eq!(all[0].state(), v1::CheckpointState::Open);
    assert_eq!(all[1].state(), v1::CheckpointState::Superseded);
    assert!(all.iter().all(|one| one.body.is_empty() && one.body_bytes == 3));
    let (first, token) = list(&world, 2, "").await;
    assert_eq!(ids(&first), ["1.10", "1.2"]);
    let (rest, token) = list(&world, 2, &token).await;
    assert_eq!((ids(&rest), token.as_str()), (vec!["1.1".into()], ""));
    let nobody = v1::ListCheckpointsRequest {
        parent: "agents/b".to_owned(),
        ..v1::ListCheckpointsRequest::default()
    };
    let refused = world
        .checkpoints()
        .list_checkpoints(nobody)
        .await
        .expect_err("there is none");
    assert_eq!(told(&refused).1, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn a_deleted_one_is_gone_and_no_other_takes_its_place() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    save(&mut shim, held("1.1", 1)).await;
    save(&mut shim, held("1.2", 1)).await;
    delete(&world, "agents/a/checkpoints/1.2").await.expect("deleted");
    let (left, _) = list(&world, 0, "").await;
    assert_eq!((left.len(), left[0].state()), (1, v1::CheckpointState::Superseded));
    for name in ["agents/a/checkpoints/1.2", "agents/b/checkpoints/1.1"] {
        let refused = delete(&world, name).await.expect_err("there is none");
        let (code, reason, _) = told(&refused);
        assert_eq!(
            (code, reason.as_str()),
            (Code::NotFound, "CHECKPOINT_NOT_FOUND"),
            "{name}"
        );
        let refused = get(&world, name).await.expect_err("there is none");
        assert_eq!(told(&refused).1, "CHECKPOINT_NOT_FOUND", "{name}");
    }
    let misnamed = get(&world, "agents/a/checkpoints/x").await.expect_err("no id");
    assert_eq!(
        told(&misnamed),
        (Code::InvalidArgument, "INVALID_ARGUMENT".into(), "name".into())
    );
    let explained = v1::ExplainAgentRequest {
        name: "agents/a".to_owned(),
    };
    let explained = world
        .agents()
        .explain_agent(explained)
        .await
        .expect("explained")
        .into_inner();
    let fact = explained
        .facts
        .into_iter()
        .find(|fact| fact.name == "checkpoint")
        .expect("told");
    assert_eq!(
        fact.value,
        "1.2 was deleted by an operator: the next life begins without one"
    );
}

#[tokio::test]
async fn a_restart_says_what_was_saved_and_may_begin_afresh() {
    let world = World::start().await;
    let mut shim = FakeShim::run(&world, "agents/a").await;
    save(&mut shim, held("1.1", 1)).await;
    let restart = |context: v1::Context| {
        let request = v1::RestartAgentRequest {
            name: "agents/a".to_owned(),
            context: context.into(),
            ..v1::RestartAgentRequest::default()
        };
        let mut agents = world.agents();
        tokio::spawn(async move { agents.restart_agent(request).await })
    };
    let resumed = restart(v1::Context::Unspecified);
    let (life, context) = ordered(&mut shim).await;
    assert!(matches!(context, RunContext::Resume(_)));
    shim.ended_as_asked(Incarnation::new(1), AskedSave::NotSaved).await;
    shim.report(life, ReportFact::HandedOver(at("1.1"))).await;
    shim.live(life).await;
    let answer = soon(resumed).await.expect("no panic").expect("restarted").into_inner();
    assert_eq!(answer.save_outcome(), v1::SaveOutcome::NotSaved);
    assert_eq!(answer.checkpoint, "agents/a/checkpoints/1.1", "what the new life got");
    let fresh = restart(v1::Context::Fresh);
    let (life, context) = ordered(&mut shim).await;
    assert_eq!(context, RunContext::Fresh);
    let closed = get(&world, "agents/a/checkpoints/1.1").await.expect("it is kept");
    assert_eq!(closed.closed_by(), v1::CheckpointClosedBy::Fresh, "with the order");
    let mut saved = held("2.1", 1);
    saved.standing = Standing::Closed(ClosedBy::Fresh);
    save(&mut shim, saved).await;
    shim.ended_as_asked(Incarnation::new(2), AskedSave::Saved(at("2.1")))
        .await;
    shim.live(life).await;
    let answer = soon(fresh).await.expect("no panic").expect("restarted").into_inner();
    assert_eq!(answer.save_outcome(), v1::SaveOutcome::Saved);
    assert_eq!(answer.checkpoint, "agents/a/checkpoints/2.1");
    let wrong = v1::StartAgentRequest {
        name: "agents/a".to_owned(),
        context: 9,
        ..v1::StartAgentRequest::default()
    };
    let refused = world.agents().start_agent(wrong).await.expect_err("no context");
    assert_eq!(told(&refused).2, "context");
}
