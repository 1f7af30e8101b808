//! What no honest shim says: raw bytes on a stream, and messages that are well formed and wrong.

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use rekindle::wire::v1;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;
use v1::connect_request::Message;

use crate::client::{Client, name};
use crate::wait::LIMIT;

/// A shim's stream that says exactly what it is given.
#[derive(Debug)]
pub struct RawStream {
    outgoing: tokio::sync::mpsc::Sender<Bytes>,
    incoming: Streaming<Bytes>,
}

impl RawStream {
    /// Opens `Connect`, and says the first message; a server answers only then.
    pub async fn open(client: &Client, first: impl Into<Bytes>) -> Result<Self, Status> {
        let (outgoing, messages) = tokio::sync::mpsc::channel(64);
        outgoing.try_send(first.into()).expect("an empty queue takes a message");
        let mut grpc = tonic::client::Grpc::new(client.channel());
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(messages));
        let path = PathAndQuery::from_static("/rekindle.v1.ShimService/Connect");
        let answer = tokio::time::timeout(LIMIT, grpc.streaming(request, path, RawCodec))
            .await
            .map_err(|_| Status::deadline_exceeded("the server answered nothing"))?;
        Ok(Self {
            outgoing,
            incoming: answer?.into_inner(),
        })
    }

    /// Says something more. What is said to a stream that has ended is lost.
    pub async fn say(&self, message: impl Into<Bytes>) {
        let _ended = self.outgoing.send(message.into()).await;
    }

    /// The server's next message, or how it ended the stream.
    ///
    /// # Panics
    /// When it does neither within [`LIMIT`].
    pub async fn hear(&mut self) -> Result<Bytes, Status> {
        let message = tokio::time::timeout(LIMIT, self.incoming.message()).await;
        let message = message.unwrap_or_else(|_| panic!("the server neither spoke nor ended within {LIMIT:?}"));
        message?.ok_or_else(|| Status::ok("the stream ended without a reason"))
    }

    /// How the server ended the stream.
    pub async fn end(mut self) -> Status {
        loop {
            if let Err(status) = self.hear().await {
                return status;
            }
        }
    }
}

/// The bytes of a message.
pub fn encoded(message: Message) -> Bytes {
    let request = v1::ConnectRequest { message: Some(message) };
    request.encode_to_vec().into()
}

/// The bytes of a first message.
pub fn encoded_hello(hello: v1::Hello) -> Bytes {
    encoded(Message::Hello(hello.into()))
}

/// The bytes of what a shim that holds nothing says after its welcome.
pub fn encoded_nothing() -> Bytes {
    encoded(Message::Inventory(Box::default()))
}

/// Who a shim says that it is, from a host that is not this one.
pub fn hello(agent: &str) -> v1::Hello {
    v1::Hello {
        agent: name(agent),
        shim_version: "0.0.0".to_owned(),
        instance: Uuid::new_v4().to_string(),
        host: Some(v1::Host {
            name: "elsewhere".to_owned(),
            machine_id: Uuid::new_v4().simple().to_string(),
            boot_id: Uuid::new_v4().to_string(),
        }),
        marker: Uuid::new_v4().to_string(),
        policy: Some(v1::AgentPolicy::default()),
        ..Default::default()
    }
}

#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
