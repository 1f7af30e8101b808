//! A text that is redacted while it grows, for readers who are told of it before it is whole.
//!
//! ```text
//! | seen by patterns | held: a match may still grow in it | <- push
//!                    `-- what is before it is settled, and given out
//! ```
//!
//! What is given out is, piece by piece, what [`Redaction::apply`] makes of the whole text, and nothing of a match of at
//! most [`CONTEXT_BYTES`] is in it, however it came. Of a longer one the beginning is in it, unless that is a match by
//! itself. Where no pattern reaches over lines, whole lines are given out at once.

use std::sync::Arc;

use super::extent::Extent;
use super::{CONTEXT_BYTES, Redaction, hide};

/// Most that is held, as one match, or several that overlap, may go on in it: far above any secret, and small beside what
/// is kept of an output.
const HELD_MAX_BYTES: usize = 64 * 1024;

/// A text that grows.
#[derive(Debug)]
pub(crate) struct Growing {
    redaction: Arc<Redaction>,
    /// What is held, behind what only patterns see.
    text: String,
    /// Where in it begins what is held.
    held: usize,
    /// Where in it patterns are searched from.
    searched: usize,
}

/// A match has grown so long that nobody holds it: nothing more can be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Growing {
    /// An empty text.
    pub(crate) fn new(redaction: Arc<Redaction>) -> Self {
        Self {
            redaction,
            text: String::new(),
            held: 0,
            searched: 0,
        }
    }

    /// Begins anew behind `context`, which only patterns see; what is held is dropped.
    pub(crate) fn begin_after(&mut self, context: String) {
        self.held = context.len();
        self.searched = 0;
        self.text = context;
    }

    /// Bytes that are held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.text.len() - self.held
    }

    /// Goes on with more, and gives out what is settled by it. Others have their turn after each pattern.
    pub(crate) async fn push(&mut self, more: &str) -> Result<String, TooLong> {
        self.text.push_str(more);
        let settled = self.give_out(self.settled()).await;
        if self.held_bytes() > HELD_MAX_BYTES {
            return Err(TooLong);
        }
        Ok(settled)
    }

    /// The text is whole: gives out what was held.
    pub(crate) async fn finish(&mut self) -> String {
        self.give_out(self.text.len()).await
    }

    /// Up to where no match begins that could go on in what is to come.
    fn settled(&self) -> usize {
        let text = &self.text;
        let before_any_match = text.floor_char_boundary(text.len().saturating_sub(CONTEXT_BYTES));
        match self.redaction.extent() {
            None => text.len(),
            Some(Extent::OneLine) => {
                let lines = text.rfind('\n').map_or(0, |end| end + 1);
                lines.max(before_any_match)
            }
            Some(Extent::Lines) => before_any_match,
        }
    }

    /// Gives out what is before `end`, but for a match that reaches beyond it.
    async fn give_out(&mut self, end: usize) -> String {
        if end <= self.held {
            return String::new();
        }
        let mut found = Vec::new();
        for pattern in self.redaction.patterns() {
            found.extend(pattern.matches(&self.text, self.searched));
            tokio::task::yield_now().await;
        }
        found.sort_by_key(|range| range.start);
        // From the last to the first: where one is put off, so is who overlaps with it.
        let end = found.iter().rev().fold(end, |end, range| {
            if range.start < end && range.end > end {
                range.start
            } else {
                end
            }
        });
        let end = end.max(self.held);
        found.retain(|range| range.end <= end);
        let given = hide(self.text.get(..end).unwrap_or_default(), self.held, found);
        self.forget(end);
        given
    }

    /// Keeps what is behind `end`, and the character before, which patterns see (`\b`, `^`).
    fn forget(&mut self, end: usize) {
        if end == self.held {
            return;
        }
        let before = self.text.get(..end).and_then(|given| given.chars().next_back());
        let seen = before.map_or(0, char::len_utf8);
        self.text.drain(..end - seen);
        self.held = seen;
        self.searched = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growing(patterns: &[&str]) -> Growing {
        let patterns = patterns.iter().map(|pattern| pattern.parse().expect("valid"));
        Growing::new(Arc::new(Redaction::new(patterns.collect()).expect("not too many")))
    }

    /// What is given out of a text that comes in pieces of so many characters: before its end, and in all.
    async fn given(patterns: &[&str], text: &str, piece: usize) -> (String, String) {
        let mut growing = growing(patterns);
        let mut given = String::new();
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(piece) {
            let piece: String = piece.iter().collect();
            given.push_str(&growing.push(&piece).await.expect("no long match"));
        }
        let before = given.clone();
        given.push_str(&growing.finish().await);
        (before, given)
    }

    #[tokio::test]
    async fn without_patterns_nothing_is_held() {
        assert_eq!(
            given(&[], "no end", 2).await,
            ("no end".to_owned(), "no end".to_owned())
        );
    }

    #[tokio::test]
    async fn lines_are_given_out_whole() {
        let (before, all) = given(&["sk-[a-z]+"], "one sk-abc\ntwo sk-a", 1).await;
        assert_eq!(before, "one [redacted]\n");
        assert_eq!(all, "one [redacted]\ntwo [redacted]");
    }

    #[tokio::test]
    async fn what_is_given_out_is_what_the_whole_becomes_however_it_comes() {
        let key = format!("BEGIN\n{}END\n", "k\n".repeat(700));
        let long = format!("sk-{}", "a".repeat(2000));
        let line = "é".repeat(3000);
        let text = format!("a key=1 sk-x\n{key}user:pw@host {long} {line}{long}\n{key}{key} key=2\n{line}");
        for patterns in [
            &["sk-[a-z]+"][..],
            &["sk-[a-z]+", "^a key", "\\bpw@host"],
            &["(?s)BEGIN.*?END", "sk-[a-z]+"],
            &["user:pw", "pw@host", "key=\\d"],
            &["BEGIN\n[^E]*END\n", "é sk-[a-z]+", "\n."],
            &["a*", "$"],
        ] {
            let whole = growing(patterns).redaction.apply(&text);
            for piece in [1500, 100_000] {
                let (before, all) = given(patterns, &text, piece).await;
                assert!(all == whole, "{patterns:?} in pieces of {piece}");
                assert!(!before.is_empty(), "something was told before the end");
            }
        }
    }

    #[tokio::test]
    async fn of_a_match_that_began_in_what_was_lost_nothing_is_left() {
        let mut growing = growing(&["key=[a-z]+"]);
        assert_eq!(growing.push("key=a\nheld").await, Ok("[redacted]\n".to_owned()));
        assert_eq!(growing.held_bytes(), 4);
        growing.begin_after("x key=ab".to_owned());
        assert_eq!(growing.push("cd y\n").await, Ok("[redacted] y\n".to_owned()));
        assert_eq!(growing.push("cd y\n").await, Ok("cd y\n".to_owned()));
    }

    #[tokio::test]
    async fn a_match_without_an_end_is_never_given_out() {
        let mut growing = growing(&["sk-[a-z]+"]);
        assert_eq!(growing.push("sk-").await, Ok(String::new()));
        let endless = loop {
            match growing.push(&"a".repeat(1000)).await {
                Ok(given) => assert_eq!(given, ""),
                Err(error) => break error,
            }
        };
        assert_eq!(endless, TooLong);
        assert!(growing.held_bytes() <= HELD_MAX_BYTES + 1000);
    }
}
