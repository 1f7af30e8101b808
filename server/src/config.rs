//! The server's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rekindle::settings::Logging;
use rekindle_server_core::machine::Policy;

use crate::retention::executions::Limits;

/// Beats that a lease spans: two may be lost, or late, before a shim counts as silent.
const BEATS_PER_LEASE: u32 = 3;

/// Rekindle's control plane: keeps the state of a fleet of agents durable, and drives their recovery
#[derive(Debug, Clone, Parser)]
#[command(name = "rekindle-server", version, after_help = AFTER_HELP)]
pub struct Config {
    /// Address to serve gRPC on; port 0 takes a free one
    ///
    /// There are no credentials yet, so only loopback addresses are served, unless --insecure is given.
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Serves everybody who reaches an address that is not loopback, without credentials
    #[arg(long)]
    pub insecure: bool,
    /// Where the fleet's state is kept [default: $XDG_STATE_HOME/rekindle, else ~/.local/state/rekindle]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Time between two heartbeats of a shim; its lease is three of them
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = interval)]
    pub heartbeat_interval: Duration,
    /// After a start, no shim is judged silent, and no execution lost, for so long
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = rekindle::duration::parse)]
    pub adoption_window: Duration,
    /// Most agents
    #[arg(long, default_value_t = Policy::default().agents_max, value_name = "COUNT")]
    pub agents_max: usize,
    /// Most events that are kept
    #[arg(long, default_value_t = Policy::default().events_max, value_name = "COUNT",
          value_parser = clap::value_parser!(u64).range(1_000..))]
    pub events_max: u64,
    /// Longest time that an event is kept
    #[arg(long, default_value = "30d", value_name = "DURATION", value_parser = rekindle::duration::parse)]
    pub events_max_age: Duration,
    /// Most executions that are kept once they are over
    #[arg(long, default_value_t = EXECUTIONS_MAX, value_name = "COUNT",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1_000..))]
    pub executions_max: usize,
    /// Longest time that an execution is kept once it is over
    #[arg(long, default_value = "7d", value_name = "DURATION", value_parser = rekindle::duration::parse)]
    pub executions_max_age: Duration,
    /// Writes the address to this file once it is served
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,
    /// How it logs
    #[command(flatten)]
    pub logging: Logging,
}

/// Executions that are over, and are kept by default: a week of ten a minute. Measured, one takes 1.8 KB of memory, and what
/// is kept of the last lines of one that failed, so that all of them take 180 MB to some hundreds; at 10 KB of texts each, 1 GB
/// on disk.
const EXECUTIONS_MAX: usize = 100_000;

const AFTER_HELP: &str = "\
Every flag is also an environment variable (--data-dir: REKINDLE_DATA_DIR) and a key of the --config file.
`rekindle-server config` prints what is in force, and from where.";

fn interval(text: &str) -> Result<Duration, String> {
    let interval = rekindle::duration::parse(text).map_err(|error| error.to_string())?;
    let limits = Duration::from_millis(50)..=Duration::from_secs(3600);
    if limits.contains(&interval) {
        Ok(interval)
    } else {
        Err("must be between 50ms and 1h".to_owned())
    }
}

impl Config {
    /// What the machine goes by.
    pub fn policy(&self) -> Policy {
        Policy {
            lease: self.heartbeat_interval * BEATS_PER_LEASE,
            adoption_window: self.adoption_window,
            agents_max: self.agents_max,
            events_max: self.events_max,
        }
    }

    /// Which executions are kept once they are over.
    pub fn executions_limits(&self) -> Limits {
        Limits {
            max: self.executions_max,
            max_age: self.executions_max_age,
        }
    }

    /// The data directory, by flag or by the XDG Base Directory Specification.
    ///
    /// # Errors
    /// Neither says where.
    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        state
            .map(|state| state.join("rekindle"))
            .ok_or_else(|| anyhow::anyhow!("neither XDG_STATE_HOME nor HOME is set; give --data-dir"))
    }
}
