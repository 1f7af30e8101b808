//! How a shim comes up.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rekindle::host::Host;
use rekindle::id::{AgentId, BootId, Marker, ShimInstance};
use rekindle_shim_core::{AsksToSave, ExitCode as Ending, Journal, Settings, Supervisor};
use rustix::process::{getpid, set_child_subreaper};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Children, Driver, Followers, PutOff, Remarks, Signals, resume};
use crate::clock;
use crate::config::{Cgroup, Plan};
use crate::itself::Itself;
use crate::process::{
    self, Account, Console, Groups, Handover, Leftovers, Outputs, OutputsError, Tree, release_signals,
};
use crate::socket::{Socket, SocketError};
use crate::state_dir::{StateDir, StateError, Writer};
use crate::state_file::StateFiles;

/// Why a shim cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Outputs(#[from] OutputsError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the state directory {} belongs to {}; give each agent its own with --state-dir", dir.display(), owner.name())]
    ForeignState { dir: PathBuf, owner: AgentId },
    #[error("cannot read the id of this boot from {}; /proc must be mounted", path.display())]
    BootId { path: PathBuf, source: io::Error },
    #[error("cannot set the process up; it may be out of file descriptors, memory or threads")]
    Runtime(#[source] io::Error),
    #[error("cannot watch the agent's processes; /proc must be mounted, and file descriptors available")]
    Processes(#[source] io::Error),
}

pub(super) fn exit_code(code: Ending) -> ExitCode {
    match code {
        Ending::Done | Ending::Kept => ExitCode::SUCCESS,
        Ending::Survivors => ExitCode::FAILURE,
    }
}

impl Driver {
    /// Runs a shim to its end, on this thread.
    /// With what the program before has left, where this process ran one.
    pub(crate) fn start(
        plan: Plan,
        console: Console,
        itself: io::Result<Itself>,
        handed: Option<Handover<OwnedFd>>,
    ) -> Result<ExitCode, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let code = runtime.block_on(Self::live(plan, console, itself, handed));
        // A thread that writes to who does not read must not hold the process up.
        runtime.shutdown_background();
        code
    }

    async fn live(
        mut plan: Plan,
        console: Console,
        itself: io::Result<Itself>,
        mut handed: Option<Handover<OwnedFd>>,
    ) -> Result<ExitCode, StartError> {
        let mut locks = handed
            .as_mut()
            .map(|handed| std::mem::take(&mut handed.locks))
            .unwrap_or_default();
        let booted = process::booted().map_err(StartError::Processes)?;
        let (mut state_dir, last) = StateDir::open(&plan.state_dir, booted, &mut locks)?;
        let boot_id = process::boot_id(&plan.boot_id_file).map_err(|source| StartError::BootId {
            path: plan.boot_id_file.clone(),
            source,
        })?;
        let journal = journal(&mut state_dir, last, &plan, boot_id)?;
        let redaction = Arc::new(plan.redaction);
        let outputs = Outputs::new(console, &plan.log, Arc::clone(&redaction), &mut locks)?;
        let account = plan.program.confinement.account.as_ref();
        let socket = Socket::open(&plan.state_dir, journal.agent.clone(), account, Arc::clone(&redaction))?;
        let state_files = StateFiles::open(socket.path(), account.and_then(Account::user));
        let signals = Signals::listen().map_err(StartError::Runtime)?;
        set_child_subreaper(Some(getpid())).map_err(|error| StartError::Processes(error.into()))?;
        // Those that came while no program of this process listened come now.
        release_signals().map_err(|error| StartError::Runtime(error.into()))?;
        let groups = groups(plan.cgroup, journal.marker);
        let tree = match &handed {
            Some(handed) => Tree::resumed(groups, &handed.exempt),
            None => Tree::new(groups),
        };
        let tree = tree.map_err(StartError::Processes)?;
        let settings = Settings {
            shim_version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: ShimInstance::from_u128(Uuid::new_v4().as_u128()),
            host: host(boot_id, &plan.machine_id_file),
            labels: plan.labels,
            policy: plan.policy,
            fence_after: plan.fence_after,
            delivery: plan.program.delivery,
            readiness: plan.readiness,
            on_shim_exit: plan.program.on_shim_exit,
            asks_to_save: match &plan.checkpoint_command {
                Some(_) => AsksToSave::ByCommand,
                None => AsksToSave::BySignal,
            },
            launch: resume::launch(&plan.program, &redaction),
            directory: resume::directory(&plan.program),
        };
        tracing::info!(agent = %journal.agent, state_dir = %plan.state_dir.display(), "the shim runs");
        let active_state = state_dir.active_state(journal.agent.clone(), journal.marker);
        let (supervisor, first) = Supervisor::recover(settings, journal.clone(), active_state.load(), clock::now());
        resume::go_on(&supervisor, &journal, boot_id, &mut plan.program);
        let left = journal.attempts.iter().map(|left| &left.attempt);
        let mut driver = Self {
            supervisor,
            state_dir,
            boot_id,
            program: plan.program,
            endpoint: plan.server,
            signals,
            tree,
            outputs,
            socket,
            state_files,
            checkpoint_command: plan.checkpoint_command,
            saving: None,
            checkpoints: Writer::new(active_state),
            redaction,
            tell_launch: plan.tell_launch,
            itself,
            handed: handed.and_then(|handed| handed.child),
            children: Children::default(),
            leftovers: Leftovers::default(),
            followers: Followers::default(),
            remarks: Remarks::after(left, clock::now().since_boot),
            buried: JoinSet::new(),
            link: None,
            voice: None,
            put_off: PutOff::default(),
            facts: std::collections::VecDeque::new(),
        };
        driver.find_state_files(journal.last_incarnation);
        driver.run(first).await
    }
}

impl Signals {
    /// Listens from here on. What whoever started the shim had it ignore stays ignored, as nohup(1) expects; SIGTERM
    /// excepted, by which service managers end what they started.
    fn listen() -> io::Result<Self> {
        let ignored = process::ignored_signals()?;
        let wanted = |kind: SignalKind| (!ignored.has(kind.as_raw_value())).then(|| signal(kind)).transpose();
        let mut stops = vec![signal(SignalKind::terminate())?];
        stops.extend(wanted(SignalKind::interrupt())?);
        stops.extend(wanted(SignalKind::quit())?);
        Ok(Self {
            stops,
            upgrade: signal(SignalKind::user_defined2())?,
            hangup: wanted(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
        })
    }
}

/// The groups that lives get. Without them the shim works as well, but for what wipes every trace of itself.
fn groups(cgroup: Cgroup, marker: Marker) -> Option<Groups> {
    match cgroup {
        Cgroup::Auto => Groups::open(marker)
            .inspect_err(|error| tracing::info!(why = crate::chain(error), "the agent's processes get no cgroup"))
            .ok(),
        Cgroup::Off => None,
    }
}

/// The journal to go on from. A fresh one is written before anything is done: its marker must never be lost once a
/// process carries it.
fn journal(
    state_dir: &mut StateDir,
    last: Option<Journal>,
    plan: &Plan,
    boot_id: BootId,
) -> Result<Journal, StartError> {
    match last {
        Some(journal) if journal.agent == plan.agent => Ok(journal),
        Some(journal) => Err(StartError::ForeignState {
            dir: plan.state_dir.clone(),
            owner: journal.agent,
        }),
        None => {
            let marker = Marker::from_u128(Uuid::new_v4().as_u128());
            let journal = Journal::new(plan.agent.clone(), marker, boot_id);
            state_dir.write(&journal)?;
            Ok(journal)
        }
    }
}

fn host(boot_id: BootId, machine_id_file: &Path) -> Host {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Host {
        name,
        machine_id: machine_id(machine_id_file),
        boot_id,
    }
}

/// The host's id in `file`, where it has one.
pub(crate) fn machine_id(file: &Path) -> Option<String> {
    std::fs::read_to_string(file)
        .ok()
        .and_then(|text| parse_machine_id(&text))
}

/// 32 hexadecimal digits, not all zero (machine-id(5)). The file may also say `uninitialized`, and images are made with
/// less than that in it: no two hosts may seem to be one by such words.
fn parse_machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    let is_id =
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|byte| byte != b'0');
    is_id.then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_is_a_machine_id() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(parse_machine_id(&format!("{id}\n")).as_deref(), Some(id));
        for other in [
            "",
            "uninitialized\n",
            &id[1..],
            &format!("{id}0"),
            &"0".repeat(32),
            &"g".repeat(32),
        ] {
            assert_eq!(parse_machine_id(other), None, "{other:?}");
        }
    }
}
