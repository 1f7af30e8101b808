//! The shim's settings.

mod byte_size;
mod confinement;
mod delivery;
mod output;
mod policy;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rekindle::duration;
use rekindle::execution::Delivery;
use rekindle::id::AgentId;
use rekindle::label::{self, LabelError};
use rekindle::policy::{AgentPolicy, PolicyError};
use rekindle::report::FENCE_AFTER;
use rekindle::settings::{Logging, OrNever, key_value};
use rekindle_shim_core::{OnShimExit, Readiness};
use tonic::transport::Endpoint;

use crate::link;
use crate::process::{AccountError, Log, Program};
use crate::redaction::Redaction;

use delivery::DeliverBy;
use output::{OutputError, OutputFlags};
use policy::PolicyFlags;

/// Where a host's id is (machine-id(5)).
pub(crate) const MACHINE_ID: &str = "/etc/machine-id";

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
    #[command(flatten)]
    policy: PolicyFlags,
    /// What makes a program ready
    #[arg(long, value_enum, default_value_t = Ready::Exec)]
    ready: Ready,
    /// Ends the program when the server was not reached for so long, so that it may run elsewhere: 1s to 30days, or never
    #[arg(long, default_value = "never", value_name = "DURATION")]
    fence_after: OrNever,
    /// Whether each life gets a control group (cgroups(7), version 2), by which nothing of it escapes
    #[arg(long, value_enum, default_value_t = Cgroup::Auto)]
    cgroup: Cgroup,
    /// How messages reach the agent
    #[arg(long, value_enum, default_value_t = DeliverBy::None)]
    delivery: DeliverBy,
    /// What becomes of the program when the shim ends or dies
    #[arg(long, value_enum, default_value_t = ShimExit::Kill)]
    on_shim_exit: ShimExit,
    /// What saves the agent's state before a planned end, for `sh -c`: it runs as the program does, beside it, and before it
    /// gets its stop signal; both have --stop-grace together. Without it the program saves when it gets the signal
    #[arg(long, value_name = "COMMAND")]
    checkpoint_command: Option<OsString>,
    /// Whether the server is told what the program is run with: directory, arguments, and names of variables. It shows
    /// them after a reboot of the host (`resume` of the agent)
    #[arg(long, value_enum, default_value_t = TellLaunch::Tell)]
    launch: TellLaunch,
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
    /// Where the host's id is read (machine-id(5)); for tests
    #[arg(long, default_value = MACHINE_ID, value_name = "FILE", hide = true)]
    machine_id_file: PathBuf,
    #[command(flatten)]
    confinement: confinement::Flags,
    /// How it logs
    #[command(flatten)]
    pub(crate) logging: Logging,
    /// The agent's program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Every flag is also an environment variable (--stop-grace: REKINDLE_STOP_GRACE) and a key of the --config file.
`rekindle-shim config` prints what is in force, and from where; `rekindle-shim doctor` what this host offers.

The agent's program gets REKINDLE_AGENT, REKINDLE_INCARNATION and REKINDLE_MARKER in its environment; REKINDLE_SOCKET,
by which `rekindle self` takes work and speaks of it, and saves and loads what the next life goes on from; after a reboot
of the host REKINDLE_RESUMED_INCARNATION, the life that was lost; and NOTIFY_SOCKET, to say what it is doing
(sd_notify(3)). One that is run for a message has REKINDLE_EXECUTION, the execution's id, and REKINDLE_ATTEMPT, its
delivery's number, and no NOTIFY_SOCKET. The shim's own log goes to stderr.

REKINDLE_STATE_FILE names a file whose every whole content is saved as the agent's state, best by rename(2): a JSON object
that may have task_id, issue, workspace, branch, stage, memory_refs (a list), values (an object), all of strings; body, or
body_base64; and \"closed\": true, once the task is over. What an earlier life has saved stands there when the program
begins, and in REKINDLE_CHECKPOINT (its id), REKINDLE_TASK_ID, REKINDLE_ISSUE, REKINDLE_WORKSPACE, REKINDLE_BRANCH,
REKINDLE_STAGE, REKINDLE_MEMORY_REFS (one a line), REKINDLE_VALUE_KEY for each key of values; REKINDLE_UNCLEAN is 1 where
that life ended without a word, and REKINDLE_IN_FLIGHT names the executions that it had begun. Nothing else of the shim's
REKINDLE_* is the program's.

SIGTERM, SIGINT, SIGQUIT and SIGHUP end the shim, and the program with it unless it is to be kept. SIGUSR2 has the shim
run its own program anew, a newer version perhaps, in the same process; the agent's program goes on.";

/// What makes a program ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ready {
    /// That it could be run
    Exec,
    /// That it says READY=1 to NOTIFY_SOCKET (sd_notify(3))
    Notify,
}

/// What becomes of the program when the shim ends or dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShimExit {
    /// It ends as well
    Kill,
    /// It lives on, and the next shim adopts it; its output goes to files, or nowhere
    Keep,
}

/// Whether lives get control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cgroup {
    /// Where the shim may make them
    Auto,
    /// Never
    Off,
}

/// Whether the server is told what the program is run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TellLaunch {
    /// It is, without what --redact matches and what is named a secret: --token X, PASSWORD=X, Bearer X and the like
    Tell,
    /// It is not
    Hide,
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
    pub(crate) readiness: Readiness,
    pub(crate) boot_id_file: PathBuf,
    pub(crate) machine_id_file: PathBuf,
    pub(crate) cgroup: Cgroup,
    pub(crate) program: Program,
    pub(crate) checkpoint_command: Option<OsString>,
    pub(crate) log: Log,
    pub(crate) redaction: Redaction,
    pub(crate) tell_launch: TellLaunch,
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
    #[error(
        "--fence-after: with --on-shim-exit keep the program lives on when nobody can end it, and could run twice; leave \
         one of the two out"
    )]
    FenceOfKept,
    #[error(
        "--on-shim-exit keep: with --delivery {0} a message's result would be lost with the shim that reads it; leave keep \
         out, or use --delivery pull"
    )]
    DeliveryOfKept(Delivery),
    #[error(
        "--ready notify: with --delivery per-message no process is there to say READY=1 before a message is; leave --ready \
         out"
    )]
    NotifyPerMessage,
    #[error(
        "--{0}: with --delivery per-message no process of the agent lives on from message to message to be watched; leave \
         it out, and bound each message by --message-timeout"
    )]
    WatchedPerMessage(&'static str),
    #[error(
        "--checkpoint-command: with --delivery per-message no process of the agent lives on from message to message whose \
         state could be saved; leave it out, and have the program save while it works"
    )]
    CheckpointPerMessage,
    #[error("--label: {0}")]
    Labels(LabelError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("--server: {0:?} is no URL of a server; write for example http://127.0.0.1:7420")]
    Server(String),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("--env-allow: without --env clear the program gets every variable")]
    AllowOfAll,
    #[error("--env-deny: with --env clear the program gets only what --env-allow names")]
    DenyOfNothing,
    #[error("--directory: {0:?} is no path")]
    Directory(PathBuf),
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
        let policy = self.policy.plan()?;
        if let Some(other) = self.fence_after.0.filter(|fence| !FENCE_AFTER.contains(fence)) {
            return Err(PlanError::Fence(other));
        }
        let on_shim_exit = match self.on_shim_exit {
            ShimExit::Kill => OnShimExit::Kill,
            ShimExit::Keep if self.fence_after.0.is_some() => return Err(PlanError::FenceOfKept),
            ShimExit::Keep => OnShimExit::Keep,
        };
        let delivery = self.delivery.plan(on_shim_exit, self.ready, &policy)?;
        if delivery == Delivery::PerMessage && self.checkpoint_command.is_some() {
            return Err(PlanError::CheckpointPerMessage);
        }
        let labels: BTreeMap<String, String> = self.label.into_iter().collect();
        label::check(&labels).map_err(PlanError::Labels)?;
        let server = link::endpoint(&self.server).ok_or(PlanError::Server(self.server))?;
        let state_dir = match self.state_dir {
            Some(dir) => dir,
            None => default_state_dir(&self.agent, &|name| std::env::var_os(name))?,
        };
        let (log, redaction) = self.output.plan(&state_dir, on_shim_exit)?;
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
            readiness: match self.ready {
                Ready::Exec => Readiness::Exec,
                Ready::Notify => Readiness::Notify,
            },
            boot_id_file: self.boot_id_file,
            machine_id_file: self.machine_id_file,
            cgroup: self.cgroup,
            program: Program {
                path,
                arguments: words.collect(),
                confinement: self.confinement.plan()?,
                on_shim_exit,
                delivery,
            },
            checkpoint_command: self.checkpoint_command.filter(|command| !command.is_empty()),
            log,
            redaction,
            tell_launch: self.launch,
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
    use rekindle::execution::Delivery;
    use rekindle::policy::{Backoff, RebootPolicy, RestartPolicy, StopSignal};

    use super::*;
    use crate::process::Confinement;

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
        assert_eq!((plan.fence_after, plan.tell_launch), (None, TellLaunch::Tell));
        assert_eq!(
            plan.program,
            Program {
                path: "sleep".into(),
                arguments: vec!["-5".into()],
                confinement: Confinement::default(),
                on_shim_exit: OnShimExit::Kill,
                delivery: Delivery::None,
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
            "--launch",
            "hide",
        ];
        let plan = plan(&flags).expect("valid");
        assert_eq!(
            (plan.policy.restart, plan.policy.on_reboot),
            (RestartPolicy::Always, RebootPolicy::Stay)
        );
        assert_eq!(plan.policy.stop_signal, StopSignal::Int);
        assert_eq!(plan.tell_launch, TellLaunch::Hide);
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
            (["--env-allow", "PATH"], "--env-allow: without --env clear"),
            (
                ["--env-deny", "A=B"],
                "error: invalid value 'A=B' for '--env-deny <NAME>'",
            ),
            (
                ["--rlimit", "files=1"],
                "error: invalid value 'files=1' for '--rlimit <NAME=SOFT[:HARD]>': \"files\" is no resource",
            ),
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
