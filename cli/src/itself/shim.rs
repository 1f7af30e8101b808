//! The connection to the shim that runs this program.

use std::io;
use std::time::Duration;

use rekindle::checkpoint::BODY_MAX_BYTES;
use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::wire::agent_v1::checkpoint_service_client::CheckpointServiceClient;
use rekindle::wire::agent_v1::work_service_client::WorkServiceClient;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::failure::{Failure, connect_error};

/// Names the shim's socket in the environment of what it runs.
const SOCKET: &str = "REKINDLE_SOCKET";

/// Longest wait for an answer, past what the shim was asked to wait: it has its journal to write, at most, or the tree of
/// an earlier life to prove dead.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Largest answer that is read: the longest message, with room for the rest.
const ANSWER_MAX_BYTES: usize = MESSAGE_MAX_BYTES + 16 * 1024;

/// The same of a checkpoint: the longest body, the longest texts, and room for what was in flight.
const CHECKPOINT_MAX_BYTES: usize = BODY_MAX_BYTES + 256 * 1024;

/// Wait between two tries to connect.
const RETRY: Duration = Duration::from_millis(100);

/// A connected shim.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) client: WorkServiceClient<Channel>,
    pub(super) checkpoints: Client,
}

/// What tells the shim of checkpoints.
pub(super) type Client = CheckpointServiceClient<Channel>;

impl Shim {
    /// Connects to the shim that runs this program. One that is not there is waited for, for as long as `patience`.
    pub(super) async fn connect(patience: Duration) -> Result<Self, Failure> {
        let socket = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty());
        let socket = socket.ok_or(Failure::NoShim)?.to_string_lossy().into_owned();
        let unreachable = |source| Failure::ShimUnreachable {
            socket: socket.clone(),
            source,
        };
        let endpoint = Endpoint::from_shared(format!("unix://{socket}")).map_err(unreachable)?;
        let end = Instant::now() + patience;
        loop {
            match endpoint.connect().await {
                Ok(channel) => {
                    let checkpoints = CheckpointServiceClient::new(channel.clone());
                    return Ok(Self {
                        client: WorkServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX_BYTES),
                        checkpoints: checkpoints.max_decoding_message_size(CHECKPOINT_MAX_BYTES),
                    });
                }
                Err(error) if is_away(&error) && Instant::now() < end => sleep(RETRY).await,
                Err(error) => return Err(unreachable(error)),
            }
        }
    }
}

/// Whether nobody listens, which may pass.
fn is_away(error: &tonic::transport::Error) -> bool {
    matches!(
        connect_error(error),
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    )
}

/// A request that is answered at once.
pub(super) fn word<T>(message: T) -> Request<T> {
    waiting(message, Duration::ZERO)
}

/// A request that is answered within `wait`.
pub(super) fn waiting<T>(message: T, wait: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(wait + ANSWER_MAX);
    request
}

/// What was said is durable at the shim; or the shim's error.
pub(super) fn heard<T>(answer: Result<Response<T>, Status>) -> Result<(), Failure> {
    match answer {
        Ok(_) => Ok(()),
        Err(status) => Err(Failure::Shim(Box::new(status))),
    }
}
