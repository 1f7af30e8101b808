//! The flags of the agent's policy.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rekindle::duration;
use rekindle::exit_rule::ExitRule;
use rekindle::policy::{
    AgentPolicy, Backoff, InterruptPolicy, PolicyError, PolicyFields, RebootPolicy, RestartPolicy, StopSignal,
};
use rekindle::settings::OrNever;

/// Flags of the policy; flattened into those of the shim.
#[derive(Debug, Clone, Args)]
pub(super) struct PolicyFlags {
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
    /// Longest run of one message that names no limit of its own
    #[arg(long, default_value = "300s", value_name = "DURATION", value_parser = duration::parse)]
    message_timeout: Duration,
    /// Messages that the agent is given at once, 1 to 64
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    max_concurrent: u32,
    /// Messages that may wait for the agent; the server takes no more
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    queue_limit: u32,
    /// Deliveries of one message, the first included, where the agent dies with it
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    max_deliveries: u32,
    /// What becomes of messages that run when an operator restarts or stops the agent
    #[arg(long, value_enum, default_value_t = OnRestart::Cancel)]
    on_restart: OnRestart,
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
    /// Crashes in a row of lives that have read the same checkpoint, after which the next one begins without it; 0 means
    /// never
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    poison_after: u32,
}

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

/// What becomes of messages that an operator interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnRestart {
    /// They are cancelled
    Cancel,
    /// They are queued again
    Requeue,
}

/// Whether an agent starts again after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnReboot {
    /// It starts, and no attempt is spent
    Start,
    /// It stays stopped
    Stay,
}

impl PolicyFlags {
    /// # Errors
    /// The first value that cannot be used.
    pub(super) fn plan(self) -> Result<AgentPolicy, PolicyError> {
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
            message_timeout: self.message_timeout,
            max_concurrent: self.max_concurrent,
            queue_limit: self.queue_limit,
            max_deliveries: self.max_deliveries,
            on_restart: match self.on_restart {
                OnRestart::Cancel => InterruptPolicy::Cancel,
                OnRestart::Requeue => InterruptPolicy::Requeue,
            },
            start_timeout: self.start_timeout,
            watchdog_timeout: self.watchdog_timeout.0,
            stall_timeout: self.stall_timeout.0,
            blocked_limit: self.blocked_limit,
            exit_rules: self.exit_rule,
            poison_after: self.poison_after,
        })
    }
}

fn exit_rule(text: &str) -> Result<ExitRule, String> {
    text.parse().map_err(|error: PolicyError| error.problem)
}

fn stop_signal(name: &str) -> Result<StopSignal, String> {
    StopSignal::parse(name).map_err(|error| error.problem)
}
