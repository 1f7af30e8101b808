//! What the server orders: run, stop, signal, go by this policy.

use std::time::Duration;

use rekindle::checkpoint::RunContext;
use rekindle::exit::EndedBy;
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::report::ReportFact;
use rekindle::session::{Command, CommandId, EndWhen, ShimMessage, Wanted};

use super::{Child, Ending, Leaving, Life, Link, Supervisor};
use crate::effect::Effect;

impl Supervisor {
    pub(super) fn commanded(&mut self, id: CommandId, command: Command) {
        if self.link != Link::Up {
            return;
        }
        self.contact = self.clock.since_boot;
        match command {
            Command::Run {
                incarnation,
                grace,
                context,
            } => self.run(incarnation, grace, context),
            Command::Stop { incarnation, grace } => {
                self.stop(incarnation, grace);
                self.confirm_rest(id);
            }
            Command::Signal { incarnation, signal } => self.signal(id, incarnation, signal),
            Command::SetPolicy(policy) => {
                self.policy = *policy;
                self.recharge();
            }
            Command::Charge(charge) => {
                self.charged(charge);
                self.confirm_rest(id);
            }
            Command::Dispatch(dispatch) => self.dispatched(*dispatch),
            Command::EndAttempt {
                attempt,
                grace,
                when: EndWhen::Now,
            } => {
                let grace = grace.unwrap_or(self.policy.stop_grace);
                let attempt = self.work.named(attempt);
                self.end_attempt(&attempt, EndedBy::MessageCancel, grace);
            }
            Command::EndAttempt {
                attempt,
                when: EndWhen::NotBegun,
                ..
            } => {
                let attempt = self.work.named(attempt);
                self.give_back_unbegun(&attempt);
            }
            // Every step looks at the clocks of all attempts.
            Command::EndAttempt {
                when: EndWhen::Overdue, ..
            } => {}
        }
    }

    /// Tells that nothing begins alone from here on, if that is so.
    fn confirm_rest(&mut self, id: CommandId) {
        let charge = self.journal.charge.as_ref();
        if self.link == Link::Up && charge.is_none_or(|charge| charge.wanted == Wanted::Rest) {
            self.effects.push(Effect::Send(ShimMessage::Confirmed(id)));
        }
    }

    fn run(&mut self, incarnation: Incarnation, grace: Option<Duration>, context: RunContext) {
        let known = self.journal.last_incarnation.max(self.stopped_through);
        // An order that crossed a report of survivors on its way counts for nothing, even when they are dead by then: the
        // server has called it failed. One that came after the acknowledgement is an operator's who took the blame.
        let crossed = !self.is_acknowledged(self.survivors_told);
        if crossed {
            self.number(incarnation);
        }
        if self.leaving != Leaving::No || incarnation <= known || crossed {
            return;
        }
        if Some(incarnation) <= self.next {
            // The order is known; a shorter grace for the old life may be new, and what the server has.
            if Some(incarnation) == self.next {
                self.note_context(context);
            }
            if let Some(grace) = grace {
                self.end(EndedBy::Command, grace);
            }
            return;
        }
        self.next = Some(incarnation);
        self.note_context(context);
        match &self.life {
            Life::Idle | Life::Quarantined(_) => self.begin_next(),
            Life::Adopting(_) | Life::Sweeping(_) => {}
            Life::Starting { .. } | Life::Running(_) | Life::Ending(_) => {
                self.end(EndedBy::Command, grace.unwrap_or(self.policy.stop_grace));
            }
        }
    }

    fn stop(&mut self, incarnation: Incarnation, grace: Option<Duration>) {
        if incarnation > self.journal.last_incarnation.max(self.stopped_through) {
            self.unbegun = Some(incarnation);
        }
        self.stopped_through = self.stopped_through.max(incarnation);
        self.discharge();
        if self.next <= Some(incarnation) {
            self.next = None;
        }
        if self.living().is_some_and(|living| living <= incarnation) {
            self.end(EndedBy::Command, grace.unwrap_or(self.policy.stop_grace));
        }
        self.tell_unbegun();
    }

    /// Tells, when nothing lives, that a stop came before its life.
    pub(super) fn tell_unbegun(&mut self) {
        // A server that acknowledges nothing learns it by the next inventory, which tells that nothing lives.
        if self.life == Life::Idle
            && let Some(incarnation) = self.unbegun.take().filter(|life| *life > self.journal.last_incarnation)
            && self.has_room_for(1)
        {
            let message = "it was stopped before it began".to_owned();
            self.report(incarnation, ReportFact::SpawnFailed(message));
            // Its number is used up.
            self.journal_mut().last_incarnation = incarnation;
        }
    }

    /// The life that has begun, and is not proven dead or given up.
    pub(super) fn living(&self) -> Option<Incarnation> {
        match &self.life {
            Life::Starting { incarnation, .. } => Some(*incarnation),
            Life::Running(child) => Some(child.incarnation),
            Life::Ending(ending) => Some(ending.child.incarnation),
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Quarantined(_) => None,
        }
    }

    fn signal(&mut self, command: CommandId, incarnation: Incarnation, signal: i32) {
        let running = match &self.life {
            Life::Running(Child { process: None, .. })
            | Life::Ending(Ending {
                child: Child { process: None, .. },
                ..
            }) => {
                let why = "it has no process of its own: each message has one; cancel the execution".to_owned();
                return self.signalled(command, Err(why));
            }
            Life::Running(child) => Some(child.incarnation),
            Life::Ending(ending) if ending.died.is_none() => Some(ending.child.incarnation),
            Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Ending(_)
            | Life::Quarantined(_) => None,
        };
        if running == Some(incarnation) {
            self.effects.push(Effect::SignalChild {
                command,
                incarnation,
                signal,
            });
        } else {
            let why = match running {
                Some(other) => format!("incarnation {incarnation} is over; {other} runs"),
                None => "nothing runs".to_owned(),
            };
            self.signalled(command, Err(why));
        }
    }

    pub(super) fn signalled(&mut self, command: CommandId, result: Result<ProcessIdentity, String>) {
        if self.link == Link::Up {
            self.effects
                .push(Effect::Send(ShimMessage::SignalResult(command, result)));
        }
    }
}
