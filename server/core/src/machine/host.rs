//! Reboots: a host whose later boot was seen takes every agent with it that was held in an earlier one.
//!
//! A boot is over when a shim has said hello from another one, and no shim was heard in it for a lease: a machine is in
//! one boot at a time, and who shares its name and machine id with others is heard all the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rekindle::id::{AgentId, BootId, Incarnation};
use rekindle::report::Hello;
use rekindle::state::{AgentState, Desired};
use rekindle::time::MonoTime;

use super::life::End;
use super::step::{Attributes, Step, attributes};
use super::{Agent, Heard, Machine};
use crate::effect::OperationOutcome;
use crate::event::EventKind;
use crate::host::{HostKey, HostRecord};
use crate::record::{AgentRecord, Claim, Holder, OperationKind, Record, StateReason};

/// A host that holds agents.
#[derive(Debug, Default)]
pub(super) struct KnownHost {
    /// Once a reboot was seen.
    pub(super) record: Option<Arc<HostRecord>>,
    /// Those whose holder runs there, or ran there last.
    pub(super) agents: BTreeSet<AgentId>,
}

impl KnownHost {
    fn is_over(&self, boot: BootId) -> bool {
        self.record.as_ref().is_some_and(|record| record.is_over(boot))
    }
}

impl Machine {
    /// Whether nothing of a boot can live, by what is known of its host.
    pub(super) fn is_boot_over(&self, host: &HostKey, boot: BootId) -> bool {
        self.hosts.get(host).is_some_and(|host| host.is_over(boot))
    }

    /// For how long nobody was heard on the host of a hello's agent, in any other boot than the hello's; `None` while a
    /// stream is open. Boots that are known to be over do not count.
    pub(super) fn other_boots_silent_for(&self, hello: &Hello, now: MonoTime) -> Option<Duration> {
        let own = self.agents.get(&hello.agent);
        let holder = own.and_then(|agent| agent.record.holder.as_ref());
        let held_on = holder.map(Holder::host_key);
        // With a machine id or without, the host may be known by two keys: a verdict on either ends lives.
        let comes_from = HostKey::of(&hello.host, hello.marker);
        let hosts: BTreeSet<HostKey> = held_on.into_iter().chain([comes_from]).collect();
        hosts
            .iter()
            .filter_map(|key| self.hosts.get(key))
            .map(|host| self.boots_silent_for(host, hello, now))
            .try_fold(Duration::MAX, |shortest, silent| Some(shortest.min(silent?)))
    }

    fn boots_silent_for(&self, host: &KnownHost, hello: &Hello, now: MonoTime) -> Option<Duration> {
        let may_be_heard = |agent: &&Agent| {
            let record = &agent.record;
            record.holder.as_ref().is_some_and(|holder| {
                let boot = holder.host.boot_id;
                // Who said goodbye has no more to say in that boot, but for the agent's own, whose hello it may be.
                let said_goodbye = holder.claim == Claim::Left && record.id != hello.agent;
                boot != hello.host.boot_id && !host.is_over(boot) && !said_goodbye
            })
        };
        host.agents
            .iter()
            .filter_map(|id| self.agents.get(id))
            .filter(may_be_heard)
            .map(|agent| self.silence(agent, now))
            .try_fold(Duration::MAX, |shortest, silent| Some(shortest.min(silent?)))
    }

    /// How long the shim of an agent was not heard; `None` while its stream is open. After a start of the server nobody
    /// was silent before the adoption window is over.
    pub(super) fn silence(&self, agent: &Agent, now: MonoTime) -> Option<Duration> {
        match (agent.session, agent.heard) {
            (Some(_), _) => None,
            (None, Heard::No) if now < self.adopts_until => Some(Duration::ZERO),
            (None, Heard::No | Heard::Yes) => Some(now.saturating_since(agent.last_heard)),
        }
    }

    /// Enters where an agent is held; the host that it was held on, if nobody is held there any more.
    pub(super) fn resettle(&mut self, id: &AgentId, from: Option<&HostKey>, to: Option<HostKey>) -> Option<HostKey> {
        if from == to.as_ref() {
            return None;
        }
        if let Some(to) = to {
            self.hosts.entry(to).or_default().agents.insert(id.clone());
        }
        let from = from?;
        let left = self.hosts.get_mut(from)?;
        left.agents.remove(id);
        if left.agents.is_empty() {
            self.hosts.remove(from)?.record?;
            return Some(from.clone());
        }
        None
    }
}

impl Holder {
    /// The host that it runs on.
    pub(super) fn host_key(&self) -> HostKey {
        HostKey::of(&self.host, self.marker)
    }
}

impl Step<'_> {
    /// As [`Machine::resettle`], and what is durable of a host goes with the last agent.
    pub(super) fn resettle(&mut self, id: &AgentId, from: Option<&HostKey>, to: Option<HostKey>) {
        if let Some(empty) = self.machine.resettle(id, from, to) {
            self.persist(Record::HostForgotten(empty));
        }
    }

    /// A hello proves that its host has rebooted since an earlier one. What becomes of its own agent is left to it.
    pub(super) fn host_rebooted(&mut self, hello: &Hello) {
        let own = &hello.agent;
        let boot = hello.host.boot_id;
        let key = HostKey::of(&hello.host, hello.marker);
        let Some(previous) = self.record(own).holder.as_ref().map(|holder| holder.host.boot_id) else {
            return;
        };
        let host = self.machine.hosts.get(&key);
        let known = host.and_then(|host| host.record.clone());
        let news = |other: BootId| other != boot && !known.as_ref().is_some_and(|known| known.is_over(other));
        let others: Vec<(AgentId, BootId)> = host
            .into_iter()
            .flat_map(|host| &host.agents)
            .filter(|id| *id != own)
            .filter_map(|id| Some((id.clone(), self.record(id).holder.as_ref()?.host.boot_id)))
            .filter(|(_, other)| news(*other))
            .collect();
        if !news(previous) && others.is_empty() {
            return;
        }
        let first = known.as_ref().is_none_or(|known| known.boot_id != boot);
        let mut record = known.map_or_else(|| HostRecord::new(key.clone(), boot), Arc::unwrap_or_clone);
        let earlier = others.iter().map(|(_, other)| *other);
        record.enter(boot, earlier.chain([previous]));
        let record = Arc::new(record);
        self.persist(Record::Host(record.clone()));
        self.machine.hosts.entry(key).or_default().record = Some(record);
        if first {
            let agents = others.len() + 1;
            let name = &hello.host.name;
            self.event(
                EventKind::HostRebooted,
                None,
                Incarnation::ZERO,
                format!("{name} has rebooted; {agents} agents were held there before"),
                attributes([
                    ("host", name),
                    ("boot_id", &boot),
                    ("previous_boot_id", &previous),
                    ("agents", &agents),
                ]),
            );
        }
        for (id, _) in others {
            self.gone_with_host(&id);
        }
    }

    /// Nothing of the agent lives, as its host has rebooted. Its own shim has not said hello since, and may never.
    pub(super) fn gone_with_host(&mut self, id: &AgentId) {
        self.machine.set_lease(id, None);
        let record = self.record(id);
        let desired = record.desired;
        let launch = record.holder.as_ref().and_then(Holder::launch_of_lives).cloned();
        if let Some(incarnation) = newest_that_may_live(record) {
            self.life_ended(id, incarnation, End::Rebooted(launch));
        }
        let record = self.record(id);
        let stops = |record: &AgentRecord| {
            let operation = record.operation.as_ref();
            operation.is_some_and(|operation| operation.kind == OperationKind::Stop)
        };
        if desired == Desired::Stopped && stops(record) {
            self.never_began(id);
        } else if record.run_order().is_some() && record.process.is_none() {
            // The order may have arrived, and its life be over: its number stands for that one (I1).
            let next = record.next_incarnation();
            self.renumber_order(id, next);
            let message = "its host has rebooted; the order waits for its shim";
            self.enter(
                id,
                AgentState::Starting,
                StateReason::AwaitingShim,
                message,
                Attributes::new(),
            );
            self.answer_waiters(id, |_| true, OperationOutcome::Pending, "pending: no shim is connected");
        }
    }
}

/// The newest life that somebody could still take for living; `None` where nothing is, or only ordered.
fn newest_that_may_live(record: &AgentRecord) -> Option<Incarnation> {
    match &record.process {
        _ if !record.may_live() => None,
        Some(process) => Some(process.incarnation),
        None if record.state == AgentState::Quarantined => Some(record.incarnation),
        None if record.run_order().is_some() => None,
        None => Some(record.incarnation),
    }
}
