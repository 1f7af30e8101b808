//! How long an agent waits until what it saves is durable on its host, and how long until the server has it too; beside
//! the same bytes, written as carefully by nobody but the bench.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rekindle::wire::agent_v1::checkpoint_service_client::CheckpointServiceClient;
use rekindle::wire::agent_v1::{ActiveState, SaveRequest};
use rekindle::wire::v1::{AgentState, EventType};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::args::Part;
use crate::birth::{Births, Manners};
use crate::clock::Moment;
use crate::course::{Counts, Course, LIMIT, Next};
use crate::figures::Figures;
use crate::operator::Operator;
use crate::ours::{Agent, Server, Shim};
use crate::report::{REPLACE, Row, What};
use crate::supervisor::Kind;
use crate::watch::Watch;

const AGENT: &str = "save";

/// Bytes that are saved: a page of notes.
const BODY_BYTES: usize = 4096;

/// Names the shim's socket in its child's environment.
const SOCKET: &str = "REKINDLE_SOCKET";

/// A shim tells the server of one save in a second of one life: a round takes longer.
const ROUND: Duration = Duration::from_millis(1_100);

/// Measures both, interleaved.
///
/// # Errors
/// A save was refused, or the server did not hear of it.
pub fn run(course: &Course<'_>) -> anyhow::Result<Vec<Row>> {
    let dir = course.site.join("save");
    std::fs::create_dir_all(&dir)?;
    let mut ours = Rekindle::start(course, &dir)?;
    let (mut bare, mut to_answer, mut to_event) = (Vec::new(), Vec::new(), Vec::new());
    course.go(Part::Save, 2, |index, counts| {
        if index == 0 {
            let sample = replace(&dir)?;
            bare.extend((counts == Counts::Yes).then_some(sample));
        } else {
            let (answer, event) = ours.round()?;
            if counts == Counts::Yes {
                to_answer.push(answer);
                to_event.push(event);
            }
        }
        Ok(Next::Round)
    })?;
    let row = |who, to, samples: &[Duration]| {
        let figures = Figures::of(samples).context("no rounds were asked for")?;
        anyhow::Ok(Row::new(Part::Save, who, to, figures))
    };
    let bare = row(REPLACE, What::Durable, &bare)?;
    let ours = [
        row(Kind::Rekindle.name(), What::Answer, &to_answer)?.beside(&bare),
        row(Kind::Rekindle.name(), What::Event, &to_event)?.beside(&bare),
    ];
    Ok([bare].into_iter().chain(ours).collect())
}

/// Replaces a file so that a power loss leaves the old one or the new one.
fn replace(dir: &Path) -> anyhow::Result<Duration> {
    let begin = Moment::now();
    let (part, whole) = (dir.join("bare.part"), dir.join("bare"));
    let mut file = File::create(&part)?;
    file.write_all(&[0x5a; BODY_BYTES])?;
    file.sync_all()?;
    std::fs::rename(&part, &whole)?;
    File::open(dir)?.sync_all()?;
    Ok(Moment::now().since(begin))
}

/// A server, a shim, and what its child would say to it.
struct Rekindle {
    runtime: Runtime,
    client: CheckpointServiceClient<Channel>,
    saved: Watch,
    newest: Moment,
    _shim: Shim,
    _server: Server,
}

impl Rekindle {
    fn start(course: &Course<'_>, dir: &Path) -> anyhow::Result<Self> {
        let births = Births::open(Manners::Polite)?;
        let server = Server::start(course.programs, dir)?;
        let shim = Shim::start(&Agent {
            programs: course.programs,
            dir,
            server: &server,
            name: AGENT,
            births: &births,
        })?;
        let agent = Operator::connect(&server)?.wait_until(AGENT, AgentState::Running, LIMIT)?;
        let process = agent.process.context("the agent has no process")?;
        let socket = socket_of(process.pid)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime
            .block_on(endpoint.connect())
            .context("cannot connect to the shim")?;
        Ok(Self {
            runtime,
            client: CheckpointServiceClient::new(channel),
            saved: Watch::open(&server, EventType::CheckpointSaved)?,
            newest: Moment::now(),
            _shim: shim,
            _server: server,
        })
    }

    /// From the call to its answer, and to the event at a client.
    fn round(&mut self) -> anyhow::Result<(Duration, Duration)> {
        std::thread::sleep(ROUND.saturating_sub(Moment::now().since(self.newest)));
        let request = SaveRequest {
            incarnation: 1,
            state: Some(ActiveState {
                task_id: AGENT.to_owned(),
                body: vec![0x5a; BODY_BYTES],
                ..Default::default()
            }),
        };
        let begin = Moment::now();
        self.newest = begin;
        let answer = self.runtime.block_on(self.client.save(request));
        let answered = Moment::now();
        let checkpoint = answer.context("the shim did not save")?.into_inner().checkpoint;
        ensure!(checkpoint.starts_with("1."), "incarnation 1 saved {checkpoint}");
        let told = self.saved.next_after(AGENT, begin, LIMIT)?;
        Ok((answered.since(begin), told.since(begin)))
    }
}

/// The socket that a shim's child is told, from its environment (proc_pid_environ(5)).
fn socket_of(pid: u32) -> anyhow::Result<PathBuf> {
    let environment = std::fs::read(format!("/proc/{pid}/environ"))?;
    let prefix = format!("{SOCKET}=");
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(prefix.as_bytes()));
    let value = value.with_context(|| format!("{SOCKET} is not in the child's environment"))?;
    Ok(PathBuf::from(String::from_utf8(value.to_vec())?))
}
