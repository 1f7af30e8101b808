//! Lives: how an incarnation begins, becomes ready and ends, and what follows.

mod end;

pub(super) use end::{End, Lost, SameBoot};

use rekindle::exit::{EndedBy, ExitClass, ExitEvidence, ExitStatus};
use rekindle::exit_rule::classify;
use rekindle::id::{AgentId, Incarnation};
use rekindle::policy::RestartPolicy;
use rekindle::process::ProcessIdentity;
use rekindle::report::{Report, ReportFact, Survivor};
use rekindle::state::{AgentState, Desired, FailureCause};

use super::alone::Done;
use super::step::{Attributes, Step, attributes};
use super::work::Attempt;
use super::{Overdue, Timer};
use crate::effect::{DeadlineReason, Disconnect, Effect};
use crate::event::EventKind;
use crate::input::Wait;
use crate::record::{AgentProcess, AgentRecord, Failure, Fate, OperationKind, Resume, StateReason};

impl Step<'_> {
    pub(super) fn apply(&mut self, id: &AgentId, report: Report) {
        let (incarnation, sequence) = (report.incarnation, report.sequence);
        self.as_seen(report.time, |step| match report.fact {
            ReportFact::Recovering { attempts } => step.recovering_alone(id, incarnation, attempts, report.time),
            ReportFact::Spawned(identity) => step.spawned(id, incarnation, identity),
            ReportFact::MainProcess(identity) => step.main_process(id, incarnation, identity),
            ReportFact::Ready => step.ready(id, incarnation),
            ReportFact::Stopping => step.stops_by_itself(id, incarnation),
            ReportFact::Exited(evidence) => step.life_ended(id, incarnation, End::Exited(evidence)),
            ReportFact::SpawnFailed(message) => step.life_ended(id, incarnation, End::SpawnFailed(message)),
            ReportFact::Survived(survivors) => step.survived(id, incarnation, survivors),
            ReportFact::HandedOver(checkpoint) => step.handed_over(id, incarnation, checkpoint),
            ReportFact::CheckpointRead(checkpoint) => step.checkpoint_read(id, incarnation, checkpoint),
            ReportFact::CheckpointConfirmed(checkpoint) => step.checkpoint_confirmed(id, incarnation, checkpoint),
            ReportFact::AttemptAccepted(attempt) => {
                step.attempted(id, (incarnation, sequence), &attempt, Attempt::Accepted)
            }
            ReportFact::AttemptStarted(attempt, process) => {
                step.attempted(id, (incarnation, sequence), &attempt, Attempt::Started(process));
            }
            ReportFact::AttemptSurvived(attempt, survivors) => {
                step.attempted(id, (incarnation, sequence), &attempt, Attempt::Survived(survivors));
            }
            ReportFact::AttemptFinished(attempt, result) => {
                step.attempted(id, (incarnation, sequence), &attempt, Attempt::Finished(result));
            }
        });
    }

    fn spawned(&mut self, id: &AgentId, incarnation: Incarnation, identity: Option<ProcessIdentity>) {
        let record = self.record(id);
        let newest_seen = record
            .process
            .as_ref()
            .map_or(Incarnation::ZERO, |process| process.incarnation);
        if incarnation < newest_seen || incarnation < record.incarnation && record.state != AgentState::Stopping {
            return;
        }
        // Told again by a shim whose reports were applied before another marker's: that life is over.
        if incarnation == record.incarnation && record.process.is_none() && is_over(record) {
            return;
        }
        let host = record
            .holder
            .as_ref()
            .map_or_else(String::new, |holder| holder.host.name.clone());
        let mut details = attributes([("host", &host)]);
        let message = match &identity {
            Some(ProcessIdentity { pid, .. }) => {
                details.extend(attributes([("pid", pid)]));
                format!("incarnation {incarnation} runs as pid {pid} on {host}")
            }
            None => format!("incarnation {incarnation} takes messages on {host}, each in a process of its own"),
        };
        details.extend(self.lateness());
        self.began(id, incarnation);
        let record = self.edit(id);
        record.incarnation = record.incarnation.max(incarnation);
        record.process = Some(AgentProcess {
            incarnation,
            identity,
            host,
        });
        // A forced life begins beside an older one whose end nobody tells.
        let forced = record.state == AgentState::Stopping
            && record.desired == Desired::Running
            && record.incarnation == incarnation;
        let state = record.state;
        self.event(EventKind::AgentStarted, Some(id), incarnation, message, details);
        match state {
            AgentState::Stopping if forced => {
                let message = "the new life has begun; the old one was given up";
                self.enter(
                    id,
                    AgentState::Starting,
                    StateReason::Operator,
                    message,
                    Attributes::new(),
                );
            }
            AgentState::Starting | AgentState::Stopping => {}
            AgentState::Pending
            | AgentState::Running
            | AgentState::Unreachable
            | AgentState::Crashed
            | AgentState::Stopped
            | AgentState::Terminated
            | AgentState::Quarantined => {
                self.enter(
                    id,
                    AgentState::Starting,
                    StateReason::None,
                    "started by its shim",
                    Attributes::new(),
                );
            }
        }
        let spawned = |kind, target| kind != OperationKind::Stop && target <= incarnation;
        self.answer_waiters(
            id,
            |waiter| waiter.wait == Wait::Started && spawned(waiter.kind, waiter.target),
            crate::effect::OperationOutcome::Completed,
            &format!("incarnation {incarnation} is spawned"),
        );
    }

    fn ready(&mut self, id: &AgentId, incarnation: Incarnation) {
        let record = self.record(id);
        if record.state == AgentState::Starting && record.incarnation == incarnation && record.is_spawned() {
            let took = self.now.wall.saturating_since(record.state_since).as_millis();
            self.became_ready(id, &format!("incarnation {incarnation} is ready after {took} ms"));
        }
    }

    fn main_process(&mut self, id: &AgentId, incarnation: Incarnation, identity: ProcessIdentity) {
        if let Some(process) = &mut self.edit(id).process
            && process.incarnation == incarnation
        {
            process.identity = Some(identity);
        }
    }

    fn stops_by_itself(&mut self, id: &AgentId, incarnation: Incarnation) {
        let record = self.record(id);
        let lives = record.is_spawned() && record.incarnation == incarnation;
        if lives && matches!(record.state, AgentState::Starting | AgentState::Running) {
            let message = "the agent says that it is ending by itself";
            self.enter(id, AgentState::Stopping, StateReason::Agent, message, Attributes::new());
        }
    }

    /// The newest incarnation runs, and is ready.
    pub(super) fn became_ready(&mut self, id: &AgentId, message: &str) {
        self.enter(id, AgentState::Running, StateReason::None, message, Attributes::new());
        let record = self.edit(id);
        record.resume = None;
        let recovered = std::mem::take(&mut record.recovering);
        let (incarnation, budget, max) = (record.incarnation, record.budget, record.policy.max_attempts);
        let ordered = record.run_order();
        if recovered {
            self.event(
                EventKind::RecoverySucceeded,
                Some(id),
                incarnation,
                format!("recovered by attempt {} of {max}", budget.attempts),
                attributes([("attempt", &budget.attempts), ("max_attempts", &max)]),
            );
        }
        self.await_stable(id);
        let detail = format!("incarnation {incarnation} is ready");
        if ordered.is_some_and(|target| target <= incarnation) {
            let text = self.operation_text(id);
            self.event(
                EventKind::AgentRestarted,
                Some(id),
                incarnation,
                text,
                Attributes::new(),
            );
            self.finish_operation(id, Fate::Completed(detail.clone()));
        }
        let ran = |kind, target| kind != OperationKind::Stop && target <= incarnation;
        self.settle(id, ran, &Fate::Completed(detail));
    }

    /// A life is over, and its tree is proven dead.
    pub(super) fn life_ended(&mut self, id: &AgentId, incarnation: Incarnation, end: End) {
        if self.is_old_news(id, incarnation) {
            return;
        }
        self.checkpoint_after(id, incarnation, &end);
        let text = end.describe();
        let mut details = end.attributes();
        details.extend(self.lateness());
        let record = self.edit(id);
        record.process = None;
        record.incarnation = record.incarnation.max(incarnation);
        let newest = record.incarnation;
        let makes_way = record.state == AgentState::Stopping && record.desired == Desired::Running;
        let failed_order = match record
            .operation
            .as_ref()
            .map(|operation| (operation.kind, operation.target))
        {
            Some((OperationKind::Stop, target)) if incarnation < target => {
                // An order to run that the stop replaced may have arrived first: the shim tells what became of it.
                let message = format!("incarnation {incarnation} {text}; incarnation {target} may have been ordered");
                return self.enter(id, AgentState::Stopping, StateReason::Operator, message, details);
            }
            Some((OperationKind::Stop, _)) => {
                let message = match end {
                    End::SpawnFailed(_) => "stopped; nothing runs".to_owned(),
                    End::Exited(_) | End::NotStarted | End::Rebooted(_) | End::Lost(_) => format!("stopped: {text}"),
                };
                return self.stopped(id, Done { message, details }, end.is_of_this_boot());
            }
            Some((OperationKind::Restart | OperationKind::Start, target)) if incarnation < target => {
                let message = format!("incarnation {incarnation} {text}; incarnation {target} is ordered");
                return self.enter(id, AgentState::Starting, StateReason::Operator, message, details);
            }
            Some((OperationKind::Restart | OperationKind::Start, _)) => true,
            None if makes_way && incarnation < newest => {
                // Its shim began it alone, and the newest is ordered by now.
                let message = format!("incarnation {incarnation} {text}; incarnation {newest} is ordered");
                return self.enter(id, AgentState::Starting, StateReason::Operator, message, details);
            }
            None => false,
        };
        let detail = format!("incarnation {incarnation} {text}");
        if failed_order {
            self.finish_operation(id, Fate::Failed(detail.clone()));
        }
        self.edit(id).recovering = false;
        if self.record(id).desired == Desired::Stopped {
            let message = format!("stopped: {text}");
            self.stopped(id, Done { message, details }, end.is_of_this_boot());
        } else {
            if let End::Exited(evidence) = &end {
                self.was_stable(id, evidence.uptime);
            }
            self.judge(id, incarnation, end);
        }
        let failed = |kind, target| kind != OperationKind::Stop && target <= incarnation;
        self.settle(id, failed, &Fate::Failed(detail));
    }

    /// Whether a life's end is known already, or cannot be.
    fn is_old_news(&self, id: &AgentId, incarnation: Incarnation) -> bool {
        let record = self.record(id);
        match &record.process {
            Some(process) => process.incarnation > incarnation,
            None if incarnation > record.incarnation => false,
            None if incarnation < record.incarnation => !is_quarantined_by(record, incarnation),
            None => match record.state {
                AgentState::Starting | AgentState::Stopping | AgentState::Unreachable | AgentState::Quarantined => {
                    false
                }
                AgentState::Crashed => record.reason != StateReason::Failure(FailureCause::HeartbeatTimeout),
                AgentState::Pending | AgentState::Running | AgentState::Stopped | AgentState::Terminated => true,
            },
        }
    }

    /// Nobody asked for this end: what it means, and what follows.
    fn judge(&mut self, id: &AgentId, incarnation: Incarnation, end: End) {
        let text = end.describe();
        let mut details = end.attributes();
        details.extend(self.lateness());
        let stopped = |step: &mut Self, reason, message| {
            step.enter(id, AgentState::Stopped, reason, message, details.clone());
            step.plan_recovery(id);
        };
        let cause = match &end {
            End::SpawnFailed(_) => FailureCause::SpawnFailed,
            End::NotStarted => FailureCause::StartTimeout,
            End::Lost(Lost::Shim) => FailureCause::ShimLost,
            End::Lost(Lost::Fence) => FailureCause::Fenced,
            End::Rebooted(launch) => {
                let launch = launch.clone();
                self.edit(id).resume = Some(Resume { incarnation, launch });
                return stopped(self, StateReason::Reboot, "gone with a reboot of its host".to_owned());
            }
            End::Lost(Lost::ShimStop) => return self.shim_stopped(id, text, details),
            End::Exited(evidence) => match (evidence.ended_by, evidence.status) {
                (EndedBy::ShimStop, _) => return self.shim_stopped(id, text, details),
                (EndedBy::Fence, _) => FailureCause::Fenced,
                (EndedBy::StartTimeout, _) => FailureCause::StartTimeout,
                (EndedBy::Watchdog, _) => FailureCause::WatchdogTimeout,
                (EndedBy::Stall, _) => FailureCause::Stalled,
                (EndedBy::ShimDeath, _) => FailureCause::ShimLost,
                (EndedBy::MessageTimeout, _) => FailureCause::MessageTimeout,
                (EndedBy::MessageCancel, _) => FailureCause::MessageCancelled,
                (EndedBy::Itself | EndedBy::Command, status) => {
                    let policy = &self.record(id).policy;
                    match (classify(&policy.exit_rules, evidence, self.now.wall), policy.restart) {
                        (ExitClass::Clean, RestartPolicy::Always) => return stopped(self, StateReason::Repeat, text),
                        (ExitClass::Clean, RestartPolicy::OnFailure | RestartPolicy::Never) => {
                            return stopped(self, StateReason::Finished, text);
                        }
                        (ExitClass::Quota { until }, _) => {
                            self.edit(id).parked_until = Some(until);
                            FailureCause::Quota
                        }
                        (ExitClass::Config, _) => FailureCause::Config,
                        (ExitClass::Auth, _) => FailureCause::Auth,
                        // No rule of a policy says so.
                        (ExitClass::Interrupted, _) => FailureCause::MessageCancelled,
                        (ExitClass::Crash, _) if evidence.oom_killed => FailureCause::OomKilled,
                        (ExitClass::Crash, _) => match status {
                            ExitStatus::Signaled { .. } => FailureCause::Signaled,
                            ExitStatus::Exited(_) | ExitStatus::Unknown => FailureCause::Exited,
                        },
                    }
                }
            },
        };
        let message = format!("incarnation {incarnation} {text}");
        let evidence = match end {
            End::Exited(evidence) => Some(*evidence),
            End::SpawnFailed(_) | End::NotStarted | End::Rebooted(_) | End::Lost(_) => None,
        };
        self.set_failure(id, cause, incarnation, &message, evidence, Vec::new());
        self.enter(id, AgentState::Crashed, StateReason::Failure(cause), message, details);
        self.plan_recovery(id);
    }

    /// The shim is going: the next start is for the one that says hello.
    fn shim_stopped(&mut self, id: &AgentId, text: String, details: Attributes) {
        self.enter(id, AgentState::Stopped, StateReason::ShimStopped, text, details);
    }

    pub(super) fn set_failure(
        &mut self,
        id: &AgentId,
        cause: FailureCause,
        incarnation: Incarnation,
        message: &str,
        evidence: Option<ExitEvidence>,
        survivors: Vec<Survivor>,
    ) {
        let time = self.seen();
        self.edit(id).last_failure = Some(Failure {
            cause,
            message: message.to_owned(),
            time,
            incarnation,
            evidence,
            survivors,
        });
    }

    /// An order to start has its policy's `start_timeout`, as long as a shim is there to carry it out.
    pub(super) fn await_start(&mut self, id: &AgentId) {
        let at = self.now.mono.saturating_add(self.record(id).policy.start_timeout);
        let reason = DeadlineReason::StartTimeout;
        self.machine.set_timer(id, Some(Timer { at, reason }));
    }

    pub(super) fn start_timed_out(&mut self, id: &AgentId) {
        let Some(agent) = self.find(id) else { return };
        let record = &agent.record;
        let Some(session) = agent.settled() else { return };
        if record.state != AgentState::Starting || record.process.is_some() {
            return;
        }
        // The order may be lost, or its report under way: the shim's next inventory says what runs, and decides. Until the
        // stream is cut the shim cannot know, so that its lease counts from then.
        self.agent(id).overdue = Overdue::Yes;
        self.then(Effect::Disconnect {
            session,
            cause: Disconnect::Overdue,
        });
    }

    fn survived(&mut self, id: &AgentId, incarnation: Incarnation, survivors: Vec<Survivor>) {
        // An order for a later life does not make the survivors of this one old news; only that life does, where it goes on:
        // one that another shim has run and ended leaves them as they are.
        let record = self.record(id);
        let old = match &record.process {
            Some(process) => process.incarnation > incarnation,
            None => is_over(record) && incarnation == record.incarnation,
        };
        // Who then wants it stopped waits for them all the same.
        let given_up = incarnation <= record.given_up && record.desired == Desired::Running;
        if old || given_up {
            return;
        }
        let named: Vec<String> = survivors.iter().map(ToString::to_string).collect();
        let message = format!("SIGKILL did not end {}", named.join(", "));
        self.set_failure(id, FailureCause::Survivors, incarnation, &message, None, survivors);
        let details = attributes([("survivors", &named.len())]);
        self.enter(
            id,
            AgentState::Quarantined,
            StateReason::Survivors,
            message.clone(),
            details,
        );
        self.edit(id).recovering = false;
        self.finish_operation(id, Fate::Failed(message.clone()));
        self.answer_waiters(id, |_| true, crate::effect::OperationOutcome::Failed, &message);
    }

    /// The order to start had not arrived, and is no longer wanted.
    pub(super) fn never_began(&mut self, id: &AgentId) {
        let done = Done {
            message: "stopped before it began".to_owned(),
            details: Attributes::new(),
        };
        self.stopped(id, done, SameBoot::Yes);
    }
}

/// Whether what is left of this life holds the agent in quarantine.
fn is_quarantined_by(record: &AgentRecord, incarnation: Incarnation) -> bool {
    let by = |failure: &Failure| failure.cause == FailureCause::Survivors && failure.incarnation == incarnation;
    record.state == AgentState::Quarantined && record.last_failure.as_ref().is_some_and(by)
}

/// Whether the newest incarnation is known to have ended.
pub(super) fn is_over(record: &AgentRecord) -> bool {
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
