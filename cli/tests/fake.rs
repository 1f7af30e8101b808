//! The other end of the wire: an ExecutionService that answers what its test says, and remembers what it was asked.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use rekindle::wire::v1;
use rekindle::wire::v1::execution_service_server::{ExecutionService, ExecutionServiceServer};
use rekindle::wire::v1::watch_execution_response::Update;
use rekindle::wire::v1::{CancelOutcome, ExecutionState};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The one execution that there is.
pub(crate) const NAME: &str = "agents/planner/executions/e-1";

/// What the server does on a stream of WatchExecution, step by step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends an update.
    Send(Update),
    /// Waits until somebody cancels the execution.
    AwaitCancel,
    /// Loses the connection; as the first step, before there is a stream.
    Lose,
    /// Ends the stream in order, although nothing is over.
    End,
    /// Stays silent until the client leaves.
    Hold,
}

/// The execution, as it is in this state.
pub(crate) fn execution(state: ExecutionState) -> v1::Execution {
    v1::Execution {
        name: NAME.to_owned(),
        state: state.into(),
        attempt: 1,
        ..v1::Execution::default()
    }
}

/// An update that says so.
pub(crate) fn state(execution: v1::Execution) -> Step {
    Step::Send(Update::Execution(Box::new(execution)))
}

/// More output of the first attempt.
pub(crate) fn output(offset: u64, data: &[u8]) -> Step {
    chunk(v1::OutputKind::Stdout, offset, data)
}

/// More of what its agent says of how far it is.
pub(crate) fn progress(offset: u64, data: &[u8]) -> Step {
    chunk(v1::OutputKind::Progress, offset, data)
}

fn chunk(kind: v1::OutputKind, offset: u64, data: &[u8]) -> Step {
    Step::Send(Update::Output(v1::OutputChunk {
        attempt: 1,
        offset,
        data: data.to_vec(),
        kind: kind.into(),
    }))
}

/// A server. Ended when it is dropped.
pub(crate) struct Fake {
    /// `HOST:PORT`.
    pub(crate) address: String,
    world: Arc<World>,
    _runtime: Runtime,
}

#[derive(Default)]
struct World {
    asked: Mutex<Asked>,
    script: Mutex<Script>,
    cancelled: Notify,
}

/// What the server was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Every CreateExecution, those whose answer was lost included.
    pub(crate) creates: Vec<v1::CreateExecutionRequest>,
    /// How many streams of WatchExecution were opened.
    pub(crate) watches: usize,
    /// Every CancelExecution.
    pub(crate) cancels: Vec<v1::CancelExecutionRequest>,
}

/// What it answers.
#[derive(Debug, Default)]
struct Script {
    /// Answers to CreateExecution that are lost before one arrives.
    lost_answers: usize,
    /// One list of steps for each stream.
    watches: VecDeque<Vec<Step>>,
}

impl Fake {
    /// Starts a server with these streams, in their order.
    pub(crate) fn start(watches: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let world = Arc::new(World::default());
        world.script().watches = watches.into_iter().collect();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let service = ExecutionServiceServer::from_arc(Arc::new(Service(world.clone())));
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self {
            address,
            world,
            _runtime: runtime,
        }
    }

    /// So many answers to CreateExecution do not arrive.
    pub(crate) fn lose_answers(self, count: usize) -> Self {
        self.world.script().lost_answers = count;
        self
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        self.world.asked().clone()
    }
}

impl World {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().expect("no test panics while it holds this")
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics while it holds this")
    }

    async fn play(&self, steps: Vec<Step>, updates: mpsc::Sender<Result<v1::WatchExecutionResponse, Status>>) {
        for step in steps {
            match step {
                Step::Send(update) => {
                    let update = v1::WatchExecutionResponse { update: Some(update) };
                    if updates.send(Ok(update)).await.is_err() {
                        return;
                    }
                }
                Step::AwaitCancel => self.cancelled.notified().await,
                Step::Lose => {
                    let _nobody_listens = updates.send(Err(Status::unavailable("the cable is cut"))).await;
                    return;
                }
                Step::End => return,
                Step::Hold => updates.closed().await,
            }
        }
    }
}

struct Service(Arc<World>);

#[tonic::async_trait]
impl ExecutionService for Service {
    type WatchExecutionStream = Pin<Box<dyn Stream<Item = Result<v1::WatchExecutionResponse, Status>> + Send>>;

    async fn create_execution(
        &self,
        request: Request<v1::CreateExecutionRequest>,
    ) -> Result<Response<v1::CreateExecutionResponse>, Status> {
        self.0.asked().creates.push(request.into_inner());
        let lost = &mut self.0.script().lost_answers;
        if *lost > 0 {
            *lost -= 1;
            return Err(Status::unavailable("the cable is cut"));
        }
        let execution = Some(execution(ExecutionState::Queued));
        Ok(Response::new(v1::CreateExecutionResponse { execution }))
    }

    async fn watch_execution(
        &self,
        request: Request<v1::WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        assert_eq!(request.into_inner().name, NAME);
        self.0.asked().watches += 1;
        let steps = self.0.script().watches.pop_front();
        let steps = steps.ok_or_else(|| Status::internal("the test expects no further stream"))?;
        if let Some(Step::Lose) = steps.first() {
            return Err(Status::unavailable("the cable is cut"));
        }
        // One at a time, so that each step has its effect before the next.
        let (updates, stream) = mpsc::channel(1);
        let world = self.0.clone();
        tokio::spawn(async move { world.play(steps, updates).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).fuse())))
    }

    async fn cancel_execution(
        &self,
        request: Request<v1::CancelExecutionRequest>,
    ) -> Result<Response<v1::CancelExecutionResponse>, Status> {
        self.0.asked().cancels.push(request.into_inner());
        self.0.cancelled.notify_one();
        Ok(Response::new(v1::CancelExecutionResponse {
            execution: Some(execution(ExecutionState::Cancelled)),
            outcome: CancelOutcome::Cancelled.into(),
        }))
    }

    async fn list_executions(
        &self,
        _: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<v1::ListExecutionsResponse>, Status> {
        let before = v1::Execution {
            priority: 1,
            ..execution(ExecutionState::Queued)
        };
        Ok(Response::new(v1::ListExecutionsResponse {
            executions: vec![before, execution(ExecutionState::Queued)],
            next_page_token: String::new(),
        }))
    }

    async fn get_execution(
        &self,
        _: Request<v1::GetExecutionRequest>,
    ) -> Result<Response<v1::GetExecutionResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn redrive_execution(
        &self,
        _: Request<v1::RedriveExecutionRequest>,
    ) -> Result<Response<v1::RedriveExecutionResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }
}
