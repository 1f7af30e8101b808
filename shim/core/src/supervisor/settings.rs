//! What a supervisor goes by for its whole life.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::execution::Delivery;
use rekindle::host::Host;
use rekindle::id::ShimInstance;
use rekindle::launch::LaunchFields;
use rekindle::policy::AgentPolicy;

use super::Directory;

/// What a supervisor goes by for its whole life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The shim's version.
    pub shim_version: String,
    /// This life of the shim.
    pub instance: ShimInstance,
    /// Where it runs.
    pub host: Host,
    /// From its flags.
    pub labels: BTreeMap<String, String>,
    /// From its flags. In force until the server says otherwise.
    pub policy: AgentPolicy,
    /// Without a server for so long, the child is ended.
    pub fence_after: Option<Duration>,
    /// How messages reach the agent.
    pub delivery: Delivery,
    /// What makes a child ready.
    pub readiness: Readiness,
    /// What becomes of a child whose shim ends or dies.
    pub on_shim_exit: OnShimExit,
    /// How the agent is asked to save before an end that was planned.
    pub asks_to_save: AsksToSave,
    /// What it runs the program with, without what must not leave the host. The directory is the next field's.
    pub launch: LaunchFields,
    /// Where it runs the program, unless a reboot says otherwise.
    pub directory: Directory,
}

/// What becomes of a child whose shim ends or dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnShimExit {
    /// It ends as well.
    Kill,
    /// It lives on, and the next shim adopts it.
    Keep,
}

/// How an agent is asked to save before an end that was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AsksToSave {
    /// By its stop signal.
    #[default]
    BySignal,
    /// By a command that saves for it, before that signal. Without effect where each message has a process of its own.
    ByCommand,
}

/// What makes a child ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Its exec.
    Exec,
    /// Its own word, within the policy's `start_timeout`.
    Notify,
}
