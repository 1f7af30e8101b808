//! Those who have workflows: what they make, change, set off by hand, and delete.

use std::time::Duration;

use rekindle::execution::ExecutionState;
use rekindle::id::{AgentId, RequestId};
use rekindle::workflow::{
    AgentEventKind, AgentEvents, Completion, CronText, FireKey, Interval, Misfire, Overlap, Trigger, WorkflowId,
    WorkflowPatch, WorkflowSpec, WorkflowSpecFields,
};
use rekindle_server_core::input::{
    CreateWorkflow, DeleteWorkflow, Missing, Request, Rotate, TriggerWorkflow, TriggeredBy, UpdateMode, UpdateWorkflow,
};
use rekindle_server_core::record::Records;
use rekindle_server_core::workflow::{Fire, FireSource, Misfired, WorkflowRecord};

use super::World;
use crate::dice::Dice;
use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::queue::Event;

/// How many triggers come at once, where many do: more than may wait.
const BURST: usize = 110;

/// Keys that triggers by hand have: few, so that they come again.
const KEYS: usize = 12;

/// From fire to fire, once nothing goes wrong any more: so long that what has gathered is done meanwhile.
const CALM_EVERY: Duration = Duration::from_secs(40);

/// How soon a server that has started, or did not run for a while, has seen to everything.
const AWAKE: Duration = Duration::from_secs(1);

/// Until when a fire has had its turn, in a world in which nothing goes wrong: as many as may wait, one after another.
pub(super) const TURN_MAX: Duration = Duration::from_secs(300);

impl World {
    pub(super) fn begin_workflows(&mut self) {
        if let Some(nature) = &self.swarm.workflows {
            self.queue.push(nature.meddle_every, Event::Meddles);
        }
    }

    /// Somebody does something about a workflow.
    pub(super) fn meddles(&mut self) {
        let Some(nature) = &self.swarm.workflows else { return };
        if !self.is_rough() {
            return;
        }
        let (count, every, bursts) = (nature.count, nature.meddle_every, nature.bursts);
        let (delete, update) = (nature.delete, nature.update);
        let number = self.dice.below(count);
        let id = workflow(number);
        let known = self.server.disk.workflow(&id).cloned();
        match known {
            None => self.make_workflow(number),
            Some(_) if self.dice.chance(delete) => {
                let delete = DeleteWorkflow { id, etag: None };
                self.fired(Fault::WorkflowDeleted);
                self.order_work(Request::DeleteWorkflow(delete), None);
            }
            Some(known) if self.dice.chance(update) => self.change_workflow(&known),
            Some(_) if self.dice.chance(bursts) => {
                self.fired(Fault::TriggersRushed);
                for _ in 0..BURST {
                    self.trigger_workflow(&id);
                }
            }
            Some(_) => self.trigger_workflow(&id),
        }
        let wait = self.dice.about(every);
        self.after(wait, Event::Meddles);
    }

    fn make_workflow(&mut self, number: usize) {
        let agent = self.dice.below(self.swarm.agents.len());
        let spec = WorkflowSpecFields {
            enabled: self.dice.chance(0.9),
            ..WorkflowSpecFields::new(an_agent(agent), self.some_trigger())
        };
        let spec = self.with_policies(spec);
        let request_id = RequestId::new(&format!("f{}", self.orders.len())).expect("valid");
        let request_id = self.dice.chance(0.6).then_some(request_id);
        let create = CreateWorkflow {
            id: Some(workflow(number)),
            spec,
            message: "do it: {payload}".to_owned(),
            secret: None,
            request_id: request_id.clone(),
            mode: UpdateMode::Apply,
        };
        self.order_work(Request::CreateWorkflow(Box::new(create)), request_id);
    }

    fn with_policies(&mut self, mut fields: WorkflowSpecFields) -> WorkflowSpec {
        fields.misfire = self.dice.pick(&Misfire::ALL).copied().unwrap_or_default();
        fields.overlap = self.dice.pick(&Overlap::ALL).copied().unwrap_or_default();
        let expires = self.swarm.workflows.as_ref().map_or(0.0, |nature| nature.expires);
        fields.expires_after = self.dice.chance(expires).then(|| self.dice.millis(1_000..60_000));
        WorkflowSpec::new(fields).expect("within its limits")
    }

    fn some_trigger(&mut self) -> Trigger {
        let Some(nature) = &self.swarm.workflows else {
            return Trigger::Manual;
        };
        let every = self.dice.between(&nature.every);
        match self.dice.below(12) {
            0..4 => Trigger::Interval(Interval::new(every).expect("within its limits")),
            4 => {
                let wait = self.dice.millis(1_000..120_000);
                Trigger::OneShot(self.server.wall.wall(self.now + wait))
            }
            5 => some_cron(&mut self.dice),
            6..8 => Trigger::Manual,
            8 => {
                let agent = an_agent(self.dice.below(self.swarm.agents.len()));
                let kinds = AgentEventKind::ALL.iter().copied().filter(|_| self.dice.chance(0.3));
                let kinds: Vec<_> = kinds.chain([AgentEventKind::Ready]).collect();
                Trigger::AgentEvent(AgentEvents::new(agent, kinds).expect("it waits for something"))
            }
            _ => {
                let of = workflow(self.dice.below(nature.count));
                let ends = [
                    ExecutionState::Succeeded,
                    ExecutionState::Failed,
                    ExecutionState::TimedOut,
                ];
                let ends = ends.into_iter().filter(|_| self.dice.chance(0.6));
                let ends: Vec<_> = ends.collect();
                Trigger::Completion(Completion::new(of, ends).expect("each is an end"))
            }
        }
    }

    fn change_workflow(&mut self, known: &WorkflowRecord) {
        self.fired(Fault::WorkflowChanged);
        let fields = known.spec.clone().into_fields();
        let again = self.with_policies(fields);
        let patch = WorkflowPatch {
            enabled: self.dice.chance(0.5).then_some(!known.spec.enabled),
            trigger: if self.dice.chance(0.2) {
                Some(self.some_trigger())
            } else {
                None
            },
            misfire: self.dice.chance(0.3).then_some(again.misfire),
            overlap: self.dice.chance(0.3).then_some(again.overlap),
            expires_after: self.dice.chance(0.3).then_some(again.expires_after),
            ..WorkflowPatch::default()
        };
        self.update_workflow(known, patch);
    }

    fn update_workflow(&mut self, known: &WorkflowRecord, patch: WorkflowPatch) {
        let update = UpdateWorkflow {
            id: known.id.clone(),
            patch,
            message: None,
            secret: None,
            rotate: Rotate::No,
            etag: None,
            missing: Missing::Fail,
            mode: UpdateMode::Apply,
        };
        self.order_work(Request::UpdateWorkflow(Box::new(update)), None);
    }

    fn trigger_workflow(&mut self, id: &WorkflowId) {
        let same = self.swarm.workflows.as_ref().map_or(0.0, |nature| nature.same_key);
        let number = if self.dice.chance(same) {
            self.dice.below(KEYS)
        } else {
            KEYS + self.orders.len()
        };
        let key = format!("k{number}");
        let with_key = self.dice.chance(0.8);
        let request_id = with_key.then(|| RequestId::new(&key).expect("valid"));
        let trigger = TriggerWorkflow {
            id: id.clone(),
            uid: None,
            key: with_key.then(|| FireKey::new(&key).expect("valid")),
            payload: if self.dice.chance(0.5) { key } else { String::new() },
            by: TriggeredBy::Call,
        };
        self.order_work(Request::TriggerWorkflow(trigger), request_id);
    }

    /// What had to go off has, and what had to go is gone, where nothing keeps the server from it.
    pub(super) fn judge_workflows(&mut self) {
        let awake = self.now.saturating_sub(self.server.awake_since) >= AWAKE;
        if self.swarm.workflows.is_some() && awake && self.server.stands_still_until() <= self.now {
            let now = self.server.now(self.now);
            self.oracle.judge_due(now, self.now);
            self.oracle.judge_waiting(now, self.now);
        }
    }

    /// A fire that waits although its agent is ready, and for how long nothing was in its way.
    pub(super) fn problem_of_fires(&self, agent: &AgentId) -> Option<String> {
        let mut waits = self.oracle.fires_that_wait(agent);
        let (fire, since) =
            waits.find(|(_, since)| self.now.saturating_sub((*since).max(self.calm_since)) > TURN_MAX)?;
        Some(format!("{fire} waits since {since:?}"))
    }

    /// What a server that is wrong on purpose forgets at its restart of workflows, and of what agents have saved.
    pub(super) fn forget_flows(&self, records: &mut Records) {
        if self.mutation == Mutation::CheckpointsForgotten {
            records.checkpoints.clear();
        }
        let now = self.server.now(self.now).wall;
        for workflow in &mut records.workflows {
            if self.mutation == Mutation::FiresForgotten {
                workflow.pending.clear();
            }
            if self.mutation == Mutation::IntervalsAnew {
                workflow.through = workflow.through.max(now);
            }
            let newest = records
                .executions
                .iter()
                .filter_map(|execution| execution.workflow.as_ref());
            let newest = newest.filter(|by| by.uid == workflow.uid).max_by_key(|by| by.fire);
            if let Some(by) = newest.filter(|_| self.mutation == Mutation::FiresAgain) {
                workflow.pending.push_front(Fire {
                    number: by.fire,
                    key: by.key.clone(),
                    at: now,
                    source: FireSource::Manual,
                    misfired: Misfired::No,
                    hops: by.hops,
                    payload_bytes: 0,
                });
            }
        }
    }

    /// After the storm: what goes off by itself does so rarely from here on.
    pub(super) fn calm_workflows(&mut self) {
        let is_quick = |trigger: &Trigger| match trigger {
            Trigger::Interval(interval) => interval.every() < CALM_EVERY,
            Trigger::Cron(_)
            | Trigger::OneShot(_)
            | Trigger::Manual
            | Trigger::Webhook
            | Trigger::AgentEvent(_)
            | Trigger::Completion(_) => false,
        };
        let all = self.server.disk.workflows();
        let quick: Vec<_> = all.filter(|known| is_quick(&known.spec.trigger)).cloned().collect();
        for known in quick {
            let every = Interval::new(CALM_EVERY).expect("within its limits");
            let patch = WorkflowPatch {
                trigger: Some(Trigger::Interval(every)),
                ..WorkflowPatch::default()
            };
            self.update_workflow(&known, patch);
        }
    }
}

fn workflow(number: usize) -> WorkflowId {
    WorkflowId::new(&format!("flow-{number}")).expect("valid")
}

fn an_agent(number: usize) -> AgentId {
    AgentId::new(&format!("agent-{number}")).expect("valid")
}

/// Each minute, or each few: what the oracle counts out by itself.
fn some_cron(dice: &mut Dice) -> Trigger {
    let every = dice.pick(&[1, 2, 5]).copied().unwrap_or(1);
    Trigger::Cron(CronText::new(&format!("*/{every} * * * *"), "UTC").expect("five fields"))
}
