//! The runner: gives the agent of an armed workflow the executions that its fires ask for.

use rekindle::id::{AgentId, FireNumber};
use rekindle::workflow::{Overlap, WorkflowId, with_payload};

use super::super::step::Step;
use super::Workflow;
use crate::input::CreateExecution;
use crate::workflow::{ErrorOf, FiredBy, LastError};

/// What a runner does next.
enum Next {
    /// Nothing, until something happens to it.
    Wait,
    /// It has this fire expire.
    Expire(FireNumber),
    /// It skips these fires.
    Skip(Vec<FireNumber>, &'static str),
    /// It cancels what goes on.
    Cancel,
    /// It makes an execution of this fire.
    Go(FireNumber),
}

impl Step<'_> {
    /// Follows up on what has happened to workflows in this step, until nothing is left to do.
    pub(in super::super) fn run_workflows(&mut self) {
        while !self.flow.is_quiet() {
            for (agent, kind, sequence) in std::mem::take(&mut self.flow.turned) {
                self.fire_watching(&agent, kind, sequence);
            }
            for ended in std::mem::take(&mut self.flow.ended) {
                self.fire_following(&ended);
            }
            let Some(id) = self.flow.woken.pop_first() else {
                continue;
            };
            if self.flow.is_full() {
                self.run_later(&id);
            } else {
                self.run_workflow(&id);
            }
        }
    }

    /// A later step goes on with it, which comes at once.
    fn run_later(&mut self, id: &WorkflowId) {
        let now = self.now.mono;
        if let Some(workflow) = self.machine.workflows.all.get_mut(id)
            && !workflow.record.pending.is_empty()
        {
            workflow.again = Some(now);
            self.machine.workflows.rearm(id);
        }
    }

    /// Goes on with the fires that wait, one after another.
    fn run_workflow(&mut self, id: &WorkflowId) {
        loop {
            match self.next_of(id) {
                Next::Wait => return,
                Next::Expire(number) => self.expire(id, number),
                Next::Skip(numbers, why) => self.skip(id, &numbers, why),
                Next::Cancel => {
                    if !self.cancel_live(id) {
                        return;
                    }
                }
                Next::Go(number) => {
                    if !self.go(id, number) {
                        return;
                    }
                }
            }
        }
    }

    fn next_of(&self, id: &WorkflowId) -> Next {
        let Some(workflow) = self.workflow(id) else {
            return Next::Wait;
        };
        let record = &workflow.record;
        let Some(first) = record.pending.front() else {
            return Next::Wait;
        };
        // Whether or not the agent is there: of these only the newest waits.
        if record.spec.overlap == Overlap::CancelRunning && record.pending.len() > 1 {
            let older = record.pending.iter().map(|fire| fire.number);
            return Next::Skip(
                older.take(record.pending.len() - 1).collect(),
                "a newer fire takes their place, as the workflow's overlap is CANCEL_RUNNING",
            );
        }
        if !record.spec.enabled || !self.is_up(&record.spec.agent) {
            return Next::Wait;
        }
        let is_past = |number| workflow.expiries.get(&number).is_some_and(|at| *at <= self.now.mono);
        if is_past(first.number) {
            return Next::Expire(first.number);
        }
        let is_live = workflow.in_the_way().next().is_some();
        match record.spec.overlap {
            Overlap::Skip if is_live => Next::Skip(
                vec![first.number],
                "an execution of the workflow goes on, and its overlap is SKIP",
            ),
            Overlap::Queue if is_live => Next::Wait,
            Overlap::CancelRunning if is_live => Next::Cancel,
            Overlap::Skip | Overlap::Queue | Overlap::CancelRunning => Next::Go(first.number),
        }
    }

    /// Cancels what goes on. Whether nothing does any more.
    fn cancel_live(&mut self, id: &WorkflowId) -> bool {
        let live: Vec<_> = self
            .workflow(id)
            .into_iter()
            .flat_map(Workflow::in_the_way)
            .cloned()
            .collect();
        let why = format!("a newer fire of {} takes its place", id.name());
        for (agent, execution) in live {
            self.supersede(&agent, &execution, &why);
        }
        self.workflow(id)
            .is_some_and(|workflow| workflow.in_the_way().next().is_none())
    }

    /// Makes an execution of a fire. Whether that came to an end, for better or worse: else the agent takes none.
    fn go(&mut self, id: &WorkflowId, number: FireNumber) -> bool {
        let Some(workflow) = self.workflow(id) else {
            return false;
        };
        let record = workflow.record.clone();
        let Some(fire) = record.pending.iter().find(|fire| fire.number == number) else {
            return false;
        };
        let told = fire.source.payload();
        let payload = workflow.payloads.get(&number).map_or(told.as_str(), |text| text);
        let Some(message) = with_payload(&workflow.message, payload) else {
            let why = "the workflow's message was changed since, and would be too long with what it brought";
            self.skip(id, &[number], why);
            return true;
        };
        let left = workflow
            .expiries
            .get(&number)
            .map(|at| at.saturating_since(self.now.mono));
        self.flow.runs += 1;
        self.flow.run_bytes += message.len();
        let create = CreateExecution {
            agent: record.spec.agent.clone(),
            id: None,
            message,
            timeout: record.spec.timeout,
            schedule_to_start: left,
            priority: 0,
            request_id: None,
            redrive_of: None,
        };
        let by = FiredBy {
            workflow: id.clone(),
            uid: record.uid,
            fire: number,
            key: fire.key.clone(),
            hops: fire.hops,
        };
        match self.create_execution(create, Some(by)) {
            Ok(made) => {
                self.take(id, number);
                self.waits_no_more(id);
                self.machine.workflows.unblock(id);
                self.flow.made.insert((id.clone(), number), made);
                true
            }
            Err(error) => {
                self.is_blocked(id, fire.at, error.to_string());
                false
            }
        }
    }

    fn is_blocked(&mut self, id: &WorkflowId, since: rekindle::time::Timestamp, message: String) {
        let error = LastError::new(self.now.wall, ErrorOf::Waiting, message);
        let known = self
            .workflow(id)
            .and_then(|workflow| workflow.record.last_error.as_ref());
        if known.is_none_or(|known| known.message != error.message) {
            self.edit_workflow(id).last_error = Some(error);
        }
        self.machine.workflows.block(id, since);
    }

    /// The fire that waited for its agent to take it has gone. What is known of other ones' ends stays.
    fn waits_no_more(&mut self, id: &WorkflowId) {
        let last_error = &mut self.edit_workflow(id).last_error;
        last_error.take_if(|error| error.about == ErrorOf::Waiting);
    }

    /// The agent may take more than it did: those that it took nothing of go on, in their order, until it takes no more.
    pub(in super::super) fn wake_blocked(&mut self, agent: &AgentId) {
        loop {
            let blocked = self.machine.workflows.blocked.get(agent);
            let Some((_, id)) = blocked.and_then(|blocked| blocked.first()).cloned() else {
                return;
            };
            if self.flow.is_full() {
                return self.run_later(&id);
            }
            self.machine.workflows.unblock(&id);
            self.run_workflow(&id);
            if self.workflow(&id).is_some_and(|workflow| workflow.blocked.is_some()) {
                return;
            }
        }
    }
}
