//! What an earlier shim left: adopted where it was to live on, and swept where it was not.

use std::time::Duration;

use rekindle::execution::Delivery;
use rekindle::exit::{EndedBy, ExitClass, ExitEvidence, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::report::{ReportFact, SURVIVORS_MAX, Survivor};

use super::checkpoint::Ended;
use super::watch::{Stage, Watch};
use super::{Cause, Child, Leaving, Life, OnShimExit, Quarantine, Supervisor, Upgrade};
use crate::effect::{Effect, ExitCode};
use crate::journal::{Handover, JournalChild, JournalPhase, Told};

/// Milliseconds of a clock tick: what the kernel tells in ticks, it tells in hundredths of a second (time(7), USER_HZ).
const MILLIS_PER_TICK: u64 = 10;

impl Supervisor {
    /// Takes up what the journal tells of.
    pub(super) fn inherit(&mut self, left: JournalChild, handover: Handover) {
        let boot_id = self.settings.host.boot_id;
        let process = left.process.clone().filter(|process| process.boot_id == boot_id);
        match process {
            Some(child) if handover != Handover::No || self.settings.on_shim_exit == OnShimExit::Keep => {
                let incarnation = left.incarnation;
                self.life = Life::Adopting(left);
                self.effects.push(Effect::Adopt { incarnation, child });
            }
            None if handover != Handover::No && self.goes_on_without_process(&left) => {
                self.life = Life::Running(self.without_process(left.incarnation));
                self.heard_last_words();
                self.adopt_attempts();
                self.effects.push(Effect::Connect);
            }
            child => self.sweep(child, Cause::ShimDied),
        }
    }

    /// Whether a life that has no process is still there for this shim to give messages to.
    fn goes_on_without_process(&self, left: &JournalChild) -> bool {
        self.settings.delivery == Delivery::PerMessage && left.process.is_none() && left.phase == JournalPhase::Ready
    }

    fn sweep(&mut self, child: Option<ProcessIdentity>, cause: Cause) {
        self.life = Life::Sweeping(cause);
        self.effects.push(Effect::Sweep { child });
    }

    /// The child goes on under this shim, as if nothing had been.
    pub(super) fn adopted(&mut self, incarnation: Incarnation) {
        let Life::Adopting(left) = &self.life else { return };
        let Some(process) = left.process.clone().filter(|_| left.incarnation == incarnation) else {
            return;
        };
        let now = self.clock.now;
        let stage = match left.phase {
            JournalPhase::Ready => Stage::Ready(Watch::from(now.mono)),
            JournalPhase::Starting => self.first_stage(),
        };
        // By the boot's clock, which outlives the shim, and does not jump as the wall's does (I12).
        let began = Duration::from_millis(process.start_time_ticks.saturating_mul(MILLIS_PER_TICK));
        let age = self.clock.since_boot.saturating_sub(began);
        self.life = Life::Running(Child {
            incarnation,
            process: Some(process),
            since: now.mono.saturating_sub(age),
            stage,
            main_changes: 0,
        });
        self.heard_last_words();
        self.adopt_attempts();
        self.effects.push(Effect::Connect);
        if self.leaving == Leaving::Asked {
            self.end_or_leave_child();
        }
    }

    pub(super) fn not_adopted(&mut self) {
        let Life::Adopting(left) = &self.life else { return };
        let child = left.process.clone();
        self.sweep(child, Cause::EndedUnseen);
    }

    /// What was left is dead, but for these. Told again, when the last of them is dead too.
    pub(super) fn swept(&mut self, mut survivors: Vec<Survivor>) {
        let left = self.journal.child.as_ref().map(|child| child.incarnation);
        match (&self.life, left) {
            (Life::Sweeping(_), Some(incarnation)) if !survivors.is_empty() => {
                survivors.truncate(SURVIVORS_MAX);
                self.survivors_told = self.report(incarnation, ReportFact::Survived(survivors.clone()));
                self.life = Life::Quarantined(Quarantine {
                    ending: None,
                    survivors,
                });
            }
            (Life::Sweeping(Cause::EndedUnseen), Some(incarnation)) => self.ended_unseen(incarnation),
            (Life::Sweeping(_), Some(incarnation)) => {
                self.note_failure(incarnation, ExitClass::Crash, Told::No);
                self.checkpoint_outlives(incarnation, Ended::with_its_shim());
                self.nothing_left();
            }
            (Life::Sweeping(_), None) => self.nothing_left(),
            (Life::Quarantined(Quarantine { ending: None, .. }), Some(incarnation)) if survivors.is_empty() => {
                self.ended_unseen(incarnation);
                return self.proceed();
            }
            // There were more than were named.
            (Life::Quarantined(Quarantine { ending: None, .. }), Some(incarnation)) => {
                survivors.truncate(SURVIVORS_MAX);
                self.survivors_told = self.report(incarnation, ReportFact::Survived(survivors.clone()));
                self.life = Life::Quarantined(Quarantine {
                    ending: None,
                    survivors,
                });
                return;
            }
            (
                Life::Adopting(_)
                | Life::Idle
                | Life::Starting { .. }
                | Life::Running(_)
                | Life::Ending(_)
                | Life::Quarantined(_),
                _,
            ) => return,
        }
        self.effects.push(Effect::Connect);
        self.proceed();
    }

    fn ended_unseen(&mut self, incarnation: Incarnation) {
        self.tell_end_unseen(incarnation, EndedBy::Itself);
        self.nothing_left();
    }

    /// Reports an end that nobody saw.
    pub(super) fn tell_end_unseen(&mut self, incarnation: Incarnation, ended_by: EndedBy) {
        let evidence = ExitEvidence {
            status: ExitStatus::Unknown,
            ended_by,
            oom_killed: false,
            uptime: Duration::ZERO,
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            max_rss_kib: 0,
            stderr_tail: String::new(),
            stdout_tail: String::new(),
            asked_save: rekindle::checkpoint::AskedSave::NotAsked,
        };
        let class = self.note_end(incarnation, &evidence);
        if self.journal.child.is_some() {
            self.checkpoint_outlives(incarnation, Ended::seen(&evidence, class, self.policy.stable_after));
        }
        self.report(incarnation, ReportFact::Exited(Box::new(evidence)));
    }

    fn nothing_left(&mut self) {
        self.forsake_attempts(None);
        self.journal_mut().child = None;
        self.life = Life::Idle;
    }

    /// A shim that was told to end leaves a child that is to live on as it is.
    pub(super) fn leave_child(&mut self) {
        let keeps = self.settings.on_shim_exit == OnShimExit::Keep;
        if keeps && self.leaving == Leaving::Asked && matches!(self.life, Life::Running(_)) {
            self.exit(ExitCode::Kept);
        }
    }

    pub(super) fn end_or_leave_child(&mut self) {
        match self.settings.on_shim_exit {
            OnShimExit::Kill => self.end(EndedBy::ShimStop, self.policy.stop_grace),
            OnShimExit::Keep => self.leave_child(),
        }
    }

    pub(super) fn upgrade_requested(&mut self) {
        if self.upgrade == Upgrade::No && self.leaving == Leaving::No {
            self.upgrade = Upgrade::Asked;
        }
    }

    /// Runs the program anew, once nothing is under way that only this life of the shim knows of.
    pub(super) fn pursue_upgrade(&mut self) {
        if self.upgrade != Upgrade::Asked || !self.is_upgrade_due() || self.is_being_written() {
            return;
        }
        self.upgrade = Upgrade::UnderWay;
        self.close_what_waits();
        if !self.is_left_to_sweep() {
            let contact = self.contact;
            self.journal_mut().handover = Handover::Yes { contact };
        }
        self.effects.push(Effect::Upgrade);
    }

    /// Whether it was asked for, and waits for the disk at most.
    pub(super) fn is_upgrade_due(&self) -> bool {
        if self.upgrade == Upgrade::No || self.leaving != Leaving::No {
            return false;
        }
        match self.life {
            Life::Running(_) => !self.attempts_bind(),
            Life::Idle | Life::Quarantined(_) => !self.last_words_pending(),
            Life::Adopting(_) | Life::Sweeping(_) | Life::Starting { .. } | Life::Ending(_) => false,
        }
    }

    /// Whether only survivors are left of a life that has no process: nothing tells them from one that goes on but that the
    /// next shim sweeps again.
    fn is_left_to_sweep(&self) -> bool {
        let child = self.journal.child.as_ref();
        let has_process = child.is_some_and(|child| child.process.is_some());
        matches!(self.life, Life::Quarantined(_)) && !has_process
    }

    pub(super) fn upgrade_failed(&mut self) {
        self.upgrade = Upgrade::No;
        self.all_turned_away();
        self.journal_mut().handover = Handover::No;
        self.pursue_checkpoints();
    }
}
