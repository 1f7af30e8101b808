//! UpdateAgent, DeleteAgent and SignalAgent.

use std::sync::Arc;

use rekindle::id::AgentId;
use rekindle::process::ProcessIdentity;
use rekindle::session::{Command, CommandId, Wanted};
use rekindle::state::AgentState;

use super::hello::raise_stop_grace;
use super::step::{Attributes, Step};
use super::{PendingSignal, PolicyTold};
use crate::effect::{Answer, Effect, OperationOutcome, RequestError, SignalAnswer};
use crate::event::EventKind;
use crate::input::{CallId, DeleteRequest, Force, Missing, SessionId, SignalRequest, UpdateMode, UpdateRequest};
use crate::record::{AgentRecord, Claim, Holder, Record, Source};

impl Step<'_> {
    pub(super) fn update_requested(&mut self, call: CallId, update: UpdateRequest) {
        let answer = self.update(call, &update);
        if let Some(answer) = answer {
            self.reply(call, Answer::Updated(answer));
        }
    }

    /// The answer, where it is known before the step's end.
    fn update(&mut self, call: CallId, update: &UpdateRequest) -> Option<Result<Arc<AgentRecord>, RequestError>> {
        let id = &update.agent;
        let existing = self.find(id).map(|agent| agent.record.clone());
        let base = match (&existing, update.missing) {
            (Some(record), _) => {
                if let Some(error) = etag_mismatch(record, update.etag) {
                    return Some(Err(error));
                }
                record.clone()
            }
            (None, Missing::Fail) => return Some(Err(RequestError::NotFound(id.clone()))),
            (None, Missing::Create) => {
                let limit = self.machine.policy.agents_max;
                if self.machine.agents.len() >= limit {
                    return Some(Err(RequestError::TooManyAgents { limit }));
                }
                Arc::new(AgentRecord::unborn(id.clone(), self.now.wall))
            }
        };
        let policy = match update
            .policy
            .as_ref()
            .map(|patch| patch.apply(&base.policy))
            .transpose()
        {
            Ok(policy) => policy,
            Err(error) => return Some(Err(RequestError::InvalidPolicy(error))),
        };
        let labels = match update
            .labels
            .as_ref()
            .map(|patch| patch.apply(&base.labels))
            .transpose()
        {
            Ok(labels) => labels,
            Err(error) => return Some(Err(RequestError::InvalidLabels(error))),
        };
        let change = |record: &mut AgentRecord| {
            if let Some(policy) = policy.clone() {
                record.policy = policy;
                record.policy_source = Source::Operator;
            }
            if let Some(labels) = labels {
                record.labels = labels;
                record.labels_source = Source::Operator;
            }
        };
        if update.mode == UpdateMode::ValidateOnly {
            let mut record = base;
            change(Arc::make_mut(&mut record));
            return Some(Ok(record));
        }
        if existing.is_none() {
            self.create(id, Some(" by UpdateAgent"));
        }
        let before = self.record(id).recovery_plan();
        let record = self.edit(id);
        change(record);
        raise_stop_grace(record);
        if let Some(policy) = policy {
            if self.command(id, Command::SetPolicy(Box::new(policy))).is_none() {
                self.agent(id).policy = PolicyTold::No;
            }
            if self.record(id).recovery_plan() != before {
                self.plan_recovery(id);
            }
        }
        self.updated_at_end(call, id);
        None
    }

    pub(super) fn delete_requested(&mut self, call: CallId, delete: DeleteRequest) {
        let answer = self.delete(&delete);
        self.reply(call, Answer::Deleted(answer));
    }

    fn delete(&mut self, delete: &DeleteRequest) -> Result<(), RequestError> {
        let id = &delete.agent;
        let agent = self.find(id).ok_or_else(|| RequestError::NotFound(id.clone()))?;
        let record = &agent.record;
        if let Some(error) = etag_mismatch(record, delete.etag) {
            return Err(error);
        }
        let connected = agent.session.is_some();
        if connected || delete.force == Force::No && may_live_unheard(record) {
            let host = record
                .holder
                .as_ref()
                .map_or_else(String::new, |holder| holder.host.name.clone());
            return Err(RequestError::Active {
                agent: id.clone(),
                host,
                connected,
            });
        }
        self.answer_waiters_of_deleted(id);
        let incarnation = self.record(id).incarnation;
        self.event(
            EventKind::AgentDeleted,
            Some(id),
            incarnation,
            "deleted by an operator",
            Attributes::new(),
        );
        if self.record(id).state == AgentState::Running {
            self.agent_is_down(id);
        }
        self.forget(id);
        Ok(())
    }

    fn answer_waiters_of_deleted(&mut self, id: &AgentId) {
        let record = self.find(id).expect("the caller found it").record.clone();
        for waiter in std::mem::take(&mut self.agent(id).waiters) {
            let answer = crate::effect::OperationAnswer {
                agent: record.clone(),
                previous_state: waiter.previous_state,
                outcome: OperationOutcome::Failed,
                detail: "the agent was deleted".to_owned(),
                cancels: Vec::new(),
                asked: None,
                handed: None,
            };
            self.reply(waiter.call, Answer::Operation(Ok(answer)));
        }
    }

    fn forget(&mut self, id: &AgentId) {
        self.machine.set_lease(id, None);
        self.machine.set_timer(id, None);
        self.forget_executions(id);
        self.forget_checkpoints(id);
        let requests = std::mem::take(&mut self.agent(id).requests);
        for request in requests {
            self.persist(Record::RequestForgotten {
                agent: id.clone(),
                id: request.id.clone(),
            });
        }
        let host = self.record(id).holder.as_ref().map(Holder::host_key);
        self.resettle(id, host.as_ref(), None);
        self.machine.agents.remove(id);
        self.persist(Record::AgentDeleted(id.clone()));
    }

    pub(super) fn signal_requested(&mut self, call: CallId, request: &SignalRequest) {
        if let Err(error) = self.signal(call, request) {
            self.reply(call, Answer::Signalled(Err(error)));
        }
    }

    fn signal(&mut self, call: CallId, request: &SignalRequest) -> Result<(), RequestError> {
        let id = &request.agent;
        let agent = self.find(id).ok_or_else(|| RequestError::NotFound(id.clone()))?;
        let record = &agent.record;
        let actual = record.incarnation;
        if let Some(expected) = request.expected_incarnation.filter(|expected| *expected != actual) {
            return Err(RequestError::IncarnationMismatch {
                agent: id.clone(),
                expected,
                actual,
            });
        }
        let no_process = |why: &str| RequestError::NoProcess {
            agent: id.clone(),
            why: why.to_owned(),
        };
        let process = record.process.clone().ok_or_else(|| no_process("nothing runs"))?;
        if process.identity.is_none() {
            let why = "it has a process for each message; end that of one with CancelExecution";
            return Err(no_process(why));
        }
        let session = agent.settled().ok_or_else(|| no_process("its shim is not connected"))?;
        let command = Command::Signal {
            incarnation: process.incarnation,
            signal: request.signal,
        };
        let number = self.command(id, command).expect("the stream is settled");
        let pending = PendingSignal {
            call,
            agent: id.clone(),
            session,
            host: process.host,
        };
        self.machine.signals.insert(number, pending);
        Ok(())
    }

    pub(super) fn shim_signalled(
        &mut self,
        session: SessionId,
        command: CommandId,
        result: Result<ProcessIdentity, String>,
    ) {
        if self
            .machine
            .signals
            .get(&command)
            .is_none_or(|pending| pending.session != session)
        {
            return;
        }
        let Some(PendingSignal { call, agent, host, .. }) = self.machine.signals.remove(&command) else {
            return;
        };
        let answer = match result {
            Ok(process) => Ok(SignalAnswer { host, process }),
            Err(why) => Err(RequestError::NoProcess { agent, why }),
        };
        self.then(Effect::Reply {
            call,
            answer: Answer::Signalled(answer),
        });
    }

    pub(super) fn command_lost(&mut self, command: CommandId) {
        // Other commands are given again after the next inventory.
        if let Some(PendingSignal { call, agent, .. }) = self.machine.signals.remove(&command) {
            self.signal_unknown(call, agent);
        }
    }

    pub(super) fn signals_lost(&mut self, session: SessionId) {
        let of_session: Vec<CommandId> = self
            .machine
            .signals
            .iter()
            .filter(|(_, s)| s.session == session)
            .map(|(id, _)| *id)
            .collect();
        for command in of_session {
            self.command_lost(command);
        }
    }

    /// Whether the call was one that waited for a signal.
    pub(super) fn signal_expired(&mut self, call: CallId) -> bool {
        let Some(command) = self.signal_of(call) else {
            return false;
        };
        self.command_lost(command);
        true
    }

    pub(super) fn forget_signal(&mut self, call: CallId) {
        if let Some(command) = self.signal_of(call) {
            self.machine.signals.remove(&command);
        }
    }

    fn signal_of(&self, call: CallId) -> Option<CommandId> {
        self.machine
            .signals
            .iter()
            .find(|(_, pending)| pending.call == call)
            .map(|(id, _)| *id)
    }

    fn signal_unknown(&mut self, call: CallId, agent: AgentId) {
        let why = "its shim did not say whether the signal was sent".to_owned();
        let error = RequestError::NoProcess { agent, why };
        self.then(Effect::Reply {
            call,
            answer: Answer::Signalled(Err(error)),
        });
    }
}

fn etag_mismatch(record: &AgentRecord, etag: Option<u64>) -> Option<RequestError> {
    let expected = etag.filter(|etag| *etag != record.revision)?;
    Some(RequestError::EtagMismatch {
        agent: record.id.clone(),
        expected,
        actual: record.revision,
    })
}

/// Whether a process may live under a shim that is not connected: one that it had, or one that it has begun alone.
fn may_live_unheard(record: &AgentRecord) -> bool {
    let held = record.holder.as_ref().filter(|holder| holder.claim == Claim::Held);
    held.is_some_and(|holder| record.may_live() || holder.goes_by == Wanted::Run)
}
