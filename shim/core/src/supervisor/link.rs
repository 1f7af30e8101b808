//! What the server is told, and what follows when it is not there.

use std::time::Duration;

use rekindle::exit::EndedBy;
use rekindle::id::{Incarnation, ReportSequence};
use rekindle::report::{
    Child as ChildTold, ChildPhase, Hello, HelloOrder, Inventory, LIFE_REPORTS_MAX, Report, ReportFact,
};
use rekindle::session::{ShimMessage, Wanted, Welcome};
use rekindle::time::MonoTime;

use super::{Ending, FENCE_LOOK, FORGET_MAX, Fenced, Life, Link, Quarantine, SUSPEND_MIN, Supervisor, Welcomes};
use crate::effect::Effect;
use crate::input::Moment;

impl Supervisor {
    /// Adds a fact to the outbox, and says it where somebody listens.
    pub(super) fn report(&mut self, incarnation: Incarnation, fact: ReportFact) -> ReportSequence {
        let time = self.clock.now.wall;
        let journal = self.journal_mut();
        let sequence = journal.last_report.next();
        let report = Report {
            sequence,
            time,
            incarnation,
            fact,
        };
        journal.last_report = sequence;
        journal.outbox.push(report.clone());
        if self.link == Link::Up {
            self.effects.push(Effect::Send(ShimMessage::Report(Box::new(report))));
        }
        sequence
    }

    /// Says Hello on a stream that waits for it. It says as well that nothing lives that an earlier shim left unwatched.
    pub(super) fn greet(&mut self) {
        // What the last life has saved comes first: it is part of what there is. One that goes on tells later what it saves.
        if self.link != Link::Opened || self.last_words_pending() {
            return;
        }
        match self.life {
            Life::Adopting(_) | Life::Sweeping(_) => {}
            Life::Idle | Life::Starting { .. } | Life::Running(_) | Life::Ending(_) | Life::Quarantined(_) => {
                self.heard_last_words();
                self.greetings += 1;
                let hello = self.hello();
                self.link = Link::Greeted;
                self.effects.push(Effect::Send(ShimMessage::Hello(Box::new(hello))));
            }
        }
    }

    /// Says what there is on a stream that waits for it, once what runs is known. From the welcome on nothing begins
    /// alone, so that it is true for as long as the stream lasts, with what is told after it.
    pub(super) fn take_stock(&mut self) {
        if self.link != Link::Welcomed {
            return;
        }
        match self.life {
            Life::Adopting(_) | Life::Sweeping(_) | Life::Starting { .. } => {}
            Life::Idle | Life::Running(_) | Life::Ending(_) | Life::Quarantined(_) => {
                let inventory = self.inventory();
                self.link = Link::Up;
                self.effects
                    .push(Effect::Send(ShimMessage::Inventory(Box::new(inventory))));
                self.forget_told();
            }
        }
    }

    fn inventory(&self) -> Inventory {
        Inventory {
            last_incarnation: self.journal.last_incarnation,
            child: self.child_told(),
            quarantined: self.quarantined(),
            attempts: self.attempts_told(),
            reports: self.journal.outbox.clone(),
            wanted: self
                .journal
                .charge
                .as_ref()
                .map_or(Wanted::Rest, |charge| charge.wanted),
            checkpoint: self.checkpoint_shown(),
        }
    }

    fn hello(&self) -> Hello {
        let settings = &self.settings;
        Hello {
            launch: Some(self.launch().clone()),
            delivery: settings.delivery,
            agent: self.journal.agent.clone(),
            shim_version: settings.shim_version.clone(),
            instance: settings.instance,
            host: settings.host.clone(),
            marker: self.journal.marker,
            labels: settings.labels.clone(),
            policy: settings.policy.clone(),
            fence_after: settings.fence_after,
            order: HelloOrder {
                life: self.journal.lives,
                stream: self.greetings,
            },
        }
    }

    /// The life that an earlier shim began, and of which survivors are left.
    fn quarantined(&self) -> Option<Incarnation> {
        match &self.life {
            Life::Quarantined(Quarantine { ending: None, .. }) => {
                self.journal.child.as_ref().map(|child| child.incarnation)
            }
            Life::Quarantined(_)
            | Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Running(_)
            | Life::Ending(_) => None,
        }
    }

    fn child_told(&self) -> Option<ChildTold> {
        let (child, phase) = match &self.life {
            Life::Running(child) if child.stage.is_ready() => (child, ChildPhase::Ready),
            Life::Running(child) => (child, ChildPhase::Starting),
            Life::Ending(Ending { child, .. }) => (child, ChildPhase::Stopping),
            Life::Quarantined(quarantine) => (&quarantine.ending.as_ref()?.child, ChildPhase::Stopping),
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Starting { .. } => return None,
        };
        Some(ChildTold {
            incarnation: child.incarnation,
            process: child.process.clone(),
            phase,
        })
    }

    pub(super) fn welcomed(&mut self, welcome: Welcome) {
        if self.link != Link::Greeted {
            return;
        }
        self.link = Link::Welcomed;
        if self.is_beyond_fence() {
            // The agent may have been elsewhere: what was charged before that counts no more.
            self.discharge();
        }
        self.contact = self.clock.since_boot;
        self.fenced = Fenced::No;
        self.welcome = Welcomes::Some;
        self.policy = welcome.policy;
        self.recharge();
        self.checkpoints_welcomed(welcome.checkpoints);
        if self.journal.last_report < welcome.acknowledged {
            // A power loss took the journal's newest lines. No number is used for another fact.
            self.journal_mut().last_report = welcome.acknowledged;
        }
        self.acknowledge(welcome.acknowledged);
        self.tell_survivors_again(welcome.acknowledged);
    }

    /// A server that has less of the reports than it once acknowledged knows nothing of survivors any more, and would take
    /// them for a life that ends: the agent was elsewhere meanwhile, or the server's store was set back.
    fn tell_survivors_again(&mut self, server_has: ReportSequence) {
        if let (Life::Quarantined(quarantine), Some(child)) = (&self.life, &self.journal.child)
            && server_has < self.survivors_told
            && self.is_acknowledged(self.survivors_told)
            && self.has_room_for(1)
        {
            let (incarnation, survivors) = (child.incarnation, quarantine.survivors.clone());
            self.survivors_told = self.report(incarnation, ReportFact::Survived(survivors));
        }
    }

    pub(super) fn acknowledged(&mut self, through: ReportSequence) {
        if self.link == Link::Up {
            self.contact = self.clock.since_boot;
            self.acknowledge(through);
        }
    }

    /// Forgets what the server keeps. This alone is not worth a write at once: what is said twice is applied once. But what
    /// messages have written leaves the disk with it.
    fn acknowledge(&mut self, through: ReportSequence) {
        let outbox = &mut self.journal.outbox;
        let has_text = |report: &Report| report.sequence <= through && report.fact.finished_attempt().is_some();
        if outbox.iter().any(has_text) {
            let by = self.clock.now.mono.saturating_add(FORGET_MAX);
            self.forget_by.get_or_insert(by);
        }
        outbox.retain(|report| report.sequence > through);
    }

    /// Has the journal written where what was acknowledged had to be off the disk by then.
    pub(super) fn forget(&mut self, by: MonoTime) {
        if self.forget_by.is_some_and(|at| at <= by) {
            self.journal_mut();
        }
    }

    /// Whether the server, which may be away for long, can be told so many facts more of lives.
    pub(super) fn has_room_for(&self, reports: usize) -> bool {
        let of_attempts = |report: &&Report| report.fact.attempt().is_some();
        let of_lives = self.journal.outbox.len() - self.journal.outbox.iter().filter(of_attempts).count();
        of_lives + reports <= LIFE_REPORTS_MAX
    }

    pub(super) fn is_acknowledged(&self, sequence: ReportSequence) -> bool {
        self.journal
            .outbox
            .first()
            .is_none_or(|oldest| sequence < oldest.sequence)
    }

    /// Whether the stream is one on which the server has answered.
    fn is_welcomed(&self) -> bool {
        match self.link {
            Link::Welcomed | Link::Up => true,
            Link::Down | Link::Opened | Link::Greeted => false,
        }
    }

    pub(super) fn link_lost(&mut self) {
        if self.link != Link::Down {
            self.alone_since = self.clock.now.mono;
        }
        self.link = Link::Down;
    }

    /// Nothing begins until the server has welcomed the shim. What runs goes on: it may be the only life there is.
    pub(super) fn claim_doubted(&mut self) {
        self.link_lost();
        self.next = None;
        self.discharge();
    }

    pub(super) fn claim_lost(&mut self) {
        self.claim_doubted();
        // Another life may already run: every moment of grace is one with two of them.
        self.end(EndedBy::Fence, Duration::ZERO);
    }

    /// Takes the clocks in. A stream that is up says that the server is there, unless the host was suspended: then the
    /// stream may be long dead, and has to prove itself.
    pub(super) fn look(&mut self, at: Moment) {
        let slept = suspended(at).saturating_sub(suspended(self.clock));
        if self.settings.fence_after.is_some() && self.is_welcomed() {
            if slept >= SUSPEND_MIN {
                self.link = Link::Down;
                self.alone_since = at.now.mono;
                self.effects.push(Effect::Reconnect);
            } else {
                self.contact = at.since_boot;
            }
        }
        self.clock = at;
    }

    pub(super) fn expire_fence(&mut self) {
        let Some(fence_after) = self.settings.fence_after else {
            return;
        };
        let alone = self.clock.since_boot.saturating_sub(self.contact);
        if !self.is_welcomed() && alone >= fence_after && self.fenced == Fenced::No && self.living().is_some() {
            self.fenced = Fenced::Yes;
            self.next = None;
            self.end(EndedBy::Fence, self.policy.stop_grace);
        }
    }

    pub(super) fn fence_deadline(&self) -> Option<MonoTime> {
        let fence_after = self.settings.fence_after?;
        self.living()?;
        let wait = match (self.link, self.fenced) {
            (Link::Welcomed | Link::Up, _) => FENCE_LOOK.min(fence_after / 2),
            (Link::Down | Link::Opened | Link::Greeted, Fenced::No) => {
                (self.contact + fence_after).saturating_sub(self.clock.since_boot)
            }
            (Link::Down | Link::Opened | Link::Greeted, Fenced::Yes) => return None,
        };
        Some(self.clock.now.mono.saturating_add(wait))
    }
}

/// How much longer the clock that goes on in suspend has run. Only its growth means something.
fn suspended(at: Moment) -> Duration {
    at.since_boot
        .saturating_sub(Duration::from_nanos(at.now.mono.as_nanos()))
}
