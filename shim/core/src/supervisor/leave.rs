//! How a shim ends: the child first, then the last word to the server.

use std::time::Duration;

use rekindle::exit::EndedBy;
use rekindle::session::ShimMessage;

use super::{FAREWELL_MAX, Leaving, Life, Link, OnShimExit, Supervisor, Welcomes};
use crate::effect::{Effect, ExitCode};

impl Supervisor {
    pub(super) fn stop_requested(&mut self) {
        match self.leaving {
            Leaving::No => {
                self.leaving = Leaving::Asked;
                self.next = None;
                match self.life {
                    Life::Idle | Life::Quarantined(_) => self.begin_farewell(),
                    Life::Running(_) => self.end_or_leave_child(),
                    // A child that is to live on is left once it runs; one that is being ended is ended first.
                    Life::Starting { .. } | Life::Ending(_) => match self.settings.on_shim_exit {
                        OnShimExit::Kill => self.end(EndedBy::ShimStop, self.policy.stop_grace),
                        OnShimExit::Keep => {}
                    },
                    Life::Adopting(_) | Life::Sweeping(_) => {}
                }
            }
            Leaving::Asked => match self.settings.on_shim_exit {
                OnShimExit::Kill => self.end(EndedBy::ShimStop, Duration::ZERO),
                OnShimExit::Keep => self.exit(ExitCode::Kept),
            },
            Leaving::Farewell { .. } => self.exit(self.last_code()),
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
        if self.link == Link::Up && self.journal.outbox.is_empty() && !self.is_checkpoint_owed() {
            // While something of the tree lives, a goodbye would free the agent for another host.
            if self.life == Life::Idle {
                self.discharge();
                self.effects.push(Effect::Send(ShimMessage::Goodbye));
            }
            self.exit(self.last_code());
        } else if until <= self.clock.now.mono || (self.welcome == Welcomes::None && self.journal.outbox.is_empty()) {
            self.exit(self.last_code());
        }
    }

    fn last_code(&self) -> ExitCode {
        if self.life == Life::Idle {
            ExitCode::Done
        } else {
            ExitCode::Survivors
        }
    }

    pub(super) fn exit(&mut self, code: ExitCode) {
        self.leaving = Leaving::Left;
        if let Some(by) = self.forget_by {
            self.forget(by);
        }
        self.effects.push(Effect::Exit(code));
    }
}
