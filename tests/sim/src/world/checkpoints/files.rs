//! State files: what agents write there counts from the rename on, whoever dies when.

use std::time::Duration;

use rekindle::id::Incarnation;
use rekindle_shim_core::{Input as ShimFact, TaskIs, TreeId};

use super::super::World;
use crate::fault::Fault;
use crate::mind::{Ask, AskBy, AskWhat, Mind, Saved};
use crate::mutation::Mutation;
use crate::queue::{Event, HostIx, ShimIx, Uid};

/// How soon a shim that runs looks at a file that was written (inotify(7)).
const NOTICED: std::ops::Range<Duration> = Duration::from_micros(20)..Duration::from_millis(5);

impl World {
    /// An agent writes its state file: FILE.new, and a rename.
    pub(super) fn writes_file(&mut self, uid: Uid, task: TaskIs) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let (ix, incarnation, tree) = (mind.shim, mind.incarnation, mind.tree.clone());
        let saved = Saved {
            task,
            ..self.something_to_save(uid, &tree)
        };
        self.oracle.saves(&self.shims[ix.0].agent, incarnation, &saved);
        if let Some(mind) = self.minds.get_mut(&uid) {
            mind.file = Some(saved);
        }
        let wait = self.dice.between(&NOTICED);
        self.after(wait, Event::FileNoticed(uid));
    }

    /// A shim that runs looks at a file.
    pub(in crate::world) fn file_noticed(&mut self, uid: Uid) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let ix = mind.shim;
        let life = self.shims[ix.0].life;
        if self.shims[ix.0].running.is_none() {
            return;
        }
        if let Some(until) = self.hindered(ix, life) {
            return self.queue.push(until, Event::FileNoticed(uid));
        }
        if self.hosts[mind.host.0].find(uid).is_some() && mind.told.is_none() {
            self.takes_file(uid);
        }
    }

    /// A file is handed in, unless that was done with what is in it.
    fn takes_file(&mut self, uid: Uid) {
        let Some(mind) = self.minds.get_mut(&uid) else { return };
        let Some(saved) = mind.file.clone() else { return };
        if mind.taken == Some(saved.token) || mind.told == Some(saved.token) {
            return;
        }
        mind.told = Some(saved.token);
        let (ix, incarnation) = (mind.shim, mind.incarnation);
        let ask = Ask {
            uid,
            by: AskBy::File,
            named: Some(incarnation),
            what: AskWhat::Save(saved.token, saved.task),
        };
        let request = self.new_ask(ix, ask);
        let fact = ShimFact::SaveAsked {
            request,
            incarnation: Some(incarnation),
            fields: saved.fields,
            body: saved.body,
            task: saved.task,
        };
        let life = self.shims[ix.0].life;
        self.queue.push(self.now, Event::ShimLearns(ix, life, Box::new(fact)));
    }

    pub(super) fn file_answered(&mut self, uid: Uid, ask: &Ask, taken: bool) {
        let Some(mind) = self.minds.get_mut(&uid) else { return };
        let AskWhat::Save(token, _) = ask.what else { return };
        if taken {
            mind.taken = mind.taken.max(Some(token));
        } else {
            mind.refused = mind.refused.max(Some(token));
        }
        if mind.told == Some(token) {
            mind.told = None;
        }
        let changed = mind.file.as_ref().is_some_and(|saved| saved.token != token);
        if changed {
            let wait = self.dice.between(&NOTICED);
            self.after(wait, Event::FileNoticed(uid));
        }
    }

    /// Nothing of a tree lives: its files are looked at once more before that is told.
    pub(in crate::world) fn last_look_at_files(&mut self, ix: ShimIx, tree: &TreeId) {
        if self.mutation == Mutation::FileIgnored {
            return;
        }
        for uid in self.minds_of(ix, |of| of == tree) {
            if self.has_news(uid) {
                self.fired(Fault::FileUnseen);
            }
            self.takes_file(uid);
        }
    }

    /// A shim comes up: what the last life has written is the first that it hears of.
    pub(in crate::world) fn first_look_at_files(&mut self, ix: ShimIx) {
        if self.mutation == Mutation::FileIgnored {
            return;
        }
        let last = self.shims[ix.0].journal.last_incarnation;
        for uid in self.minds_of(ix, |_| true) {
            let of_last = self.minds.get(&uid).is_some_and(|mind| mind.incarnation == last);
            if of_last {
                if self.has_news(uid) {
                    self.fired(Fault::FileUnseen);
                }
                self.takes_file(uid);
            }
        }
    }

    /// Whether a file has something that no shim has taken.
    fn has_news(&self, uid: Uid) -> bool {
        self.minds.get(&uid).is_some_and(|mind| {
            let newest = mind.file.as_ref().map(|saved| saved.token);
            newest.is_some() && newest != mind.taken && newest != mind.told
        })
    }

    fn minds_of(&self, ix: ShimIx, of: impl Fn(&TreeId) -> bool) -> Vec<Uid> {
        let mut uids: Vec<_> = self
            .minds
            .iter()
            .filter(|(_, mind)| mind.shim == ix && of(&mind.tree))
            .map(|(uid, mind)| (mind.file.as_ref().map(|saved| saved.token), *uid))
            .collect();
        // What was written last is looked at last.
        uids.sort();
        uids.into_iter().map(|(_, uid)| uid).collect()
    }

    /// What an earlier life of a shim's agent has in its files, and no shim has taken: the next one must not begin before.
    pub(super) fn unseen_file(&self, ix: ShimIx, before: Incarnation) -> Option<String> {
        let of_earlier = |mind: &&Mind| mind.shim == ix && mind.incarnation < before;
        let last = self
            .minds
            .values()
            .filter(of_earlier)
            .map(|mind| mind.incarnation)
            .max()?;
        let of_last = self
            .minds
            .values()
            .filter(of_earlier)
            .filter(|mind| mind.incarnation == last);
        let left = of_last.filter_map(|mind| {
            let newest = mind.file.as_ref().map(|saved| saved.token)?;
            let done = mind.taken >= Some(newest) || mind.refused >= Some(newest) || mind.excused;
            (!done).then_some(newest)
        });
        let newest = left.max()?;
        Some(format!(
            "incarnation {before} begins, and {last} has left {newest:?} in its file"
        ))
    }

    /// A power loss takes from a shim which life was its last.
    pub(in crate::world) fn files_are_excused(&mut self, ix: ShimIx) {
        for mind in self.minds.values_mut().filter(|mind| mind.shim == ix) {
            mind.excused = true;
        }
    }

    /// A host loses its power: what nobody has synced is there, or is not.
    pub(in crate::world) fn files_are_lost(&mut self, host: HostIx) {
        for mind in self.minds.values_mut().filter(|mind| mind.host == host) {
            let synced = mind.file.as_ref().is_none_or(|saved| mind.taken == Some(saved.token));
            if !synced && self.state_dice.chance(0.5) {
                mind.file = None;
            }
        }
    }

    /// An agent opens the file that it was handed its checkpoint in.
    pub(super) fn opens_file(&mut self, uid: Uid) {
        let Some(mind) = self.minds.get(&uid) else { return };
        let (ix, incarnation) = (mind.shim, mind.incarnation);
        if let Some(handed) = mind.handed.clone() {
            self.oracle
                .has_read(&self.shims[ix.0], incarnation, handed.checkpoint.id);
        }
        self.tell_read(ix, incarnation);
        self.has_read(uid);
    }

    /// Once a life, the shim is told.
    fn tell_read(&mut self, ix: ShimIx, incarnation: Incarnation) {
        let first = self.shims[ix.0]
            .running
            .as_mut()
            .is_some_and(|running| running.writing.told_read.insert(incarnation));
        if first {
            self.shim_hears(ix, ShimFact::StateFileRead { incarnation });
        }
    }
}
