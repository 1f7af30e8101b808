//! How a life ends: stop signal, grace, SIGKILL, proof of death.

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitEvidence};
use rekindle::id::Incarnation;
use rekindle::policy::StopSignal;
use rekindle::report::{ReportFact, SURVIVORS_MAX, Survivor};
use rekindle::time::MonoTime;

use super::{Child, End, Ending, KILL_PROOF, Life, Phase, Quarantine, Supervisor};
use crate::effect::Effect;
use crate::input::Remains;

impl Supervisor {
    /// Ends what lives. An end that has begun goes on, and its grace can only become shorter.
    pub(super) fn end(&mut self, by: EndedBy, grace: Duration) {
        let now = self.clock.now.mono;
        match &mut self.life {
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Quarantined(_) => {}
            Life::Starting { end, .. } => {
                *end = Some(match *end {
                    Some(asked) => End {
                        by: asked.by,
                        grace: asked.grace.min(grace),
                    },
                    None => End { by, grace },
                });
            }
            Life::Running(child) => {
                let child = child.clone();
                self.begin_end(child, by, grace);
            }
            Life::Ending(Ending {
                phase: Phase::Asked { until, .. },
                ..
            }) => {
                *until = (*until).min(now.saturating_add(grace));
            }
            Life::Ending(Ending {
                phase: Phase::Killed { .. } | Phase::Overdue,
                ..
            }) => {}
        }
    }

    pub(super) fn begin_end(&mut self, child: Child, by: EndedBy, grace: Duration) {
        let incarnation = child.incarnation;
        let now = self.clock.now.mono;
        let signal = self.policy.stop_signal;
        let phase = if grace.is_zero() || signal == StopSignal::Kill {
            self.effects.push(Effect::KillTree { incarnation });
            Phase::Killed {
                until: now.saturating_add(KILL_PROOF),
            }
        } else {
            self.effects.push(Effect::SignalTree { incarnation, signal });
            Phase::Asked {
                since: now,
                until: now.saturating_add(grace),
            }
        };
        self.life = Life::Ending(Ending {
            child,
            by,
            died: None,
            phase,
        });
    }

    pub(super) fn child_exited(&mut self, incarnation: Incarnation) {
        let now = self.clock.now.mono;
        match &mut self.life {
            Life::Running(child) if child.incarnation == incarnation => {
                // What a dead child leaves behind serves nobody, and would meet the next life.
                let child = child.clone();
                self.begin_end(child, EndedBy::Itself, Duration::ZERO);
                self.died(now);
            }
            Life::Ending(ending) if ending.child.incarnation == incarnation && ending.died.is_none() => {
                match ending.phase {
                    // Others of the tree got the same signal, and have the same time.
                    Phase::Asked { .. } => self.effects.push(Effect::AwaitTree { incarnation }),
                    Phase::Killed { .. } | Phase::Overdue => {}
                }
                self.died(now);
            }
            Life::Running(_)
            | Life::Ending(_)
            | Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Quarantined(_) => {}
        }
    }

    fn died(&mut self, at: MonoTime) {
        if let Life::Ending(ending) = &mut self.life {
            ending.died = Some(at);
        }
    }

    pub(super) fn expire_ladder(&mut self) {
        let now = self.clock.now.mono;
        let Life::Ending(ending) = &mut self.life else { return };
        let incarnation = ending.child.incarnation;
        match ending.phase {
            Phase::Asked { until, .. } if until <= now => {
                ending.phase = Phase::Killed {
                    until: now.saturating_add(KILL_PROOF),
                };
                self.effects.push(Effect::KillTree { incarnation });
            }
            Phase::Killed { until } if until <= now => {
                ending.phase = Phase::Overdue;
                self.effects.push(Effect::NameSurvivors { incarnation });
            }
            Phase::Asked { .. } | Phase::Killed { .. } | Phase::Overdue => {}
        }
    }

    pub(super) fn tree_gone(&mut self, incarnation: Incarnation, remains: Remains) {
        let Some(ending) = self.ended(incarnation) else { return };
        let died = ending.died.unwrap_or(self.clock.now.mono);
        let evidence = ExitEvidence {
            status: remains.status,
            ended_by: ending.by,
            oom_killed: remains.oom_killed,
            uptime: died.saturating_since(ending.child.since),
            user_time: remains.user_time,
            system_time: remains.system_time,
            max_rss_kib: remains.max_rss_kib,
            stderr_tail: remains.stderr_tail,
            stdout_tail: remains.stdout_tail,
        };
        self.note_end(incarnation, &evidence);
        self.report(incarnation, ReportFact::Exited(Box::new(evidence)));
        self.journal_mut().child = None;
        self.life = Life::Idle;
        self.proceed();
    }

    /// How the tree that is gone came to end. A driver that sees child and tree die at once may tell the latter alone.
    fn ended(&self, incarnation: Incarnation) -> Option<Ending> {
        let ending = match &self.life {
            Life::Running(child) => Ending {
                child: child.clone(),
                by: EndedBy::Itself,
                died: None,
                phase: Phase::Overdue,
            },
            Life::Ending(ending) => ending.clone(),
            Life::Quarantined(quarantine) => quarantine.ending.clone()?,
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Starting { .. } => return None,
        };
        (ending.child.incarnation == incarnation).then_some(ending)
    }

    pub(super) fn tree_survived(&mut self, incarnation: Incarnation, mut survivors: Vec<Survivor>) {
        let now = self.clock.now.mono;
        let Life::Ending(ending) = &mut self.life else { return };
        if ending.child.incarnation != incarnation || ending.phase != Phase::Overdue {
            return;
        }
        if survivors.is_empty() {
            ending.phase = Phase::Killed {
                until: now.saturating_add(KILL_PROOF),
            };
            return;
        }
        let ending = ending.clone();
        survivors.truncate(SURVIVORS_MAX);
        self.survivors_told = self.report(incarnation, ReportFact::Survived(survivors));
        self.life = Life::Quarantined(Quarantine { ending: Some(ending) });
        if let Some(next) = self.next.take() {
            self.number(next);
        }
        self.proceed();
    }
}
