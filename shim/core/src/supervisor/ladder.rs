//! How a tree ends: stop signal, grace, SIGKILL, proof of death. And what follows from that for a life.

use std::time::Duration;

use rekindle::checkpoint::AskedSave;
use rekindle::execution::Output;
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::policy::StopSignal;
use rekindle::report::{ReportFact, SURVIVORS_MAX, Survivor};
use rekindle::time::MonoTime;

use super::checkpoint::{Asked, Ended};
use super::{AsksToSave, Child, Cut, End, Ending, KILL_PROOF, Life, Phase, Quarantine, Supervisor};
use crate::effect::{DeadlineReason, Effect};
use crate::input::Remains;
use crate::tree::TreeId;

impl Phase {
    /// The first rung, with what it takes.
    pub(super) fn first(tree: TreeId, signal: StopSignal, grace: Duration, now: MonoTime) -> (Self, Effect) {
        if grace.is_zero() || signal == StopSignal::Kill {
            (Self::killed(now), Effect::KillTree { tree })
        } else {
            let until = now.saturating_add(grace);
            (Self::Asked { since: now, until }, Effect::SignalTree { tree, signal })
        }
    }

    /// SIGKILL was sent.
    pub(super) fn killed(now: MonoTime) -> Self {
        Self::Killed {
            until: now.saturating_add(KILL_PROOF),
        }
    }

    /// An end that has begun goes on, and its grace can only become shorter.
    pub(super) fn hasten(&mut self, grace: Duration, now: MonoTime) {
        match self {
            Self::Saving { signal_at, until, .. } => {
                *until = (*until).min(now.saturating_add(grace));
                *signal_at = (*signal_at).min(*until);
            }
            Self::Asked { until, .. } => *until = (*until).min(now.saturating_add(grace)),
            Self::Killed { .. } | Self::Overdue | Self::WithAttempts | Self::Gone(_) => {}
        }
    }

    /// The next rung, where the time for this one is over.
    pub(super) fn climb(&mut self, tree: TreeId, now: MonoTime) -> Option<Effect> {
        match *self {
            Self::Saving { until, .. } | Self::Asked { until, .. } if until <= now => {
                *self = Self::killed(now);
                Some(Effect::KillTree { tree })
            }
            Self::Killed { until } if until <= now => {
                *self = Self::Overdue;
                Some(Effect::NameSurvivors { tree })
            }
            Self::Saving { .. }
            | Self::Asked { .. }
            | Self::Killed { .. }
            | Self::Overdue
            | Self::WithAttempts
            | Self::Gone(_) => None,
        }
    }

    /// When the time for this rung is over.
    pub(super) const fn deadline(&self) -> Option<(MonoTime, DeadlineReason)> {
        match *self {
            Self::Saving { signal_at: until, .. } | Self::Asked { until, .. } => {
                Some((until, DeadlineReason::StopGrace))
            }
            Self::Killed { until } => Some((until, DeadlineReason::KillProof)),
            Self::Overdue | Self::WithAttempts | Self::Gone(_) => None,
        }
    }

    /// Whether the tree had to be killed.
    fn cut(&self) -> Cut {
        match *self {
            Self::Saving { .. } | Self::Asked { .. } | Self::WithAttempts => Cut::No,
            Self::Killed { .. } | Self::Overdue => Cut::Yes,
            Self::Gone(cut) => cut,
        }
    }

    /// What is done once the tree's leader is dead: others of the tree got the same signal, and have the same time.
    pub(super) fn leader_died(&self, tree: TreeId) -> Option<Effect> {
        match self {
            Self::Saving { .. } | Self::Asked { .. } => Some(Effect::AwaitTree { tree }),
            Self::Killed { .. } | Self::Overdue | Self::WithAttempts | Self::Gone(_) => None,
        }
    }
}

impl Supervisor {
    /// Ends what lives. An end that has begun goes on, and its grace can only become shorter.
    pub(super) fn end(&mut self, by: EndedBy, grace: Duration) {
        let now = self.clock.now.mono;
        match &mut self.life {
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Quarantined(_) => {}
            Life::Starting { end, .. } => *end = Some(End::merge(*end, by, grace)),
            Life::Running(child) => {
                let child = child.clone();
                self.begin_end(child, by, grace);
            }
            Life::Ending(ending) => {
                ending.phase.hasten(grace, now);
                if ending.phase == Phase::WithAttempts {
                    self.end_attempts(by, grace);
                }
            }
        }
    }

    pub(super) fn begin_end(&mut self, child: Child, by: EndedBy, grace: Duration) {
        let now = self.clock.now.mono;
        let has_process = child.process.is_some();
        let incarnation = child.incarnation;
        let asked = self.asks_to_save(&child, by, grace);
        let phase = if !has_process {
            Phase::WithAttempts
        } else if asked != Asked::No && self.settings.asks_to_save == AsksToSave::ByCommand {
            self.effects.push(Effect::RunCheckpointCommand {
                incarnation,
                within: grace / 2,
            });
            Phase::Saving {
                since: now,
                signal_at: now.saturating_add(grace / 2),
                until: now.saturating_add(grace),
            }
        } else {
            let tree = TreeId::Life(incarnation);
            let (phase, effect) = Phase::first(tree, self.policy.stop_signal, grace, now);
            self.effects.push(effect);
            phase
        };
        self.life = Life::Ending(Ending {
            child,
            by,
            died: None,
            phase,
            asked,
            remains: None,
        });
        if !has_process {
            self.end_attempts(by, grace);
        }
    }

    /// Whether an end that begins asks the agent to save: one that was planned, with time for it.
    fn asks_to_save(&self, child: &Child, by: EndedBy, grace: Duration) -> Asked {
        let has_process = child.process.is_some();
        let is_planned = match by {
            EndedBy::Command | EndedBy::ShimStop => true,
            EndedBy::Itself
            | EndedBy::StartTimeout
            | EndedBy::Fence
            | EndedBy::Watchdog
            | EndedBy::Stall
            | EndedBy::ShimDeath
            | EndedBy::MessageTimeout
            | EndedBy::MessageCancel => false,
        };
        let by_signal = self.policy.stop_signal != StopSignal::Kill && (has_process || self.has_attempts_begun());
        let by_command = has_process && self.settings.asks_to_save == AsksToSave::ByCommand;
        if is_planned && !grace.is_zero() && (by_signal || by_command) {
            self.ask_to_save(child.incarnation)
        } else {
            Asked::No
        }
    }

    /// The command that saves is over: the tree gets its stop signal, and what is left of its grace.
    pub(super) fn checkpoint_command_done(&mut self, incarnation: Incarnation) {
        let now = self.clock.now.mono;
        let signal = self.policy.stop_signal;
        if let Life::Ending(ending) = &mut self.life
            && ending.child.incarnation == incarnation
            && let Phase::Saving { until, .. } = ending.phase
        {
            let left = until.saturating_since(now);
            let (phase, effect) = Phase::first(TreeId::Life(incarnation), signal, left, now);
            ending.phase = phase;
            self.effects.push(effect);
        }
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
                let effect = ending.phase.leader_died(TreeId::Life(incarnation));
                self.effects.extend(effect);
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

    /// A command that hangs does not take the time in which the agent is to end by itself.
    fn expire_saving(&mut self) {
        let now = self.clock.now.mono;
        if let Life::Ending(ending) = &self.life
            && let Phase::Saving { signal_at, until, .. } = ending.phase
            && signal_at <= now
            && until > now
        {
            let incarnation = ending.child.incarnation;
            self.effects.push(Effect::EndCheckpointCommand { incarnation });
            self.checkpoint_command_done(incarnation);
        }
    }

    pub(super) fn expire_ladder(&mut self) {
        self.expire_saving();
        let now = self.clock.now.mono;
        if let Life::Ending(ending) = &mut self.life {
            let effect = ending.phase.climb(TreeId::Life(ending.child.incarnation), now);
            self.effects.extend(effect);
        }
    }

    pub(super) fn tree_gone(&mut self, tree: TreeId, remains: Remains) {
        match tree {
            TreeId::Life(incarnation) => self.life_gone(incarnation, remains),
            TreeId::Attempt(attempt) => self.attempt_gone(&attempt, remains),
        }
    }

    fn life_gone(&mut self, incarnation: Incarnation, remains: Remains) {
        let Some(mut ending) = self.ended(incarnation) else {
            return;
        };
        let died = *ending.died.get_or_insert(self.clock.now.mono);
        if self.checkpoints_pending() {
            // What it has saved is told with its end, and handed to the next life.
            ending.phase = Phase::Gone(ending.phase.cut());
            ending.remains = Some(Box::new(remains));
            self.life = Life::Ending(ending);
            return;
        }
        let mut evidence = remains.evidence(ending.by, died.saturating_since(ending.child.since));
        evidence.asked_save = self.asked_save(ending.asked);
        let class = self.note_end(incarnation, &evidence);
        let seen = Ended::seen(&evidence, class, self.policy.stable_after);
        let ended = match ending.phase.cut() {
            Cut::No => seen,
            Cut::Yes => seen.cut_short(evidence.asked_save),
        };
        self.checkpoint_outlives(incarnation, ended);
        self.report(incarnation, ReportFact::Exited(Box::new(evidence.clone())));
        self.forsake_attempts(Some(&evidence));
        self.journal_mut().child = None;
        self.life = Life::Idle;
        self.proceed();
    }

    /// Ends a life that is dead, once all that it has said is durable.
    pub(super) fn conclude_gone(&mut self) {
        if !self.checkpoints_pending()
            && let Life::Ending(ending) = &mut self.life
            && let Some(remains) = ending.remains.take()
        {
            let incarnation = ending.child.incarnation;
            self.life_gone(incarnation, *remains);
        }
    }

    /// Ends a life that has no process, once the last of its attempts is over.
    pub(super) fn end_with_attempts(&mut self) {
        let ending = match &self.life {
            Life::Ending(ending)
            | Life::Quarantined(Quarantine {
                ending: Some(ending), ..
            }) => ending,
            Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Running(_)
            | Life::Quarantined(Quarantine { ending: None, .. }) => return,
        };
        if ending.phase == Phase::WithAttempts && !self.has_attempts_begun() {
            self.life_gone(ending.child.incarnation, Remains::of_nothing());
        }
    }

    /// How the tree that is gone came to end. A driver that sees child and tree die at once may tell the latter alone.
    fn ended(&self, incarnation: Incarnation) -> Option<Ending> {
        let ending = match &self.life {
            Life::Running(child) => Ending {
                child: child.clone(),
                by: EndedBy::Itself,
                died: None,
                phase: Phase::Overdue,
                asked: Asked::No,
                remains: None,
            },
            Life::Ending(ending) if ending.remains.is_some() => return None,
            Life::Ending(ending) => ending.clone(),
            Life::Quarantined(quarantine) => quarantine.ending.clone()?,
            Life::Adopting(_) | Life::Sweeping(_) | Life::Idle | Life::Starting { .. } => return None,
        };
        (ending.child.incarnation == incarnation).then_some(ending)
    }

    pub(super) fn tree_survived(&mut self, tree: TreeId, survivors: Vec<Survivor>) {
        match tree {
            TreeId::Life(incarnation) => self.life_survived(incarnation, survivors),
            TreeId::Attempt(attempt) => self.attempt_survived(&attempt, survivors),
        }
    }

    fn life_survived(&mut self, incarnation: Incarnation, survivors: Vec<Survivor>) {
        let now = self.clock.now.mono;
        let Life::Ending(ending) = &mut self.life else { return };
        if ending.child.incarnation != incarnation || ending.phase != Phase::Overdue {
            return;
        }
        if survivors.is_empty() {
            ending.phase = Phase::killed(now);
            return;
        }
        self.quarantine(survivors);
    }

    /// Processes of the life that is ending outlive SIGKILL.
    pub(super) fn quarantine(&mut self, mut survivors: Vec<Survivor>) {
        let Life::Ending(ending) = &self.life else { return };
        let ending = ending.clone();
        survivors.truncate(SURVIVORS_MAX);
        self.survivors_told = self.report(ending.child.incarnation, ReportFact::Survived(survivors.clone()));
        self.life = Life::Quarantined(Quarantine {
            ending: Some(ending),
            survivors,
        });
        if let Some(next) = self.next.take() {
            self.number(next);
        }
        self.proceed();
    }
}

impl End {
    /// Asked for a second time: for the first reason, by the shorter grace.
    pub(super) fn merge(first: Option<Self>, by: EndedBy, grace: Duration) -> Self {
        match first {
            Some(first) => Self {
                by: first.by,
                grace: first.grace.min(grace),
            },
            None => Self { by, grace },
        }
    }
}

impl Remains {
    /// Of a life that had no process.
    fn of_nothing() -> Self {
        Self {
            status: ExitStatus::Exited(0),
            oom_killed: false,
            user_time: Duration::ZERO,
            system_time: Duration::ZERO,
            max_rss_kib: 0,
            stderr_tail: String::new(),
            stdout_tail: String::new(),
            output: Output::default(),
        }
    }

    /// What the server is told of an end.
    pub(super) fn evidence(self, ended_by: EndedBy, uptime: Duration) -> ExitEvidence {
        ExitEvidence {
            status: self.status,
            ended_by,
            oom_killed: self.oom_killed,
            uptime,
            user_time: self.user_time,
            system_time: self.system_time,
            max_rss_kib: self.max_rss_kib,
            stderr_tail: self.stderr_tail,
            stdout_tail: self.stdout_tail,
            asked_save: AskedSave::NotAsked,
        }
    }
}
