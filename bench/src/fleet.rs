//! What connected shims cost a server: many simulated shims, each with a TCP connection and a stream of its own, that
//! speak the real protocol from hello to heartbeats and pings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::session::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use rekindle::wire::v1;
use rekindle::wire::v1::shim_service_client::ShimServiceClient;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use uuid::Uuid;
use v1::connect_request::Message as ToServer;
use v1::connect_response::Message as FromServer;
use v1::report::Fact;

use crate::clock::Moment;
use crate::ours::Server;
use crate::programs::Programs;
use crate::usage::{Memory, Spent};

/// Shims that connect at the same time; the rest wait, so that no listen queue overflows.
const CONNECTING_MAX: usize = 64;

/// Messages of one shim on their way: a spawn, a readiness and a beat.
const OUTBOX_MAX: usize = 4;

/// Longest time until every shim runs.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Time after the last start in which the server's own work for it ends.
const SETTLE: Duration = Duration::from_secs(3);

/// Figures of a server with many idle shims.
#[derive(Debug, Clone, Serialize)]
pub struct Fleet {
    /// How many shims.
    pub shims: u16,
    /// From the first connection until every agent was RUNNING, durably.
    pub start_seconds: f64,
    /// The server before anybody connected.
    pub before: Memory,
    /// The server with all of them, after the window.
    pub with_all: Memory,
    /// What each added to the server's resident memory, in KiB.
    pub rss_kib_per_shim: f64,
    /// Seconds between two heartbeats of a shim, as the server told it.
    pub heartbeat_seconds: f64,
    /// For how long the server was watched.
    pub window_seconds: f64,
    /// The server's time on a CPU in that window.
    pub cpu_seconds: f64,
    /// The same in a window of that length with nobody connected.
    pub cpu_seconds_empty: f64,
    /// What beats add to that, in microseconds each.
    pub cpu_us_per_beat: f64,
}

/// Measures a server with `shims` shims, watching it for `window`.
///
/// # Errors
/// The server could not be started, or a shim was refused or cut off.
pub fn measure(programs: &Programs, site: &Path, shims: u16, window: Duration) -> anyhow::Result<Fleet> {
    let dir = site.join("fleet");
    std::fs::create_dir_all(&dir)?;
    let server = Server::start(programs, &dir)?;
    std::thread::sleep(SETTLE);
    let cpu_empty = cpu_over(&server, window)?;
    let before = Memory::of(server.pid())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let began = Moment::now();
        let (mut sessions, heartbeat) = connect_all(&server.url(), shims).await?;
        let start = Moment::now().since(began);
        run_for(&mut sessions, SETTLE).await?;
        let (at, earlier) = (Moment::now(), Spent::by(server.pid())?);
        run_for(&mut sessions, window).await?;
        let (cpu, window) = ((Spent::by(server.pid())? - earlier).cpu, Moment::now().since(at));
        let with_all = Memory::of(server.pid())?;
        let beats = f64::from(shims) * window.as_secs_f64() / heartbeat.as_secs_f64();
        Ok(Fleet {
            shims,
            start_seconds: start.as_secs_f64(),
            before,
            with_all,
            rss_kib_per_shim: with_all.rss_kib.saturating_sub(before.rss_kib) as f64 / f64::from(shims),
            heartbeat_seconds: heartbeat.as_secs_f64(),
            window_seconds: window.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            cpu_seconds_empty: cpu_empty.as_secs_f64(),
            cpu_us_per_beat: (cpu.as_secs_f64() - cpu_empty.as_secs_f64()).max(0.0) * 1e6 / beats,
        })
    })
}

fn cpu_over(server: &Server, window: Duration) -> anyhow::Result<Duration> {
    let earlier = Spent::by(server.pid())?;
    std::thread::sleep(window);
    Ok((Spent::by(server.pid())? - earlier).cpu)
}

/// Sessions whose agents run. A task ends only with an error.
type Sessions = JoinSet<anyhow::Result<()>>;

async fn connect_all(url: &str, shims: u16) -> anyhow::Result<(Sessions, Duration)> {
    let mut sessions = Sessions::new();
    let gate = Arc::new(Semaphore::new(CONNECTING_MAX));
    let (running, mut ran) = mpsc::channel(usize::from(shims));
    for index in 0..shims {
        let (url, gate, running) = (url.to_owned(), gate.clone(), running.clone());
        sessions.spawn(async move {
            let place = gate.acquire_owned().await?;
            let session = Session::open(&url, &format!("agents/simulated-{index}")).await?;
            drop(place);
            session.live(running).await
        });
    }
    drop(running);
    let all_run = async {
        let mut heartbeat = Duration::ZERO;
        for _ in 0..shims {
            heartbeat = ran.recv().await.context("every shim has ended")?;
        }
        anyhow::Ok(heartbeat)
    };
    tokio::select! {
        heartbeat = all_run => Ok((sessions, heartbeat?)),
        ended = sessions.join_next() => bail!("a shim ended: {ended:?}"),
        () = tokio::time::sleep(START_LIMIT) => bail!("not every shim ran within {START_LIMIT:?}"),
    }
}

/// Lets the sessions beat for a while.
async fn run_for(sessions: &mut Sessions, time: Duration) -> anyhow::Result<()> {
    match tokio::time::timeout(time, sessions.join_next()).await {
        Ok(ended) => bail!("a shim ended: {ended:?}"),
        Err(_elapsed) => Ok(()),
    }
}

/// A simulated shim's session, welcomed.
struct Session {
    out: mpsc::Sender<v1::ConnectRequest>,
    inbound: Streaming<v1::ConnectResponse>,
    heartbeat: Duration,
    boot_id: String,
}

impl Session {
    async fn open(url: &str, agent: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .context("cannot connect")?;
        let (out, outbox) = mpsc::channel(OUTBOX_MAX);
        let boot_id = Uuid::new_v4().to_string();
        out.send(request(ToServer::Hello(Box::new(hello(agent, &boot_id)))))
            .await?;
        let response = ShimServiceClient::new(channel)
            .connect(ReceiverStream::new(outbox))
            .await;
        let mut inbound = response.context("the server refused a shim")?.into_inner();
        let first = inbound.message().await?.and_then(|first| first.message);
        let Some(FromServer::Welcome(welcome)) = first else {
            bail!("the server's first message is {first:?}, not a welcome");
        };
        let heartbeat = welcome
            .heartbeat_interval
            .and_then(|interval| Duration::try_from(interval).ok());
        Ok(Self {
            out,
            inbound,
            heartbeat: heartbeat.context("a welcome without an interval")?,
            boot_id,
        })
    }

    /// Starts a child in name when told to, and beats from then on. Tells `running` the interval once the server has
    /// acknowledged that the child is ready.
    async fn live(mut self, running: mpsc::Sender<Duration>) -> anyhow::Result<()> {
        self.say(ToServer::Inventory(Box::default())).await?;
        // Spread over the interval, as shims are whose hosts did not start at once.
        let first = self.heartbeat.mul_f64(any_fraction());
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + first, self.heartbeat);
        let mut running = Some(running);
        let ready = 2;
        loop {
            tokio::select! {
                _ = beat.tick() => self.say(ToServer::Heartbeat(v1::Heartbeat {})).await?,
                message = self.inbound.message() => match message?.and_then(|message| message.message) {
                    Some(FromServer::Run(run)) => self.start(run.incarnation).await?,
                    Some(FromServer::Acknowledge(through)) if through.sequence >= ready => {
                        if let Some(running) = running.take() {
                            running.send(self.heartbeat).await?;
                        }
                    }
                    Some(
                        FromServer::Acknowledge(_)
                        | FromServer::Welcome(_)
                        | FromServer::Stop(_)
                        | FromServer::Signal(_)
                        | FromServer::SetPolicy(_)
                        | FromServer::Charge(_)
                        | FromServer::Dispatch(_)
                        | FromServer::EndAttempt(_)
                        | FromServer::Follow(_),
                    ) => {}
                    None => bail!("the server ended the stream"),
                },
            }
        }
    }

    async fn start(&self, incarnation: u64) -> anyhow::Result<()> {
        let process = process(&self.boot_id);
        let facts = [
            Fact::Spawned(v1::Spawned { process: Some(process) }),
            Fact::Ready(v1::Ready {}),
        ];
        for (sequence, fact) in (1..).zip(facts) {
            let time = Some(std::time::SystemTime::now().into());
            let report = v1::Report {
                sequence,
                time,
                incarnation,
                fact: Some(fact),
            };
            self.say(ToServer::Report(Box::new(report))).await?;
        }
        Ok(())
    }

    async fn say(&self, message: ToServer) -> anyhow::Result<()> {
        self.out.send(request(message)).await.context("the stream has ended")
    }
}

fn request(message: ToServer) -> v1::ConnectRequest {
    v1::ConnectRequest { message: Some(message) }
}

fn hello(agent: &str, boot_id: &str) -> v1::Hello {
    v1::Hello {
        agent: agent.to_owned(),
        shim_version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: Uuid::new_v4().to_string(),
        host: Some(v1::Host {
            name: format!("host-of-{}", agent.trim_start_matches("agents/")),
            machine_id: Uuid::new_v4().simple().to_string(),
            boot_id: boot_id.to_owned(),
        }),
        marker: Uuid::new_v4().to_string(),
        policy: Some(v1::AgentPolicy::default()),
        ..Default::default()
    }
}

/// An identity that no process has: the server never looks for it.
fn process(boot_id: &str) -> v1::Process {
    v1::Process {
        boot_id: boot_id.to_owned(),
        pid: 4242,
        pidfd_inode: 424_242,
        start_time_ticks: 424_242,
        start_time: Some(std::time::SystemTime::now().into()),
        ..Default::default()
    }
}

/// Between 0 and 1.
fn any_fraction() -> f64 {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The lower half of these bits holds the version, the upper half is random.
    (high >> 32) as f64 / f64::from(u32::MAX)
}
