//! What the agent saves by its state files, on its way to the supervisor and back.

use std::path::PathBuf;

use rekindle::checkpoint::{CheckpointBody, CheckpointError, CheckpointFields};
use rekindle::id::Incarnation;
use rekindle::state_file::StateFile;
use rekindle_shim_core::{CheckpointAnswer, CheckpointRefused, Input, RequestNumber, TaskIs, TreeId};

use super::Driver;
use crate::process::Purpose;
use crate::socket::{CheckpointWord, checkpoint_refused};
use crate::state_file::{News, Owner, Refused, Save};

impl Driver {
    /// Gets the file of a process ready that is about to be run; where it is, and what stands there. A process whose file
    /// has no place is run all the same: it is told by its environment and the socket.
    pub(super) fn begin_state_file(
        &mut self,
        incarnation: Incarnation,
        purpose: &Purpose,
    ) -> (PathBuf, Vec<(String, String)>) {
        let tree = purpose.tree(incarnation);
        let held = self.supervisor.handed_over(&tree);
        let handed = held.as_ref().map(StateFile::of);
        let owner = Owner::of_tree(&tree, incarnation);
        let (path, ready) = self.state_files.begin(owner, handed.as_ref());
        if let Err(error) = ready {
            let file = path.display();
            tracing::error!(%error, %file, "the agent's state file has no place; what is written there is not saved");
        }
        (path, handed.as_ref().map(StateFile::variables).unwrap_or_default())
    }

    /// What a shim before this one has died over comes before all else.
    pub(super) fn find_state_files(&mut self, last: Incarnation) {
        for save in self.state_files.found(last) {
            let fact = self.save(save);
            self.facts.extend(fact);
        }
    }

    /// Nothing lives any more of what an earlier shim has left, but for what was taken up.
    pub(super) fn end_found_state_files(&mut self) {
        let news = self.state_files.end_of_found();
        self.hear_last(news);
    }

    /// Nothing lives of a tree any more.
    pub(super) fn end_state_file(&mut self, tree: &TreeId) {
        let news = self.state_files.end(tree);
        self.hear_last(news);
    }

    fn hear_last(&mut self, news: Vec<News>) {
        for news in news {
            let fact = self.hear_of_file(news);
            self.facts.extend(fact);
        }
    }

    pub(super) fn hear_of_file(&mut self, news: News) -> Option<Input> {
        match news {
            News::Read(owner) => Some(Input::StateFileRead {
                incarnation: owner.incarnation,
            }),
            News::Written(save) => self.save(*save),
        }
    }

    /// A save of its own; none of what cannot be saved, which is told.
    fn save(&mut self, save: Save) -> Option<Input> {
        let request = self.socket.requests.next_number();
        let (owner, mut state) = self.state_files.saving(save, request);
        if let Some((execution, _)) = owner.message.filter(|_| state.draft.task_id.is_empty()) {
            // Several may be worked on; whose this is, is known.
            state.draft.task_id = execution.to_string();
        }
        match word(state) {
            Ok(word) => Some(word.input(request, Some(owner.incarnation))),
            Err(error) => {
                let _its_own = self
                    .state_files
                    .answered(request, Err(Refused::AsItIs(&error.to_string())));
                None
            }
        }
    }

    /// Answers whoever it was that said something of a checkpoint.
    pub(super) fn answer_checkpoint(
        &mut self,
        request: RequestNumber,
        answer: Result<CheckpointAnswer, CheckpointRefused>,
    ) {
        let refused = answer
            .as_ref()
            .err()
            .and_then(|refused| checkpoint_refused(refused.clone()));
        let why = refused.as_ref().map_or("", tonic::Status::message);
        let saved = match &answer {
            Ok(_) | Err(CheckpointRefused::NothingSaved) => Ok(()),
            Err(CheckpointRefused::OldIncarnation { .. } | CheckpointRefused::NotRunning) => Err(Refused::AsItIs(why)),
            Err(CheckpointRefused::TooMany | CheckpointRefused::NotWritten(_)) => Err(Refused::ThisTime(why)),
        };
        if self.state_files.answered(request, saved).is_none() {
            self.socket.requests.answer_checkpoint(request, answer);
        }
    }
}

fn word(state: StateFile) -> Result<CheckpointWord, CheckpointError> {
    Ok(CheckpointWord::Save {
        fields: CheckpointFields::new(state.draft)?,
        body: CheckpointBody::new(state.body)?,
        task: match state.closed {
            true => TaskIs::Over,
            false => TaskIs::GoingOn,
        },
    })
}
