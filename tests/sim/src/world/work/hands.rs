//! Agents that take their work themselves: they ask, work, say how it went, and hang up.

use std::time::Duration;

use rekindle::activity::BlockedOn;
use rekindle::execution::{AttemptId, Delivery};
use rekindle::id::Incarnation;
use rekindle_shim_core::{About, Input as ShimFact, Refused, RequestNumber, Word as ShimWord};

use super::super::World;
use super::Able;
use crate::fault::Fault;
use crate::queue::{Event, HandIx, ShimIx, TaskIx, Uid};
use crate::task::{Blocked, Doing, Hand, Task, TaskEnd, TaskStage, Word};

impl World {
    /// A process of an agent that takes its work itself begins.
    pub(in crate::world) fn gets_hands(&mut self, ix: ShimIx, uid: Uid) {
        let shim = &self.shims[ix.0];
        if self.swarm.delivery(shim.nature) != Delivery::Pull {
            return;
        }
        let host = shim.host;
        for _ in 0..self.swarm.work.as_ref().map_or(0, |work| work.hands) {
            let hand = HandIx(self.hands.len());
            self.hands.push(Hand {
                host,
                shim: ix,
                agent: uid,
                doing: Doing::Nothing,
            });
            self.hand_waits(hand, 1..500);
        }
    }

    fn hand_waits(&mut self, hand: HandIx, millis: std::ops::Range<u64>) {
        let wait = self.dice.millis(millis);
        self.after(wait, Event::Moves(hand));
    }

    /// A hand goes on with what it does.
    pub(in crate::world) fn hand_moves(&mut self, ix: HandIx) {
        let hand = &self.hands[ix.0];
        match self.able(hand.host, hand.agent) {
            Able::Now => {}
            Able::At(at) => return self.queue.push(at, Event::Moves(ix)),
            Able::Never => return,
        }
        let (shim, doing) = (hand.shim, hand.doing);
        if self.shims[shim.0].running.is_none() {
            return self.hand_waits(ix, 500..3_000);
        }
        match doing {
            Doing::Nothing => self.hand_asks(ix, shim),
            Doing::Works(task) => self.hand_says(ix, shim, task),
            Doing::Asks(_) | Doing::Says(..) => {}
        }
    }

    fn request(&mut self, shim: ShimIx, hand: HandIx) -> RequestNumber {
        let request = RequestNumber(self.next_request);
        self.next_request += 1;
        if let Some(running) = &mut self.shims[shim.0].running {
            running.requests.insert(request, hand);
        }
        request
    }

    fn hand_asks(&mut self, ix: HandIx, shim: ShimIx) {
        let request = self.request(shim, ix);
        self.hands[ix.0].doing = Doing::Asks(request);
        self.shim_hears(shim, ShimFact::WorkAsked { request });
        if self.chance_of(|work| work.tasks.hangs_up) {
            let wait = self.dice.millis(1..5_000);
            self.after(wait, Event::HangsUp(ix, request));
        }
    }

    fn hand_says(&mut self, ix: HandIx, shim: ShimIx, task: TaskIx) {
        let (word, first) = match self.tasks[task.0].stage {
            TaskStage::Over {
                how: TaskEnd::Said(word),
                ..
            } => (word, false),
            TaskStage::Starting | TaskStage::Works { .. } | TaskStage::Over { .. } => (self.task_word(), true),
        };
        let alone = self.swarm.work.as_ref().is_some_and(|work| work.hands == 1);
        let mumbles = first && alone && self.chance_of(|work| work.tasks.mumbles);
        self.tasks[task.0].ends(TaskEnd::Said(word));
        if !first {
            self.fired(Fault::WordRepeated);
        }
        let attempt = self.tasks[task.0].attempt.clone();
        let request = self.request(shim, ix);
        self.hands[ix.0].doing = Doing::Says(request, task, word);
        let said = ShimFact::WorkSaid {
            request: Some(request),
            about: if mumbles { About::Only } else { About::attempt(&attempt) },
            word: in_full(word, &attempt),
        };
        self.shim_hears(shim, said);
        if self.chance_of(|work| work.tasks.cuts) {
            self.fired(Fault::ShimKilled);
            self.shim_dies(shim);
        }
    }

    /// Who asked for work does not wait any longer.
    pub(in crate::world) fn hangs_up(&mut self, ix: HandIx, request: RequestNumber) {
        let hand = &self.hands[ix.0];
        if hand.doing != Doing::Asks(request) || self.able(hand.host, hand.agent) != Able::Now {
            return;
        }
        let shim = hand.shim;
        self.fired(Fault::AskWithdrawn);
        self.hands[ix.0].doing = Doing::Nothing;
        if let Some(running) = &mut self.shims[shim.0].running {
            running.requests.remove(&request);
        }
        self.shim_hears(shim, ShimFact::AskWithdrawn { request });
        self.hand_waits(ix, 100..3_000);
    }

    /// Who asked a shim for work before an upgrade that was not made asks again.
    pub(in crate::world) fn asks_are_turned_away(&mut self, ix: ShimIx) {
        let Some(running) = &mut self.shims[ix.0].running else {
            return;
        };
        let hands = &self.hands;
        let turned_away: Vec<HandIx> = running
            .requests
            .extract_if(.., |request, hand| hands[hand.0].doing == Doing::Asks(*request))
            .map(|(_, hand)| hand)
            .collect();
        for hand in turned_away {
            self.hands[hand.0].doing = Doing::Nothing;
            self.hand_waits(hand, 100..3_000);
        }
    }

    /// A shim has work for who asked.
    pub(in crate::world) fn give(
        &mut self,
        ix: ShimIx,
        request: RequestNumber,
        incarnation: Incarnation,
        attempt: AttemptId,
    ) {
        let asked = self.shims[ix.0].running.as_mut();
        let hand = asked.and_then(|running| running.requests.remove(&request));
        let there = hand.filter(|hand| {
            let hand = &self.hands[hand.0];
            self.able(hand.host, hand.agent) != Able::Never
        });
        let gone = self.chance_of(|work| work.tasks.gone);
        let Some(hand) = there.filter(|_| !gone) else {
            self.fired(Fault::GiveFailed);
            if let Some(hand) = there {
                self.hands[hand.0].doing = Doing::Nothing;
                self.hand_waits(hand, 100..3_000);
            }
            return self.shim_hears(ix, ShimFact::GiveFailed { attempt });
        };
        let worker = self.hands[hand.0].agent;
        let task = self.new_task(ix, attempt, incarnation);
        self.hands[hand.0].doing = Doing::Works(task);
        self.task_begins(task, worker);
        let Some(takes) = self.task_takes() else { return };
        if self.chance_of(|work| work.tasks.blocks) {
            self.after(takes / 2, Event::Blocks(task, Blocked::Yes));
            let stands = self.dice.millis(500..20_000);
            self.after(takes / 2 + stands, Event::Blocks(task, Blocked::NotAnyMore));
            return self.after(takes + stands, Event::Moves(hand));
        }
        self.after(takes, Event::Moves(hand));
    }

    /// An agent says that it is blocked in a task, or not any more.
    pub(in crate::world) fn blocks(&mut self, ix: TaskIx, blocked: Blocked) {
        let task = &self.tasks[ix.0];
        let Some(worker) = task.worker() else { return };
        match self.able(task.host, worker) {
            Able::Now => {}
            Able::At(at) => return self.queue.push(at, Event::Blocks(ix, blocked)),
            Able::Never => return,
        }
        let (shim, attempt) = (task.shim, task.attempt.clone());
        let limit = self.shims[shim.0]
            .running
            .as_ref()
            .map_or(Duration::ZERO, |running| running.supervisor.policy().blocked_limit);
        let word = match blocked {
            Blocked::Yes => {
                self.fired(Fault::TaskBlocks);
                self.tasks[ix.0].extra = limit;
                ShimWord::Blocked(BlockedOn::User)
            }
            Blocked::NotAnyMore => ShimWord::Moves,
        };
        let said = ShimFact::WorkSaid {
            request: None,
            about: About::attempt(&attempt),
            word,
        };
        self.shim_hears(shim, said);
    }

    /// A shim answers.
    pub(in crate::world) fn hand_hears(&mut self, ix: ShimIx, request: RequestNumber, answer: Result<(), Refused>) {
        let running = self.shims[ix.0].running.as_mut();
        let Some(hand) = running.and_then(|running| running.requests.remove(&request)) else {
            return;
        };
        match self.hands[hand.0].doing {
            Doing::Asks(asked) if asked == request => {
                self.hands[hand.0].doing = Doing::Nothing;
                self.hand_waits(hand, 500..5_000);
            }
            Doing::Says(said, ..) if said == request => {
                if answer.is_err() {
                    self.fired(Fault::WordRefused);
                }
                self.hands[hand.0].doing = Doing::Nothing;
                self.hand_waits(hand, 1..500);
            }
            Doing::Nothing | Doing::Works(_) | Doing::Asks(_) | Doing::Says(..) => {}
        }
    }
}

/// What an agent says, with what it has to show for it.
pub(super) fn in_full(word: Word, attempt: &AttemptId) -> ShimWord {
    let output = Task::output(attempt);
    match word {
        Word::Done => ShimWord::Done { output },
        Word::Failed => ShimWord::Failed {
            message: "I cannot".to_owned(),
            output,
        },
    }
}
