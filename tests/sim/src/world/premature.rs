//! A protocol that has a shim say what it holds together with its hello, and a server that believes it: the defect
//! [`Mutation::InventoryWithHello`], whose words may be old when they arrive.

use rekindle::id::{Epoch, ReportSequence};
use rekindle::report::Inventory;
use rekindle::session::{ShimMessage, Welcome};
use rekindle_shim_core::{Effect, Input as ShimFact};

use super::World;
use super::server::HEARTBEAT;
use crate::mutation::Mutation;
use crate::queue::{ShimIx, StreamIx};
use crate::stream::{Inventoried, Up};

impl World {
    /// A shim that does not wait for its welcome says at once what it holds.
    pub(super) fn says_too_early(&mut self, ix: ShimIx, stream: StreamIx) {
        if let Some(inventory) = self.premature_inventory(ix) {
            self.streams[stream.0].inventoried = Inventoried::Yes;
            self.send_up(stream, Up::Says(inventory));
        }
    }

    /// A message as it is said. Who has said too early what it holds says after the welcome what has happened since.
    pub(super) fn unsaid(&self, stream: StreamIx, message: ShimMessage) -> Vec<ShimMessage> {
        match message {
            ShimMessage::Inventory(inventory) if self.streams[stream.0].inventoried == Inventoried::Yes => {
                let facts = inventory.reports.into_iter();
                facts.map(|report| ShimMessage::Report(Box::new(report))).collect()
            }
            ShimMessage::Inventory(_)
            | ShimMessage::Hello(_)
            | ShimMessage::Heartbeat
            | ShimMessage::Report(_)
            | ShimMessage::Goodbye
            | ShimMessage::Activity(_)
            | ShimMessage::Confirmed(_)
            | ShimMessage::SignalResult(..) => vec![message],
        }
    }

    /// What a shim would say next if it were welcomed at once, for one that does not wait for that.
    fn premature_inventory(&self, ix: ShimIx) -> Option<ShimMessage> {
        let shim = &self.shims[ix.0];
        let mut supervisor = match self.mutation {
            Mutation::InventoryWithHello => shim.running.as_ref()?.supervisor.clone(),
            Mutation::None
            | Mutation::EffectsBeforeFlush
            | Mutation::AcknowledgesBeforeFlush
            | Mutation::StoreForgets
            | Mutation::BudgetForgotten
            | Mutation::HostsForgotten
            | Mutation::PauseUnnoticed
            | Mutation::EventLost
            | Mutation::JournalForgotten
            | Mutation::BootMistaken
            | Mutation::ChildIsTree
            | Mutation::NotSwept
            | Mutation::SignalsBarePid
            | Mutation::AdoptsBarePid => return None,
        };
        let welcome = Welcome {
            epoch: Epoch::ZERO,
            heartbeat_interval: HEARTBEAT,
            policy: supervisor.policy().clone(),
            acknowledged: ReportSequence::ZERO,
            standing: String::new(),
        };
        let at = self.hosts[shim.host.0].moment(self.now);
        let outcome = supervisor.step(at, ShimFact::Welcomed(Box::new(welcome)));
        outcome.then.into_iter().find_map(|effect| match effect {
            Effect::Send(message @ ShimMessage::Inventory(_)) => Some(message),
            Effect::Send(_)
            | Effect::Adopt { .. }
            | Effect::Sweep { .. }
            | Effect::Upgrade
            | Effect::Connect
            | Effect::Reconnect
            | Effect::Spawn { .. }
            | Effect::SignalTree { .. }
            | Effect::KillTree { .. }
            | Effect::AwaitTree { .. }
            | Effect::Probe { .. }
            | Effect::NameSurvivors { .. }
            | Effect::SignalChild { .. }
            | Effect::Exit(_) => None,
        })
    }

    /// The inventory that has arrived with a hello, where the drivers are so wrong as to say it then.
    pub(super) fn believed_at_once(&mut self, ix: StreamIx) -> Option<Box<Inventory>> {
        let up = &mut self.streams[ix.0].up;
        let Some(Up::Says(ShimMessage::Inventory(_))) = up.front() else {
            return None;
        };
        let words = up.pop_front();
        let Some(Up::Says(ShimMessage::Inventory(inventory))) = words else {
            return None;
        };
        self.witness_words(self.streams[ix.0].shim, &ShimMessage::Inventory(inventory.clone()));
        Some(inventory)
    }
}
