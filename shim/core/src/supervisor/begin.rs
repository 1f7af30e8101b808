//! How a life begins, and what comes next when nothing lives.

use rekindle::activity::Activity;
use rekindle::execution::Delivery;
use rekindle::exit::ExitClass;
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::report::ReportFact;

use super::watch::{Probing, Stage, Watch};
use super::{Child, End, Leaving, Life, REPORTS_PER_LIFE, Supervisor};
use crate::effect::{Effect, Outlives};
use crate::journal::{JournalChild, JournalPhase, Told};

impl Supervisor {
    /// Begins a life. The journal knows of it before the process exists.
    pub(super) fn spawn(&mut self, incarnation: Incarnation) {
        // A server that acknowledges nothing would fill the outbox; it gets no more lives until it does.
        if !self.has_room_for(REPORTS_PER_LIFE) {
            return;
        }
        // Forced: what an older life has left is given up.
        if let Life::Quarantined(_) = self.life {
            self.effects.push(Effect::GiveUp);
        }
        self.forsake_attempts(None);
        self.hand_over(incarnation);
        if self.journal.launch.as_ref() != Some(&self.launch) {
            self.journal_mut().launch = Some(self.launch.clone());
            // It is for after a power loss.
            self.outlives = Outlives::TheBoot;
        }
        let journal = self.journal_mut();
        journal.last_incarnation = incarnation;
        journal.child = Some(JournalChild {
            incarnation,
            process: None,
            phase: JournalPhase::Starting,
        });
        match self.settings.delivery {
            Delivery::None | Delivery::Pull | Delivery::Stdin => {
                self.life = Life::Starting { incarnation, end: None };
                self.effects.push(Effect::Spawn { incarnation });
            }
            Delivery::PerMessage => self.begin_without_process(incarnation),
        }
    }

    /// A life whose messages have processes of their own is there as soon as it is written down.
    fn begin_without_process(&mut self, incarnation: Incarnation) {
        if let Some(child) = &mut self.journal_mut().child {
            child.phase = JournalPhase::Ready;
        }
        self.report(incarnation, ReportFact::Spawned(None));
        self.said.activity = Activity::default();
        self.life = Life::Running(self.without_process(incarnation));
        self.report_ready(incarnation);
    }

    pub(super) fn without_process(&self, incarnation: Incarnation) -> Child {
        let now = self.clock.now.mono;
        Child {
            incarnation,
            process: None,
            since: now,
            stage: Stage::Ready(Watch::from(now)),
            main_changes: 0,
        }
    }

    pub(super) fn spawned(&mut self, incarnation: Incarnation, process: ProcessIdentity) {
        let Life::Starting {
            incarnation: starting,
            end,
        } = self.life
        else {
            return;
        };
        if starting != incarnation {
            return;
        }
        let stage = self.first_stage();
        self.journal_mut().child = Some(JournalChild {
            incarnation,
            process: Some(process.clone()),
            phase: stage.phase(),
        });
        self.report(incarnation, ReportFact::Spawned(Some(process.clone())));
        self.tell_handed_over(incarnation);
        self.probing = Probing::No;
        self.said.activity = Activity::default();
        let child = Child {
            incarnation,
            process: Some(process),
            since: self.clock.now.mono,
            stage,
            main_changes: 0,
        };
        match end {
            Some(End { by, grace }) => self.begin_end(child, by, grace),
            None => {
                if child.stage.is_ready() {
                    self.report_ready(incarnation);
                }
                self.life = Life::Running(child);
                self.leave_child();
            }
        }
    }

    /// The life is ready, and has taken up what a reboot left.
    pub(super) fn report_ready(&mut self, incarnation: Incarnation) {
        self.report(incarnation, ReportFact::Ready);
        self.journal_mut().lost = None;
    }

    pub(super) fn spawn_failed(&mut self, incarnation: Incarnation, message: String) {
        let Life::Starting {
            incarnation: starting, ..
        } = self.life
        else {
            return;
        };
        if starting != incarnation {
            return;
        }
        self.report(incarnation, ReportFact::SpawnFailed(message));
        self.note_failure(incarnation, ExitClass::Crash, Told::Yes);
        self.journal_mut().handed = None;
        self.journal_mut().child = None;
        self.life = Life::Idle;
        self.proceed();
    }

    /// Nothing lives: what comes next begins.
    pub(super) fn proceed(&mut self) {
        self.tell_unbegun();
        match self.leaving {
            Leaving::No => {
                if self.life == Life::Idle {
                    self.begin_next();
                }
            }
            Leaving::Asked => self.begin_farewell(),
            Leaving::Farewell { .. } | Leaving::Left => {}
        }
    }
}
