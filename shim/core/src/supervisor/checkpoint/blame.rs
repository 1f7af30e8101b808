//! What the end of a life means for the checkpoint that the next one is handed.

use std::time::Duration;

use rekindle::checkpoint::{AskedSave, Flags, LifeEnd, Reception, crashes_after, standing_at_run};
use rekindle::exit::{EndedBy, ExitClass, ExitEvidence};
use rekindle::id::Incarnation;

use super::super::Supervisor;

/// How a life ended, as far as its checkpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Ended {
    /// For the arithmetic of blame.
    end: LifeEnd,
    manner: Manner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// By its own clean exit, or after it had saved when it was asked to.
    Clean,
    Unclean,
}

impl Ended {
    /// As the evidence says, and the class that the recovery takes it for; `None` where somebody asked for the end.
    pub(in super::super) fn seen(evidence: &ExitEvidence, class: Option<ExitClass>, stable_after: Duration) -> Self {
        let manner = if evidence.asked_save.is_last_word(evidence.status)
            || evidence.ended_by == EndedBy::Itself && class == Some(ExitClass::Clean)
        {
            Manner::Clean
        } else {
            Manner::Unclean
        };
        Self {
            end: LifeEnd::seen(evidence.ended_by, class, evidence.uptime, stable_after),
            manner,
        }
    }

    /// What it saved when it was asked to is not its last word where SIGKILL ended what was left of it.
    pub(in super::super) fn cut_short(self, asked: AskedSave) -> Self {
        match asked {
            AskedSave::Saved(_) => Self {
                manner: Manner::Unclean,
                ..self
            },
            AskedSave::NotAsked | AskedSave::NotSaved => self,
        }
    }

    /// With its shim.
    pub(in super::super) const fn with_its_shim() -> Self {
        Self {
            end: LifeEnd::WithItsShim,
            manner: Manner::Unclean,
        }
    }

    /// With its host, or so that it is given up.
    pub(in super::super) const fn otherwise() -> Self {
        Self {
            end: LifeEnd::Other,
            manner: Manner::Unclean,
        }
    }
}

impl Supervisor {
    /// The life is over; what it had begun is not forsaken yet. Told before its end is, so that who orders the next life knows
    /// what there is.
    pub(in super::super) fn checkpoint_outlives(&mut self, incarnation: Incarnation, ended: Ended) {
        let flags = match ended.manner {
            Manner::Clean => Flags::default(),
            Manner::Unclean => Flags::unclean(self.executions_begun().cloned()),
        };
        self.checkpoints.after = Some((incarnation, flags.clone()));
        self.checkpoints.handing = None;
        let handed = self.journal.handed.filter(|handed| handed.incarnation == incarnation);
        if self.journal.handed.is_some() {
            self.journal_mut().handed = None;
        }
        let poison_after = self.policy.poison_after;
        let Some(before) = self.journal.checkpoint.clone().filter(|state| state.standing.is_open()) else {
            return;
        };
        let mut state = before.clone();
        let reception = handed
            .filter(|handed| handed.id == state.id)
            .map(|handed| handed.reception);
        if state.id.incarnation == incarnation || reception == Some(Reception::Accepted) {
            state.flags = flags;
        }
        if let Some(reception) = reception {
            state.crashes = crashes_after(state.crashes, reception, ended.end);
        }
        state.standing = standing_at_run(state.standing, state.crashes, poison_after);
        if state != before {
            self.journal_mut().checkpoint = Some(state);
        }
        self.tell_checkpoint();
    }
}
