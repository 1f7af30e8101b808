//! Shims that say what no shim should: their stream ends with a clear status, and nothing else is touched.

use rekindle::wire::v1::connect_request::Message;
use rekindle::wire::v1::{Exited, Failure, Goodbye, Heartbeat, Inventory, Report, SpawnFailed, Spawned, report};
use rekindle_e2e::client::runs;
use rekindle_e2e::stream::{RawStream, encoded, encoded_hello, encoded_nothing, hello};
use rekindle_e2e::{Client, LIMIT, Server, Shim, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// A server with one honest agent, whose stream must not be touched.
async fn bystander<'w>(world: &'w World) -> (Server<'w>, Shim<'w>, Client) {
    let server = world.server().start().await;
    let shim = world.shim("bystander").start(&server);
    let mut client = server.client();
    client.until("bystander", runs(1)).await;
    (server, shim, client)
}

/// The bystander has the same session as ever, and can be restarted.
async fn is_untouched(client: &mut Client) {
    let agent = client.get("bystander").await.expect("the bystander is there");
    let connection = agent.connection.expect("the bystander has a session");
    assert_eq!((connection.connected, connection.epoch), (true, 1));
    client.restart("bystander").await.expect("the server goes on");
    client.until("bystander", runs(2)).await;
    client.history().await;
}

/// Says all of this on one stream, and hears how the stream ends.
async fn refusal(client: &Client, messages: Vec<bytes::Bytes>) -> Status {
    let mut messages = messages.into_iter();
    let first = messages.next().expect("there is a first message");
    match RawStream::open(client, first).await {
        Err(status) => status,
        Ok(stream) => {
            for message in messages {
                stream.say(message).await;
            }
            stream.end().await
        }
    }
}

#[tokio::test]
async fn garbage() {
    let world = World::new();
    let (_server, _shim, mut client) = bystander(&world).await;
    let status = refusal(&client, vec![bytes::Bytes::from_static(&[0xff; 64])]).await;
    assert!(
        matches!(status.code(), Code::InvalidArgument | Code::Internal),
        "{status:?}"
    );
    let after_hello = vec![encoded_hello(hello("x")), bytes::Bytes::from_static(&[0xff; 64])];
    let status = refusal(&client, after_hello).await;
    assert_ne!(status.code(), Code::Ok, "{status:?}");
    assert_ne!(status.code(), Code::Unknown, "{status:?}");
    is_untouched(&mut client).await;
}

#[tokio::test]
async fn oversized() {
    let world = World::new();
    let (_server, _shim, mut client) = bystander(&world).await;
    let mut huge = hello("x");
    huge.labels.insert("k".to_owned(), "v".repeat(8 << 20));
    let status = refusal(&client, vec![encoded_hello(huge)]).await;
    let clear = [Code::OutOfRange, Code::ResourceExhausted, Code::InvalidArgument];
    assert!(clear.contains(&status.code()), "{status:?}");
    is_untouched(&mut client).await;
}

#[tokio::test]
async fn out_of_order() {
    let world = World::new();
    let (_server, _shim, mut client) = bystander(&world).await;
    let report = |sequence, incarnation, fact| {
        let report = Report {
            sequence,
            time: Some(prost_types::Timestamp::default()),
            incarnation,
            fact: Some(fact),
        };
        encoded(Message::Report(report.into()))
    };
    let nothing_first = bytes::Bytes::new();
    let ended_twice = Exited {
        evidence: Some(Failure {
            exit_code: Some(0),
            signal: Some(9),
            ..Default::default()
        }),
        ..Default::default()
    };
    let hello = |agent| encoded_hello(hello(agent));
    let nothing = encoded_nothing;
    for (case, messages) in [
        ("an empty message first", vec![nothing_first]),
        ("a beat first", vec![encoded(Message::Heartbeat(Heartbeat {}))]),
        ("a goodbye first", vec![encoded(Message::Goodbye(Goodbye {}))]),
        ("two hellos", vec![hello("x1"), hello("x1")]),
        ("two hellos and an inventory", vec![hello("x5"), nothing(), hello("x5")]),
        ("two inventories", vec![hello("x6"), nothing(), nothing()]),
        ("an inventory first", vec![nothing()]),
        (
            "a report before the inventory",
            vec![hello("x7"), report(1, 1, report::Fact::Ready(Default::default()))],
        ),
        (
            "a goodbye before the inventory",
            vec![hello("x8"), encoded(Message::Goodbye(Goodbye {}))],
        ),
        (
            "an end by exit and by signal",
            vec![hello("x2"), nothing(), report(1, 1, report::Fact::Exited(ended_twice))],
        ),
        (
            "a hole in the reports",
            vec![
                hello("x3"),
                nothing(),
                report(7, 1, report::Fact::Ready(Default::default())),
            ],
        ),
        (
            "a process without identity",
            vec![
                hello("x4"),
                nothing(),
                report(1, 1, report::Fact::Spawned(Spawned::default())),
            ],
        ),
    ] {
        let status = refusal(&client, messages).await;
        let clear = [
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
        ];
        assert!(clear.contains(&status.code()), "{case}: {status:?}");
        assert!(!status.message().is_empty(), "{case}: the status says why");
    }
    is_untouched(&mut client).await;
}

#[tokio::test]
async fn a_hello_that_is_well_formed_and_wrong() {
    let world = World::new();
    let (_server, _shim, mut client) = bystander(&world).await;
    let mut bad_name = hello("x");
    bad_name.agent = "agents/NOT A NAME".to_owned();
    let mut no_host = hello("x");
    no_host.host = None;
    let mut bad_marker = hello("x");
    bad_marker.marker = "yes".to_owned();
    let mut bad_policy = hello("x");
    bad_policy.policy.get_or_insert_default().max_attempts = Some(u32::MAX);
    for bad in [bad_name, no_host, bad_marker, bad_policy] {
        let status = refusal(&client, vec![encoded_hello(bad)]).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    // From another host, by a shim that has no right to the agent.
    let status = refusal(&client, vec![encoded_hello(hello("bystander"))]).await;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let holder = client
        .get("bystander")
        .await
        .expect("the bystander is there")
        .connection
        .expect("it has a session");
    let says = format!("is held by a shim on {}, last heard", holder.host);
    assert!(status.message().contains(&says), "{status:?}");
    is_untouched(&mut client).await;
}

/// Numbers that only rise must not be pushed to their end.
#[tokio::test]
async fn the_last_number_there_is() {
    let world = World::new();
    let (_server, _shim, mut client) = bystander(&world).await;
    let last = Inventory {
        last_incarnation: u64::MAX,
        ..Default::default()
    };
    let messages = vec![encoded_hello(hello("x")), encoded(Message::Inventory(last.into()))];
    let status = refusal(&client, messages).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    let report = Report {
        sequence: 1,
        time: Some(prost_types::Timestamp::default()),
        incarnation: u64::MAX,
        fact: Some(report::Fact::SpawnFailed(SpawnFailed::default())),
    };
    let report = encoded(Message::Report(report.into()));
    let messages = vec![encoded_hello(hello("y")), encoded_nothing(), report];
    let status = refusal(&client, messages).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    is_untouched(&mut client).await;
}

#[tokio::test]
async fn bytes_that_are_not_even_http() {
    let world = World::new();
    let (server, _shim, mut client) = bystander(&world).await;
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut broken_frame = preface.to_vec();
    broken_frame.extend([0xff; 4096]);
    for bytes in [b"GET / HTTP/9.9\r\n\r\n".to_vec(), vec![0; 4096], broken_frame] {
        let mut socket = TcpStream::connect(server.address()).await.expect("the server listens");
        let _closed_early = socket.write_all(&bytes).await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the server ends a connection that makes no sense");
    }
    is_untouched(&mut client).await;
}
