//! What a shim does by itself where the server is gone: it starts the agent again, as the policy that it was last told and
//! the budget have it, by the same arithmetic as the server.
//!
//! Only the shim that holds the agent does so. It stops where the server has given the agent to somebody else, may do so
//! once the shim has fenced itself, or takes the shim's boot for one that is over; and it never begins in a boot in which it was not welcomed, as an operator may
//! have called its host dead meanwhile (I1).

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitClass, ExitEvidence};
use rekindle::exit_rule::classify;
use rekindle::id::Incarnation;
use rekindle::recovery::{self, Budget, Spends, Verdict};
use rekindle::report::ReportFact;
use rekindle::session::{Charge, Wanted};
use rekindle::time::MonoTime;

use super::{Fenced, Leaving, Life, Link, REPORTS_PER_LIFE, Supervisor, Upgrade, Welcomes};
use crate::effect::Outlives;
use crate::journal::{Ended, JournalCharge, Told};

/// Time without a stream past which the server counts as gone: one that restarts is back within seconds, and then it is
/// the server's to decide.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The next life of an agent whose shim is alone.
struct Plan {
    at: MonoTime,
    spends: Spends,
}

impl Supervisor {
    /// The server says what to go by without it.
    pub(super) fn charged(&mut self, charge: Charge) {
        let now = self.clock.now;
        let last_attempt = charge.last_attempt_ago.map(|ago| now.wall.saturating_sub(ago));
        self.attempted = charge.last_attempt_ago.map(|ago| now.mono.saturating_sub(ago));
        let policy = self.policy.clone();
        self.journal_mut().charge = Some(JournalCharge {
            wanted: charge.wanted,
            policy,
            budget: Budget {
                attempts: charge.attempts,
                last_attempt,
            },
            salt: charge.salt,
        });
        self.number(charge.past);
        if charge.past > self.journal.last_incarnation {
            // A power loss took the journal's newest lines: of how that life ended nothing is known here.
            self.journal_mut().ended = None;
        }
    }

    /// The server has given a life this number. Begun or not, no other life gets it.
    pub(super) fn number(&mut self, incarnation: Incarnation) {
        if incarnation > self.journal.numbered {
            self.journal_mut().numbered = incarnation;
        }
    }

    /// Nothing is started any more without the server.
    pub(super) fn discharge(&mut self) {
        if self
            .journal
            .charge
            .as_ref()
            .is_some_and(|charge| charge.wanted == Wanted::Run)
            && let Some(charge) = &mut self.journal_mut().charge
        {
            charge.wanted = Wanted::Rest;
        }
    }

    /// A policy that came with the newest charge, or after it.
    pub(super) fn recharge(&mut self) {
        let policy = &self.policy;
        if self
            .journal
            .charge
            .as_ref()
            .is_some_and(|charge| charge.policy != *policy)
        {
            let policy = policy.clone();
            if let Some(charge) = &mut self.journal_mut().charge {
                charge.policy = policy;
            }
        }
    }

    /// A life has ended by itself, or as it did not do what it is held to: what that means. `None` where somebody asked for it.
    pub(super) fn note_end(&mut self, incarnation: Incarnation, evidence: &ExitEvidence) -> Option<ExitClass> {
        let at = self.clock.now.wall;
        let class = match evidence.ended_by {
            EndedBy::Itself => classify(&self.policy.exit_rules, evidence, at),
            EndedBy::StartTimeout
            | EndedBy::Watchdog
            | EndedBy::Stall
            | EndedBy::ShimDeath
            | EndedBy::MessageTimeout => ExitClass::Crash,
            EndedBy::MessageCancel => ExitClass::Interrupted,
            EndedBy::Command | EndedBy::ShimStop | EndedBy::Fence => return None,
        };
        if evidence.uptime >= self.policy.stable_after {
            self.attempted = None;
            if let Some(charge) = &mut self.journal_mut().charge {
                charge.budget = Budget::default();
            }
        }
        self.note_failure(incarnation, class, Told::Yes);
        Some(class)
    }

    /// As [`Supervisor::note_end`], where nothing is known but that.
    pub(super) fn note_failure(&mut self, incarnation: Incarnation, class: ExitClass, told: Told) {
        let at = self.clock.now.wall;
        self.journal_mut().ended = Some(Ended {
            incarnation,
            class,
            at,
            told,
        });
    }

    fn plan_alone(&self) -> Option<Plan> {
        let Link::Down = self.link else { return None };
        let charge = self.journal.charge.as_ref()?;
        let ended = self.journal.ended.as_ref()?;
        let idle = self.life == Life::Idle
            && self.next.is_none()
            && self.unbegun.is_none()
            && self.leaving == Leaving::No
            && self.upgrade != Upgrade::UnderWay
            && !self.checkpoints_pending();
        let allowed = charge.wanted == Wanted::Run
            && ended.incarnation == self.journal.last_incarnation
            && ended.incarnation > self.stopped_through
            && !self.is_beyond_fence()
            && self.has_room_for(REPORTS_PER_LIFE);
        if !idle || !allowed {
            return None;
        }
        let arguments = (&charge.policy, charge.budget, ended.class, ended.at, charge.salt);
        let (policy, budget, class, ended_at, salt) = arguments;
        let Verdict::Restart { at, spends } = recovery::verdict(policy, budget, class, ended_at, salt) else {
            return None;
        };
        let now = self.clock.now;
        let left = recovery::pause(policy, budget, class, ended_at, salt).left(at, now, self.attempted);
        let patient = self.alone_since.saturating_add(PATIENCE);
        Some(Plan {
            at: now.mono.saturating_add(left).max(patient),
            spends,
        })
    }

    /// Whether the agent may have been given to another host. A life of the shim that was never welcomed cannot know for
    /// how long the one before it was alone.
    pub(super) fn is_beyond_fence(&self) -> bool {
        let alone = self.clock.since_boot.saturating_sub(self.contact);
        let over = |fence| alone >= fence || self.welcome == Welcomes::None;
        self.fenced == Fenced::Yes || self.settings.fence_after.is_some_and(over)
    }

    pub(super) fn alone_deadline(&self) -> Option<MonoTime> {
        self.plan_alone().map(|plan| plan.at)
    }

    pub(super) fn expire_alone(&mut self) {
        let now = self.clock.now;
        let Some(plan) = self.plan_alone().filter(|plan| plan.at <= now.mono) else {
            return;
        };
        if let Some(ended) = self.journal.ended.filter(|ended| ended.told == Told::No) {
            self.tell_end_unseen(ended.incarnation, EndedBy::ShimDeath);
        }
        let Some(charge) = &mut self.journal_mut().charge else {
            return;
        };
        if plan.spends == Spends::Attempt {
            charge.budget.attempts += 1;
        }
        charge.budget.last_attempt = Some(now.wall);
        let attempts = charge.budget.attempts;
        self.attempted = Some(now.mono);
        let incarnation = self.journal.last_incarnation.max(self.journal.numbered).next();
        self.outlives = Outlives::TheBoot;
        self.report(incarnation, ReportFact::Recovering { attempts });
        self.prepare_alone();
        self.spawn(incarnation);
    }
}
