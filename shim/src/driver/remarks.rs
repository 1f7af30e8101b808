//! Tells the server how far agents say that they are with their messages, where somebody watches.
//!
//! For agents that take their messages by the shim's socket or their stdin, whose output is nobody's in particular. A text
//! is a line. It is told at once, before whatever is reported after it, as far as the credit goes and the stream has room;
//! what is not told then goes with the next one, or is a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::execution::{AttemptId, Follow, OUTPUT_PART_MAX_BYTES, OutputKind, OutputPart};

use crate::link::{Aside, NotSaid};

/// What is kept of one attempt for who comes late: the last lines, in one piece.
const KEPT_MAX_BYTES: usize = OUTPUT_PART_MAX_BYTES;

/// What agents have said, by which attempt.
#[derive(Debug, Default)]
pub(super) struct Remarks(BTreeMap<AttemptId, Said>);

/// The last lines of one attempt.
#[derive(Debug, Default)]
struct Said {
    /// At most [`KEPT_MAX_BYTES`], and one line at least.
    lines: Vec<u8>,
    /// Bytes of all lines so far.
    end: u64,
    /// Where the last piece that was told ended.
    told: u64,
    /// Of the server, while it watches.
    terms: Option<Terms>,
}

#[derive(Debug)]
struct Terms {
    /// In bytes.
    credit: u32,
    aside: Aside,
}

impl Remarks {
    /// Of attempts that an earlier shim has left, which may have told of them. Their lines are counted on from the
    /// nanoseconds that the host has been up: above where any earlier shim ended, as no agent says a byte each nanosecond,
    /// so that who has read those lines reads on. What lies between is a gap.
    pub(super) fn after<'a>(left: impl Iterator<Item = &'a AttemptId>, since_boot: Duration) -> Self {
        let end = u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX);
        let said = || Said {
            end,
            told: end,
            ..Said::default()
        };
        Self(left.map(|attempt| (attempt.clone(), said())).collect())
    }

    /// Goes by what the server wants of an attempt that is held.
    pub(super) fn follow(&mut self, follow: Follow, aside: Aside) {
        let Follow { attempt, from, credit } = follow;
        let said = self.0.entry(attempt.clone()).or_default();
        said.told = match (from, &said.terms) {
            (Some(from), _) => from,
            (None, Some(terms)) if terms.aside.is_open() => said.told,
            (None, _) => said.end,
        };
        said.terms = (credit > 0).then_some(Terms { credit, aside });
        said.tell(&attempt);
        if said.is_untouched() {
            self.0.remove(&attempt);
        }
    }

    /// An agent says how far it is.
    pub(super) fn say(&mut self, attempt: &AttemptId, text: &str) {
        let said = self.0.entry(attempt.clone()).or_default();
        said.add(text);
        said.tell(attempt);
    }

    /// Forgets those that are over.
    pub(super) fn keep(&mut self, is_held: impl Fn(&AttemptId) -> bool) {
        self.0.retain(|attempt, _| is_held(attempt));
    }
}

impl Said {
    /// Whether it is as one that was never watched, and of which nothing was said.
    const fn is_untouched(&self) -> bool {
        self.end == 0 && self.terms.is_none()
    }

    fn add(&mut self, text: &str) {
        // One text is one line, whatever is in it.
        let line = text.trim_end().replace(['\n', '\r'], " ") + "\n";
        self.lines.extend_from_slice(line.as_bytes());
        self.end += line.len() as u64;
        let surplus = self.lines.len().saturating_sub(KEPT_MAX_BYTES);
        if surplus > 0 {
            let whole = self.lines.iter().skip(surplus - 1).position(|byte| *byte == b'\n');
            self.lines.drain(..whole.map_or(surplus, |place| surplus + place));
        }
    }

    fn tell(&mut self, attempt: &AttemptId) {
        while let Some(terms) = &mut self.terms {
            let oldest = self.end - self.lines.len() as u64;
            let offset = self.told.max(oldest);
            let held = usize::try_from(offset - oldest)
                .ok()
                .and_then(|skip| self.lines.get(skip..));
            let rest = held.unwrap_or_default();
            let most = usize::try_from(terms.credit)
                .unwrap_or(usize::MAX)
                .min(OUTPUT_PART_MAX_BYTES);
            let data = rest.get(..most).unwrap_or(rest).to_vec();
            let bytes = u32::try_from(data.len()).expect("it is no longer than the credit");
            if bytes == 0 {
                return;
            }
            let part = OutputPart {
                attempt: attempt.clone(),
                kind: OutputKind::Progress,
                offset,
                data,
            };
            let end = part.end();
            match terms.aside.say(part) {
                Ok(()) => {
                    terms.credit -= bytes;
                    self.told = end;
                }
                Err(NotSaid::Full) => return,
                Err(NotSaid::Gone) => self.terms = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rekindle::execution::ExecutionId;
    use rekindle::id::ExecutionUid;
    use tokio::sync::mpsc;

    use super::*;
    use crate::link::Voice;

    #[test]
    fn the_last_lines_are_kept_whole() {
        let mut said = Said::default();
        said.add("one\ntwo\n");
        assert_eq!((said.lines.as_slice(), said.end), (b"one two\n".as_slice(), 8));
        for number in 0..10_000 {
            said.add(&format!("{number:05}"));
            assert!(said.lines.len() <= KEPT_MAX_BYTES);
        }
        assert_eq!(said.end, 8 + 60_000);
        assert!(said.lines.len() > KEPT_MAX_BYTES - 6);
        assert!(said.lines.starts_with(b"0") && said.lines.ends_with(b"09999\n"));
        assert!(said.lines.chunks(6).all(|line| line.ends_with(b"\n")));
    }

    fn attempt() -> AttemptId {
        AttemptId {
            execution: ExecutionId::new("e-1").expect("valid"),
            uid: ExecutionUid::from_u128(1),
            number: 1,
        }
    }

    fn follow(from: Option<u64>, credit: u32) -> Follow {
        let attempt = attempt();
        Follow { attempt, from, credit }
    }

    #[test]
    fn who_has_watched_what_nothing_was_said_of_leaves_nothing() {
        let (say, _said) = mpsc::channel(1);
        let voice = Voice::new(say);
        let mut remarks = Remarks::default();
        remarks.follow(follow(Some(0), 100), voice.aside());
        assert_eq!(remarks.0.len(), 1);
        remarks.follow(follow(None, 0), voice.aside());
        assert!(remarks.0.is_empty());
        remarks.say(&attempt(), "so far");
        remarks.follow(follow(None, 0), voice.aside());
        assert_eq!(remarks.0.len(), 1, "who comes late reads it");
        remarks.keep(|_| false);
        assert!(remarks.0.is_empty());
    }

    #[test]
    fn what_an_earlier_shim_left_goes_on_above_it() {
        let (say, _said) = mpsc::channel(1);
        let voice = Voice::new(say);
        let mut remarks = Remarks::after([&attempt()].into_iter(), Duration::from_secs(1));
        // Its place is kept also where nothing was said yet.
        remarks.follow(follow(None, 0), voice.aside());
        remarks.say(&attempt(), "on");
        assert_eq!(remarks.0[&attempt()].end, 1_000_000_003);
    }
}
