//! Which events the log holds: what keeps its sequence without a hole (invariant I5).

use std::ops::RangeInclusive;

use rekindle::id::Sequence;

use super::StoreError;

/// The oldest and the newest event of a log, if it has any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span(Option<(Sequence, Sequence)>);

impl Span {
    /// From the log's ends.
    pub(super) const fn new(ends: Option<(Sequence, Sequence)>) -> Self {
        Self(ends)
    }

    /// The log's ends.
    pub(super) const fn ends(self) -> Option<(Sequence, Sequence)> {
        self.0
    }

    /// The newest event, or zero.
    pub(super) const fn newest(self) -> Sequence {
        match self.0 {
            Some((_, newest)) => newest,
            None => Sequence::ZERO,
        }
    }

    /// Adds an event to the end. The first of an empty log may have any number.
    pub(super) fn append(&mut self, found: Sequence) -> Result<(), StoreError> {
        self.0 = match self.0 {
            None => Some((found, found)),
            Some((oldest, newest)) if found == newest.next() => Some((oldest, found)),
            Some((_, newest)) => return Err(StoreError::EventOutOfSequence { newest, found }),
        };
        Ok(())
    }

    /// Takes the events through `through` off the start, and says which those are.
    pub(super) fn trim(&mut self, through: Sequence) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        match self.0 {
            None => Ok(None),
            Some((oldest, _)) if through < oldest => Ok(None),
            Some((_, newest)) if through >= newest => Err(StoreError::NewestEventTrimmed { through, newest }),
            Some((oldest, newest)) => {
                self.0 = Some((through.next(), newest));
                Ok(Some(oldest.get()..=through.get()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seq(number: u64) -> Sequence {
        Sequence::new(number)
    }

    #[test]
    fn grows_at_one_end_and_shrinks_at_the_other() {
        let mut span = Span::default();
        assert_eq!((span.ends(), span.newest()), (None, seq(0)));
        assert_eq!(span.trim(seq(9)).expect("an empty log has nothing to trim"), None);
        for number in 5..=9 {
            span.append(seq(number)).expect("in sequence");
        }
        assert_eq!(span.trim(seq(4)).expect("before the log"), None);
        assert_eq!(span.trim(seq(7)).expect("inside the log"), Some(5..=7));
        assert_eq!(span.trim(seq(7)).expect("already gone"), None);
        assert_eq!(span.ends(), Some((seq(8), seq(9))));
    }

    #[test]
    fn refuses_holes_and_the_loss_of_the_newest() {
        let mut span = Span::new(Some((seq(1), seq(3))));
        for number in [1, 3, 5] {
            assert!(matches!(
                span.append(seq(number)),
                Err(StoreError::EventOutOfSequence { .. })
            ));
        }
        for number in [3, 4, u64::MAX] {
            assert!(matches!(
                span.trim(seq(number)),
                Err(StoreError::NewestEventTrimmed { .. })
            ));
        }
        assert_eq!(span.ends(), Some((seq(1), seq(3))), "a refusal changes nothing");
    }
}
