//! What an idle shim costs: memory, wake-ups and CPU.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::birth::{Births, Manners};
use crate::clock::Moment;
use crate::ours::{Agent, Server, Shim};
use crate::programs::Programs;
use crate::usage::{Memory, Spent};

/// Shims beside each other, for what one more costs.
const MANY: usize = 20;

/// Time in which a shim has said all that it says about a start.
const SETTLE: Duration = Duration::from_secs(3);

/// Longest wait for a child.
const LIMIT: Duration = Duration::from_secs(30);

/// Figures of idle shims, each around one child that sleeps.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// A shim that is alone on its host.
    pub alone: Memory,
    /// How many shims `among_many` was measured with.
    pub many: usize,
    /// The mean of shims that share their program's pages.
    pub among_many: Memory,
    /// How often the shim that is alone is woken, heartbeats at the server's interval included.
    pub wake_ups_per_minute: f64,
    /// Time on a CPU of the shim that is alone.
    pub cpu_ms_per_minute: f64,
    /// For how long it was watched.
    pub window_seconds: f64,
    /// The size of the program.
    pub program_kib: u64,
}

/// Measures idle shims with a server's default settings, watching one for `window`.
///
/// # Errors
/// One could not be started, or ended.
pub fn measure(programs: &Programs, site: &Path, window: Duration) -> anyhow::Result<Idle> {
    let dir = site.join("idle");
    fs::create_dir_all(&dir)?;
    let server = Server::start(programs, &dir)?;
    let births = Births::open(Manners::Polite)?;
    let start = |index: usize| -> anyhow::Result<Shim> {
        let begin = Moment::now();
        let shim = Shim::start(&Agent {
            programs,
            dir: &dir,
            server: &server,
            name: &format!("idle-{index}"),
            births: &births,
        })?;
        births.next_after(begin, LIMIT)?;
        Ok(shim)
    };
    let mut shims = vec![start(0)?];
    std::thread::sleep(SETTLE);
    let only = shims[0].pid();
    let (before, began) = (Spent::by(only)?, Moment::now());
    std::thread::sleep(window);
    let (spent, window) = (Spent::by(only)? - before, Moment::now().since(began));
    let alone = Memory::of(only)?;
    for index in 1..MANY {
        shims.push(start(index)?);
    }
    std::thread::sleep(SETTLE);
    let all = shims
        .iter()
        .map(|shim| Memory::of(shim.pid()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let minutes = window.as_secs_f64() / 60.0;
    Ok(Idle {
        alone,
        many: all.len(),
        among_many: mean(&all),
        wake_ups_per_minute: spent.wake_ups as f64 / minutes,
        cpu_ms_per_minute: spent.cpu.as_secs_f64() * 1e3 / minutes,
        window_seconds: window.as_secs_f64(),
        program_kib: fs::metadata(&programs.shim)?.len() / 1024,
    })
}

fn mean(all: &[Memory]) -> Memory {
    let count = all.len().max(1) as u64;
    let mean = |field: fn(&Memory) -> u64| all.iter().map(field).sum::<u64>() / count;
    Memory {
        rss_kib: mean(|memory| memory.rss_kib),
        pss_kib: mean(|memory| memory.pss_kib),
        private_dirty_kib: mean(|memory| memory.private_dirty_kib),
    }
}
