//! Where a shim runs.

use serde::{Deserialize, Serialize};

use crate::id::BootId;

/// One machine in one boot, as its shim sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Node name (uname(2)).
    pub name: String,
    /// machine-id(5), where there is one. Two hosts may share a name; cloned images may share this.
    pub machine_id: Option<String>,
    /// The boot.
    pub boot_id: BootId,
}

impl Host {
    /// Whether both are surely the same boot of the same machine.
    pub fn same_boot(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id && self.name == other.name
    }

    /// Whether both are surely the same machine in different boots: same name, and the same machine id, which both
    /// must have.
    pub fn rebooted_since(&self, earlier: &Self) -> bool {
        self.boot_id != earlier.boot_id
            && self.name == earlier.name
            && self.machine_id.is_some()
            && self.machine_id == earlier.machine_id
    }
}
