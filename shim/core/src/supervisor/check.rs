//! What must be true of a supervisor after every step.

use rekindle::id::Incarnation;
use rekindle::report::INVENTORY_REPORTS_MAX;

use super::{Leaving, Life, Supervisor};

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The journal and the machine tell of different lives.
    #[error("the journal knows of incarnation {journal:?}, the machine of {machine:?}")]
    Child {
        /// The journal's.
        journal: Option<Incarnation>,
        /// The machine's.
        machine: Option<Incarnation>,
    },
    /// A life that the journal was not told of in time.
    #[error("incarnation {living} lives, and the journal's highest is {last}")]
    Unwritten {
        /// The life.
        living: Incarnation,
        /// The journal's highest.
        last: Incarnation,
    },
    /// A life would begin that has been before, or was stopped.
    #[error("incarnation {next} comes next, and {barred} has been")]
    Next {
        /// What comes next.
        next: Incarnation,
        /// What has been.
        barred: Incarnation,
    },
    /// Something would begin although nothing ends, or the shim does.
    #[error("incarnation {0} comes next, and nothing makes way for it")]
    Stuck(Incarnation),
    /// The journal and the machine hold different attempts, or nothing lives that could.
    #[error("the journal's attempts are not the machine's, or nobody has them")]
    Attempts,
    /// What the journal says of checkpoints cannot be so.
    #[error("what is known of checkpoints contradicts itself")]
    Checkpoints,
    /// The outbox's numbers have a hole, or do not end at the newest.
    #[error("the outbox is out of order")]
    Outbox,
    /// The outbox is longer than an inventory can carry.
    #[error("the outbox has {0} reports")]
    Overflow(usize),
}

impl Supervisor {
    /// Checks every invariant that can be seen from inside.
    ///
    /// # Errors
    /// The first that does not hold: a defect.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_lives()?;
        self.check_next()?;
        if !self.attempts_are_sound() {
            return Err(Violation::Attempts);
        }
        if !self.checkpoints_are_sound() {
            return Err(Violation::Checkpoints);
        }
        self.check_outbox()
    }

    fn check_lives(&self) -> Result<(), Violation> {
        let journal = self.journal.child.as_ref().map(|child| child.incarnation);
        match &self.life {
            // Only the journal knows what an earlier shim left.
            Life::Adopting(_) | Life::Sweeping(_) | Life::Quarantined(_) if journal.is_some() => Ok(()),
            Life::Idle | Life::Starting { .. } | Life::Running(_) | Life::Ending(_) if journal == self.living() => {
                Ok(())
            }
            Life::Adopting(_)
            | Life::Sweeping(_)
            | Life::Quarantined(_)
            | Life::Idle
            | Life::Starting { .. }
            | Life::Running(_)
            | Life::Ending(_) => Err(Violation::Child {
                journal,
                machine: self.living(),
            }),
        }?;
        let last = self.journal.last_incarnation;
        match self.living() {
            Some(living) if living != last => Err(Violation::Unwritten { living, last }),
            Some(_) | None => Ok(()),
        }
    }

    fn check_next(&self) -> Result<(), Violation> {
        let Some(next) = self.next else { return Ok(()) };
        let barred = self.journal.last_incarnation.max(self.stopped_through);
        if next <= barred {
            return Err(Violation::Next { next, barred });
        }
        let makes_way = match &self.life {
            Life::Adopting(_) | Life::Sweeping(_) | Life::Ending(_) => true,
            Life::Starting { end, .. } => end.is_some(),
            // What it is handed is on its way to the disk.
            Life::Idle | Life::Quarantined(_) => self.checkpoints_pending(),
            Life::Running(_) => false,
        };
        if makes_way && self.leaving == Leaving::No {
            Ok(())
        } else {
            Err(Violation::Stuck(next))
        }
    }

    fn check_outbox(&self) -> Result<(), Violation> {
        let outbox = &self.journal.outbox;
        if outbox.len() > INVENTORY_REPORTS_MAX {
            return Err(Violation::Overflow(outbox.len()));
        }
        let rises = outbox
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.sequence.next() == b.sequence));
        let ends = outbox
            .last()
            .is_none_or(|newest| newest.sequence == self.journal.last_report);
        if rises && ends { Ok(()) } else { Err(Violation::Outbox) }
    }
}
