//! How a shim ends: the child first, then the last word to the server.

use std::time::Duration;

use rekindle::exit::EndedBy;
use rekindle::session::ShimMessage;

use super::{FAREWELL_MAX, Leaving, Life, Link, Supervisor, Welcomes};
use crate::effect::{Effect, ExitCode};

impl Supervisor {
    pub(super) fn stop_requested(&mut self) {
        match self.leaving {
            Leaving::No => {
                self.leaving = Leaving::Asked;
                self.next = None;
                match self.life {
                    Life::Idle | Life::Quarantined(_) => self.begin_farewell(),
                    Life::Starting { .. } | Life::Running(_) | Life::Ending(_) => {
                        self.end(EndedBy::ShimStop, self.policy.stop_grace);
                    }
                    Life::Sweeping => {}
                }
            }
            Leaving::Asked => self.end(EndedBy::ShimStop, Duration::ZERO),
            Leaving::Farewell { .. } => self.exit(),
            Leaving::Left => {}
        }
    }

    pub(super) fn begin_farewell(&mut self) {
        let until = self.clock.now.mono.saturating_add(FAREWELL_MAX);
        self.leaving = Leaving::Farewell { until };
    }

    /// Ends the shim once the server knows everything, or has had its time.
    pub(super) fn leave(&mut self) {
        let Leaving::Farewell { until } = self.leaving else {
            return;
        };
        if self.link == Link::Up && self.journal.outbox.is_empty() {
            // While something of the tree lives, a goodbye would free the agent for another host.
            if self.life == Life::Idle {
                self.effects.push(Effect::Send(ShimMessage::Goodbye));
            }
            self.exit();
        } else if until <= self.clock.now.mono || (self.welcome == Welcomes::None && self.journal.outbox.is_empty()) {
            self.exit();
        }
    }

    fn exit(&mut self) {
        let code = if self.life == Life::Idle {
            ExitCode::Done
        } else {
            ExitCode::Survivors
        };
        self.leaving = Leaving::Left;
        self.effects.push(Effect::Exit(code));
    }
}
