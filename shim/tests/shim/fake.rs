//! A server that says what a test wants.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use rekindle::execution::{AttemptId, Follow};
use rekindle::id::{Epoch, Incarnation, ReportSequence};
use rekindle::policy::AgentPolicy;
use rekindle::report::{Hello, Inventory, Report};
use rekindle::session::{Command, CommandId, ServerMessage, ShimMessage, Welcome};
use rekindle::wire::v1::shim_service_server::{ShimService, ShimServiceServer};
use rekindle::wire::v1::{ConnectRequest, ConnectResponse};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Longest time that a test waits for what must happen.
const LIMIT: Duration = Duration::from_secs(20);

/// Messages in one direction; far more than a test says.
const QUEUE: usize = 1024;

type Answers = mpsc::Sender<Result<ConnectResponse, Status>>;

/// The server.
pub(crate) struct Fake {
    runtime: Runtime,
    pub(crate) address: SocketAddr,
    streams: mpsc::Receiver<Opened>,
}

type Opened = (Streaming<ConnectRequest>, Answers);

/// One session, as a test sees it.
pub(crate) struct Session {
    runtime: Handle,
    pub(crate) hello: Hello,
    /// What the shim said that it holds, once it was welcomed; empty before.
    pub(crate) inventory: Inventory,
    /// The commands after which it said that it begins nothing alone.
    pub(crate) confirmed: Vec<u64>,
    stream: Streaming<ConnectRequest>,
    answers: Answers,
}

struct Service(mpsc::Sender<Opened>);

#[tonic::async_trait]
impl ShimService for Service {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<ConnectResponse, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (answers, said) = mpsc::channel(QUEUE);
        let stream = (request.into_inner(), answers);
        self.0
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

impl Fake {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, streams) = mpsc::channel(QUEUE);
        let server = tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(ShimServiceServer::new(Service(tell)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self {
            runtime,
            address,
            streams,
        }
    }

    /// The next stream, with its Hello.
    pub(crate) fn next(&mut self) -> Session {
        let runtime = self.runtime.handle().clone();
        let (mut stream, answers) = within(&runtime, self.streams.recv()).expect("a stream");
        let first = within(&runtime, stream.message()).expect("sound").expect("a message");
        let ShimMessage::Hello(hello) = ShimMessage::try_from(first).expect("sound") else {
            panic!("hello comes first")
        };
        Session {
            runtime,
            hello: *hello,
            inventory: Inventory::default(),
            confirmed: Vec::new(),
            stream,
            answers,
        }
    }

    /// The next stream, welcomed.
    pub(crate) fn welcome(&mut self) -> Session {
        let mut session = self.next();
        session.welcome(Duration::from_secs(5));
        session
    }
}

impl Session {
    /// Welcomes the shim, and hears what it holds.
    pub(crate) fn welcome(&mut self, heartbeat_interval: Duration) {
        self.say_welcome(heartbeat_interval);
        let mut reports = Vec::new();
        loop {
            match self.hear() {
                Some(ShimMessage::Report(report)) => reports.push(*report),
                Some(ShimMessage::Inventory(inventory)) => {
                    self.inventory = Inventory { reports, ..*inventory };
                    return;
                }
                other => panic!("reports and an inventory were expected, not {other:?}"),
            }
        }
    }

    fn say_welcome(&self, heartbeat_interval: Duration) {
        self.say(ServerMessage::Welcome(Box::new(Welcome {
            epoch: Epoch::new(1),
            heartbeat_interval,
            policy: AgentPolicy::new(self.hello.policy.clone().into_fields()).expect("valid"),
            acknowledged: ReportSequence::ZERO,
            standing: "a test".into(),
            checkpoints: rekindle::session::CheckpointStock::NotTaken,
        })));
    }

    fn say(&self, message: ServerMessage) {
        self.answers.try_send(Ok(message.into())).expect("room");
    }

    /// Says something that this version of the protocol does not have.
    pub(crate) fn say_something_unknown(&self) {
        self.answers.try_send(Ok(ConnectResponse::default())).expect("room");
    }

    pub(crate) fn run(&self, incarnation: u64) {
        self.command(Command::Run {
            incarnation: Incarnation::new(incarnation),
            grace: None,
            context: rekindle::checkpoint::RunContext::default(),
        });
    }

    pub(crate) fn command(&self, command: Command) {
        self.say(ServerMessage::Command(CommandId(7), command));
    }

    /// Somebody watches an attempt.
    pub(crate) fn follow(&self, attempt: &AttemptId, from: Option<u64>, credit: u32) {
        self.say(ServerMessage::Follow(Follow {
            attempt: attempt.clone(),
            from,
            credit,
        }));
    }

    pub(crate) fn acknowledge(&self, report: &Report) {
        self.say(ServerMessage::Acknowledge(report.sequence));
    }

    /// Ends the stream with a reason.
    pub(crate) fn refuse(self, status: Status) {
        self.answers.try_send(Err(status)).expect("room");
    }

    /// The next message that is neither a heartbeat nor a confirmation; `None` at the stream's end.
    pub(crate) fn hear(&mut self) -> Option<ShimMessage> {
        loop {
            match self.message()? {
                ShimMessage::Heartbeat => {}
                ShimMessage::Confirmed(CommandId(id)) => self.confirmed.push(id),
                message @ (ShimMessage::Hello(_)
                | ShimMessage::Inventory(_)
                | ShimMessage::Report(_)
                | ShimMessage::Goodbye
                | ShimMessage::Activity(_)
                | ShimMessage::Output(_)
                | ShimMessage::Checkpoint(_)
                | ShimMessage::SignalResult(..)) => return Some(message),
            }
        }
    }

    /// The times at which heartbeats arrive before the next report, and the report.
    pub(crate) fn beats_until_report(&mut self) -> (Vec<Instant>, Report) {
        let mut beats = Vec::new();
        loop {
            match self.message() {
                Some(ShimMessage::Heartbeat) => beats.push(Instant::now()),
                Some(ShimMessage::Report(report)) => return (beats, *report),
                Some(ShimMessage::Confirmed(CommandId(id))) => self.confirmed.push(id),
                other => panic!("a report was expected, not {other:?}"),
            }
        }
    }

    /// Waits for this many heartbeats, which come alone.
    pub(crate) fn beats(&mut self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.message(), Some(ShimMessage::Heartbeat));
        }
    }

    fn message(&mut self) -> Option<ShimMessage> {
        let message = within(&self.runtime, self.stream.message()).ok().flatten()?;
        Some(ShimMessage::try_from(message).expect("sound"))
    }

    /// The next message, which is a report.
    pub(crate) fn report(&mut self) -> Report {
        match self.hear() {
            Some(ShimMessage::Report(report)) => *report,
            other => panic!("a report was expected, not {other:?}"),
        }
    }
}

/// Waits for something, with a limit.
fn within<T>(runtime: &Handle, what: impl Future<Output = T>) -> T {
    runtime.block_on(async { timeout(LIMIT, what).await }).expect("in time")
}
