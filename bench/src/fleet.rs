//! What connected shims cost a server: many simulated shims, which beat and have nothing to do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1::Delivery;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::clock::Moment;
use crate::ours::Server;
use crate::programs::Programs;
use crate::simulated::{Milestone, Simulated};
use crate::usage::{Memory, Spent};

/// Shims that connect at the same time; the rest wait, so that no listen queue overflows.
const CONNECTING_MAX: usize = 64;

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
    let (bench, mut told) = mpsc::channel(usize::from(shims));
    for index in 0..shims {
        let (url, gate, bench) = (url.to_owned(), gate.clone(), bench.clone());
        sessions.spawn(async move {
            let place = gate.acquire_owned().await?;
            let shim = Simulated::open(&url, &format!("agents/simulated-{index}"), Delivery::None).await?;
            drop(place);
            shim.live(bench).await
        });
    }
    let all_run = async {
        let (mut running, mut heartbeat) = (0, Duration::ZERO);
        while running < shims {
            match told.recv().await.context("every shim has ended")? {
                Milestone::Running(interval) => {
                    running += 1;
                    heartbeat = interval;
                }
                Milestone::Over(execution) => bail!("nobody asked for the execution {execution}"),
            }
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
