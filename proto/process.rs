//! What a pid alone is not: the identity of a process.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::BootId;
use crate::time::Timestamp;

/// A process that cannot be taken for another.
///
/// A pid is reused, and the start time has a grain of 10 ms, within which a reused pid had the same one. The inode
/// of the pidfd is unique within a boot from Linux 6.9 on (pidfs); where it is missing the start time stands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The boot that the other fields count in.
    pub boot_id: BootId,
    /// Process id, in the shim's pid namespace.
    pub pid: u32,
    /// `fstat(pidfd).st_ino`; `None` on kernels without pidfs.
    pub pidfd_inode: Option<u64>,
    /// Clock ticks since boot, /proc/pid/stat field 22 (proc_pid_stat(5)).
    pub start_time_ticks: u64,
    /// The same as wall time, for display.
    pub start_time: Timestamp,
}

impl ProcessIdentity {
    /// Whether both are the same process, as far as the kernel lets one tell.
    pub fn same_process(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id
            && self.pid == other.pid
            && self.start_time_ticks == other.start_time_ticks
            && match (self.pidfd_inode, other.pidfd_inode) {
                (Some(a), Some(b)) => a == b,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)
    }
}
