//! The shim's settings.

mod byte_size;
mod output;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rekindle::duration;
use rekindle::exit_rule::ExitRule;
use rekindle::id::AgentId;
use rekindle::label::{self, LabelError};
use rekindle::policy::{AgentPolicy, Backoff, PolicyError, PolicyFields, RebootPolicy, RestartPolicy, StopSignal};
use rekindle::report::FENCE_AFTER;
use rekindle::settings::{Logging, OrNever, key_value};
use tonic::transport::Endpoint;

use crate::link;
use crate::process::{Log, Program};
use crate::redaction::Redaction;

use output::{OutputError, OutputFlags};

/// Runs an agent's program: spawns it, watches it, reports to the Rekindle server, and ends it when told
#[derive(Debug, Clone, Parser)]
#[command(name = "rekindle-shim", version, after_help = AFTER_HELP)]
pub(crate) struct Config {
    /// The agent to run here, planner-1 for example
    #[arg(long, value_name = "NAME")]
    agent: AgentId,
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:7420", value_name = "URL")]
    server: String,
    /// Where the shim keeps its journal [default: rekindle-shims/NAME in $XDG_STATE_HOME, else in ~/.local/state]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Labels of the agent; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    label: Vec<(String, String)>,
    /// Silence of this shim after which the server counts the agent as crashed
    #[arg(long, default_value = "180s", value_name = "DURATION", value_parser = duration::parse)]
    heartbeat_timeout: Duration,
    /// Automatic restarts before the agent is left to operators
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    max_attempts: u32,
    /// Time between two automatic restarts; the first comes at once
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration::parse)]
    cooldown: Duration,
    /// Lengthens the cooldown from restart to restart by this factor, 1 to 10
    #[arg(long, value_name = "FACTOR")]
    backoff: Option<f64>,
    /// Longest cooldown with --backoff
    #[arg(long, default_value = "10m", value_name = "DURATION", value_parser = duration::parse)]
    backoff_max: Duration,
    /// Share of a cooldown that is taken off at random with --backoff, 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    backoff_jitter: f64,
    /// Time of running after which the count of automatic restarts returns to zero
    #[arg(long, default_value = "10m", value_name = "DURATION", value_parser = duration::parse)]
    stable_after: Duration,
    /// Time between the stop signal and SIGKILL; 0s means SIGKILL at once
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration::parse)]
    stop_grace: Duration,
    /// First signal of a stop: TERM, INT, QUIT, HUP, USR1, USR2 or KILL
    #[arg(long, default_value = "TERM", value_name = "SIGNAL", value_parser = stop_signal)]
    stop_signal: StopSignal,
    /// When a program that ended is started again
    #[arg(long, value_enum, default_value_t = Restart::OnFailure)]
    restart: Restart,
    /// Whether the agent starts again after its host has rebooted
    #[arg(long, value_enum, default_value_t = OnReboot::Start)]
    on_reboot: OnReboot,
    /// Time from the start of the program to its readiness, past which the start has failed
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration::parse)]
    start_timeout: Duration,
    /// Ends a program that does not say WATCHDOG=1 so often (sd_notify(3)): 100ms to 1day, or never
    #[arg(long, default_value = "never", value_name = "DURATION")]
    watchdog_timeout: OrNever,
    /// Ends a program that neither writes, nor pings, nor uses the processor for so long: 1s to 30days, or never
    #[arg(long, default_value = "never", value_name = "DURATION")]
    stall_timeout: OrNever,
    /// Longest time that a program may say that it is blocked, and --stall-timeout pauses
    #[arg(long, default_value = "1day", value_name = "DURATION", value_parser = duration::parse)]
    blocked_limit: Duration,
    /// What an end of the program means: clean, crash, quota, config or auth, a colon, and what it is told by: code=78,
    /// signal=TERM, park=1h (how long quota waits), output=REGEX (of the last lines; goes last). The first that matches
    /// decides; may be given several times
    #[arg(long, value_name = "RULE", value_parser = exit_rule)]
    exit_rule: Vec<ExitRule>,
    /// Ends the program when the server was not reached for so long, so that it may run elsewhere: 1s to 30days, or never
    #[arg(long, default_value = "never", value_name = "DURATION")]
    fence_after: OrNever,
    /// What happens to what the program writes
    #[command(flatten)]
    output: OutputFlags,
    /// Where the id of this boot is read; for tests
    #[arg(
        long,
        default_value = "/proc/sys/kernel/random/boot_id",
        value_name = "FILE",
        hide = true
    )]
    boot_id_file: PathBuf,
    /// How it logs
    #[command(flatten)]
    pub(crate) logging: Logging,
    /// The agent's program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Every flag is also an environment variable (--stop-grace: REKINDLE_STOP_GRACE) and a key of the --config file.
`rekindle-shim config` prints what is in force, and from where.

The agent's program gets REKINDLE_AGENT, REKINDLE_INCARNATION and REKINDLE_MARKER in its environment, and nothing else
of REKINDLE_*. The shim's own log goes to stderr.";

/// When a program that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restart {
    /// After a failure; exit code 0 stays ended
    OnFailure,
    /// After every end that no operator asked for
    Always,
    /// By operators alone
    Never,
}

/// Whether an agent starts again after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnReboot {
    /// It starts, and no attempt is spent
    Start,
    /// It stays stopped
    Stay,
}

fn exit_rule(text: &str) -> Result<ExitRule, String> {
    text.parse().map_err(|error: PolicyError| error.problem)
}

fn stop_signal(name: &str) -> Result<StopSignal, String> {
    StopSignal::parse(name).map_err(|error| error.problem)
}

/// Everything a shim goes by: checked, and with its defaults in place.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) agent: AgentId,
    pub(crate) server: Endpoint,
    pub(crate) state_dir: PathBuf,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) policy: AgentPolicy,
    pub(crate) fence_after: Option<Duration>,
    pub(crate) boot_id_file: PathBuf,
    pub(crate) program: Program,
    pub(crate) log: Log,
    pub(crate) redaction: Redaction,
}

/// Which flag has a value that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("--{flag}: {}", .source.problem)]
    Policy { flag: String, source: PolicyError },
    #[error(
        "--fence-after: {} is not between {} and {}; or write never",
        duration::show(*.0), duration::show(*FENCE_AFTER.start()), duration::show(*FENCE_AFTER.end())
    )]
    Fence(Duration),
    #[error("--label: {0}")]
    Labels(LabelError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("--server: {0:?} is no URL of a server; write for example http://127.0.0.1:7420")]
    Server(String),
    #[error("--state-dir is needed, as neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    #[error("the agent's program is missing; write it after `--`, its arguments behind it")]
    NoProgram,
}

impl From<PolicyError> for PlanError {
    fn from(source: PolicyError) -> Self {
        let flag = source.field.replace(['_', '.'], "-");
        // The factor has the flag that switches the others on.
        let flag = if flag == "backoff-multiplier" {
            "backoff".to_owned()
        } else {
            flag
        };
        Self::Policy { flag, source }
    }
}

impl Config {
    /// Checks what the flags alone could not.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub(crate) fn plan(self) -> Result<Plan, PlanError> {
        let policy = self.policy()?;
        if let Some(other) = self.fence_after.0.filter(|fence| !FENCE_AFTER.contains(fence)) {
            return Err(PlanError::Fence(other));
        }
        let labels: BTreeMap<String, String> = self.label.into_iter().collect();
        label::check(&labels).map_err(PlanError::Labels)?;
        let server = link::endpoint(&self.server).ok_or(PlanError::Server(self.server))?;
        let state_dir = match self.state_dir {
            Some(dir) => dir,
            None => default_state_dir(&self.agent, &|name| std::env::var_os(name))?,
        };
        let (log, redaction) = self.output.plan(&state_dir)?;
        let mut words = self.command.into_iter();
        let path = words
            .next()
            .filter(|path| !path.is_empty())
            .ok_or(PlanError::NoProgram)?;
        Ok(Plan {
            agent: self.agent,
            server,
            state_dir,
            labels,
            policy,
            fence_after: self.fence_after.0,
            boot_id_file: self.boot_id_file,
            program: Program {
                path,
                arguments: words.collect(),
            },
            log,
            redaction,
        })
    }

    fn policy(&self) -> Result<AgentPolicy, PolicyError> {
        let backoff = match self.backoff {
            Some(factor) => Some(Backoff::new(factor, self.backoff_max, self.backoff_jitter)?),
            None => None,
        };
        AgentPolicy::new(PolicyFields {
            heartbeat_timeout: self.heartbeat_timeout,
            stop_grace: self.stop_grace,
            stop_signal: self.stop_signal,
            restart: match self.restart {
                Restart::OnFailure => RestartPolicy::OnFailure,
                Restart::Always => RestartPolicy::Always,
                Restart::Never => RestartPolicy::Never,
            },
            max_attempts: self.max_attempts,
            cooldown: self.cooldown,
            backoff,
            stable_after: self.stable_after,
            on_reboot: match self.on_reboot {
                OnReboot::Start => RebootPolicy::Start,
                OnReboot::Stay => RebootPolicy::Stay,
            },
            start_timeout: self.start_timeout,
            watchdog_timeout: self.watchdog_timeout.0,
            stall_timeout: self.stall_timeout.0,
            blocked_limit: self.blocked_limit,
            exit_rules: self.exit_rule.clone(),
        })
    }
}

/// As the XDG Base Directory Specification has it; a relative `XDG_STATE_HOME` counts as unset.
fn default_state_dir(agent: &AgentId, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, PlanError> {
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state_home = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let state_home = state_home.ok_or(PlanError::NoHome)?;
    // Not below the server's `rekindle`: that belongs to its store alone.
    Ok(state_home.join("rekindle-shims").join(agent.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(flags: &[&str]) -> Result<Plan, String> {
        let fixed = ["rekindle-shim", "--agent", "agents/a", "--state-dir", "/s"];
        let words = fixed.iter().chain(flags).chain(&["--", "sleep", "-5"]);
        let config = Config::try_parse_from(words).map_err(|error| error.to_string())?;
        config.plan().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_policy() {
        let plan = plan(&[]).expect("valid");
        assert_eq!(plan.policy, AgentPolicy::default());
        assert_eq!(plan.fence_after, None);
        assert_eq!(
            plan.program,
            Program {
                path: "sleep".into(),
                arguments: vec!["-5".into()]
            }
        );
    }

    #[test]
    fn flags_are_heard() {
        let flags = [
            "--restart",
            "always",
            "--on-reboot",
            "stay",
            "--backoff",
            "2",
            "--stop-signal",
            "sigint",
        ];
        let plan = plan(&flags).expect("valid");
        assert_eq!(
            (plan.policy.restart, plan.policy.on_reboot),
            (RestartPolicy::Always, RebootPolicy::Stay)
        );
        assert_eq!(plan.policy.stop_signal, StopSignal::Int);
        assert_eq!(
            plan.policy.backoff,
            Backoff::new(2.0, Duration::from_secs(600), 0.0).ok()
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        for (flags, expected) in [
            (
                ["--heartbeat-timeout", "0s"],
                "--heartbeat-timeout: 0s is not between 1s and 30days",
            ),
            (["--backoff", "99"], "--backoff: 99 is not between 1 and 10"),
            (
                ["--fence-after", "0s"],
                "--fence-after: 0s is not between 1s and 30days; or write never",
            ),
            (["--fence-after", "31days"], "--fence-after: 1month"),
            (["--label", "Team=x"], "--label: "),
            (["--server", "localhost:7420"], "--server: \"localhost:7420\" is no URL"),
            (["--server", "https://h:1"], "--server: \"https://h:1\" is no URL"),
            (
                ["--stop-signal", "STOP"],
                "error: invalid value 'STOP' for '--stop-signal <SIGNAL>'",
            ),
            (
                ["--cooldown", "soon"],
                "error: invalid value 'soon' for '--cooldown <DURATION>'",
            ),
        ] {
            let error = plan(&flags).expect_err("refused");
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn where_the_journal_is_kept() {
        let agent = AgentId::new("a").expect("valid");
        let dir = |set: &[(&str, &str)]| {
            let find = |name: &str| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| OsString::from(value))
            };
            default_state_dir(&agent, &find)
        };
        let xdg = dir(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(xdg, Ok(PathBuf::from("/x/rekindle-shims/a")));
        let home = dir(&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")]);
        assert_eq!(home, Ok(PathBuf::from("/h/.local/state/rekindle-shims/a")));
        assert_eq!(dir(&[]), Err(PlanError::NoHome));
    }
}
