//! Reboots: each is told once per host, and once per life that it ended; and no boot counts as over that is not.

use std::collections::BTreeSet;

use rekindle::id::{AgentId, BootId, Incarnation};
use rekindle_server_core::event::{Event, EventKind};
use rekindle_server_core::host::{HostKey, HostRecord};

use super::{Invariant, Oracle};

/// Boots that truly ended, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    ended: BTreeSet<BootId>,
    /// Hosts that are known, and the boots that they are known to have been in.
    known: BTreeSet<(HostKey, BootId)>,
    /// Boots that became known, and that no event has told of.
    untold: usize,
    /// Lives that an event says to be gone with a reboot.
    lost: BTreeSet<(AgentId, Incarnation)>,
}

impl Boots {
    /// A host goes down, and this boot with it.
    pub(crate) fn ended(&mut self, boot: BootId) {
        self.ended.insert(boot);
    }

    /// Whether it did.
    pub(crate) fn is_over(&self, boot: BootId) -> bool {
        self.ended.contains(&boot)
    }

    /// No agent is held there any more: what is told of it later is news.
    pub(super) fn host_forgotten(&mut self, host: &HostKey) {
        self.known.retain(|(other, _)| other != host);
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
            match self.boots.untold.checked_sub(1) {
                Some(left) => self.boots.untold = left,
                None => self.fail(Invariant::I5, format!("told twice: {}", event.message)),
            }
        }
    }

    /// What is known of a host is durable: each boot that counts as over is, and its event comes with it.
    pub(super) fn boots_counted_out(&mut self, host: &HostRecord) {
        let alive = host.over.iter().find(|boot| !self.boots.ended.contains(*boot));
        if let Some(boot) = alive {
            let what = format!("boot {boot} of {} counts as over, and is not", host.key.name());
            self.fail(Invariant::I2, what);
        }
        if self.boots.untold > 0 {
            self.fail(
                Invariant::I5,
                "a host is in a later boot, and no event says so".to_owned(),
            );
        }
        if self.boots.known.insert((host.key.clone(), host.boot_id)) {
            self.boots.untold += 1;
        }
    }
}
