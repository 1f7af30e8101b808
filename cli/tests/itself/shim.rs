//! A shim that says what each test wants.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rekindle::wire::agent_v1 as wire;
use rekindle::wire::agent_v1::checkpoint_service_server::{CheckpointService, CheckpointServiceServer};
use rekindle::wire::agent_v1::work_service_server::{WorkService, WorkServiceServer};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::program::{Answer, LIMIT, rekindle};

pub(super) const KIB: usize = 1024;

/// What the fake was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Asked,
    Completed(wire::CompleteRequest),
    Failed(wire::FailRequest),
    Progress(wire::ReportProgressRequest),
    Blocked(wire::BlockRequest),
    Unblocked(wire::UnblockRequest),
    Checkpoint(Checkpoint),
}

/// What the fake was told of checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Checkpoint {
    Save(wire::SaveRequest),
    Load(wire::LoadRequest),
    Confirm(wire::ConfirmRequest),
    Close(wire::CloseRequest),
}

/// What the fake has saved, and how it answers the next saves.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) newest: Option<wire::LoadedCheckpoint>,
    /// The last first. Empty: it saves.
    pub(super) refusals: Vec<Status>,
}

/// How the fake answers who asks for work.
pub(super) type Script = Vec<Result<Option<wire::Assignment>, Status>>;

struct Fake {
    tell: Sender<Told>,
    /// The last first. Empty: who asks waits for ever.
    script: Mutex<Script>,
}

/// The fake's other service.
struct FakeCheckpoints {
    tell: Sender<Told>,
    saved: Arc<Mutex<Saved>>,
}

#[tonic::async_trait]
impl CheckpointService for FakeCheckpoints {
    async fn save(&self, request: Request<wire::SaveRequest>) -> Result<Response<wire::SaveResponse>, Status> {
        let request = request.into_inner();
        let _ = self.tell.send(Told::Checkpoint(Checkpoint::Save(request.clone())));
        let mut saved = self.saved.lock().await;
        if let Some(refusal) = saved.refusals.pop() {
            return Err(refusal);
        }
        saved.newest = Some(wire::LoadedCheckpoint {
            checkpoint: format!("{}.1", request.incarnation),
            state: request.state,
            ..wire::LoadedCheckpoint::default()
        });
        let checkpoint = format!("{}.1", request.incarnation);
        Ok(Response::new(wire::SaveResponse { checkpoint }))
    }

    async fn load(&self, request: Request<wire::LoadRequest>) -> Result<Response<wire::LoadResponse>, Status> {
        let _ = self.tell.send(Told::Checkpoint(Checkpoint::Load(request.into_inner())));
        let checkpoint = self.saved.lock().await.newest.clone();
        Ok(Response::new(wire::LoadResponse { checkpoint }))
    }

    async fn confirm(&self, request: Request<wire::ConfirmRequest>) -> Result<Response<wire::ConfirmResponse>, Status> {
        let _ = self
            .tell
            .send(Told::Checkpoint(Checkpoint::Confirm(request.into_inner())));
        Ok(Response::new(wire::ConfirmResponse {}))
    }

    async fn close(&self, request: Request<wire::CloseRequest>) -> Result<Response<wire::CloseResponse>, Status> {
        let _ = self
            .tell
            .send(Told::Checkpoint(Checkpoint::Close(request.into_inner())));
        self.saved.lock().await.newest = None;
        Ok(Response::new(wire::CloseResponse {}))
    }
}

impl Fake {
    fn hear<T>(&self, told: Told, answer: T) -> Result<Response<T>, Status> {
        // A test that has seen enough is gone.
        let _ = self.tell.send(told);
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl WorkService for Fake {
    async fn next(&self, _: Request<wire::NextRequest>) -> Result<Response<wire::NextResponse>, Status> {
        let _ = self.tell.send(Told::Asked);
        let answer = self.script.lock().await.pop();
        let assignment = match answer {
            Some(answer) => answer?,
            None => std::future::pending().await,
        };
        Ok(Response::new(wire::NextResponse { assignment }))
    }

    async fn complete(
        &self,
        request: Request<wire::CompleteRequest>,
    ) -> Result<Response<wire::CompleteResponse>, Status> {
        self.hear(Told::Completed(request.into_inner()), wire::CompleteResponse {})
    }

    async fn fail(&self, request: Request<wire::FailRequest>) -> Result<Response<wire::FailResponse>, Status> {
        self.hear(Told::Failed(request.into_inner()), wire::FailResponse {})
    }

    async fn report_progress(
        &self,
        request: Request<wire::ReportProgressRequest>,
    ) -> Result<Response<wire::ReportProgressResponse>, Status> {
        self.hear(Told::Progress(request.into_inner()), wire::ReportProgressResponse {})
    }

    async fn block(&self, request: Request<wire::BlockRequest>) -> Result<Response<wire::BlockResponse>, Status> {
        self.hear(Told::Blocked(request.into_inner()), wire::BlockResponse {})
    }

    async fn unblock(&self, request: Request<wire::UnblockRequest>) -> Result<Response<wire::UnblockResponse>, Status> {
        self.hear(Told::Unblocked(request.into_inner()), wire::UnblockResponse {})
    }
}

/// A shim on a thread of its own. Gone, with every connection, when this is dropped.
pub(super) struct Shim {
    told: Receiver<Told>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shim {
    pub(super) fn start(socket: &Path, mut script: Script, saved: Arc<Mutex<Saved>>) -> Self {
        script.reverse();
        let (tell, told) = channel();
        let (end, ended) = oneshot::channel::<()>();
        let socket = socket.to_owned();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let _leftover = std::fs::remove_file(&socket);
                let listener = UnixListener::bind(&socket).expect("a socket can be bound");
                ready.send(()).expect("the test waits");
                let script = Mutex::new(script);
                let checkpoints = FakeCheckpoints {
                    tell: tell.clone(),
                    saved,
                };
                let service = WorkServiceServer::new(Fake { tell, script });
                let service = service.max_decoding_message_size(1024 * KIB);
                let serving = tonic::transport::Server::builder()
                    .add_service(service)
                    .add_service(CheckpointServiceServer::new(checkpoints))
                    .serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    served = serving => served.expect("it serves"),
                    _ = ended => {}
                }
            });
        });
        is_ready.recv_timeout(LIMIT).expect("the shim listens");
        Self {
            told,
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub(super) fn told(&self) -> Told {
        self.told.recv_timeout(LIMIT).expect("told in time")
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    /// Goes from shim to shim.
    pub(super) saved: Arc<Mutex<Saved>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self {
            dir,
            saved: Arc::default(),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    pub(super) fn shim(&self, script: Script) -> Shim {
        Shim::start(&self.socket(), script, Arc::clone(&self.saved))
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = rekindle(&[&["self"], args].concat());
        command
            .env("REKINDLE_SOCKET", self.socket())
            .env_remove("REKINDLE_INCARNATION");
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Answer {
        self.feed(args, b"")
    }

    /// Runs with this on standard input.
    pub(super) fn feed(&self, args: &[&str], input: &[u8]) -> Answer {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("rekindle can be started");
        let mut stdin = child.stdin.take().expect("piped");
        // Who does not read it has ended.
        let _unread = stdin.write_all(input);
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
        Answer {
            code: status.code().expect("no signal ends rekindle"),
            out: String::from_utf8(stdout).expect("UTF-8"),
            err: String::from_utf8(stderr).expect("UTF-8"),
        }
    }
}
