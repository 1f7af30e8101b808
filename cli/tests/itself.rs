//! `rekindle self`, as agents run it, against a shim that says what each test wants.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use rekindle::wire::agent_v1::work_service_server::{WorkService, WorkServiceServer};
use rekindle::wire::agent_v1::{self as wire};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::program::{Answer, LIMIT, Running, rekindle};

const KIB: usize = 1024;

/// What the fake was told.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Asked,
    Completed(wire::CompleteRequest),
    Failed(wire::FailRequest),
    Progress(wire::ReportProgressRequest),
    Blocked(wire::BlockRequest),
    Unblocked(wire::UnblockRequest),
}

/// How the fake answers who asks for work.
type Script = Vec<Result<Option<wire::Assignment>, Status>>;

struct Fake {
    tell: Sender<Told>,
    /// The last first. Empty: who asks waits for ever.
    script: Mutex<Script>,
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
struct Shim {
    told: Receiver<Told>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shim {
    fn start(socket: &Path, mut script: Script) -> Self {
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
                let service = WorkServiceServer::new(Fake { tell, script });
                let service = service.max_decoding_message_size(1024 * KIB);
                let serving = tonic::transport::Server::builder()
                    .add_service(service)
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

    fn told(&self) -> Told {
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

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    fn shim(&self, script: Script) -> Shim {
        Shim::start(&self.socket(), script)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = rekindle(&[&["self"], args].concat());
        command.env("REKINDLE_SOCKET", self.socket());
        command
    }

    fn run(&self, args: &[&str]) -> Answer {
        self.feed(args, b"")
    }

    /// Runs with this on standard input.
    fn feed(&self, args: &[&str], input: &[u8]) -> Answer {
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

fn work(number: u32, message: &str) -> Result<Option<wire::Assignment>, Status> {
    Ok(Some(wire::Assignment {
        execution: format!("agents/a/executions/e-{number}"),
        attempt: number,
        message: message.to_owned(),
        timeout: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
    }))
}

fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "rekindle", HashMap::new());
    Status::with_error_details(code, "refused", details)
}

#[test]
fn only_what_a_shim_runs_has_a_shim() {
    for args in [&["self", "next"][..], &["self", "done", "x"], &["self", "unblocked"]] {
        let answer = Answer::of(args);
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(
            answer.out.is_empty() && answer.err.contains("REKINDLE_SOCKET is not set"),
            "{answer:?}"
        );
        assert!(answer.err.contains("rekindle-shim"), "{answer:?}");
    }
    for args in [
        &["self", "next", "--wait", "2h"][..],
        &["self", "blocked", "soon"],
        &["self", "fail"],
    ] {
        assert_eq!(Answer::of(args).code, 2, "{args:?}");
    }
}

#[test]
fn an_agent_in_five_lines() {
    let bench = Bench::new();
    let shim = bench.shim(vec![
        work(1, "add 1 2"),
        Ok(None),
        Err(refusal(Code::ResourceExhausted, "TOO_MANY_WAITING")),
        work(2, "-n 'a  b'\n\n$HOME"),
        work(3, "break"),
    ]);
    let mut agent = Command::new("sh");
    agent.env("REKINDLE_SOCKET", bench.socket());
    agent.env("REKINDLE", env!("CARGO_BIN_EXE_rekindle"));
    agent.args([
        "-c",
        r#"while true; do
            message=$("$REKINDLE" self next --wait 1s) || continue
            if result=$(test "$message" != break && printf '%s' "-> $message"); then
                "$REKINDLE" self done "$result"; else "$REKINDLE" self fail "exit $?"; fi
        done"#,
    ]);
    let _agent = Running::start(agent);
    let mut words = Vec::new();
    while words.len() < 3 {
        match shim.told() {
            Told::Asked => {}
            told @ (Told::Completed(_)
            | Told::Failed(_)
            | Told::Progress(_)
            | Told::Blocked(_)
            | Told::Unblocked(_)) => words.push(told),
        }
    }
    let completed = |output: &str| {
        Told::Completed(wire::CompleteRequest {
            output: output.to_owned(),
            ..wire::CompleteRequest::default()
        })
    };
    let failed = Told::Failed(wire::FailRequest {
        message: "exit 1".to_owned(),
        ..wire::FailRequest::default()
    });
    assert_eq!(
        words,
        [completed("-> add 1 2"), completed("-> -n 'a  b'\n\n$HOME"), failed]
    );
}

#[test]
fn what_comes_is_told_whole_and_nothing_without_a_word() {
    let bench = Bench::new();
    let _shim = bench.shim(vec![work(1, "m\nn"), work(7, "m"), Ok(None)]);
    let answer = bench.run(&["next"]);
    assert_eq!((answer.code, answer.out.as_str()), (0, "m\nn\n"), "{answer:?}");
    let assignment = bench.run(&["next", "--output", "json"]).json();
    assert_eq!(assignment["execution"], "agents/a/executions/e-7");
    assert_eq!(
        (&assignment["attempt"], &assignment["message"]),
        (&7.into(), &"m".into())
    );
    assert_eq!(assignment["timeout"], "90s");
    let answer = bench.run(&["next", "--wait", "0s"]);
    assert_eq!((answer.code, answer.out.as_str(), answer.err.as_str()), (6, "", ""));
}

#[test]
fn every_word_reaches_the_shim() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    let execution = "agents/a/executions/e-1".to_owned();
    for args in [
        &["fail", "--execution", &execution, "--attempt", "3", "no way"][..],
        &["progress", "-- half --"],
        &["blocked", "approval"],
        &["unblocked"],
    ] {
        let mut command = bench.command(args);
        command.env("REKINDLE_EXECUTION", "e-2").env("REKINDLE_ATTEMPT", "2");
        let output = command.output().expect("it runs");
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
    let own = || "e-2".to_owned();
    let told: Vec<Told> = (0..4).map(|_| shim.told()).collect();
    let expected = [
        Told::Failed(wire::FailRequest {
            execution,
            attempt: 3,
            message: "no way".to_owned(),
            ..wire::FailRequest::default()
        }),
        Told::Progress(wire::ReportProgressRequest {
            execution: own(),
            attempt: 2,
            text: "-- half --".to_owned(),
        }),
        Told::Blocked(wire::BlockRequest {
            execution: own(),
            attempt: 2,
            reason: wire::BlockReason::Approval.into(),
        }),
        Told::Unblocked(wire::UnblockRequest {
            execution: own(),
            attempt: 2,
        }),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_result_of_any_length_and_content_is_taken() {
    let bench = Bench::new();
    let shim = bench.shim(Vec::new());
    let completed = || match shim.told() {
        Told::Completed(said) => said,
        told @ (Told::Asked | Told::Failed(_) | Told::Progress(_) | Told::Blocked(_) | Told::Unblocked(_)) => {
            panic!("{told:?}")
        }
    };
    assert_eq!(bench.run(&["done"]).code, 0);
    assert_eq!(completed(), wire::CompleteRequest::default());
    assert_eq!(bench.feed(&["done", "-"], b"a\xff\n").code, 0);
    assert_eq!(completed().output, "a\u{fffd}\n");

    let mut long = vec![b'.'; 300 * KIB];
    long.extend_from_slice(b"the end");
    let answer = bench.feed(&["done", "-"], &long);
    assert_eq!(answer.code, 0);
    assert!(answer.err.contains("only the last 256 KiB"), "{answer:?}");
    let said = completed();
    assert!(said.output.len() == 256 * KIB && said.output.ends_with("the end"));
    assert_eq!(said.output_dropped, (44 * KIB + 7) as u64);
}

#[test]
fn errors_have_their_exit_codes() {
    let bench = Bench::new();
    let _shim = bench.shim(vec![
        Err(refusal(Code::FailedPrecondition, "NOT_PULLED")),
        Err(refusal(Code::InvalidArgument, "INVALID_ARGUMENT")),
    ]);
    let answer = bench.run(&["next"]);
    assert_eq!(answer.code, 1);
    assert_eq!(answer.err, "error: refused (NOT_PULLED)\n");
    assert_eq!(bench.run(&["next"]).code, 2);
}

#[test]
fn a_shim_that_is_away_is_waited_for() {
    let bench = Bench::new();
    let answer = bench.run(&["next", "--wait", "10ms"]);
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(answer.err.contains("cannot reach the rekindle-shim at"), "{answer:?}");

    // It ends while somebody waits, and the next one has work.
    let first = bench.shim(Vec::new());
    let mut waiting = Running::start(bench.command(&["next"]));
    assert_eq!(first.told(), Told::Asked);
    drop(first);
    let second = bench.shim(vec![
        Err(refusal(Code::Unavailable, "SHIM_ENDING")),
        work(1, "from the second"),
    ]);
    waiting.line("the message", |line| (line == "from the second").then_some(()));
    assert!(waiting.end().success());
    assert_eq!((second.told(), second.told()), (Told::Asked, Told::Asked));
}
