//! Agents that are written to, a line each way.

use rekindle::execution::AttemptId;
use rekindle::id::Incarnation;
use rekindle_shim_core::{About, Input as ShimFact, TreeId};

use super::super::World;
use super::Able;
use super::hands::in_full;
use crate::queue::{Event, ShimIx, TaskIx};
use crate::task::TaskEnd;

impl World {
    /// A shim writes a line. Where nobody reads it any more, nothing comes of it.
    pub(in crate::world) fn feed(&mut self, ix: ShimIx, incarnation: Incarnation, attempt: AttemptId) {
        let host = self.shims[ix.0].host;
        let child = self
            .watched(ix, &TreeId::Life(incarnation))
            .map(|watched| watched.child);
        let Some(worker) = child.filter(|uid| self.able(host, *uid) != Able::Never) else {
            return;
        };
        let task = self.new_task(ix, attempt, incarnation);
        self.task_begins(task, worker);
        if let Some(takes) = self.task_takes() {
            self.after(takes, Event::Answers(task));
        }
    }

    pub(in crate::world) fn answers(&mut self, ix: TaskIx) {
        let task = &self.tasks[ix.0];
        let Some(worker) = task.worker() else { return };
        match self.able(task.host, worker) {
            Able::Now => {}
            Able::At(at) => return self.queue.push(at, Event::Answers(ix)),
            Able::Never => return,
        }
        let (shim, life, attempt) = (task.shim, task.shim_life, task.attempt.clone());
        let word = self.task_word();
        self.tasks[ix.0].ends(TaskEnd::Said(word));
        // The pipe ends at the life of the shim that wrote to it.
        if self.shims[shim.0].life == life {
            let said = ShimFact::WorkSaid {
                request: None,
                about: About::attempt(&attempt),
                word: in_full(word, &attempt),
            };
            self.shim_hears(shim, said);
        }
    }
}
