//! I1, I2, I3, I4: who lives, who may begin, and why who lived came to end.

use std::time::Duration;

use rekindle::exit::{EndedBy, ExitClass};
use rekindle::exit_rule::classify;
use rekindle::id::{AgentId, BootId, Incarnation};
use rekindle::process::ProcessIdentity;
use rekindle::report::{Report, ReportFact};
use rekindle::state::{AgentState, Desired, FailureCause};
use rekindle::time::MonoTime;
use rekindle_server_core::record::{AgentRecord, OperationKind, StateReason};
use rekindle_shim_core::{Journal, TreeId};

use super::{HasProcess, Invariant, Lied, Oracle, Truth};
use crate::disk::Disk;
use crate::host::Branch;
use crate::queue::Uid;
use crate::shim::{Shim, Watched};

/// Backoff's jitter takes off three tenths at most, in this world.
const JITTER: f64 = 0.3;

/// How the newest life ended, as far as it matters to the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum End {
    /// It did not, or it spends nothing.
    #[default]
    Free,
    /// A restart spends an attempt.
    Failure,
}

impl Oracle {
    /// A life is about to begin.
    ///
    /// `known` is what the server knows to be spent of the budget.
    pub(crate) fn begins(
        &mut self,
        shim: &Shim,
        incarnation: Incarnation,
        now: Duration,
        stable_after: Duration,
        known: u32,
    ) {
        let agent = &shim.agent;
        let truth = self.truth(agent);
        if incarnation <= truth.last && truth.lied == Lied::No {
            let what = format!(
                "incarnation {incarnation} of {agent} begins, and {} has been",
                truth.last
            );
            return self.fail(Invariant::I1, what);
        }
        let by_operator = truth.run_target >= incarnation;
        let stable = truth
            .ended
            .is_some_and(|ended| ended.saturating_sub(truth.began) >= stable_after);
        if by_operator || stable {
            truth.spent = 0;
        }
        // Who takes over from a shim that has surely fenced itself spends nothing, whatever truly ended its child.
        let taken_over = truth.by != Some(shim.marker);
        if taken_over {
            // What the other shim spent alone goes with it.
            truth.spent = truth.spent.min(known);
        }
        if truth.end == End::Failure && !by_operator && !taken_over {
            truth.spent += 1;
        }
        // A shim that is left alone goes by the policy that it was last told.
        let told = shim
            .journal
            .charge
            .as_ref()
            .map_or(0, |charge| charge.policy.max_attempts);
        truth.allowed = truth.allowed.max(told);
        truth.by = Some(shim.marker);
        truth.last = truth.last.max(incarnation);
        (truth.began, truth.ended, truth.end) = (now, None, End::Free);
        truth.has = HasProcess::Yes;
        let (spent, allowed, honest) = (truth.spent, truth.allowed, truth.lied == Lied::No);
        if spent > allowed && honest {
            let what = format!("incarnation {incarnation} of {agent} is restart {spent}, and {allowed} are allowed");
            self.fail(Invariant::I3, what);
        }
    }

    /// What failed before spends nothing.
    pub(crate) fn forgive(&mut self, agent: &AgentId) {
        self.truth(agent).end = End::Free;
    }

    /// A child's process exists.
    pub(crate) fn spawned(&mut self, shim: &Shim, incarnation: Incarnation, uid: Uid, process: &ProcessIdentity) {
        self.task_spawned(shim, incarnation, Branch::Life, uid, process);
    }

    /// The process of a message exists.
    pub(crate) fn task_spawned(
        &mut self,
        shim: &Shim,
        incarnation: Incarnation,
        branch: Branch,
        uid: Uid,
        process: &ProcessIdentity,
    ) {
        self.owners.insert(uid, (shim.agent.clone(), incarnation, branch));
        self.truth(&shim.agent).processes.push(process.clone());
    }

    /// A process has another child of the same tree.
    pub(crate) fn forked(&mut self, shim: &Shim, incarnation: Incarnation, branch: Branch, uid: Uid) {
        self.owners.insert(uid, (shim.agent.clone(), incarnation, branch));
    }

    /// What a process was begun for.
    pub(crate) fn branch_of(&self, uid: Uid) -> Option<Branch> {
        self.owners.get(&uid).map(|(_, _, branch)| *branch)
    }

    /// A life has begun that has no process.
    pub(crate) fn began_without_process(&mut self, agent: &AgentId) {
        self.truth(agent).has = HasProcess::No;
    }

    /// A child is dead.
    pub(crate) fn died(&mut self, shim: &Shim, incarnation: Incarnation, now: Duration) {
        let truth = self.truth(&shim.agent);
        if truth.last == incarnation {
            truth.ended.get_or_insert(now);
        }
    }

    /// A shim has seen that a life is over. One that did not run for a while could not see it earlier.
    pub(crate) fn seen_dead(&mut self, shim: &Shim, incarnation: Incarnation, now: Duration) {
        let truth = self.truth(&shim.agent);
        if truth.last == incarnation {
            truth.ended = Some(now);
        }
    }

    /// A shim writes its journal: its newest facts are what the server will hear. Gives them.
    pub(crate) fn journalled(&mut self, shim: &Shim, journal: &Journal) -> Vec<Report> {
        let last = journal.last_report;
        let seen = self.seen_reports.insert(shim.marker, last).unwrap_or_default();
        let fresh = journal.outbox.iter().filter(|report| report.sequence > seen);
        fresh.cloned().collect()
    }

    /// One of them.
    pub(crate) fn reported(&mut self, agent: &AgentId, report: &Report, now: Duration) {
        let end = match &report.fact {
            ReportFact::Exited(evidence) => match (evidence.ended_by, classify(&[], evidence, report.time)) {
                (EndedBy::Itself, ExitClass::Crash)
                | (
                    EndedBy::StartTimeout
                    | EndedBy::Watchdog
                    | EndedBy::Stall
                    | EndedBy::ShimDeath
                    | EndedBy::MessageTimeout,
                    _,
                ) => End::Failure,
                // It was an operator who ended the agent with its message.
                (
                    EndedBy::Itself | EndedBy::Command | EndedBy::ShimStop | EndedBy::Fence | EndedBy::MessageCancel,
                    _,
                ) => End::Free,
            },
            ReportFact::SpawnFailed(_) => End::Failure,
            ReportFact::Recovering { .. }
            | ReportFact::Spawned(_)
            | ReportFact::MainProcess(_)
            | ReportFact::Ready
            | ReportFact::Stopping
            | ReportFact::Survived(_)
            | ReportFact::AttemptAccepted(_)
            | ReportFact::AttemptStarted(..)
            | ReportFact::AttemptSurvived(..)
            | ReportFact::AttemptFinished(..)
            | ReportFact::HandedOver(_)
            | ReportFact::CheckpointRead(_)
            | ReportFact::CheckpointConfirmed(_) => return,
        };
        self.judge_verdict(agent, report);
        if let ReportFact::Exited(evidence) = &report.fact {
            self.saver_ended(agent, report.incarnation, evidence, end == End::Failure);
        }
        let truth = self.truth(agent);
        if report.incarnation == truth.last {
            truth.end = end;
            if truth.has == HasProcess::No {
                // Nobody sees its end but its shim.
                truth.ended.get_or_insert(now);
            }
        }
    }

    /// A child hangs from here on.
    pub(crate) fn hangs(&mut self, agent: &AgentId, incarnation: Incarnation) {
        let truth = self.truth(agent);
        truth.hung = truth.hung.max(incarnation);
    }

    /// I12: only a child that hangs is called hung.
    fn judge_verdict(&mut self, agent: &AgentId, report: &Report) {
        let ReportFact::Exited(evidence) = &report.fact else {
            return;
        };
        let hung = self.truth(agent).hung;
        if matches!(evidence.ended_by, EndedBy::Watchdog | EndedBy::Stall) && report.incarnation > hung {
            let what = format!(
                "incarnation {} of {agent} is called hung, and was not",
                report.incarnation
            );
            self.fail(Invariant::I12, what);
        }
    }

    /// A shim is dead: its child, if it has one, is gone unseen.
    pub(crate) fn shim_gone(&mut self, shim: &Shim, boot: BootId, now: Duration) {
        let truth = self.truth(&shim.agent);
        let left = shim
            .journal
            .child
            .as_ref()
            .is_some_and(|child| child.incarnation == truth.last);
        // What an earlier boot left is gone with that.
        if left && shim.journal.boot_id == boot {
            truth.end = End::Failure;
            truth.ended.get_or_insert(now);
        }
    }

    /// A host is down: what nobody has told the server of its lives, nobody can.
    pub(crate) fn rebooted(&mut self, shim: &Shim, disk: &Disk, now: Duration) {
        let truth = self.truth(&shim.agent);
        if truth.by == Some(shim.marker) {
            truth.ended.get_or_insert(now);
        }
        let last = truth.last;
        self.saver_rebooted(&shim.agent, last);
        let told = disk
            .agent(&shim.agent)
            .is_some_and(|record| record.incarnation >= last && is_over(record));
        if !told {
            self.truth(&shim.agent).end = End::Free;
        }
        self.seen_reports.insert(shim.marker, shim.journal.last_report);
        self.work.rebooted.insert(shim.agent.clone());
    }

    /// What an operator ordered is durable.
    pub(super) fn ordered(&mut self, record: &AgentRecord) {
        let truth = self.truth(&record.id);
        // An attempt that was ordered may begin under a policy that would not have allowed it.
        if truth.spent == 0 && record.budget.attempts == 0 {
            truth.allowed = record.policy.max_attempts;
        }
        truth.allowed = truth.allowed.max(record.policy.max_attempts);
        // What shall not run is ended, whoever began it.
        if record.desired == Desired::Stopped {
            truth.stop_target = truth.stop_target.max(record.incarnation);
        }
        let Some(operation) = &record.operation else { return };
        match operation.kind {
            OperationKind::Restart | OperationKind::Start => {
                if operation.target > truth.run_target {
                    truth.run_target = operation.target;
                    truth.spent = 0;
                    // What failed before is forgiven; what the order brings is not.
                    if operation.target > truth.last {
                        truth.end = End::Free;
                    }
                    truth.allowed = record.policy.max_attempts;
                }
            }
            OperationKind::Stop => truth.stop_target = truth.stop_target.max(operation.target),
        }
    }

    /// Whether an operator wants this life to end.
    pub(crate) fn is_ordered_to_end(&self, agent: &AgentId, incarnation: Incarnation) -> bool {
        self.agents
            .get(agent)
            .is_some_and(|truth| truth.run_target > incarnation || truth.stop_target >= incarnation)
    }

    /// An agent is deleted: all that was counted of it begins anew. What of its processes lives on is as it is.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        self.saves_forgotten(agent);
        let truth = self.truth(agent);
        let (lied, hung, processes) = (truth.lied, truth.hung, std::mem::take(&mut truth.processes));
        *truth = Truth {
            lied,
            hung,
            processes,
            ..Truth::default()
        };
    }

    /// A signal that an operator sent is about to reach a process.
    pub(crate) fn signalled(&mut self, shim: &Shim, tree: &TreeId, watched: Option<Watched>, uid: Uid) {
        let meant = match (tree, watched) {
            (TreeId::Life(incarnation), _) => Some((shim.agent.clone(), *incarnation, Branch::Life)),
            (TreeId::Attempt(_), watched) => {
                watched.map(|watched| (shim.agent.clone(), watched.incarnation, watched.branch))
            }
        };
        if self.owners.get(&uid) != meant.as_ref() {
            let what = format!("a signal for {tree} of {} reached another process", shim.agent);
            self.fail(Invariant::I2, what);
        }
    }

    /// Whether a process ever was this agent's.
    pub(crate) fn knows(&self, agent: &AgentId, process: &ProcessIdentity) -> bool {
        self.agents
            .get(agent)
            .is_some_and(|truth| truth.processes.iter().any(|known| known.same_process(process)))
    }

    /// Attempts keep their distance, by the clock that does not jump.
    pub(super) fn attempted(&mut self, before: &AgentRecord, after: &AgentRecord, now: MonoTime) {
        let alone = after.budget.last_attempt != Some(after.updated);
        if alone && after.budget != before.budget {
            // A shim made it alone, and paced it by its own clock.
            self.attempts.remove(&after.id);
        }
        if alone || after.budget.attempts != before.budget.attempts + 1 {
            return;
        }
        let last = self.attempts.insert(after.id.clone(), now);
        let Some(last) = last.filter(|_| before.budget.attempts > 0) else {
            return;
        };
        let wait = after.policy.cooldown.min(before.policy.cooldown).mul_f64(1.0 - JITTER);
        let shortest = after.policy.backoff.map_or(wait, |backoff| wait.min(backoff.max));
        let waited = now.saturating_since(last);
        if waited + Duration::from_millis(1) < shortest {
            let what = format!(
                "attempt {} of {} came {waited:?} after the last",
                after.budget.attempts, after.id
            );
            self.fail(Invariant::I12, what);
        }
    }
}

/// Whether the server knows that nothing lives.
fn is_over(record: &AgentRecord) -> bool {
    match record.state {
        AgentState::Crashed => record.reason != StateReason::Failure(FailureCause::HeartbeatTimeout),
        AgentState::Stopped | AgentState::Terminated => true,
        AgentState::Pending
        | AgentState::Starting
        | AgentState::Running
        | AgentState::Unreachable
        | AgentState::Stopping
        | AgentState::Quarantined => false,
    }
}
