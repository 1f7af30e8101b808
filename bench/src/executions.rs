//! How many executions go through one server: clients that each have one execution done after the other, durably, by
//! simulated shims that do it at once; beside a bare log.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1;
use rekindle::wire::v1::execution_service_client::ExecutionServiceClient;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::clock::Moment;
use crate::commits::Count;
use crate::figures::Figures;
use crate::machine;
use crate::ours::Server;
use crate::programs::Programs;
use crate::report::Beside;
use crate::simulated::{Milestone, Simulated};
use crate::usage::Spent;

/// How many clients there are at once: each is a level of its own, with a new server.
const LEVELS: [u16; 3] = [1, 16, 256];

/// For how long the bare log is written before each level, and again after it.
const LOG_WINDOW: Duration = Duration::from_secs(2);

/// Executions of a client that are not counted, in which caches and connections warm up.
const WARM_UP: usize = 3;

/// Milestones of one shim that wait for its client: it waits for each.
const MILESTONES_MAX: usize = 1;

/// Longest time until every agent runs, and until an execution is over that is done at once.
const LIMIT: Duration = Duration::from_secs(120);

/// Who the executions of a level stand beside.
const LOG: &str = "write+fdatasync";

/// Figures of executions through one server.
#[derive(Debug, Clone, Serialize)]
pub struct Executions {
    /// For how long each level went on.
    pub window_seconds: f64,
    /// One for each number of clients.
    pub levels: Vec<Level>,
}

/// Figures of so many clients.
#[derive(Debug, Clone, Serialize)]
pub struct Level {
    /// Each with an agent and a connection of its own, and with one execution at a time.
    pub clients: u16,
    /// Executions that were over, durably, in the window.
    pub executions: usize,
    /// The same, for each second.
    pub per_second: f64,
    /// Writes for each second, each durable before the next, of one page to a bare log.
    pub beside: Beside,
    /// From the call to the durable end.
    #[serde(flatten)]
    pub latency: Figures,
    /// Commits of the server for each execution, where they could be counted.
    pub commits_per_execution: Option<f64>,
    /// The server's time on a CPU, in microseconds for each execution.
    pub cpu_us_per_execution: f64,
}

/// Measures every level for `window`.
///
/// # Errors
/// The server could not be started, or an execution was refused, or was not done.
pub fn measure(programs: &Programs, site: &Path, window: Duration) -> anyhow::Result<Executions> {
    let levels = LEVELS
        .into_iter()
        .map(|clients| level(programs, site, clients, window))
        .collect::<anyhow::Result<_>>()?;
    Ok(Executions {
        window_seconds: window.as_secs_f64(),
        levels,
    })
}

fn level(programs: &Programs, site: &Path, clients: u16, window: Duration) -> anyhow::Result<Level> {
    let dir = site.join(format!("executions-{clients}"));
    std::fs::create_dir_all(&dir)?;
    let log_before = machine::durable_writes_per_second(&dir, LOG_WINDOW)?;
    let work = through_one_server(programs, &dir, clients, window)?;
    let log_after = machine::durable_writes_per_second(&dir, LOG_WINDOW)?;
    let executions = work.samples.len();
    let each = |of_all: f64| of_all / executions as f64;
    let per_second = executions as f64 / work.took.as_secs_f64();
    Ok(Level {
        clients,
        executions,
        per_second,
        beside: Beside::judge(LOG, f64::midpoint(log_before, log_after), per_second),
        latency: Figures::of(&work.samples).context("nothing was over within the window")?,
        commits_per_execution: work.commits.map(|commits| each(commits as f64)),
        cpu_us_per_execution: each(work.cpu.as_secs_f64() * 1e6),
    })
}

/// What clients had done.
struct Work {
    /// From the call to the durable end, of each execution.
    samples: Vec<Duration>,
    took: Duration,
    commits: Option<u64>,
    /// The server's time on a CPU.
    cpu: Duration,
}

fn through_one_server(programs: &Programs, dir: &Path, clients: u16, window: Duration) -> anyhow::Result<Work> {
    let server = Server::start(programs, dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut shims, ready) = connect_all(&server.url(), clients).await?;
        let (count, spent, began) = (
            Count::start(server.pid(), dir)?,
            Spent::by(server.pid())?,
            Moment::now(),
        );
        let mut working = JoinSet::new();
        let until = Instant::now() + window;
        for client in ready {
            working.spawn(client.work(until));
        }
        let mut samples = Vec::new();
        while let Some(client) = next(&mut working, &mut shims).await? {
            samples.extend(client);
        }
        Ok(Work {
            samples,
            took: Moment::now().since(began),
            cpu: (Spent::by(server.pid())? - spent).cpu,
            commits: count.map(Count::end).transpose()?,
        })
    })
}

/// Shims that live. A task ends only with an error.
type Shims = JoinSet<anyhow::Result<()>>;

/// Clients whose agents run, warmed up.
async fn connect_all(url: &str, clients: u16) -> anyhow::Result<(Shims, Vec<Client>)> {
    let mut shims = Shims::new();
    let mut connecting = JoinSet::new();
    for index in 0..clients {
        let agent = format!("agents/simulated-{index}");
        let shim = Simulated::open(url, &agent, v1::Delivery::PerMessage).await?;
        let (bench, told) = mpsc::channel(MILESTONES_MAX);
        shims.spawn(shim.live(bench));
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await;
        let client = Client {
            agent,
            executions: ExecutionServiceClient::new(channel.context("cannot connect to the server")?),
            told,
        };
        connecting.spawn(client.warm_up());
    }
    let mut ready = Vec::new();
    while let Some(client) = next(&mut connecting, &mut shims).await? {
        ready.push(client);
    }
    Ok((shims, ready))
}

/// The next of these that is done; `None` after the last.
async fn next<T: 'static>(tasks: &mut JoinSet<anyhow::Result<T>>, shims: &mut Shims) -> anyhow::Result<Option<T>> {
    tokio::select! {
        done = tasks.join_next() => done.transpose()?.transpose(),
        ended = shims.join_next() => bail!("a shim ended: {ended:?}"),
    }
}

/// Somebody who has executions done by one agent.
struct Client {
    agent: String,
    executions: ExecutionServiceClient<Channel>,
    told: mpsc::Receiver<Milestone>,
}

impl Client {
    async fn warm_up(mut self) -> anyhow::Result<Self> {
        match self.next_milestone().await? {
            Milestone::Running(_) => {}
            Milestone::Over(execution) => bail!("nobody asked for the execution {execution}"),
        }
        for _ in 0..WARM_UP {
            self.have_done().await?;
        }
        Ok(self)
    }

    /// One execution after the other until then; how long each took.
    async fn work(mut self, until: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut samples = Vec::new();
        while Instant::now() < until {
            let begin = Moment::now();
            self.have_done().await?;
            samples.push(Moment::now().since(begin));
        }
        Ok(samples)
    }

    async fn have_done(&mut self) -> anyhow::Result<()> {
        let request = v1::CreateExecutionRequest {
            parent: self.agent.clone(),
            execution: Some(v1::Execution {
                message: "benchmark".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = self.executions.create_execution(request).await;
        let answer = answer.context("CreateExecution failed")?.into_inner();
        let created = answer.execution.context("CreateExecution answered without one")?;
        match self.next_milestone().await? {
            Milestone::Over(execution) if created.name.ends_with(&execution) => Ok(()),
            other @ (Milestone::Over(_) | Milestone::Running(_)) => {
                bail!("{} was to be over, and its shim told {other:?}", created.name)
            }
        }
    }

    async fn next_milestone(&mut self) -> anyhow::Result<Milestone> {
        let told = tokio::time::timeout(LIMIT, self.told.recv()).await;
        told.with_context(|| format!("the shim of {} told nothing within {LIMIT:?}", self.agent))?
            .context("a shim has ended")
    }
}
