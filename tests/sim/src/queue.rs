//! What happens next: every event of the world, in the order of time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::id::Incarnation;
use rekindle_shim_core::{Input as ShimFact, Notice, RequestNumber};

use crate::mind::Thought;
use crate::task::Blocked;

/// A shim's place in the world: one state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShimIx(pub(crate) usize);

/// A host's place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostIx(pub(crate) usize);

/// A stream's place in the world, and the number of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamIx(pub(crate) usize);

/// An operation's place among the operators' papers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderIx(pub(crate) usize);

/// A task's place among all that truly began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskIx(pub(crate) usize);

/// A hand's place: of those with which agents take work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandIx(pub(crate) usize);

/// One life of a shim, a server or a host: events that were meant for an earlier one are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Life(pub(crate) u64);

impl Life {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A process, told from every other of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uid(pub(crate) u64);

/// Something that is about to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A shim tries to open a stream.
    Dial(ShimIx, Life),
    /// The stream's next words reach the server.
    ReachesServer(StreamIx),
    /// The stream's next words reach the shim.
    ReachesShim(StreamIx),
    /// A shim gives a stream up that it hears nothing on.
    GivesUp(StreamIx),
    /// A shim has had no welcome for too long.
    WelcomeLate(StreamIx),
    /// The server has had no inventory for too long.
    InventoryLate(StreamIx),
    /// The server looks at a lease.
    LeaseScan(StreamIx),
    ServerStarts,
    ServerTimer(Life),
    Flushed(Life),
    /// The server's store is copied.
    Copies,
    /// The copy takes the store's place.
    SetsBack,
    ServerResumes(Life),
    ShimStarts(ShimIx),
    ShimTimer(ShimIx, Life),
    ShimLearns(ShimIx, Life, Box<ShimFact>),
    ShimThaws(ShimIx, Life),
    /// What got SIGKILL in a sweep has had its time.
    SweepEnds(ShimIx, Life),
    Spawns(ShimIx, Life, Incarnation),
    /// A shim runs its program for a message.
    SpawnsTask(ShimIx, Life, TaskIx),
    /// An agent that takes its work itself goes on with that.
    Moves(HandIx),
    /// Somebody who asked for work hangs up.
    HangsUp(HandIx, RequestNumber),
    /// An agent that is written to has its answer.
    Answers(TaskIx),
    /// An agent says that it is blocked, or not any more.
    Blocks(TaskIx, Blocked),
    /// A task should be over by now.
    TaskDue(TaskIx),
    Dies(HostIx, Uid, ExitStatus),
    Forks(HostIx, Uid),
    Says(HostIx, Uid, Notice),
    Hangs(HostIx, Uid),
    HostBoots(HostIx),
    HostWakes(HostIx, Life),
    NetworkHeals(HostIx),
    /// Something goes wrong.
    Strikes,
    /// An operator gets an idea.
    Operates,
    /// Somebody has work.
    Employs,
    /// Somebody has more work than there is room for.
    Rushes,
    /// A process of an agent has something in mind about what it saves.
    Thinks(Uid, Thought),
    /// A shim looks at a state file that was written.
    FileNoticed(Uid),
    /// A checkpoint that a shim writes is on its disk, or cannot be.
    CheckpointWritten(ShimIx, Life),
    /// A checkpoint command comes to its end.
    CommandEnds(ShimIx, Life, Incarnation),
    /// Somebody does something about a workflow.
    Meddles,
    OrderArrives(OrderIx),
    OrderExpires(OrderIx, u64),
    /// All faults end.
    Calms,
    /// Is all well again?
    Probes,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Events by time; those of one time in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    next: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Duration, event: Event) {
        self.next += 1;
        self.heap.push(Entry {
            at,
            number: self.next,
            event,
        });
    }

    pub(crate) fn pop(&mut self) -> Option<(Duration, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}
