//! What the agent of the world saves, the disk that it goes to, and the server that has it (I8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rekindle::checkpoint::{Checkpoint, CheckpointId, CheckpointState, ClosedBy, HeldCheckpoint, RunContext, Standing};
use rekindle::session::{CheckpointKept, CheckpointStock};

use super::super::checkpoints::{close, confirm, content, load, resume, save};
use super::*;
use crate::effect::{CheckpointAnswer, CheckpointRefused};
use crate::input::{NotWritten, WriteFault};

/// What becomes of a write that the disk does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing of it is there.
    Lost,
    /// It is there, and nobody says so.
    Kept,
}

/// What the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It saves, for the attempt at this place.
    Save(usize),
    Load,
    Confirm,
    Close,
    ReadsFile,
}

/// Whether a server takes checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Yes,
    No,
}

/// What a life is ordered to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Fresh,
    /// With what the server has.
    ServersOwn,
    /// With one of a life elsewhere, that is newer.
    Elsewhere,
}

#[derive(Debug, Default)]
pub(super) struct Saves {
    /// The newest of the state directory.
    pub(super) file: Option<HeldCheckpoint>,
    /// The newest that an agent was told is saved.
    told: Option<CheckpointId>,
    /// What was saved, by its id: one id is never of two contents.
    contents: BTreeMap<CheckpointId, Arc<Checkpoint>>,
    /// Those that an agent was told are closed.
    closed: BTreeSet<CheckpointId>,
    /// Those of which the disk has nothing. This life of the shim gives nothing else their ids.
    lost: BTreeSet<CheckpointId>,
    /// What the agent waits for an answer to.
    asked: usize,
    server: Option<CheckpointState>,
    takes: Option<Takes>,
    under_way: Option<CheckpointState>,
}

impl Saves {
    /// Looks at what the supervisor wants; the others of its effects concern nobody here.
    pub(super) fn see(&mut self, effect: &Effect, open: &VecDeque<Effect>, disk: &Journal) {
        if let Effect::WriteCheckpoint(held) = effect {
            assert!(!is_writing(open), "one write at a time");
            let id = held.checkpoint.id;
            let before = self.contents.insert(id, Arc::clone(&held.checkpoint));
            let is_same = before.is_none_or(|before| before == held.checkpoint);
            assert!(is_same, "{id} is of two contents");
        }
        if let Effect::Spawn { .. } = effect {
            assert!(!is_writing(open), "a life begins while the disk is waited for");
        }
        if let Effect::AnswerCheckpoint { answer, .. } = effect {
            self.asked = self.asked.checked_sub(1).expect("who asks once is answered once");
            self.answered(answer, disk);
        }
        if let Effect::Send(ShimMessage::Checkpoint(held)) = effect {
            assert_eq!(self.takes, Some(Takes::Yes), "an earlier server would end the stream");
            assert_eq!(self.under_way, None, "one is under way at a time");
            assert_ne!(self.server, Some(held.state()), "it has that");
            self.under_way = Some(held.state());
        }
        if let Effect::Send(ShimMessage::Report(report)) = effect
            && let ReportFact::HandedOver(_) | ReportFact::CheckpointRead(_) | ReportFact::CheckpointConfirmed(_) =
                report.fact
        {
            assert_eq!(self.takes, Some(Takes::Yes), "an earlier server would end the stream");
        }
    }

    fn answered(&mut self, answer: &Result<CheckpointAnswer, CheckpointRefused>, disk: &Journal) {
        match answer {
            Ok(CheckpointAnswer::Saved(id)) => {
                let file = self.file.as_ref().map(|held| held.checkpoint.id);
                assert_eq!(file, Some(*id), "told before it is durable");
                assert!(Some(*id) > self.told, "{id} after {:?}", self.told);
                self.told = Some(*id);
            }
            Ok(CheckpointAnswer::Loaded(Some(held))) => self.may_be_handed(held),
            Ok(CheckpointAnswer::Done) => {
                if let Some(state) = disk.checkpoint.as_ref().filter(|state| !state.standing.is_open()) {
                    self.closed.insert(state.id);
                }
            }
            Ok(CheckpointAnswer::Loaded(None)) | Err(_) => {}
        }
    }

    /// Whole, open, and the newest that there is.
    pub(super) fn may_be_handed(&self, held: &HeldCheckpoint) {
        let id = held.checkpoint.id;
        assert!(held.standing.is_open(), "{held:?}");
        assert_eq!(self.contents.get(&id), Some(&held.checkpoint), "{id} is what was saved");
        assert!(
            Some(id) >= self.told,
            "{id} is handed over, and {:?} was saved",
            self.told
        );
        assert!(!self.closed.contains(&id), "{id} is closed");
    }

    /// What was being written when the one before died is not there, and nobody has seen it.
    pub(super) fn new_shim(&mut self, open: &VecDeque<Effect>) {
        for effect in open {
            if let Effect::WriteCheckpoint(held) = effect {
                self.contents.remove(&held.checkpoint.id);
            }
        }
        for id in std::mem::take(&mut self.lost) {
            self.contents.remove(&id);
        }
        (self.asked, self.under_way, self.takes) = (0, None, None);
    }

    pub(super) fn written(&mut self, held: &HeldCheckpoint) {
        self.file = Some(held.clone());
    }
}

fn is_writing(open: &VecDeque<Effect>) -> bool {
    open.iter().any(|effect| matches!(effect, Effect::WriteCheckpoint(_)))
}

impl World {
    pub(super) fn write(&mut self, held: &HeldCheckpoint) {
        self.saves.written(held);
        self.feed(Input::CheckpointWritten {
            id: held.checkpoint.id,
            result: Ok(()),
        });
    }

    /// The disk does not take what is being written.
    pub(super) fn fail_write(&mut self, fault: Fault) {
        let place = self
            .open
            .iter()
            .position(|effect| matches!(effect, Effect::WriteCheckpoint(_)));
        let Some(Effect::WriteCheckpoint(held)) = place.and_then(|place| self.open.remove(place)) else {
            return;
        };
        match fault {
            Fault::Lost => {
                self.saves.lost.insert(held.checkpoint.id);
            }
            Fault::Kept => self.saves.written(&held),
        }
        self.feed(Input::CheckpointWritten {
            id: held.checkpoint.id,
            result: Err(NotWritten {
                cause: WriteFault::Room,
                message: "full".into(),
            }),
        });
    }

    pub(super) fn speak(&mut self, says: Says, above: u64) {
        let life = self.disk.last_incarnation.get().saturating_sub(1) + above;
        let word = match says {
            Says::Save(which) => {
                let task = self
                    .attempts
                    .keys()
                    .nth(which)
                    .map(|attempt| attempt.execution.to_string());
                save(life, &task.unwrap_or_default())
            }
            Says::Load => load(life),
            Says::Confirm => confirm(life),
            Says::Close => close(life),
            Says::ReadsFile => return self.feed(Input::StateFileRead { incarnation: n(life) }),
        };
        self.saves.asked += 1;
        self.feed(word);
    }

    /// A server that has what it was told by this world's shims.
    pub(super) fn link(&mut self, takes: Takes) {
        self.feed(Input::LinkOpened);
        let Input::Welcomed(mut welcome) = self.bench.welcome(0) else {
            return;
        };
        if takes == Takes::Yes {
            welcome.checkpoints = CheckpointStock::Newest(self.saves.server.clone());
        }
        (self.saves.takes, self.saves.under_way) = (Some(takes), None);
        self.feed(Input::Welcomed(welcome));
    }

    pub(super) fn server_answers(&mut self, keeps: bool) {
        let Some(state) = self.saves.under_way.take() else {
            return;
        };
        let refused = (!keeps).then(|| "no".to_owned());
        let id = state.id;
        if keeps {
            self.saves.server = Some(state);
        }
        self.feed(Input::CheckpointAnswered(CheckpointKept { id, refused }));
    }

    pub(super) fn run_with(&mut self, above: u64, begins: Begins) {
        let life = self.disk.last_incarnation.get() + above;
        let context = match begins {
            Begins::Fresh => RunContext::Fresh,
            Begins::ServersOwn => {
                let state = self.saves.server.clone();
                let content = state
                    .as_ref()
                    .and_then(|state| self.saves.contents.get(&state.id))
                    .cloned();
                resume(|resumption| {
                    resumption.offered = state.map(|state| rekindle::checkpoint::OfferedCheckpoint { state, content });
                })
            }
            Begins::Elsewhere => {
                // Of a life between this shim's newest and the one that it is to begin.
                let content = content(life + 1, 7, "t");
                let is_closed = self.saves.closed.contains(&content.id);
                let state = CheckpointState {
                    standing: if is_closed {
                        Standing::Closed(ClosedBy::Task)
                    } else {
                        Standing::Open
                    },
                    ..CheckpointState::saved(content.id)
                };
                self.saves
                    .contents
                    .entry(content.id)
                    .or_insert_with(|| Arc::clone(&content));
                let content = Some(content);
                resume(|resumption| {
                    resumption.offered = Some(rekindle::checkpoint::OfferedCheckpoint { state, content });
                })
            }
        };
        let above = u64::from(begins == Begins::Elsewhere) * 2;
        self.feed(super::super::checkpoints::run_with(life + above, context));
    }
}
