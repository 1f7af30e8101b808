//! A real client on a real socket, and a driver that says what each test wants.

mod checkpoints;
mod hangups;
mod limits;
mod strangers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekindle::activity::BlockedOn;
use rekindle::execution::{AttemptId, ExecutionId, OUTPUT_MAX_BYTES, Output};
use rekindle::id::{AgentId, ExecutionUid};
use rekindle::wire::agent_v1::work_service_client::WorkServiceClient;
use rekindle::wire::agent_v1::{self as wire};
use rekindle_shim_core::{About, Input, Refused, RequestNumber, Word};
use rustix::process::Uid;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::place::Bases;
use super::{Requests, Socket};
use crate::redaction::Redaction;

/// Longest time that any of these tests waits for what must happen.
const LIMIT: Duration = Duration::from_secs(20);

const EXECUTION: &str = "agents/a/executions/e-1";

/// Says which test cannot be run here; on CI it must be.
pub(crate) fn skip(why: &str) {
    let ci = std::env::var_os("CI").unwrap_or_default();
    assert!(["", "false", "0"].iter().any(|no| ci == *no), "{why}");
    eprintln!("skipped: {why}");
}

struct Bench {
    socket: Socket,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(None, Redaction::default())
    }

    fn with(child: Option<Uid>, redaction: Redaction) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let bases = Bases {
            runtime: None,
            temporary: "/tmp".into(),
        };
        let agent = AgentId::new("a").expect("valid");
        let socket = Socket::open_in(dir.path(), &bases, agent, child, Arc::new(redaction)).expect("opened");
        Self { socket, dir }
    }

    async fn client(&self) -> WorkServiceClient<Channel> {
        client(endpoint(self.socket.path()).connect().await.expect("connected"))
    }

    async fn heard(&mut self) -> Input {
        heard(&mut self.socket.requests).await
    }

    async fn asked(&mut self) -> RequestNumber {
        let heard = self.heard().await;
        let Input::WorkAsked { request } = heard else {
            panic!("{heard:?}");
        };
        request
    }

    async fn said(&mut self) -> (RequestNumber, About, Word) {
        let heard = self.heard().await;
        let Input::WorkSaid {
            request: Some(request),
            about,
            word,
        } = heard
        else {
            panic!("{heard:?}");
        };
        (request, about, word)
    }

    fn give(&mut self, request: RequestNumber, message: &str) {
        let requests = &mut self.socket.requests;
        requests.give(request, attempt(), message.into(), Duration::from_secs(300));
    }
}

async fn heard(requests: &mut Requests) -> Input {
    tokio::time::timeout(LIMIT, requests.next())
        .await
        .expect("a fact in time")
}

fn endpoint(path: &Path) -> Endpoint {
    Endpoint::from_shared(format!("unix://{}", path.display())).expect("a URI")
}

fn client(channel: Channel) -> WorkServiceClient<Channel> {
    WorkServiceClient::new(channel).max_decoding_message_size(2 * OUTPUT_MAX_BYTES)
}

fn attempt() -> AttemptId {
    AttemptId {
        execution: ExecutionId::new("e-1").expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 2,
    }
}

type Asking = JoinHandle<Result<Option<wire::Assignment>, Status>>;

/// Asks on a task of its own.
fn ask(client: &WorkServiceClient<Channel>, wait: Option<Duration>) -> Asking {
    let mut client = client.clone();
    let wait = wait.map(|wait| wait.try_into().expect("fits"));
    tokio::spawn(async move {
        let answer = client.next(wire::NextRequest { wait }).await?;
        Ok(answer.into_inner().assignment)
    })
}

async fn answered(asking: Asking) -> Result<Option<wire::Assignment>, Status> {
    let answer = tokio::time::timeout(LIMIT, asking).await.expect("an answer in time");
    answer.expect("no panic")
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().expect("every status has its reason");
    assert_eq!(info.domain, "rekindle");
    info.reason.clone()
}

#[tokio::test]
async fn work_is_asked_for_given_and_done() {
    let mut bench = Bench::new();
    let mut client = bench.client().await;
    let asking = ask(&client, None);
    let request = bench.asked().await;
    bench.give(request, "do it");
    let assignment = answered(asking).await.expect("no error").expect("given");
    assert_eq!(
        (
            assignment.execution.as_str(),
            assignment.attempt,
            assignment.message.as_str()
        ),
        (EXECUTION, 2, "do it")
    );
    assert_eq!(assignment.timeout.map(|timeout| timeout.seconds), Some(300));

    let done = tokio::spawn(async move {
        let said = wire::CompleteRequest {
            execution: assignment.execution,
            attempt: assignment.attempt,
            output: "ä".into(),
            output_dropped: 7,
        };
        client.complete(said).await
    });
    let (request, about, word) = bench.said().await;
    assert_eq!(about, About::attempt(&attempt()));
    let output = Output {
        text: "ä".into(),
        dropped: 7,
    };
    assert_eq!(word, Word::Done { output });
    bench.socket.requests.answer(request, Ok(()));
    done.await.expect("no panic").expect("durable");
}

#[tokio::test]
async fn words_reach_the_supervisor_without_what_must_not_leave_the_host() {
    let pattern = "secret-[0-9]+".parse().expect("a pattern");
    let mut bench = Bench::with(None, Redaction::new(vec![pattern]).expect("few"));
    let mut client = bench.client().await;
    let speaking = tokio::spawn(async move {
        let execution = String::new();
        let (message, output) = ("had secret-1".into(), "of secret-2".into());
        let said = wire::FailRequest {
            message,
            output,
            ..wire::FailRequest::default()
        };
        client.fail(said).await?;
        let reason = wire::BlockReason::Quota.into();
        let attempt = 0;
        let said = wire::BlockRequest {
            execution,
            attempt,
            reason,
        };
        client.block(said).await?;
        let said = wire::ReportProgressRequest {
            execution: "e-2".to_owned(),
            attempt,
            text: "of secret-3".into(),
        };
        client.report_progress(said).await?;
        let (execution, attempt) = (EXECUTION.to_owned(), 2);
        client.unblock(wire::UnblockRequest { execution, attempt }).await
    });
    let mut heard = Vec::new();
    for _ in 0..4 {
        let (request, about, word) = bench.said().await;
        bench.socket.requests.answer(request, Ok(()));
        heard.push((about, word));
    }
    speaking.await.expect("no panic").expect("heard");
    let failed = Word::Failed {
        message: "had [redacted]".into(),
        output: Output {
            text: "of [redacted]".into(),
            dropped: 0,
        },
    };
    let other = About::Execution(ExecutionId::new("e-2").expect("valid"));
    let text = "of [redacted]".into();
    assert_eq!(
        heard,
        [
            (About::Only, failed),
            (About::Only, Word::Blocked(BlockedOn::Quota)),
            (other, Word::Progress { text }),
            (About::attempt(&attempt()), Word::Moves)
        ]
    );
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    let mut bench = Bench::new();
    let client = bench.client().await;
    for (refused, code, expected) in [
        (Refused::NotPulled, Code::FailedPrecondition, "NOT_PULLED"),
        (Refused::TooMany, Code::ResourceExhausted, "TOO_MANY_WAITING"),
        (Refused::NotRunning, Code::Unavailable, "AGENT_ENDING"),
    ] {
        let asking = ask(&client, None);
        let request = bench.asked().await;
        bench.socket.requests.answer(request, Err(refused));
        let status = answered(asking).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
        let retry = status.get_error_details().retry_info().is_some();
        assert_eq!(retry, refused != Refused::NotPulled);
    }
    for (refused, expected) in [
        (Refused::NotPulled, "NOT_PULLED"),
        (Refused::NotRunning, "NOT_RUNNING"),
        (Refused::OtherAttempt, "OTHER_ATTEMPT"),
        (Refused::WhichAttempt, "WHICH_ATTEMPT"),
        (Refused::EndedOtherwise, "ENDED_OTHERWISE"),
        (Refused::Which, "WHICH_EXECUTION"),
    ] {
        let mut client = client.clone();
        let saying = tokio::spawn(async move { client.complete(wire::CompleteRequest::default()).await });
        let (request, _, _) = bench.said().await;
        bench.socket.requests.answer(request, Err(refused));
        let status = saying.await.expect("no panic").expect_err("refused");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, expected)
        );
    }
}

#[tokio::test]
async fn the_socket_goes_with_its_shim_once_all_are_answered() {
    let mut bench = Bench::new();
    let client = bench.client().await;
    let path = bench.socket.path().to_owned();
    assert!(path.is_absolute() && path.starts_with(bench.dir.path()));
    let asking = ask(&client, None);
    bench.asked().await;
    let said = {
        let mut client = client.clone();
        tokio::spawn(async move { client.complete(wire::CompleteRequest::default()).await })
    };
    let (request, _, _) = bench.said().await;
    bench.socket.requests.answer(request, Ok(()));
    bench.socket.close().await;
    assert!(!path.exists());
    said.await.expect("no panic").expect("durable");
    let status = answered(asking).await.expect_err("the shim has gone");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "SHIM_ENDING")
    );
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_does_not_hold_the_shim_up() {
    let bench = Bench::new();
    let mut stream = tokio::net::UnixStream::connect(bench.socket.path())
        .await
        .expect("connected");
    tokio::io::AsyncReadExt::read_u8(&mut stream).await.expect("accepted");
    bench.socket.close().await;
}
