//! How an execution is made, and made again.

use std::sync::Arc;
use std::time::Duration;

use rekindle::execution::{ExecutionId, ExecutionState};
use rekindle::id::{AgentId, ExecutionUid};

use super::super::hello::uuid_v4;
use super::super::step::{Step, attributes};
use crate::effect::{Answer, ExecutionError};
use crate::event::EventKind;
use crate::execution::{ExecutionRecord, OutputSize, Times};
use crate::input::{CallId, CreateExecution};
use crate::record::Record;
use crate::workflow::FiredBy;

impl Step<'_> {
    pub(in super::super) fn create_requested(&mut self, call: CallId, create: CreateExecution) {
        let answer = self.create_execution(create, None);
        if let Err(error) = answer {
            return self.reply(call, Answer::Execution(Err(error)));
        }
        let Ok((agent, id)) = answer else { return };
        self.execution_at_end(call, &agent, &id);
    }

    /// Makes an execution, as somebody asked for it or a workflow fired, where the agent takes one.
    pub(in super::super) fn create_execution(
        &mut self,
        create: CreateExecution,
        fired_by: Option<FiredBy>,
    ) -> Result<(AgentId, ExecutionId), ExecutionError> {
        let CreateExecution { agent, request_id, .. } = &create;
        let (agent, request) = (agent.clone(), request_id.clone());
        let found = self
            .find(&agent)
            .ok_or_else(|| ExecutionError::AgentNotFound(agent.clone()))?;
        let work = &found.work;
        if let Some(known) = request.as_ref().and_then(|request| work.requests.get(request)) {
            return match (&create.id, work.find(known)) {
                (Some(asked), _) if asked != known => Err(ExecutionError::RequestIdReused {
                    agent,
                    used_for: known.clone(),
                }),
                (_, Some(record)) if record.redrive_of != create.redrive_of => Err(ExecutionError::RequestIdReused {
                    agent,
                    used_for: known.clone(),
                }),
                _ => Ok((agent, known.clone())),
            };
        }
        if let Some(id) = create.id.as_ref().filter(|id| work.find(id).is_some()) {
            return Err(ExecutionError::Exists { agent, id: id.clone() });
        }
        if let Some(of) = &create.redrive_of {
            let state = work.find(of).map(|record| record.state);
            match state {
                None => return Err(ExecutionError::NotFound { agent, id: of.clone() }),
                Some(state) if !state.is_over() => {
                    return Err(ExecutionError::NotOver {
                        agent,
                        id: of.clone(),
                        state,
                    });
                }
                Some(_) => {}
            }
        }
        let record = &found.record;
        if record.takes_no_messages() {
            return Err(ExecutionError::TakesNone(agent));
        }
        let limit = record.policy.queue_limit;
        let may_go = create.id.as_ref().is_none_or(|id| !work.is_in_the_way_of(id));
        // One that a free slot takes at once never waits.
        let goes_at_once = may_go && work.next_to_give().is_none() && self.free_slots(&agent) > 0;
        if !goes_at_once && work.queue.len() >= limit as usize {
            return Err(ExecutionError::QueueFull { agent, limit });
        }
        Ok(self.make(create, fired_by))
    }

    fn make(&mut self, create: CreateExecution, fired_by: Option<FiredBy>) -> (AgentId, ExecutionId) {
        let CreateExecution {
            agent,
            id,
            message,
            timeout,
            schedule_to_start,
            priority,
            request_id,
            redrive_of,
        } = create;
        let now = self.now.wall;
        let uid = ExecutionUid::from_u128(uuid_v4(self.machine.rng.u128(..)));
        let id = id.unwrap_or_else(|| ExecutionId::new(&uid.to_string()).expect("a UUID is within the alphabet"));
        let timeout = resolve_timeout(timeout, self.record(&agent).policy.message_timeout);
        // What is done again is done for the same fire.
        let again = redrive_of
            .as_ref()
            .and_then(|of| self.work(&agent).find(of)?.workflow.clone());
        let start_by = schedule_to_start.map(|wait| now.saturating_add(wait));
        let record = ExecutionRecord {
            agent: agent.clone(),
            id: id.clone(),
            uid,
            revision: 0,
            state: ExecutionState::Queued,
            ending: None,
            priority,
            order: self.machine.last_event.next().get(),
            end_order: None,
            timeout,
            start_by,
            attempt: 0,
            given_to: None,
            given_before: None,
            process: None,
            times: Times::created(now),
            failure: None,
            output: OutputSize::default(),
            request: request_id,
            redrive_of: redrive_of.clone(),
            redriven_as: None,
            workflow: fired_by.or(again),
        };
        let record = Arc::new(record);
        self.machine.workflows.goes_on(&record);
        self.work(&agent).insert(record);
        self.touch_execution(&agent, &id);
        self.touch_pump(&agent);
        self.persist(Record::ExecutionMessage {
            agent: agent.clone(),
            id: id.clone(),
            text: message.clone(),
        });
        let bytes = message.len();
        let seconds = timeout.as_secs_f64();
        self.execution_event(
            EventKind::ExecutionQueued,
            (&agent, &id),
            rekindle::id::Incarnation::ZERO,
            format!("a message of {bytes} bytes waits for the agent"),
            attributes([("message_bytes", &bytes), ("timeout_s", &seconds)]),
        );
        if let Some(wait) = schedule_to_start {
            let at = self.now.mono.saturating_add(wait);
            self.work(&agent).set_start_by(&id, at);
            self.set_execution_due(&agent, &id, Some(at));
        }
        if let Some(of) = redrive_of {
            self.edit_execution(&agent, &of).redriven_as = Some(id.clone());
        }
        (agent, id)
    }
}

/// How long an attempt may run: the one place that decides it.
fn resolve_timeout(own: Option<Duration>, agents: Duration) -> Duration {
    own.unwrap_or(agents)
}
