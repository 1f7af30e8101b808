//! Webhooks over both HTTPs, on the port of gRPC.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::{Method, Request};
use rekindle::wire::v1;
use rekindle::workflow::PAYLOAD_MAX_BYTES;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::workflows::{create, kind_of};
use super::{World, soon};

/// An answer over either HTTP.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status, and the reason of a refusal.
    fn refusal(&self) -> (u16, String) {
        let json = self.json();
        let error = &json["error"];
        assert_eq!(error["code"], self.status, "{self:?}");
        assert!(error["message"].is_string(), "{self:?}");
        (self.status, error["reason"].as_str().unwrap_or_default().to_owned())
    }
}

impl World {
    /// Makes a webhook that is called by this name, and gives its secret.
    async fn webhook(&self, id: &str) -> String {
        let request = create(id, kind_of(v1::trigger::Kind::Webhook(v1::trigger::Webhook {})));
        let created = self.workflows().create_workflow(request).await.expect("created");
        let secret = created.into_inner().webhook_secret;
        assert_eq!(secret.len(), 43, "it is told");
        secret
    }

    /// Sends bytes, and reads what comes until the server ends the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(bytes).await.expect("it is read");
        let mut answer = Vec::new();
        // Who was refused in the middle of a body may find the connection reset; what came before counts.
        let _ = soon(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request of HTTP/1.1, with these lines in its head.
    async fn http1(&self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let answer = self.raw(&[request.as_bytes(), body].concat()).await;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {answer:?}"));
        Answer {
            status: head[9..12].parse().expect("a status"),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn call(&self, workflow: &str, secret: &str, body: &[u8]) -> Answer {
        let authorization = format!("authorization: Bearer {secret}");
        let line = format!("POST /v1/workflows/{workflow}:trigger");
        self.http1(&line, &[&authorization], body).await
    }

    /// One request of HTTP/2, on the connection that carries gRPC.
    async fn http2(&self, workflow: &str, secret: &str, body: &[u8]) -> Answer {
        let body = http_body_util::Full::from(body.to_vec());
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v1/workflows/{workflow}:trigger"))
            .header("authorization", format!("Bearer {secret}"))
            .body(tonic::body::Body::new(body))
            .expect("valid");
        let answer = soon(self.channel.clone().oneshot(request)).await.expect("answered");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("whole").to_bytes();
        Answer {
            status: head.status.as_u16(),
            head: format!("{:?}", head.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }
}

#[tokio::test]
async fn a_webhook_is_called_over_both_https() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let one = world.call("deploys", &secret, b"one").await;
    assert_eq!(one.status, 202, "{one:?}");
    let json = one.json();
    assert_eq!(
        (&json["workflow"], &json["fire"]),
        (&"workflows/deploys".into(), &1.into())
    );
    assert_eq!(json["execution"], Value::Null, "its agent is not there");
    let two = world.http2("deploys", &secret, b"two").await;
    assert_eq!((two.status, &two.json()["fire"]), (202, &2.into()), "{two:?}");
    assert_eq!(world.workflow("deploys").await.runner.expect("told").pending, 2);
    // gRPC goes on as it was.
    world.create("agents/a").await;
}

#[tokio::test]
async fn who_does_not_show_the_secret_learns_nothing() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let manual = create("manual", kind_of(v1::trigger::Kind::Manual(v1::trigger::Manual {})));
    world.workflows().create_workflow(manual).await.expect("created");
    let mut answers = Vec::new();
    for (workflow, shown) in [
        ("deploys", "wrong"),
        ("deploys", ""),
        ("nobody", secret.as_str()),
        ("manual", secret.as_str()),
        ("NO", secret.as_str()),
    ] {
        let answer = world.call(workflow, shown, b"x").await;
        assert_eq!(
            answer.refusal(),
            (401, "WEBHOOK_UNAUTHENTICATED".to_owned()),
            "{workflow}"
        );
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
        answers.push(answer.body);
        let answer = world.http2(workflow, shown, b"x").await;
        assert_eq!(answer.refusal().0, 401, "{workflow}");
        answers.push(answer.body);
    }
    let without = world.http1("POST /v1/workflows/deploys:trigger", &[], b"x").await;
    answers.push(without.body);
    answers.dedup();
    assert_eq!(answers.len(), 1, "each hears the same");
    assert_eq!(world.workflow("deploys").await.runner.expect("told").pending, 0);
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let path = "/v1/workflows/deploys:trigger";
    let authorization = format!("authorization: Bearer {secret}");
    let refused = async |line: &str, header: &str, body: &[u8]| {
        world.http1(line, &[&authorization, header], body).await.refusal()
    };
    for line in [
        "POST /",
        "GET /v1/workflows/deploys",
        "POST /rekindle.v1.FleetService/GetFleet",
    ] {
        assert_eq!(
            refused(line, "x: y", b"").await,
            (404, "NOT_FOUND".to_owned()),
            "{line}"
        );
    }
    let get = world.http1(&format!("GET {path}"), &[&authorization], b"").await;
    assert_eq!(get.refusal(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    assert!(get.head.contains("allow: post"), "{get:?}");
    let post = format!("POST {path}");
    let too_much = vec![b'x'; PAYLOAD_MAX_BYTES + 1];
    for (header, body, expected) in [
        ("x: y", &too_much[..], (413, "BODY_TOO_LARGE")),
        ("x: y", &[0xff][..], (415, "UNSUPPORTED_BODY")),
        ("content-encoding: gzip", &b"x"[..], (415, "UNSUPPORTED_BODY")),
        ("idempotency-key: a b", &b"x"[..], (400, "INVALID_ARGUMENT")),
    ] {
        let (status, reason) = refused(&post, header, body).await;
        assert_eq!((status, reason.as_str()), expected);
    }
    let disable = v1::UpdateWorkflowRequest {
        workflow: Some(v1::Workflow {
            name: "workflows/deploys".into(),
            enabled: Some(false),
            ..v1::Workflow::default()
        }),
        ..v1::UpdateWorkflowRequest::default()
    };
    world.workflows().update_workflow(disable).await.expect("disabled");
    assert_eq!(refused(&post, "x: y", b"").await, (409, "WORKFLOW_DISABLED".to_owned()));
    assert_eq!(world.workflow("deploys").await.runner.expect("told").pending, 0);
}

#[tokio::test]
async fn a_body_without_its_length_is_bounded_as_well() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let head = format!(
        "POST /v1/workflows/deploys:trigger HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {secret}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    let fits = world
        .raw(format!("{head}{}0\r\n\r\n", chunk(PAYLOAD_MAX_BYTES)).as_bytes())
        .await;
    assert!(fits.starts_with("HTTP/1.1 202 "), "{fits}");
    let too_much = format!("{head}{}{}", chunk(PAYLOAD_MAX_BYTES), chunk(1));
    let too_much = world.raw(too_much.as_bytes()).await;
    assert!(too_much.starts_with("HTTP/1.1 413 "), "{too_much}");
    let broken = world.raw(format!("{head}zz\r\n").as_bytes()).await;
    assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
}

#[tokio::test]
async fn a_head_is_bounded() {
    let world = World::start().await;
    let long = world
        .raw(format!("POST /{} HTTP/1.1\r\n", "x".repeat(64 * 1024)).as_bytes())
        .await;
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{long}");
    let many = "a: b\r\n".repeat(100);
    let many = world.raw(format!("POST / HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
    let upgrade = "connection: upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    let upgrade = world
        .raw(format!("GET / HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n").as_bytes())
        .await;
    assert!(upgrade.starts_with("HTTP/1.1 404 "), "no other protocol: {upgrade}");
    let nonsense = world.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    assert!(
        nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400 "),
        "{nonsense}"
    );
}

#[tokio::test]
async fn the_same_key_is_the_same_fire() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let authorization = format!("authorization: Bearer {secret}");
    let line = "POST /v1/workflows/deploys:trigger";
    let mut fires = Vec::new();
    for key in [
        "idempotency-key: k-1",
        "idempotency-key: \"k-1\"",
        "idempotency-key: k-2",
        "x: y",
    ] {
        let answer = world.http1(line, &[&authorization, key], b"x").await;
        assert_eq!(answer.status, 202, "{answer:?}");
        fires.push(answer.json()["fire"].as_u64().expect("a number"));
    }
    assert_eq!(fires, [1, 1, 2, 3]);
}

#[tokio::test]
async fn a_connection_is_kept_for_who_knows_the_secret() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    let request = |secret: &str| {
        format!(
            "POST /v1/workflows/deploys:trigger HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\ncontent-length: 1\r\n\r\nx"
        )
    };
    let mut seen = String::new();
    for fire in 1..=3 {
        stream.write_all(request(&secret).as_bytes()).await.expect("it is read");
        let wanted = format!("\"fire\":{fire}");
        while !seen.contains(&wanted) || !seen.ends_with("}\n") {
            let mut buffer = [0; 4096];
            let read = soon(stream.read(&mut buffer)).await.expect("it answers");
            assert!(read > 0, "it ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
    stream.write_all(request("wrong").as_bytes()).await.expect("it is read");
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.expect("it ends");
    assert!(rest.starts_with("HTTP/1.1 401 "), "{rest}");
}

#[tokio::test]
async fn nobody_is_waited_for_without_end() {
    let world = World::start().await;
    let secret = world.webhook("deploys").await;
    let half = format!("POST /v1/workflows/deploys:trigger HTTP/1.1\r\nauthorization: Bearer {secret}\r\n");
    let whole_head = format!("{half}host: x\r\ncontent-length: 5\r\n\r\nab");
    let begin = std::time::Instant::now();
    let waits = [b"PO".to_vec(), half.into_bytes(), whole_head.into_bytes()].map(|bytes| {
        let address = world.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(&bytes).await.expect("it is read");
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
                .await
                .expect("the server ends it");
            String::from_utf8_lossy(&answer).into_owned()
        })
    });
    let [nothing, no_head, no_body] = waits;
    assert_eq!(nothing.await.expect("no panic"), "");
    let no_head = no_head.await.expect("no panic");
    assert!(no_head.is_empty() || no_head.starts_with("HTTP/1.1 408 "), "{no_head}");
    let no_body = no_body.await.expect("no panic");
    assert!(no_body.starts_with("HTTP/1.1 408 "), "{no_body}");
    assert!(begin.elapsed() >= Duration::from_secs(9), "a slow caller has its time");
}
