//! Hello: how a shim comes to hold an agent. What its child is doing is said after the welcome (`inventory.rs`).

use std::sync::Arc;

use rekindle::id::{AgentId, AgentUid, Incarnation, ReportSequence};
use rekindle::report::{ALONE_LIVES_MAX, Hello};
use rekindle::session::Wanted;
use rekindle::state::{AgentState, Desired};

use super::step::{Attributes, Step, attributes};
use super::{Agent, Due, PolicyTold, Session, Settled};
use crate::claim::Admission;
use crate::effect::{Disconnect, Effect};
use crate::event::EventKind;
use crate::host::HostKey;
use crate::input::SessionId;
use crate::record::{AgentRecord, Claim, Holder, ReportCursor, Source, StateReason, Unsettled};

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
            self.machine.sessions.remove(&old.id);
            self.then(Effect::Disconnect {
                session: old.id,
                cause: Disconnect::Replaced,
            });
        }
        self.machine.set_lease(&id, None);
        if admission == Admission::Rebooted {
            self.host_rebooted(&hello);
        }
        let took_none = self.record(&id).takes_no_messages();
        self.hold(&id, &hello, admission);
        if !took_none {
            self.strand(&id);
        }
        self.agent(&id).session = Some(Session {
            id: session,
            settled: Settled::No,
        });
        self.agent(&id).charged = None;
        self.agent(&id).checkpoints.stream_opened();
        self.agent(&id).policy = PolicyTold::Yes;
        self.agent(&id).rests.clear();
        self.agent(&id).stopped = None;
        self.machine.sessions.insert(session, id.clone());
        let record = self.record(&id);
        let welcome = Effect::Welcome {
            session,
            agent: id.clone(),
            epoch: record.epoch,
            policy: record.policy.clone(),
            acknowledged: record.reports.map_or(ReportSequence::ZERO, |cursor| cursor.sequence),
            standing: standing(record),
            checkpoint: self.known_checkpoint(&id).map(Box::new),
        };
        self.then(welcome);
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
        let other = before.as_ref().filter(|holder| holder.marker != hello.marker);
        record.used_elsewhere = match other.map(|holder| holder.claim) {
            // Left alone, the other shim may have begun lives of which nobody will tell.
            Some(Claim::Held | Claim::Released) => Incarnation::new(record.next_incarnation().get() + ALONE_LIVES_MAX),
            // It has told everything: the newest is the highest that it can have begun.
            Some(Claim::Left) => record.used_elsewhere.max(record.incarnation),
            None => record.used_elsewhere,
        };
        let unsettled = Unsettled {
            admission: admission.after(
                before
                    .as_ref()
                    .and_then(|holder| Some(holder.unsettled.as_ref()?.admission)),
            ),
            launch: before.as_ref().and_then(Holder::launch_of_lives).cloned(),
        };
        let same_journal = before.as_ref().filter(|holder| holder.marker == hello.marker);
        let goes_by = same_journal.map_or(Wanted::Rest, |holder| holder.goes_by);
        let held_before = before.filter(|holder| holder.claim == Claim::Held);
        let plan = record.recovery_plan();
        record.holder = Some(Holder {
            instance: hello.instance,
            host: hello.host.clone(),
            marker: hello.marker,
            shim_version: hello.shim_version.clone(),
            fence_after: hello.fence_after,
            delivery: hello.delivery,
            stop_grace_max: stop_grace_max.max(hello.policy.stop_grace),
            order: hello.order,
            connected: now,
            last_heard: None,
            claim: Claim::Held,
            launch: hello.launch.clone(),
            unsettled: Some(unsettled),
            goes_by,
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
            Admission::First | Admission::Free | Admission::Same => "the holder let go",
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
pub(super) const fn uuid_v4(random: u128) -> u128 {
    random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62
}
