//! What an agent says of its checkpoints.

use rekindle::checkpoint::{
    BODY_MAX_BYTES, Checkpoint, CheckpointBody, CheckpointDraft, CheckpointFields, CheckpointId, CheckpointState,
    Flags, HeldCheckpoint, Standing,
};
use rekindle::id::Incarnation;
use rekindle::time::Timestamp;
use rekindle::wire::agent_v1::checkpoint_service_client::CheckpointServiceClient;
use rekindle_shim_core::{CheckpointAnswer, CheckpointRefused, NotWritten, TaskIs, WriteFault};

use super::*;

type Client = CheckpointServiceClient<Channel>;

impl Bench {
    async fn checkpoints(&self) -> Client {
        let channel = endpoint(self.socket.path()).connect().await.expect("connected");
        CheckpointServiceClient::new(channel)
    }

    fn tell(&mut self, request: RequestNumber, answer: Result<CheckpointAnswer, CheckpointRefused>) {
        self.socket.requests.answer_checkpoint(request, answer);
    }
}

fn state() -> wire::ActiveState {
    wire::ActiveState {
        task_id: "T-7".to_owned(),
        stage: "2".to_owned(),
        memory_refs: vec!["m".to_owned()],
        values: [("k".to_owned(), "v".to_owned())].into(),
        body: vec![0xff; BODY_MAX_BYTES],
        ..wire::ActiveState::default()
    }
}

fn fields() -> CheckpointFields {
    CheckpointFields::new(CheckpointDraft {
        task_id: "T-7".to_owned(),
        stage: "2".to_owned(),
        memory_refs: vec!["m".to_owned()],
        values: [("k".to_owned(), "v".to_owned())].into(),
        ..CheckpointDraft::default()
    })
    .expect("valid")
}

fn id() -> CheckpointId {
    "7.3".parse().expect("valid")
}

fn save(client: &Client, state: wire::ActiveState) -> JoinHandle<Result<String, Status>> {
    let mut client = client.clone();
    let request = wire::SaveRequest {
        incarnation: 7,
        state: Some(state),
    };
    tokio::spawn(async move { Ok(client.save(request).await?.into_inner().checkpoint) })
}

#[tokio::test]
async fn a_save_reaches_the_supervisor_whole() {
    let mut bench = Bench::new();
    let saving = save(&bench.checkpoints().await, state());
    let heard = bench.heard().await;
    let Input::SaveAsked { request, .. } = heard else {
        panic!("{heard:?}");
    };
    let expected = Input::SaveAsked {
        request,
        incarnation: Some(Incarnation::new(7)),
        fields: fields(),
        body: CheckpointBody::new(vec![0xff; BODY_MAX_BYTES]).expect("short"),
        task: TaskIs::GoingOn,
    };
    assert_eq!(heard, expected);
    bench.tell(request, Ok(CheckpointAnswer::Saved(id())));
    assert_eq!(saving.await.expect("no panic").expect("saved"), "7.3");
}

#[tokio::test]
async fn what_is_open_is_loaded() {
    let mut bench = Bench::new();
    let mut client = bench.checkpoints().await;
    let state = CheckpointState {
        id: id(),
        standing: Standing::Open,
        flags: Flags::unclean([ExecutionId::new("e-1").expect("valid")]),
        crashes: 1,
    };
    let checkpoint = Checkpoint {
        id: id(),
        fields: fields(),
        body: CheckpointBody::new(b"body".to_vec()).expect("short"),
        saved: Timestamp::from_unix_nanos(1_700_000_000_000_000_000),
    };
    let held = HeldCheckpoint::new(Arc::new(checkpoint), state);
    for held in [Some(held), None] {
        let mut asking = client.clone();
        let loading = tokio::spawn(async move { asking.load(wire::LoadRequest::default()).await });
        let heard = bench.heard().await;
        let Input::LoadAsked {
            request,
            incarnation: None,
        } = heard
        else {
            panic!("{heard:?}");
        };
        let is_there = held.is_some();
        bench.tell(request, Ok(CheckpointAnswer::Loaded(held)));
        let loaded = loading
            .await
            .expect("no panic")
            .expect("loaded")
            .into_inner()
            .checkpoint;
        assert_eq!(loaded.is_some(), is_there);
        let Some(loaded) = loaded else { continue };
        assert_eq!((loaded.checkpoint.as_str(), loaded.unclean), ("7.3", true));
        assert_eq!(loaded.in_flight, ["e-1"]);
        assert_eq!(loaded.save_time.expect("told").to_string(), "2023-11-14T22:13:20Z");
        let state = loaded.state.expect("told");
        assert_eq!((state.stage.as_str(), state.body.as_slice()), ("2", &b"body"[..]));
    }
    // Where there is nothing, it is so already.
    let closing = tokio::spawn(async move { client.close(wire::CloseRequest { incarnation: 7 }).await });
    let heard = bench.heard().await;
    let Input::CloseAsked { request, incarnation } = heard else {
        panic!("{heard:?}");
    };
    assert_eq!(incarnation, Some(Incarnation::new(7)));
    bench.tell(request, Err(CheckpointRefused::NothingSaved));
    closing.await.expect("no panic").expect("closed");
}

#[tokio::test]
async fn what_cannot_be_saved_says_which_field_and_never_reaches_the_supervisor() {
    let mut bench = Bench::new();
    let client = bench.checkpoints().await;
    let long = wire::ActiveState {
        stage: "x".repeat(2000),
        ..wire::ActiveState::default()
    };
    let body = wire::ActiveState {
        body: vec![0; BODY_MAX_BYTES + 1],
        ..wire::ActiveState::default()
    };
    for (state, expected) in [
        (long, "state.stage: has 2000 bytes"),
        (body, "state.body: has 262145 bytes"),
    ] {
        let status = save(&client, state).await.expect("no panic").expect_err("refused");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_ARGUMENT")
        );
        assert!(status.message().starts_with(expected), "{status:?}");
    }
    let larger = wire::ActiveState {
        body: vec![0; 2 * BODY_MAX_BYTES],
        ..wire::ActiveState::default()
    };
    let status = save(&client, larger).await.expect("no panic").expect_err("refused");
    assert_eq!(reason(&status), "REQUEST_TOO_LARGE");
    let saving = save(&client, wire::ActiveState::default());
    assert!(
        matches!(bench.heard().await, Input::SaveAsked { .. }),
        "nothing came before"
    );
    saving.abort();
}

#[tokio::test]
async fn refusals_have_their_reasons() {
    let mut bench = Bench::new();
    let client = bench.checkpoints().await;
    let not = |cause| {
        CheckpointRefused::NotWritten(NotWritten {
            cause,
            message: "x".repeat(10_000),
        })
    };
    let living = Incarnation::new(8);
    for (refused, code, expected) in [
        (
            CheckpointRefused::OldIncarnation { living },
            Code::FailedPrecondition,
            "OLD_INCARNATION",
        ),
        (
            CheckpointRefused::NotRunning,
            Code::FailedPrecondition,
            "OLD_INCARNATION",
        ),
        (CheckpointRefused::TooMany, Code::ResourceExhausted, "TOO_MANY_SAVES"),
        (not(WriteFault::Room), Code::ResourceExhausted, "DISK_FULL"),
        (not(WriteFault::Other), Code::Unavailable, "NOT_SAVED"),
    ] {
        let saving = save(&client, wire::ActiveState::default());
        let heard = bench.heard().await;
        let Input::SaveAsked { request, .. } = heard else {
            panic!("{heard:?}");
        };
        bench.tell(request, Err(refused));
        let status = saving.await.expect("no panic").expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
    }
    let saving = save(&client, wire::ActiveState::default());
    bench.heard().await;
    bench.socket.close().await;
    let status = saving.await.expect("no panic").expect_err("nobody answers");
    assert_eq!(reason(&status), "SHIM_ENDING");
}
