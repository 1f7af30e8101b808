//! `rekindle run` and `rekindle executions` against a real server, with an agent whose shim has been there and left.

use std::process::Stdio;

use rekindle::wire::v1;
use rekindle::wire::v1::connect_request::Message;
use rekindle::wire::v1::connect_response::Message as Said;
use rekindle::wire::v1::shim_service_client::ShimServiceClient;
use serde_json::Value as Json;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::program::{Answer, LIMIT, Server, eventually, rekindle};

/// Makes an agent known that takes messages in this way: as its shim, says hello, and goodbye.
fn admit(server: &Server, agent: &str, delivery: v1::Delivery) {
    let say = |message| v1::ConnectRequest { message: Some(message) };
    let uuid = || uuid::Uuid::new_v4().to_string();
    let mut hello = v1::Hello {
        agent: format!("agents/{agent}"),
        shim_version: "test".to_owned(),
        instance: uuid(),
        host: Some(v1::Host {
            name: "vm-7".to_owned(),
            boot_id: uuid(),
            ..v1::Host::default()
        }),
        marker: uuid(),
        life: 1,
        stream: 1,
        ..v1::Hello::default()
    };
    hello.set_delivery(delivery);
    let visit = async {
        let channel = Endpoint::from_shared(format!("http://{}", server.address))?
            .connect()
            .await?;
        let (out, requests) = tokio::sync::mpsc::channel(4);
        out.send(say(Message::Hello(Box::new(hello)))).await?;
        let mut client = ShimServiceClient::new(channel);
        let mut said = client.connect(ReceiverStream::new(requests)).await?.into_inner();
        let first = said.message().await?.and_then(|first| first.message);
        assert!(matches!(first, Some(Said::Welcome(_))), "{first:?}");
        out.send(say(Message::Inventory(Box::default()))).await?;
        out.send(say(Message::Goodbye(v1::Goodbye::default()))).await?;
        drop(out);
        while said.message().await?.is_some() {}
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let visited = runtime.block_on(async { tokio::time::timeout(LIMIT, visit).await });
    visited.expect("the server listens").expect("the shim is welcome");
}

fn planner() -> Server {
    let server = Server::start();
    admit(&server, "planner", v1::Delivery::PerMessage);
    server
}

#[test]
fn usage_is_told_without_a_server() {
    for args in [
        &["run", "planner"][..],
        &["run", "Not/A/Name", "x"],
        &["run", "planner", "x", "--timeout", "soon"],
        &["run", "planner", "x", "--id", "NO"],
        &["run", "planner", "x", "--detach", "--cancel-on-interrupt"],
        &["executions", "get", "planner"],
        &["executions", "cancel", "planner/e-1/more"],
        &["executions", "list", "--state", "done"],
    ] {
        let answer = Answer::of(args);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.out.is_empty() && answer.err.starts_with("error: "), "{answer:?}");
    }
    for command in [
        &["run"][..],
        &["executions", "list"],
        &["executions", "get"],
        &["executions", "output"],
        &["executions", "watch"],
        &["executions", "cancel"],
        &["executions", "redrive"],
    ] {
        let help = Answer::of(&[command, &["--help"]].concat());
        assert!(help.out.contains("Example"), "{help:?}");
    }
}

#[test]
fn who_takes_no_messages_says_so() {
    let server = Server::start();
    admit(&server, "hermit", v1::Delivery::None);
    let refused = server.rekindle(&["run", "hermit", "hello"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("--delivery per-message"), "{refused:?}");
    let nobody = server.rekindle(&["run", "ghost", "hello"]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    assert!(nobody.err.contains("rekindle agents list"), "{nobody:?}");
    let empty = server.rekindle(&["run", "hermit", ""]);
    assert_eq!(empty.code, 2, "{empty:?}");
    for command in ["get", "output", "watch", "cancel", "redrive"] {
        let missing = server.rekindle(&["executions", command, "hermit/e-1"]);
        assert_eq!(missing.code, 3, "{missing:?}");
        assert!(missing.err.contains("rekindle executions list"), "{missing:?}");
    }
}

#[test]
fn work_is_queued_looked_at_and_cancelled() {
    let server = planner();
    let give = |id: &str| server.rekindle(&["run", "planner", "sort the inbox", "--detach", "--id", id]);
    assert_eq!(give("e-1").out, "planner/e-1\n");
    assert_eq!(give("e-2").out, "planner/e-2\n");
    let taken = give("e-1");
    assert_eq!(taken.code, 1, "{taken:?}");

    let listed = server.rekindle(&["executions", "list"]);
    assert_eq!(listed.out.lines().count(), 3, "{listed:?}");
    assert!(listed.out.contains("planner/e-1  QUEUED"), "{listed:?}");
    let shown = server.rekindle(&["executions", "show", "agents/planner/executions/e-1"]);
    assert!(
        shown.out.starts_with("agents/planner/executions/e-1  QUEUED\n"),
        "{shown:?}"
    );
    assert!(shown.out.contains("Message\n  sort the inbox\n"), "{shown:?}");
    let got = server
        .rekindle(&["executions", "get", "planner/e-1", "--output", "json"])
        .json();
    assert_eq!(
        (&got["message"], &got["timeout"]),
        (&"sort the inbox".into(), &"300s".into())
    );
    let output = server.rekindle(&["executions", "output", "planner/e-1"]);
    assert_eq!((output.code, output.out.as_str()), (0, ""), "{output:?}");
    assert!(output.err.contains("QUEUED"), "{output:?}");

    let cancel = ["executions", "cancel", "planner/e-1", "--reason", "wrong inbox"];
    assert_eq!(server.rekindle(&cancel).out, "planner/e-1: cancelled\n");
    assert_eq!(
        server.rekindle(&cancel).out,
        "planner/e-1: cancelled\n",
        "twice is once"
    );
    let told = server.rekindle(&[&cancel[..], &["--output", "json"]].concat()).json();
    assert_eq!(
        (&told["outcome"], &told["execution"]["state"]),
        (&"CANCELLED".into(), &"CANCELLED".into())
    );
    let watched = server.rekindle(&["executions", "watch", "planner/e-1"]);
    assert_eq!(watched.code, 1, "{watched:?}");
    assert!(watched.err.contains("planner/e-1 is CANCELLED"), "{watched:?}");

    let names = |args: &[&str]| -> Vec<Json> {
        let listed = server.rekindle(&[&["executions", "list", "--output", "json"], args].concat());
        let listed = listed.json();
        let executions = listed["executions"].as_array().expect("a list").iter();
        executions.map(|execution| execution["name"].clone()).collect()
    };
    let first = "agents/planner/executions/e-1";
    let second = "agents/planner/executions/e-2";
    assert_eq!(names(&["--state", "queued,running"]), [second]);
    assert_eq!(
        names(&["planner", "--state", "cancelled", "--filter", "attempt = 0"]),
        [first]
    );
    assert_eq!(names(&["planner", "--state", "dead-letter"]), Vec::<Json>::new());

    let again = server.rekindle(&["executions", "redrive", "planner/e-1", "--id", "e-3"]);
    assert_eq!(again.out, "planner/e-3: QUEUED, does planner/e-1 again\n", "{again:?}");
    let shown = server.rekindle(&["executions", "get", "planner/e-1"]);
    assert!(
        shown
            .out
            .contains(&format!("done again as  {}", "agents/planner/executions/e-3")),
        "{shown:?}"
    );
    let early = server.rekindle(&["executions", "redrive", "planner/e-2"]);
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.err.contains("rekindle executions watch"), "{early:?}");
}

#[test]
fn what_does_not_start_in_time_has_timed_out() {
    let server = planner();
    let late = ["run", "planner", "now or never", "--schedule-to-start-timeout", "50ms"];
    let answer = server.rekindle(&late);
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.err.contains("QUEUE_TIMEOUT"), "{answer:?}");
}

#[test]
fn a_wait_outlives_the_server() {
    let mut server = planner();
    let waiting = rekindle(&[
        "--server",
        &server.address,
        "run",
        "planner",
        "sort the inbox",
        "--id",
        "e-1",
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("rekindle can be started");
    eventually("the execution", || {
        let listed = server.rekindle(&["executions", "list", "planner"]);
        listed.out.contains("planner/e-1").then_some(())
    });
    server.restart();
    let cancelled = server.rekindle(&["executions", "cancel", "planner/e-1"]);
    assert_eq!(cancelled.out, "planner/e-1: cancelled\n", "{cancelled:?}");
    let answer = Answer::of_output(waiting.wait_with_output().expect("it ends"));
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("planner/e-1 is CANCELLED"), "{answer:?}");
}
