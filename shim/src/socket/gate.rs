//! Between a connection and the service: a request is let through as a whole, or not at all, and an answer that carries
//! an attempt is followed to its end.
//!
//! Requests are small and few, so those that are read at a time have a bound for the whole socket. Waiting for work takes
//! none of it: its request is over once it is read.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use rekindle::checkpoint::{BODY_MAX_BYTES, FIELDS_MAX_BYTES};
use rekindle::execution::OUTPUT_MAX_BYTES;
use rekindle::exit::TAIL_MAX_BYTES;
use rekindle::wire::agent_v1::checkpoint_service_server::{
    CheckpointServiceServer, SERVICE_NAME as CHECKPOINT_SERVICE,
};
use rekindle::wire::agent_v1::work_service_server::WorkServiceServer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::codegen::Service as _;

use super::checkpoints::Checkpoints;
use super::requests::Receipt;
use super::service::Service;
use super::status;

/// Largest request: a Fail with the longest output and message, or a Save with the longest fields and body, and room for
/// the rest.
const REQUEST_MAX_BYTES: usize = {
    let fail = OUTPUT_MAX_BYTES + TAIL_MAX_BYTES;
    let save = BODY_MAX_BYTES + FIELDS_MAX_BYTES;
    (if save > fail { save } else { fail }) + 4096
};

/// Requests that are read, or are words that wait for their answer. Some 2 MiB at their largest; each is over in the time
/// that it takes to write the journal.
pub(super) const REQUESTS_MAX: usize = 8;

/// Longest time for a request to come whole, once it has its turn. A program that is stopped, or stops halfway, must not
/// keep the others from theirs.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// The right to one of [`REQUESTS_MAX`]. Found among the request's extensions, and given back when the last of them is
/// dropped.
type Turn = Arc<OwnedSemaphorePermit>;

/// What every request goes through.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    service: WorkServiceServer<Service>,
    checkpoints: CheckpointServiceServer<Checkpoints>,
    turns: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(service: Service, checkpoints: Checkpoints) -> Self {
        Self {
            service: WorkServiceServer::new(service),
            checkpoints: CheckpointServiceServer::new(checkpoints),
            turns: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// Reads a request, and has it answered.
    pub(super) async fn serve(mut self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let response = match self.read(request).await {
            Ok(request) if is_of(CHECKPOINT_SERVICE, &request) => self.checkpoints.call(request).await?,
            // It refuses what it does not know.
            Ok(request) => self.service.call(request).await?,
            Err(status) => status.into_http(),
        };
        Ok(Answer::follow(response))
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Request<Collected<Bytes>>, Status> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn: Turn = Arc::new(turn.expect("nobody closes the semaphore"));
        let (mut head, body) = request.into_parts();
        let body = timeout(REQUEST_MAX, Limited::new(body, REQUEST_MAX_BYTES).collect()).await;
        let body = body.map_err(|_elapsed| status::too_slow(REQUEST_MAX))?;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                status::too_large(REQUEST_MAX_BYTES)
            } else {
                status::broken_off()
            }
        })?;
        head.extensions.insert(turn);
        Ok(Request::from_parts(head, body))
    }
}

/// Whether a request is for a service (gRPC over HTTP2, Path).
fn is_of<B>(service: &str, request: &Request<B>) -> bool {
    let path = request.uri().path().strip_prefix('/');
    path.and_then(|path| path.split_once('/'))
        .is_some_and(|(name, _)| name == service)
}

/// An answer, and the receipt of the attempt that it carries.
///
/// A connection asks for more once it has taken what it was given, which says nothing of what it has sent. So the last
/// byte of the attempt is a frame of its own, which the connection takes when all before it was sent
/// ([`UNSENT_MAX_BYTES`](super::listener::UNSENT_MAX_BYTES)).
#[derive(Debug)]
pub(super) struct Answer {
    body: tonic::body::Body,
    last: Option<Bytes>,
    receipt: Option<Arc<Receipt>>,
}

impl Answer {
    fn follow(response: Response<tonic::body::Body>) -> Response<Self> {
        let (mut head, body) = response.into_parts();
        let receipt = head.extensions.remove();
        Response::from_parts(
            head,
            Self {
                body,
                last: None,
                receipt,
            },
        )
    }

    fn sign(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            receipt.sign();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if self.receipt.is_none() {
            return Poll::Ready(frame);
        }
        Poll::Ready(match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(mut data))) => {
                self.last = Some(data.split_off(data.len().saturating_sub(1)));
                Some(Ok(Frame::data(data)))
            }
            Some(Ok(Err(trailers))) => {
                self.sign();
                Some(Ok(trailers))
            }
            Some(Err(status)) => Some(Err(status)),
            None => {
                self.sign();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }
}
