//! What a living child is held to: that it becomes ready, pings its watchdog, and does not stand still.
//!
//! No verdict is made on the clock alone. When a time is over the driver is asked for a probe: it hands in what the
//! child has said meanwhile, and then what the tree has used and written. So a shim that did not run for a while, or
//! is behind with its reading, blames nobody (I12).

use std::time::Duration;

use rekindle::activity::{Activity, ActivityState};
use rekindle::exit::EndedBy;
use rekindle::id::Incarnation;
use rekindle::process::ProcessIdentity;
use rekindle::report::ReportFact;
use rekindle::session::ShimMessage;
use rekindle::time::MonoTime;

use super::checkpoint::Asked;
use super::{Child, Ending, Life, Link, MAIN_CHANGES_MAX, Phase, Readiness, Supervisor};
use crate::effect::{Deadline, DeadlineReason, Effect};
use crate::input::{Notice, Sample};
use crate::journal::JournalPhase;

/// Longest time from its spawn that a child can put its start off by EXTEND_TIMEOUT_USEC: as long as a policy allows.
const START_EXTENDED_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest time from its stop signal that a child can put its end off by EXTEND_TIMEOUT_USEC: as long as a policy allows.
pub(super) const STOP_EXTENDED_MAX: Duration = rekindle::policy::STOP_GRACE_MAX;

/// Probes within one `stall_timeout`: a child that stands still is found a quarter later at most.
const PROBES_PER_STALL: u32 = 4;

/// Shortest time between two words to the server of what the child is doing: one that talks much costs no more.
const ACTIVITY_PAUSE: Duration = Duration::from_secs(1);

/// How far a child is, and what it is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not ready.
    Starting {
        /// When it must be.
        until: MonoTime,
    },
    /// Ready.
    Ready(Watch),
}

/// What a ready child is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    /// Its newest ping, or when it became ready.
    pinged: MonoTime,
    /// What it asked for itself, in place of the policy's `watchdog_timeout`; `Some(None)` switches it off.
    own_timeout: Option<Option<Duration>>,
    /// When it was last known to do something.
    moved: MonoTime,
    /// What it had used and written at the newest probe, and when that was.
    sample: Option<(MonoTime, Sample)>,
    /// Since when it says that it is blocked.
    blocked: Option<MonoTime>,
}

impl Stage {
    pub(super) const fn is_ready(&self) -> bool {
        match self {
            Self::Starting { .. } => false,
            Self::Ready(_) => true,
        }
    }

    pub(super) const fn phase(&self) -> JournalPhase {
        match self {
            Self::Starting { .. } => JournalPhase::Starting,
            Self::Ready(_) => JournalPhase::Ready,
        }
    }
}

impl Watch {
    pub(super) const fn from(now: MonoTime) -> Self {
        Self {
            pinged: now,
            own_timeout: None,
            moved: now,
            sample: None,
            blocked: None,
        }
    }
}

/// Whether the driver was asked for a probe, and has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probing {
    No,
    Yes,
}

/// What the child says of itself, and what the server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) activity: Activity,
    /// With what it says of its work.
    told: Activity,
    told_at: Option<MonoTime>,
}

impl Supervisor {
    /// The stage of a child whose process has just come to be.
    pub(super) fn first_stage(&self) -> Stage {
        let now = self.clock.now.mono;
        match self.settings.readiness {
            Readiness::Exec => Stage::Ready(Watch::from(now)),
            Readiness::Notify => Stage::Starting {
                until: now.saturating_add(self.policy.start_timeout),
            },
        }
    }

    pub(super) fn notified(&mut self, incarnation: Incarnation, notices: Vec<Notice>) {
        for notice in notices {
            let living = match &self.life {
                Life::Running(child) | Life::Ending(Ending { child, .. }) => Some(child.incarnation),
                Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Starting { .. } | Life::Quarantined(_) => {
                    None
                }
            };
            if living != Some(incarnation) {
                return;
            }
            self.moved();
            match notice {
                Notice::Ready => self.became_ready(),
                Notice::Ping => self.pinged(),
                Notice::Stuck => self.condemn(EndedBy::Watchdog),
                Notice::WatchdogTimeout(timeout) => self.own_timeout(timeout),
                Notice::Stopping => self.stops_by_itself(),
                Notice::Extend(by) => self.extend(by),
                Notice::Main(process) => self.main_process(process),
                Notice::Status(status) => self.said.activity.status = status,
                Notice::Activity(state) => self.does(state),
            }
        }
        self.tell_activity();
    }

    fn watch(&mut self) -> Option<&mut Watch> {
        match &mut self.life {
            Life::Running(Child {
                stage: Stage::Ready(watch),
                ..
            }) => Some(watch),
            Life::Running(_)
            | Life::Ending(_)
            | Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Quarantined(_) => None,
        }
    }

    fn moved(&mut self) {
        let now = self.clock.now.mono;
        if let Some(watch) = self.watch() {
            watch.moved = now;
        }
    }

    fn pinged(&mut self) {
        let now = self.clock.now.mono;
        if let Some(watch) = self.watch() {
            watch.pinged = now;
        }
    }

    /// Zero and the largest number of microseconds switch the watchdog off, as with systemd.
    fn own_timeout(&mut self, timeout: Duration) {
        let now = self.clock.now.mono;
        let timeout = Some(timeout).filter(|wait| !wait.is_zero() && *wait < Duration::from_micros(u64::MAX));
        if let Some(watch) = self.watch() {
            (watch.own_timeout, watch.pinged) = (Some(timeout), now);
        }
    }

    fn became_ready(&mut self) {
        let now = self.clock.now.mono;
        let Life::Running(child) = &mut self.life else { return };
        let Stage::Starting { .. } = child.stage else { return };
        child.stage = Stage::Ready(Watch::from(now));
        let incarnation = child.incarnation;
        if let Some(child) = &mut self.journal_mut().child {
            child.phase = JournalPhase::Ready;
        }
        self.report_ready(incarnation);
    }

    /// The child ends without having been asked: from here on it has its grace.
    pub(super) fn stops_by_itself(&mut self) {
        let Life::Running(child) = &self.life else { return };
        let child = child.clone();
        let incarnation = child.incarnation;
        self.life = Life::Ending(Ending {
            child,
            by: EndedBy::Itself,
            died: None,
            phase: Phase::Asked {
                since: self.clock.now.mono,
                until: self.clock.now.mono.saturating_add(self.policy.stop_grace),
            },
            asked: Asked::No,
            remains: None,
        });
        self.report(incarnation, ReportFact::Stopping);
    }

    fn extend(&mut self, by: Duration) {
        let now = self.clock.now.mono;
        let wanted = now.saturating_add(by);
        let condemned = self.work.has_condemned();
        match &mut self.life {
            Life::Running(Child {
                since,
                stage: Stage::Starting { until },
                ..
            }) => *until = wanted.min(since.saturating_add(START_EXTENDED_MAX)).max(*until),
            // Another life may already run elsewhere, and a message's time is over: that is not put off.
            Life::Ending(Ending {
                by: EndedBy::Fence | EndedBy::MessageTimeout | EndedBy::MessageCancel,
                ..
            }) => {}
            // The same where the life was being ended for another reason already.
            Life::Ending(_) if condemned => {}
            Life::Ending(Ending {
                phase: Phase::Saving { since, until, .. } | Phase::Asked { since, until },
                ..
            }) => *until = wanted.min(since.saturating_add(STOP_EXTENDED_MAX)).max(*until),
            Life::Running(_)
            | Life::Ending(_)
            | Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Quarantined(_) => {}
        }
    }

    /// Another process of the tree is the one whose end is the life's.
    fn main_process(&mut self, process: ProcessIdentity) {
        let (Life::Running(child) | Life::Ending(Ending { child, .. })) = &mut self.life else {
            return;
        };
        if child.process.as_ref() == Some(&process) || child.main_changes == MAIN_CHANGES_MAX {
            return;
        }
        child.main_changes += 1;
        child.process = Some(process.clone());
        let incarnation = child.incarnation;
        if let Some(child) = &mut self.journal_mut().child {
            child.process = Some(process.clone());
        }
        self.report(incarnation, ReportFact::MainProcess(process));
    }

    /// What the child does: as it says of itself, and of what it works on. Who waits for somebody with any of it is blocked.
    fn activity(&self) -> Activity {
        let own = self.said.activity.state;
        let state = match own {
            ActivityState::Blocked(_) => own,
            ActivityState::Unsaid | ActivityState::Idle | ActivityState::Busy => self.said_of_work().unwrap_or(own),
        };
        let status = self.said.activity.status.clone();
        Activity { state, status }
    }

    /// The child has done something with what it works on.
    pub(super) fn moves_on(&mut self) {
        self.moved();
        self.note_whether_blocked();
    }

    /// A child that waits for somebody does not stand still.
    pub(super) fn note_whether_blocked(&mut self) {
        let now = self.clock.now.mono;
        let state = self.activity().state;
        if let Some(watch) = self.watch() {
            watch.blocked = match state {
                ActivityState::Blocked(_) => watch.blocked.or(Some(now)),
                ActivityState::Unsaid | ActivityState::Idle | ActivityState::Busy => None,
            };
        }
    }

    fn does(&mut self, state: ActivityState) {
        self.said.activity.state = state;
        match state {
            ActivityState::Blocked(_) => self.stop_clocks(),
            ActivityState::Unsaid | ActivityState::Idle | ActivityState::Busy => self.restart_clocks(),
        }
        self.note_whether_blocked();
    }

    /// Tells the server what the child is doing, where it has changed, and not too often.
    pub(super) fn tell_activity(&mut self) {
        let now = self.clock.now.mono;
        let paused = self.activity_deadline().is_some_and(|at| at > now);
        let activity = self.activity();
        if self.link == Link::Up && activity != self.said.told && !paused {
            self.said.told.clone_from(&activity);
            self.said.told_at = Some(now);
            self.effects.push(Effect::Send(ShimMessage::Activity(activity)));
        }
    }

    /// The server has forgotten, or has never heard.
    pub(super) fn forget_told(&mut self) {
        self.said.told = Activity::default();
        self.said.told_at = None;
    }

    fn activity_deadline(&self) -> Option<MonoTime> {
        if self.link != Link::Up || self.activity() == self.said.told {
            return None;
        }
        let paused = self.said.told_at.map(|told_at| told_at.saturating_add(ACTIVITY_PAUSE));
        Some(paused.unwrap_or(self.clock.now.mono))
    }

    /// When the child must be looked at.
    pub(super) fn watch_deadline(&self) -> Option<Deadline> {
        let activity = self.activity_deadline().map(|at| (at, DeadlineReason::Activity));
        let Life::Running(child) = &self.life else {
            return activity;
        };
        if child.process.is_none() {
            return activity;
        }
        if self.probing == Probing::Yes {
            return activity;
        }
        let watched = match &child.stage {
            Stage::Starting { until } => Some((*until, DeadlineReason::StartTimeout)),
            Stage::Ready(watch) => {
                let watchdog = self.watchdog_deadline(watch).map(|at| (at, DeadlineReason::Watchdog));
                let stall = self.stall_deadline(watch).map(|at| (at, DeadlineReason::Stall));
                [watchdog, stall].into_iter().flatten().min()
            }
        };
        [watched, activity].into_iter().flatten().min()
    }

    fn watchdog_deadline(&self, watch: &Watch) -> Option<MonoTime> {
        let timeout = watch.own_timeout.unwrap_or(self.policy.watchdog_timeout)?;
        Some(watch.pinged.saturating_add(timeout))
    }

    /// When the next sample is due. A child that is blocked is not looked at, for as long as it may be.
    fn stall_deadline(&self, watch: &Watch) -> Option<MonoTime> {
        let timeout = self.policy.stall_timeout?;
        let from = watch.sample.as_ref().map_or(watch.moved, |(at, _)| *at);
        let due = from.saturating_add(timeout / PROBES_PER_STALL);
        Some(match watch.blocked {
            Some(since) => due.max(since.saturating_add(self.policy.blocked_limit)),
            None => due,
        })
    }

    pub(super) fn expire_watch(&mut self) {
        let now = self.clock.now.mono;
        self.tell_activity();
        let due = self.watch_deadline().filter(|(at, _)| *at <= now);
        if let (Life::Running(child), Some((_, reason))) = (&self.life, due)
            && reason != DeadlineReason::Activity
        {
            let incarnation = child.incarnation;
            self.probing = Probing::Yes;
            self.effects.push(Effect::Probe { incarnation });
        }
    }

    /// What the child has said is known; what it has used and written is this.
    pub(super) fn probed(&mut self, incarnation: Incarnation, sample: Sample) {
        self.probing = Probing::No;
        let now = self.clock.now.mono;
        let Life::Running(child) = &self.life else { return };
        if child.incarnation != incarnation {
            return;
        }
        let watch = match &child.stage {
            Stage::Starting { until } if *until <= now => return self.condemn(EndedBy::StartTimeout),
            Stage::Starting { .. } => return,
            Stage::Ready(watch) => watch.clone(),
        };
        if self.watchdog_deadline(&watch).is_some_and(|at| at <= now) {
            return self.condemn(EndedBy::Watchdog);
        }
        let Some(timeout) = self.policy.stall_timeout else {
            return;
        };
        let blocked = watch
            .blocked
            .is_some_and(|since| now < since.saturating_add(self.policy.blocked_limit));
        let stands_still = watch.sample.as_ref().is_some_and(|(_, before)| *before == sample);
        if stands_still && !blocked && watch.moved.saturating_add(timeout) <= now {
            return self.condemn(EndedBy::Stall);
        }
        if let Some(watch) = self.watch() {
            if !stands_still || blocked {
                watch.moved = now;
            }
            watch.sample = Some((now, sample));
        }
    }

    /// Ends a child that did not do what it is held to.
    fn condemn(&mut self, by: EndedBy) {
        self.end(by, self.policy.stop_grace);
    }
}
