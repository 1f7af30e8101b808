//! Hosts: which of them rebooted, and which of their boots are over.

use rekindle::host::Host;
use rekindle::id::{BootId, Marker};
use serde::{Deserialize, Serialize};

/// Most boots of one host that are known to be over. A hello outlives its boot for as long as a network, or a server
/// that does not run, holds it back; in that time no host boots so often.
pub const BOOTS_OVER_MAX: usize = 16;

/// What a host is told from others by, over its reboots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostKey {
    /// By both, as cloned images may share the id, and two machines a name.
    Machine {
        /// Node name.
        name: String,
        /// machine-id(5).
        machine_id: String,
    },
    /// Where it has no machine id, a state directory vouches for it, and for no other directory on it.
    Directory {
        /// Node name.
        name: String,
        /// The directory's.
        marker: Marker,
    },
}

impl HostKey {
    /// The key of the host that a shim runs on.
    pub fn of(host: &Host, marker: Marker) -> Self {
        let name = host.name.clone();
        match &host.machine_id {
            Some(machine_id) => Self::Machine {
                name,
                machine_id: machine_id.clone(),
            },
            None => Self::Directory { name, marker },
        }
    }

    /// Its node name.
    pub fn name(&self) -> &str {
        match self {
            Self::Machine { name, .. } | Self::Directory { name, .. } => name,
        }
    }
}

/// What is durable of a host, from its first reboot that the server has seen until no agent's holder is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Which host.
    pub key: HostKey,
    /// The boot that it is in.
    pub boot_id: BootId,
    /// Boots that it was in before, the newest last; at most [`BOOTS_OVER_MAX`].
    pub over: Vec<BootId>,
}

impl HostRecord {
    /// A host in a boot, and nothing known of earlier ones.
    pub const fn new(key: HostKey, boot_id: BootId) -> Self {
        Self {
            key,
            boot_id,
            over: Vec::new(),
        }
    }

    /// The host is in this boot, and those are over.
    pub fn enter(&mut self, boot_id: BootId, earlier: impl IntoIterator<Item = BootId>) {
        self.boot_id = boot_id;
        for boot in earlier {
            if boot != boot_id && !self.over.contains(&boot) {
                self.over.push(boot);
            }
        }
        let surplus = self.over.len().saturating_sub(BOOTS_OVER_MAX);
        self.over.drain(..surplus);
    }

    /// Whether nothing of this boot can live.
    pub fn is_over(&self, boot_id: BootId) -> bool {
        self.over.contains(&boot_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_boots_are_kept() {
        let key = HostKey::Directory {
            name: "h".into(),
            marker: Marker::from_u128(1),
        };
        let mut host = HostRecord::new(key, BootId::from_u128(0));
        for boot in 1..=40 {
            let before = host.boot_id;
            host.enter(BootId::from_u128(boot), [before, before]);
        }
        assert_eq!(host.over.len(), BOOTS_OVER_MAX);
        assert!(host.is_over(BootId::from_u128(39)) && host.is_over(BootId::from_u128(24)));
        assert!(!host.is_over(BootId::from_u128(23)) && !host.is_over(BootId::from_u128(40)));
    }
}
