//! Sessions: how a shim comes to hold an agent, what its hello is held against, and how it goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use rekindle::id::{AgentId, AgentUid, Epoch, Incarnation, ReportSequence};
use rekindle::launch::Launch;
use rekindle::report::{ALONE_LIVES_MAX, Child, ChildPhase, Hello, Report, ReportFact};
use rekindle::session::Command;
use rekindle::state::{AgentState, Desired, FailureCause};

use super::life::{End, Lost};
use super::step::{Attributes, Step, attributes};
use super::{Agent, Due, Overdue};
use crate::claim::Admission;
use crate::effect::{Disconnect, Effect};
use crate::event::EventKind;
use crate::host::HostKey;
use crate::input::SessionId;
use crate::record::{AgentRecord, Claim, Holder, Operation, OperationKind, ReportCursor, Source, StateReason};

impl Step<'_> {
    pub(super) fn shim_connected(&mut self, session: SessionId, hello: Hello) {
        let id = hello.agent.clone();
        let admission = match self.admit(&hello) {
            Ok(admission) => admission,
            Err(refusal) => return self.then(Effect::Refuse { session, refusal }),
        };
        if self.find(&id).is_none() {
            self.create(&id, None);
        }
        if let Some(old) = self.agent(&id).session.take() {
            self.machine.sessions.remove(&old);
            self.then(Effect::Disconnect {
                session: old,
                cause: Disconnect::Replaced,
            });
        }
        self.machine.set_lease(&id, None);
        let launch_before = self
            .record(&id)
            .holder
            .as_ref()
            .and_then(|holder| holder.launch.clone());
        if admission == Admission::Rebooted {
            self.host_rebooted(&hello);
        }
        self.hold(&id, &hello, admission);
        // No stream is bound yet, so that what these facts entail is commanded after the welcome.
        self.catch_up(&id, hello.reports);
        self.catch_up_with(&id, hello.child.as_ref(), hello.last_incarnation);
        self.agent(&id).session = Some(session);
        self.agent(&id).charged = None;
        self.machine.sessions.insert(session, id.clone());
        let record = self.record(&id);
        let welcome = Effect::Welcome {
            session,
            agent: id.clone(),
            epoch: record.epoch,
            policy: record.policy.clone(),
            acknowledged: record.reports.map_or(ReportSequence::ZERO, |cursor| cursor.sequence),
            standing: standing(record),
        };
        self.then(welcome);
        let told = Told {
            child: hello.child,
            quarantined: hello.quarantined,
            last: hello.last_incarnation,
            launch_before,
        };
        self.reconcile(&id, told, admission);
    }

    /// Makes an agent known.
    pub(super) fn create(&mut self, id: &AgentId, by: Option<&str>) {
        let now = self.now.wall;
        let mut record = AgentRecord::unborn(id.clone(), now);
        record.uid = AgentUid::from_u128(uuid_v4(self.machine.rng.u128(..)));
        self.machine
            .agents
            .insert(id.clone(), Agent::new(Arc::new(record), self.now));
        let message = format!("{} became known{}", id.name(), by.unwrap_or_default());
        self.enter(id, AgentState::Pending, StateReason::None, message, Attributes::new());
        self.agent(id).due = Due::Now;
    }

    /// Hands the agent to the shim: a new epoch, and what its flags say.
    fn hold(&mut self, id: &AgentId, hello: &Hello, admission: Admission) {
        let now = self.now.wall;
        let record = self.edit(id);
        record.epoch = record.epoch.next();
        let before = record.holder.take();
        let host_before = before.as_ref().map(Holder::host_key);
        let known = before.as_ref().filter(|holder| holder.instance == hello.instance);
        let stop_grace_max = known.map_or(hello.policy.stop_grace, |holder| holder.stop_grace_max);
        let unheard = before
            .as_ref()
            .is_some_and(|holder| holder.marker != hello.marker && holder.claim != Claim::Left);
        if unheard {
            // Left alone, the other shim may have begun lives of which nobody will tell.
            record.used_elsewhere = Incarnation::new(record.next_incarnation().get() + ALONE_LIVES_MAX);
        }
        let held_before = before.filter(|holder| holder.claim == Claim::Held);
        let plan = record.recovery_plan();
        record.holder = Some(Holder {
            instance: hello.instance,
            host: hello.host.clone(),
            marker: hello.marker,
            shim_version: hello.shim_version.clone(),
            fence_after: hello.fence_after,
            stop_grace_max: stop_grace_max.max(hello.policy.stop_grace),
            order: hello.order,
            connected: now,
            last_heard: None,
            claim: Claim::Held,
            launch: hello.launch.clone(),
        });
        if record.policy_source == Source::Shim {
            record.policy = hello.policy.clone();
        }
        raise_stop_grace(record);
        let changed = record.recovery_plan() != plan;
        if record.labels_source == Source::Shim {
            record.labels.clone_from(&hello.labels);
        }
        if record.reports.is_none_or(|cursor| cursor.marker != hello.marker) {
            record.reports = Some(ReportCursor {
                marker: hello.marker,
                sequence: ReportSequence::ZERO,
            });
        }
        self.resettle(id, host_before.as_ref(), Some(HostKey::of(&hello.host, hello.marker)));
        if changed {
            self.plan_recovery(id);
        }
        let record = self.record(id);
        let (incarnation, epoch) = (record.incarnation, record.epoch);
        let Some(before) = held_before.filter(|holder| holder.instance != hello.instance) else {
            return;
        };
        let how = match admission {
            Admission::Successor => "a later life of the same shim",
            Admission::Rebooted => "the holder's host has rebooted",
            Admission::FencedOff => "the holder has ended its child, being alone for too long",
            Admission::Free | Admission::Same => "the holder let go",
        };
        self.event(
            EventKind::AgentTakenOver,
            Some(id),
            incarnation,
            format!("a shim on {} holds the agent: {how}", hello.host.name),
            attributes([
                ("from_host", &before.host.name),
                ("to_host", &hello.host.name),
                ("epoch", &epoch),
            ]),
        );
    }

    /// What the shim has seen, and told in none of its reports: only a store that was set back knows less than a shim. The
    /// next life is numbered above both.
    fn catch_up_with(&mut self, id: &AgentId, child: Option<&Child>, last: Incarnation) {
        let seen = child.map_or(last, |child| child.incarnation.max(last));
        let record = self.record(id);
        if seen > record.incarnation {
            if record.run_order().is_some() {
                let next = seen.next().max(record.next_incarnation());
                self.renumber_order(id, next);
            } else {
                self.edit(id).incarnation = seen;
            }
        }
    }

    fn catch_up(&mut self, id: &AgentId, reports: Vec<Report>) {
        if let (Some(first), Some(cursor)) = (reports.first(), self.record(id).reports) {
            let before_first = ReportSequence::new(first.sequence.get().saturating_sub(1));
            if before_first > cursor.sequence {
                self.edit(id).reports = Some(ReportCursor {
                    sequence: before_first,
                    ..cursor
                });
            }
        }
        self.order_anew(id, &reports);
        let mut ended: BTreeSet<Incarnation> = reports
            .iter()
            .filter(|r| r.fact.is_end())
            .map(|r| r.incarnation)
            .collect();
        for report in reports {
            if report.fact.is_end() {
                ended.remove(&report.incarnation);
            }
            // A quarantine that was over before anybody heard of it fails no order.
            let over = matches!(report.fact, ReportFact::Survived(_)) && ended.contains(&report.incarnation);
            let ordered = self.record(id).operation.is_some();
            let fresh = self.advance_cursor(id, &report).is_ok_and(|fresh| fresh == Fresh::Yes);
            if fresh && !(over && ordered) {
                self.apply(id, report);
            }
        }
    }

    /// The newest life may have begun under a shim that cannot be asked any more. It is not ordered again under its
    /// number: a number stands for one life (I1).
    fn outnumber(&mut self, id: &AgentId, last: Incarnation, admission: Admission) {
        let record = self.record(id);
        let unasked = match admission {
            Admission::Same | Admission::Successor => false,
            Admission::Free => record.epoch > Epoch::ZERO.next(),
            Admission::Rebooted | Admission::FencedOff => true,
        };
        let ordered = match record.state {
            AgentState::Starting | AgentState::Running | AgentState::Unreachable | AgentState::Stopping => true,
            AgentState::Crashed => record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout),
            AgentState::Pending | AgentState::Stopped | AgentState::Terminated | AgentState::Quarantined => false,
        };
        let known = record.is_spawned() || last >= record.incarnation || record.desired == Desired::Stopped;
        if unasked && ordered && !known {
            let next = record.next_incarnation();
            self.renumber_order(id, next);
        }
    }

    /// Holds what the shim says against what is wanted.
    fn reconcile(&mut self, id: &AgentId, told: Told, admission: Admission) {
        let Told {
            child,
            quarantined,
            last,
            launch_before,
        } = told;
        self.outnumber(id, last, admission);
        if let Some(child) = child {
            return self.child_lives(id, child);
        }
        let end = match admission {
            Admission::Rebooted => End::Rebooted(launch_before),
            Admission::FencedOff => End::Lost(Lost::Fence),
            Admission::Free | Admission::Same | Admission::Successor => End::Lost(Lost::Shim),
        };
        let record = self.record(id);
        if (record.state, record.reason) == (AgentState::Stopped, StateReason::ShimStopped) {
            return self.agent(id).due = Due::Now;
        }
        let may_live = match record.state {
            AgentState::Starting | AgentState::Running | AgentState::Unreachable | AgentState::Stopping => true,
            AgentState::Crashed => record.reason == StateReason::Failure(FailureCause::HeartbeatTimeout),
            AgentState::Quarantined => admission == Admission::Rebooted || quarantined.is_none(),
            AgentState::Pending | AgentState::Stopped | AgentState::Terminated => false,
        };
        if !may_live {
            // A stop waited for the shim's word that it had begun nothing alone.
            let stops = |operation: &Operation| operation.kind == OperationKind::Stop;
            if self.record(id).operation.as_ref().is_some_and(stops) {
                match self.record(id).state {
                    // Once the survivors are dead the shim tells what became of the rest.
                    AgentState::Quarantined => self.order_stop(id),
                    AgentState::Pending
                    | AgentState::Starting
                    | AgentState::Running
                    | AgentState::Unreachable
                    | AgentState::Crashed
                    | AgentState::Stopping
                    | AgentState::Stopped
                    | AgentState::Terminated => self.never_began(id),
                }
            }
            return;
        }
        let ended = match &record.process {
            Some(process) => Some(process.incarnation),
            None if record.state == AgentState::Quarantined => Some(record.incarnation),
            None => (last >= record.incarnation).then_some(record.incarnation),
        };
        match ended {
            Some(incarnation) => {
                self.life_ended(id, incarnation, end);
                let record = self.record(id);
                if record.state == AgentState::Starting {
                    self.order_run(id);
                } else if record.state == AgentState::Stopping && record.desired == Desired::Stopped {
                    self.never_began(id);
                }
            }
            None if self.record(id).desired == Desired::Stopped => self.never_began(id),
            None if self.find(id).is_some_and(|agent| agent.overdue == Overdue::Yes) => {
                let incarnation = self.record(id).incarnation;
                self.life_ended(id, incarnation, End::NotStarted);
            }
            None => {
                if self.record(id).state != AgentState::Starting {
                    self.enter(
                        id,
                        AgentState::Starting,
                        StateReason::AwaitingShim,
                        "the order to start may not have arrived; it is given again",
                        Attributes::new(),
                    );
                }
                self.order_run(id);
            }
        }
    }

    /// Tells the shim to run the newest incarnation.
    pub(super) fn order_run(&mut self, id: &AgentId) {
        let record = self.record(id);
        let grace = record.operation.as_ref().and_then(|operation| operation.grace);
        let (incarnation, state) = (record.incarnation, record.state);
        if state == AgentState::Starting {
            self.await_start(id);
        }
        self.command(id, Command::Run { incarnation, grace });
    }

    pub(super) fn order_stop(&mut self, id: &AgentId) {
        let record = self.record(id);
        let grace = record.operation.as_ref().and_then(|operation| operation.grace);
        let incarnation = record.incarnation;
        self.command(id, Command::Stop { incarnation, grace });
    }

    fn child_lives(&mut self, id: &AgentId, child: Child) {
        let record = self.record(id);
        let host = record
            .holder
            .as_ref()
            .map_or_else(String::new, |holder| holder.host.name.clone());
        let (desired, state, newest) = (record.desired, record.state, record.incarnation);
        self.edit(id).process = Some(crate::record::AgentProcess {
            incarnation: child.incarnation,
            identity: child.process,
            host,
        });
        if state == AgentState::Quarantined {
            if desired == Desired::Stopped {
                self.order_stop(id);
            }
            return;
        }
        let back = "the shim is back, with the same process";
        if desired == Desired::Stopped {
            self.enter_unless(id, state, AgentState::Stopping, StateReason::Operator, "told to stop");
            self.order_stop(id);
        } else if child.incarnation < newest {
            self.enter_unless(
                id,
                state,
                AgentState::Stopping,
                StateReason::Operator,
                "told to make way for a new life",
            );
            self.order_run(id);
        } else {
            match child.phase {
                ChildPhase::Starting => self.enter_unless(id, state, AgentState::Starting, StateReason::None, back),
                ChildPhase::Stopping => self.enter_unless(id, state, AgentState::Stopping, StateReason::None, back),
                ChildPhase::Ready if state == AgentState::Running => self.await_stable(id),
                ChildPhase::Ready => self.became_ready(id, back),
            }
        }
    }

    fn enter_unless(&mut self, id: &AgentId, from: AgentState, to: AgentState, reason: StateReason, message: &str) {
        if from != to {
            self.enter(id, to, reason, message, Attributes::new());
        }
    }

    pub(super) fn shim_reported(&mut self, session: SessionId, report: Report) {
        let Some(id) = self.machine.sessions.get(&session).cloned() else {
            return;
        };
        match self.advance_cursor(&id, &report) {
            Ok(fresh) => {
                let through = report.sequence;
                if fresh == Fresh::Yes {
                    self.apply(&id, report);
                }
                self.then(Effect::Acknowledge { session, through });
            }
            Err(problem) => {
                self.close(&id, session, self.now.mono);
                self.then(Effect::Disconnect {
                    session,
                    cause: Disconnect::Protocol(problem),
                });
            }
        }
    }

    /// Whether a report was not applied yet; an error where one before it is missing.
    fn advance_cursor(&mut self, id: &AgentId, report: &Report) -> Result<Fresh, String> {
        let Some(cursor) = self.record(id).reports else {
            return Ok(Fresh::No);
        };
        if report.sequence <= cursor.sequence {
            return Ok(Fresh::No);
        }
        if report.sequence != cursor.sequence.next() {
            return Err(format!("report {} came after {}", report.sequence, cursor.sequence));
        }
        self.edit(id).reports = Some(ReportCursor {
            sequence: report.sequence,
            ..cursor
        });
        Ok(Fresh::Yes)
    }
}

/// What a shim says that lives.
struct Told {
    child: Option<Child>,
    quarantined: Option<Incarnation>,
    last: Incarnation,
    /// What the holder ran the program with when this hello came.
    launch_before: Option<Launch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Yes,
    No,
}

/// A holder may go by the policy in force from here on, and may still go by the one before.
pub(super) fn raise_stop_grace(record: &mut AgentRecord) {
    let grace = record.policy.stop_grace;
    if let Some(holder) = &mut record.holder {
        holder.stop_grace_max = holder.stop_grace_max.max(grace);
    }
}

/// What the server wants of a shim, for the shim's log.
fn standing(record: &AgentRecord) -> String {
    let state = record.state;
    let name = record.id.name();
    match (record.desired, state) {
        (Desired::Stopped, _) => format!("{name} is to be stopped; StartAgent starts it"),
        (Desired::Running, AgentState::Stopped) if record.reason == StateReason::Finished => {
            format!("{name} has finished; StartAgent starts it again")
        }
        (Desired::Running, AgentState::Terminated) => {
            format!("{name} is TERMINATED, its recovery exhausted; StartAgent or RestartAgent starts it")
        }
        (Desired::Running, AgentState::Quarantined) => {
            format!("{name} is QUARANTINED; end what is left of its old tree, or start it with force")
        }
        (Desired::Running, _) => format!("{name} is to run"),
    }
}

/// Random bits as a UUID of version 4 (RFC 9562, section 5.4).
const fn uuid_v4(random: u128) -> u128 {
    random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62
}
