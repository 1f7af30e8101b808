//! A store that is set back: operators have put a copy of it in its place, and the server knows less than its shims.

use super::World;
use crate::fault::Fault;
use crate::oracle::Invariant;
use crate::queue::ShimIx;

/// From so many on, strangers are what a server meets that has lost its memory, and not what some shim has made up.
const MANY: usize = 12;

impl World {
    pub(super) fn copies(&mut self) {
        self.server.copy = Some(self.server.disk.clone());
    }

    pub(super) fn sets_back(&mut self) {
        self.server_dies();
        if let Some(copy) = self.server.copy.take() {
            self.fired(Fault::StoreSetBack);
            self.server.disk = copy;
            self.oracle.set_back();
        }
    }

    /// I4: that the server has lost its memory ends nothing. What one shim alone has is another matter.
    pub(super) fn judge_end_of_stranger(&mut self, ix: ShimIx) {
        let works = self.tasks.iter().filter(|task| task.worker().is_some());
        let (mut all, mut strangers) = (0, 0);
        for task in works {
            let known = self.server.disk.execution_of(&task.agent, &task.attempt);
            all += 1;
            strangers += usize::from(known.is_none_or(|record| record.attempt < task.attempt.number));
        }
        if self.oracle.is_set_back() && strangers >= MANY && strangers * 3 > all * 2 {
            let what = format!(
                "work of {} is ended, as a store that was set back knows nothing of {strangers} of {all}",
                self.shims[ix.0].agent
            );
            self.oracle.fail(Invariant::I4, what);
        }
    }
}
