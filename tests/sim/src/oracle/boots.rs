//! Reboots: each is told once per host, and once per life that it ended; and no boot counts as over that is not.

use std::collections::BTreeSet;

use rekindle::id::{AgentId, BootId, Incarnation};
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::host::HostRecord;

use super::{Invariant, Oracle};

/// Boots that truly ended, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    ended: BTreeSet<BootId>,
    /// Hosts and boots that an event has told of.
    told: BTreeSet<(String, String)>,
    /// Lives that an event says to be gone with a reboot.
    lost: BTreeSet<(AgentId, Incarnation)>,
}

impl Boots {
    /// A host goes down, and this boot with it.
    pub(crate) fn ended(&mut self, boot: BootId) {
        self.ended.insert(boot);
    }

    /// An agent that is made anew begins its incarnations anew.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        self.lost.retain(|(other, _)| other != agent);
    }
}

impl Oracle {
    /// An event is durable: of a reboot it is the only one.
    pub(super) fn reboot_told(&mut self, event: &Event) {
        // Of all that stops an agent, a reboot alone says where it worked.
        let lost = event.kind == EventKind::AgentStopped && event.attributes.contains_key("directory");
        if let Some(agent) = event.agent.as_ref().filter(|_| lost)
            && !self.boots.lost.insert((agent.clone(), event.incarnation))
        {
            let what = format!(
                "incarnation {} of {agent} was lost in a reboot twice",
                event.incarnation
            );
            self.fail(Invariant::I5, what);
        }
        if event.kind == EventKind::HostRebooted {
            let of = |name: &str| event.attributes.get(name).cloned().unwrap_or_default();
            if !self.boots.told.insert((of("host"), of("boot_id"))) {
                let what = format!("that {} is in boot {} was told twice", of("host"), of("boot_id"));
                self.fail(Invariant::I5, what);
            }
        }
    }

    /// What is known of a host is durable: each boot that counts as over is.
    pub(super) fn boots_counted_out(&mut self, host: &HostRecord) {
        let alive = host.over.iter().find(|boot| !self.boots.ended.contains(*boot));
        if let Some(boot) = alive {
            let what = format!("boot {boot} of {} counts as over, and is not", host.key.name());
            self.fail(Invariant::I2, what);
        }
    }
}
