//! What the agent says of its checkpoints.

use rekindle::checkpoint::{CheckpointBody, CheckpointFields, CheckpointId, HeldCheckpoint, Reception};
use rekindle::execution::Delivery;
use rekindle::id::Incarnation;
use rekindle::report::ReportFact;

use super::super::{Life, Supervisor};
use super::{Job, WAITING_MAX, is_task};
use crate::effect::{CheckpointAnswer, CheckpointRefused, Outlives};
use crate::input::{RequestNumber, TaskIs};
use crate::journal::JournalHanded;

impl Supervisor {
    pub(in super::super) fn save_asked(
        &mut self,
        request: RequestNumber,
        incarnation: Option<Incarnation>,
        fields: CheckpointFields,
        body: CheckpointBody,
        task: TaskIs,
    ) {
        let last_words = self.checkpoints.last_words.filter(|last| incarnation == Some(*last));
        match last_words.map_or_else(|| self.speaker(incarnation), Ok) {
            Ok(incarnation) => {
                let fields = self.with_task(fields);
                self.enqueue(
                    request,
                    Job::Save {
                        request,
                        incarnation,
                        fields,
                        body,
                        task,
                    },
                );
            }
            Err(refused) => self.answer_checkpoint(request, Err(refused)),
        }
    }

    pub(in super::super) fn confirm_asked(&mut self, request: RequestNumber, incarnation: Option<Incarnation>) {
        match self.speaker(incarnation) {
            Ok(incarnation) => self.enqueue(request, Job::Confirm { request, incarnation }),
            Err(refused) => self.answer_checkpoint(request, Err(refused)),
        }
    }

    pub(in super::super) fn close_asked(&mut self, request: RequestNumber, incarnation: Option<Incarnation>) {
        match self.speaker(incarnation) {
            Ok(_) => self.enqueue(request, Job::Close { request }),
            Err(refused) => self.answer_checkpoint(request, Err(refused)),
        }
    }

    /// What is durable, and open: what the life was handed, or has saved itself.
    pub(in super::super) fn load_asked(&mut self, request: RequestNumber, incarnation: Option<Incarnation>) {
        let answer = self.speaker(incarnation).map(|living| {
            let held = self
                .held()
                .filter(|held| held.standing.is_open() && self.is_for_this_work(held));
            if let Some(held) = &held
                && held.checkpoint.id.incarnation != living
            {
                self.note_read(living, held.checkpoint.id);
            }
            CheckpointAnswer::Loaded(held)
        });
        self.answer_checkpoint(request, answer);
    }

    /// Somebody opened the file in which the life was handed its checkpoint.
    pub(in super::super) fn state_file_read(&mut self, incarnation: Incarnation) {
        let handed = self
            .journal
            .handed
            .as_ref()
            .filter(|handed| handed.incarnation == incarnation);
        if let Some(id) = handed.map(|handed| handed.id) {
            self.note_read(incarnation, id);
        }
    }

    fn note_read(&mut self, incarnation: Incarnation, id: CheckpointId) {
        let before = self.reception(incarnation, id);
        if before.is_none() {
            self.tell_of_checkpoint(incarnation, ReportFact::HandedOver(id));
        }
        match before {
            None | Some(Reception::Given) => {
                self.note_reception(incarnation, id, Reception::Read);
                self.tell_of_checkpoint(incarnation, ReportFact::CheckpointRead(id));
            }
            Some(Reception::Read | Reception::Accepted) => {}
        }
    }

    /// The agent goes on with what it was handed. What it has saved itself it need not confirm.
    pub(super) fn confirm(&mut self, incarnation: Incarnation) -> Result<(), CheckpointRefused> {
        let newest = self.journal.checkpoint.as_ref().map(|state| state.id);
        let newest = newest.ok_or(CheckpointRefused::NothingSaved)?;
        if newest.incarnation == incarnation {
            return Ok(());
        }
        match self.reception(incarnation, newest) {
            None => Err(CheckpointRefused::NothingSaved),
            Some(Reception::Accepted) => Ok(()),
            Some(Reception::Given | Reception::Read) => {
                self.note_reception(incarnation, newest, Reception::Accepted);
                if let Some(state) = &mut self.journal_mut().checkpoint {
                    state.crashes = 0;
                }
                self.outlives = Outlives::TheBoot;
                self.tell_of_checkpoint(incarnation, ReportFact::CheckpointConfirmed(newest));
                Ok(())
            }
        }
    }

    /// What a life has done with this checkpoint; `None` where it was not handed it.
    pub(super) fn reception(&self, incarnation: Incarnation, id: CheckpointId) -> Option<Reception> {
        let handed = self.journal.handed.as_ref()?;
        (handed.incarnation == incarnation && handed.id == id).then_some(handed.reception)
    }

    pub(super) fn note_reception(&mut self, incarnation: Incarnation, id: CheckpointId, reception: Reception) {
        self.journal_mut().handed = Some(JournalHanded {
            incarnation,
            id,
            reception,
        });
    }

    /// Who speaks: the life that goes on. Where a life and its shim died, what it has saved last is heard all the same.
    fn speaker(&self, said: Option<Incarnation>) -> Result<Incarnation, CheckpointRefused> {
        let is_gone = matches!(&self.life, Life::Ending(ending) if ending.remains.is_some());
        let living = match &self.life {
            Life::Adopting(child) => Some(child.incarnation),
            Life::Sweeping(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Running(_)
            | Life::Ending(_)
            | Life::Quarantined(_) => self.living().filter(|_| !is_gone),
        };
        match (living, said) {
            (None, _) => Err(CheckpointRefused::NotRunning),
            (Some(living), Some(said)) if said != living => Err(CheckpointRefused::OldIncarnation { living }),
            (Some(living), _) => Ok(living),
        }
    }

    fn enqueue(&mut self, request: RequestNumber, job: Job) {
        if self.checkpoints.waiting.len() >= WAITING_MAX {
            return self.answer_checkpoint(request, Err(CheckpointRefused::TooMany));
        }
        self.checkpoints.waiting.push_back(job);
        self.pursue_checkpoints();
    }

    /// Who does not name its task, and works on one execution, works on that.
    fn with_task(&self, fields: CheckpointFields) -> CheckpointFields {
        if !fields.task_id.is_empty() {
            return fields;
        }
        let mut begun = self.executions_begun();
        let (Some(only), None) = (begun.next(), begun.next()) else {
            return fields;
        };
        let mut draft = fields.clone().into_draft();
        draft.task_id = only.as_str().to_owned();
        // Without room for it, it goes without.
        CheckpointFields::new(draft).unwrap_or(fields)
    }

    /// Where each message has a process of its own, it is for that of its task.
    fn is_for_this_work(&self, held: &HeldCheckpoint) -> bool {
        match self.settings.delivery {
            Delivery::None | Delivery::Pull | Delivery::Stdin => true,
            Delivery::PerMessage => {
                let agent = &self.journal.agent;
                let mut begun = self.executions_begun();
                begun.any(|execution| is_task(&held.checkpoint, agent, execution))
            }
        }
    }
}
