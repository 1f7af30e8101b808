//! What is done about a workflow whose time has come.

use rekindle::id::FireNumber;
use rekindle::time::Timestamp;
use rekindle::workflow::{FireKey, Misfire, PENDING_MAX, Trigger, WorkflowId};

use super::super::step::{Attributes, Step, attributes};
use super::fire::{Missed, Spark};
use super::{AHEAD_MAX, LATE_MIN, WORKFLOWS_PER_STEP};
use crate::event::EventKind;
use crate::schedule::{self, Passed};
use crate::workflow::{FireSource, Misfired};

/// Why what was missed is skipped.
const SKIPPED_AWAY: &str =
    "the agent was not RUNNING then, or the server not there, and the workflow's misfire is SKIP";
/// Why what was missed before the newest is skipped.
const SKIPPED_OLDER: &str = "the agent was not RUNNING then, or the server not there, and the newest goes for all, as the \
                             workflow's misfire is ONCE";
/// Why what finds no room is skipped.
const SKIPPED_FULL: &str = "so many fires of the workflow wait already that there is no room for more";

impl Step<'_> {
    /// Looks at the workflows whose time has come.
    pub(in super::super) fn workflows_due(&mut self) {
        if self.machine.workflows.was_wrong {
            self.right_schedules();
        }
        for _ in 0..WORKFLOWS_PER_STEP {
            let timers = &self.machine.workflows.timers;
            let Some((_, id)) = timers.first().filter(|(at, _)| *at <= self.now.mono).cloned() else {
                break;
            };
            self.timer_due(&id);
        }
        for _ in 0..WORKFLOWS_PER_STEP {
            let walls = &self.machine.workflows.walls;
            let Some((_, id)) = walls.first().filter(|(at, _)| *at <= self.now.wall).cloned() else {
                break;
            };
            self.wall_due(&id);
        }
    }

    /// What a wrong clock had gone through comes again, by the clock as it is now: else a look at one that shows a time years
    /// ahead would silence a schedule for as long.
    fn right_schedules(&mut self) {
        let now = self.now.wall;
        let trusted = now.saturating_add(AHEAD_MAX);
        let is_wrong = |id: &WorkflowId| {
            self.workflow(id).is_some_and(|workflow| {
                let record = &workflow.record;
                // A single time that has come does not come again.
                matches!(record.spec.trigger, Trigger::Cron(_)) && record.through > trusted
            })
        };
        // What it waits for lies past what it has gone through.
        let ahead = self
            .machine
            .workflows
            .walls
            .iter()
            .rev()
            .take_while(|(at, _)| *at > trusted);
        let wrong = ahead.map(|(_, id)| id).filter(|id| is_wrong(id));
        let wrong: Vec<WorkflowId> = wrong.take(WORKFLOWS_PER_STEP).cloned().collect();
        self.machine.workflows.was_wrong = wrong.len() == WORKFLOWS_PER_STEP;
        for id in wrong {
            let through = std::mem::replace(&mut self.edit_workflow(&id).through, now);
            self.machine.workflows.await_wall(&id);
            let message = format!(
                "its schedule had gone through {}, by a clock that was wrong, as it is {} now: it counts from now on",
                schedule::shown(through),
                schedule::shown(now)
            );
            let details = attributes([("through", &through.as_unix_nanos())]);
            self.tell(EventKind::WorkflowUpdated, &id, message, details);
        }
    }

    fn timer_due(&mut self, id: &WorkflowId) {
        let now = self.now.mono;
        let Some(workflow) = self.machine.workflows.all.get_mut(id) else {
            return;
        };
        if workflow.again.take_if(|at| *at <= now).is_some() {
            self.flow.woken.insert(id.clone());
        }
        let expired: Vec<FireNumber> = workflow
            .expiries
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(n, _)| *n)
            .collect();
        let goes_off = workflow.next.is_some_and(|at| at <= now);
        for number in expired {
            self.expire(id, number);
        }
        if goes_off {
            self.interval_due(id);
        }
        self.machine.workflows.rearm(id);
    }

    /// So much time has passed. However long nobody looked, it goes off once: nobody has counted meanwhile.
    fn interval_due(&mut self, id: &WorkflowId) {
        let now = self.now;
        let Some(workflow) = self.machine.workflows.all.get_mut(id) else {
            return;
        };
        let Trigger::Interval(interval) = workflow.record.spec.trigger else {
            return;
        };
        let next = workflow.next.map(|at| at.saturating_add(interval.every()));
        workflow.next = Some(
            next.filter(|at| *at > now.mono)
                .unwrap_or_else(|| now.mono.saturating_add(interval.every())),
        );
        self.edit_workflow(id).through = now.wall;
        let passed = Passed {
            times: vec![now.wall],
            gap: false,
        };
        self.scheduled(id, &passed);
    }

    /// A time of the wall clock has come, or several have, where nobody looked or the clock was set on.
    fn wall_due(&mut self, id: &WorkflowId) {
        let now = self.now.wall;
        let Some(workflow) = self.workflow(id) else { return };
        let record = workflow.record.clone();
        let passed = schedule::passed(&record.spec.trigger, record.through, now);
        if let Some(newest) = passed.times.last() {
            self.edit_workflow(id).through = *newest;
        }
        self.machine.workflows.await_wall(id);
        self.scheduled(id, &passed);
    }

    /// A schedule's times have come, oldest first.
    fn scheduled(&mut self, id: &WorkflowId, passed: &Passed) {
        let Some(workflow) = self.workflow(id) else { return };
        let (misfire, is_up) = (workflow.record.spec.misfire, self.is_up(&workflow.record.spec.agent));
        let now = self.now.wall;
        let is_missed = |at: &Timestamp| !is_up || now.saturating_since(*at) > LATE_MIN;
        let times = &passed.times;
        let count = |times| Missed {
            times,
            at_least: passed.gap,
        };
        // Times come in their order, so that those that were missed come first.
        let (missed, on_time) = times.split_at(times.iter().take_while(|at| is_missed(at)).count());
        match (misfire, missed) {
            (_, []) => on_time.iter().for_each(|at| self.goes_off(id, *at, Misfired::No)),
            (Misfire::Skip, _) => {
                self.skip_with(id, &[], Some(count(missed.len())), SKIPPED_AWAY, Attributes::new());
                on_time.iter().for_each(|at| self.goes_off(id, *at, Misfired::No));
            }
            (Misfire::Once, _) => {
                let waits = self.misfires_that_wait(id);
                let older = times.len() - 1;
                if older > 0 || !waits.is_empty() {
                    self.skip_with(
                        id,
                        &waits,
                        Some(count(older)).filter(|_| older > 0),
                        SKIPPED_OLDER,
                        Attributes::new(),
                    );
                }
                if let Some(newest) = times.last() {
                    self.goes_off(id, *newest, Misfired::Yes);
                }
            }
            (Misfire::All, _) => self.all_go_off(id, passed),
        }
    }

    fn all_go_off(&mut self, id: &WorkflowId, passed: &Passed) {
        let waiting = self.workflow(id).map_or(0, |workflow| workflow.record.pending.len());
        let room = PENDING_MAX.saturating_sub(waiting);
        let (fit, rest) = passed.times.split_at(room.min(passed.times.len()));
        for at in fit {
            self.goes_off(id, *at, Misfired::Yes);
        }
        if !rest.is_empty() {
            let missed = Missed {
                times: rest.len(),
                at_least: passed.gap,
            };
            self.skip_with(id, &[], Some(missed), SKIPPED_FULL, Attributes::new());
        }
    }

    /// The fires of its schedule that have waited since their agent was away.
    fn misfires_that_wait(&self, id: &WorkflowId) -> Vec<FireNumber> {
        let pending = self
            .workflow(id)
            .into_iter()
            .flat_map(|workflow| &workflow.record.pending);
        let misfired = pending.filter(|fire| fire.misfired == Misfired::Yes);
        misfired.map(|fire| fire.number).collect()
    }

    fn goes_off(&mut self, id: &WorkflowId, at: Timestamp, misfired: Misfired) {
        let spark = Spark {
            key: key_of(at),
            at,
            source: FireSource::Schedule,
            misfired,
            hops: 0,
            payload: String::new(),
        };
        self.fire(id, spark);
    }
}

/// A schedule's own time, as the key of its fire.
fn key_of(at: Timestamp) -> FireKey {
    FireKey::new(&schedule::shown(at)).expect("a time is short, and printable")
}
