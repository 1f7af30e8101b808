//! Callers that want too much, or are too slow.

use std::future::poll_fn;

use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::{Bytes, Frame};
use rekindle::convert::duration_to_wire;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tonic::codegen::Service as _;

use super::*;
use crate::socket::gate::REQUESTS_MAX;
use crate::socket::listener::CONNECTIONS_MAX;

#[tokio::test]
async fn arguments_that_cannot_be_name_their_field() {
    let bench = Bench::new();
    let mut client = bench.client().await;
    let mut complete = async |execution: &str, output: String| {
        let execution = execution.to_owned();
        let said = wire::CompleteRequest {
            execution,
            output,
            ..wire::CompleteRequest::default()
        };
        client.complete(said).await.expect_err("refused")
    };
    let long = "x".repeat(OUTPUT_MAX_BYTES + 1);
    let mut refusals = vec![
        (complete("Not Valid", String::new()).await, "execution"),
        (complete("agents/b/executions/e-1", String::new()).await, "execution"),
        (complete("agents/a/e-1", String::new()).await, "execution"),
        (complete("", long.clone()).await, "output"),
    ];
    let too_large = complete("", long.repeat(2)).await;
    assert_eq!(
        (too_large.code(), reason(&too_large).as_str()),
        (Code::InvalidArgument, "REQUEST_TOO_LARGE")
    );
    let block = wire::BlockRequest::default();
    refusals.push((client.block(block).await.expect_err("refused"), "reason"));
    let block = wire::BlockRequest {
        reason: 99,
        ..wire::BlockRequest::default()
    };
    refusals.push((client.block(block).await.expect_err("refused"), "reason"));
    let unblock = wire::UnblockRequest {
        attempt: 1,
        ..wire::UnblockRequest::default()
    };
    refusals.push((client.unblock(unblock).await.expect_err("refused"), "attempt"));
    for seconds in [-1, 3601] {
        let mut wait = duration_to_wire(Duration::ZERO);
        wait.seconds = seconds;
        let next = wire::NextRequest { wait: Some(wait) };
        refusals.push((client.next(next).await.expect_err("refused"), "wait"));
    }
    for (status, field) in refusals {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let details = status.get_error_details();
        let wrong = details.bad_request().expect("says which field");
        assert_eq!(wrong.field_violations[0].field, field);
        assert!(status.message().starts_with(field), "{status:?}");
    }
}

#[tokio::test]
async fn who_waits_takes_nobodys_turn() {
    let mut bench = Bench::new();
    let mut client = bench.client().await;
    let mut waiting = Vec::new();
    for _ in 0..2 * REQUESTS_MAX {
        waiting.push(ask(&client, None));
        bench.asked().await;
    }
    let done = tokio::spawn(async move { client.complete(wire::CompleteRequest::default()).await });
    let (request, _, _) = bench.said().await;
    bench.socket.requests.answer(request, Ok(()));
    done.await.expect("no panic").expect("heard");
}

#[tokio::test(start_paused = true)]
async fn requests_that_never_end_give_their_turn_back() {
    let mut bench = Bench::new();
    let mut channel = endpoint(bench.socket.path()).connect().await.expect("connected");
    let mut stuck = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let body = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
        let request = Request::post("http://shim/rekindle.agent.v1.WorkService/Complete")
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::new(body))
            .expect("a request");
        poll_fn(|context| channel.poll_ready(context)).await.expect("ready");
        stuck.push(tokio::spawn(channel.call(request)));
    }
    let mut client = bench.client().await;
    let done = tokio::spawn(async move { client.complete(wire::CompleteRequest::default()).await });
    let (request, _, _) = bench.said().await;
    bench.socket.requests.answer(request, Ok(()));
    done.await.expect("no panic").expect("heard");
    for stuck in stuck {
        let response = stuck.await.expect("no panic").expect("answered");
        let status = Status::from_header_map(response.headers()).expect("an error");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::DeadlineExceeded, "REQUEST_TOO_SLOW")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed() {
    let bench = Bench::new();
    let mut stream = UnixStream::connect(bench.socket.path()).await.expect("connected");
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.expect("closed");
}

#[tokio::test]
async fn connections_past_the_limit_wait() {
    let mut bench = Bench::new();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = UnixStream::connect(bench.socket.path()).await.expect("connected");
        // The server's side speaks first, once it has accepted.
        stream.read_u8().await.expect("settings");
        open.push(stream);
    }
    let client = bench.client().await;
    let asking = ask(&client, None);
    tokio::select! {
        biased;
        heard = bench.socket.requests.next() => panic!("{heard:?}"),
        // Ten rounds of all tasks: enough for any that could go on.
        () = async { for _ in 0..10 { tokio::task::yield_now().await } } => {}
    }
    open.pop();
    bench.asked().await;
    drop(asking);
}
