//! A host: its clocks, and the processes that run on it.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::host::Host as HostName;
use rekindle::id::{BootId, Incarnation, Marker};
use rekindle::process::ProcessIdentity;
use rekindle::time::{MonoTime, Now, Timestamp};
use rekindle_shim_core::Moment;

use crate::dice::Dice;
use crate::queue::{Life, ShimIx, TaskIx, Uid};

/// Pids of one host. Few, so that they are soon used again.
const PIDS: u32 = 48;

/// Wall time at the world's start.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// How far a wall clock has been set forward or back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WallOffset {
    pub(crate) forward: Duration,
    pub(crate) back: Duration,
}

impl WallOffset {
    pub(crate) fn wall(self, now: Duration) -> Timestamp {
        let wall = (EPOCH + now + self.forward).saturating_sub(self.back);
        Timestamp::UNIX_EPOCH.saturating_add(wall)
    }

    /// Jumps by up to two hours.
    pub(crate) fn jump(&mut self, dice: &mut Dice) {
        let by = dice.millis(1_000..7_200_000);
        if dice.chance(0.5) {
            self.forward += by;
        } else {
            self.back += by;
        }
    }
}

/// What a process is to its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// What the shim spawned.
    Child,
    /// What the child spawned.
    Grandchild,
}

/// What a process was begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Branch {
    /// A life.
    Life,
    /// One message.
    Task(TaskIx),
}

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) shim: ShimIx,
    pub(crate) marker: Marker,
    pub(crate) incarnation: Incarnation,
    pub(crate) branch: Branch,
    pub(crate) role: Role,
}

/// What a process does when it gets its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    EndsSoon,
    IgnoresIt,
}

/// Whether a process does what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Works,
    Hangs,
}

/// Whether a process outlived SIGKILL for so long that it was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    No,
    /// It was named in a report.
    Named,
}

/// A process that lives.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) uid: Uid,
    pub(crate) identity: ProcessIdentity,
    /// `None` when it is nobody's that we know.
    pub(crate) owner: Option<Owner>,
    pub(crate) manners: Manners,
    pub(crate) health: Health,
    /// Hangs in the kernel until then, once it got SIGKILL.
    pub(crate) hangs_for: Duration,
    /// Its end is on its way.
    pub(crate) dying: Option<(Duration, ExitStatus)>,
    pub(crate) given_up: GivenUp,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    machine_id: Option<String>,
    /// Counts boots.
    pub(crate) boot: Life,
    pub(crate) up: Up,
    booted_at: Duration,
    /// Time of this boot in which the host slept.
    slept: Duration,
    pub(crate) wall: WallOffset,
    /// Nothing gets through before.
    pub(crate) deaf_up: Duration,
    pub(crate) deaf_down: Duration,
    pub(crate) processes: BTreeMap<u32, Process>,
    /// Who had a pid last.
    pub(crate) had: BTreeMap<u32, Uid>,
}

/// Whether a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Up {
    Down,
    Runs,
    Sleeps { since: Duration, until: Duration },
}

impl Host {
    pub(crate) fn new(number: usize, with_machine_id: bool) -> Self {
        let name = format!("host-{number}");
        Self {
            machine_id: with_machine_id.then(|| format!("machine-{number}")),
            name,
            boot: Life(1),
            up: Up::Runs,
            booted_at: Duration::ZERO,
            slept: Duration::ZERO,
            wall: WallOffset::default(),
            deaf_up: Duration::ZERO,
            deaf_down: Duration::ZERO,
            processes: BTreeMap::new(),
            had: BTreeMap::new(),
        }
    }

    pub(crate) fn boot_id(&self) -> BootId {
        let name = self.name.bytes().fold(0u128, |all, byte| all * 31 + u128::from(byte));
        BootId::from_u128((name << 32) + u128::from(self.boot.0))
    }

    pub(crate) fn identity(&self) -> HostName {
        HostName {
            name: self.name.clone(),
            machine_id: self.machine_id.clone(),
            boot_id: self.boot_id(),
        }
    }

    /// The clocks, as a process on this host reads them. It runs, so the host does not sleep.
    pub(crate) fn moment(&self, now: Duration) -> Moment {
        let since_boot = now.saturating_sub(self.booted_at);
        let mono = MonoTime::START.saturating_add(since_boot.saturating_sub(self.slept));
        Moment {
            now: Now {
                mono,
                wall: self.wall.wall(now),
            },
            since_boot,
        }
    }

    /// When the host's monotonic clock will show a time, if it does not sleep until then.
    pub(crate) fn when(&self, mono: MonoTime) -> Duration {
        self.booted_at + self.slept + Duration::from_nanos(mono.as_nanos())
    }

    pub(crate) fn boots(&mut self, now: Duration) {
        self.boot = self.boot.next();
        self.up = Up::Runs;
        self.booted_at = now;
        self.slept = Duration::ZERO;
    }

    pub(crate) fn wakes(&mut self, now: Duration) {
        if let Up::Sleeps { since, .. } = self.up {
            self.slept += now.saturating_sub(since);
            self.up = Up::Runs;
        }
    }

    /// A pid that nobody has.
    pub(crate) fn free_pid(&self, dice: &mut Dice) -> Option<u32> {
        let free: Vec<u32> = (2..2 + PIDS).filter(|pid| !self.processes.contains_key(pid)).collect();
        dice.pick(&free).copied()
    }

    pub(crate) fn find(&self, uid: Uid) -> Option<&Process> {
        self.processes.values().find(|process| process.uid == uid)
    }

    pub(crate) fn find_mut(&mut self, uid: Uid) -> Option<&mut Process> {
        self.processes.values_mut().find(|process| process.uid == uid)
    }

    /// The living that one state directory has for a life, or for one of its messages.
    pub(crate) fn tree(
        &self,
        shim: ShimIx,
        incarnation: Incarnation,
        branch: Branch,
    ) -> impl Iterator<Item = &Process> {
        let ours =
            move |owner: &Owner| owner.shim == shim && owner.incarnation == incarnation && owner.branch == branch;
        self.processes
            .values()
            .filter(move |process| process.owner.as_ref().is_some_and(ours))
    }
}
