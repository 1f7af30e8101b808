//! What must not leave the host: patterns, whose matches are replaced in every text that goes to the server.
//!
//! What stays on the host, the shim's own output and the files of the log, is not touched.

mod extent;
mod growing;
mod named;

use std::ops::Range;
use std::str::FromStr;

use extent::Extent;
pub(crate) use growing::{Growing, TooLong};
use named::Names;
use regex_lite::{Regex, RegexBuilder};

/// Most patterns. A child's last lines are searched for each of them on the way from its death to its report.
pub(crate) const PATTERNS_MAX: usize = 32;

/// Longest pattern, as that of an exit rule.
pub(crate) const PATTERN_MAX_BYTES: usize = 256;

/// Largest compiled pattern, in bytes: some twenty times what an ordinary one takes.
const PATTERN_SIZE_MAX: usize = 256 * 1024;

/// Longest match of which nothing is left where a text is cut, or told before it is whole: longer than a private key in
/// its text form.
pub(crate) const CONTEXT_BYTES: usize = 4096;

/// Stands where a match was.
const REDACTED: &str = "[redacted]";

/// One pattern: the syntax of the `regex-lite` crate, in which `^` and `$` match at lines, and `.` not at their ends.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: Regex,
    extent: Extent,
}

/// Why patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedactionError {
    #[error("a pattern has 1 to {PATTERN_MAX_BYTES} bytes")]
    Length,
    #[error("it is no regular expression, or too large a one: {0}")]
    Syntax(regex_lite::Error),
    #[error("at most {PATTERNS_MAX} patterns; join some with |")]
    Count,
}

impl FromStr for Pattern {
    type Err = RedactionError;

    fn from_str(text: &str) -> Result<Self, RedactionError> {
        if text.is_empty() || text.len() > PATTERN_MAX_BYTES {
            return Err(RedactionError::Length);
        }
        let regex = RegexBuilder::new(text)
            .multi_line(true)
            .size_limit(PATTERN_SIZE_MAX)
            .build();
        let regex = regex.map_err(RedactionError::Syntax)?;
        let extent = Extent::of(text);
        Ok(Self { regex, extent })
    }
}

/// All patterns of a shim.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction(Vec<Pattern>);

impl Redaction {
    /// # Errors
    /// [`RedactionError::Count`].
    pub(crate) fn new(patterns: Vec<Pattern>) -> Result<Self, RedactionError> {
        if patterns.len() > PATTERNS_MAX {
            return Err(RedactionError::Count);
        }
        Ok(Self(patterns))
    }

    /// The text with `[redacted]` for every match.
    pub(crate) fn apply(&self, text: &str) -> String {
        self.apply_from(text, 0)
    }

    /// The same of what begins at `start`, which is a boundary of characters. What precedes it is searched as well: of
    /// a match that begins there and reaches beyond it, nothing is left.
    pub(crate) fn apply_from(&self, text: &str, start: usize) -> String {
        hide(text, start, self.matches(text))
    }

    /// As [`Redaction::apply_from`], for a long text, of which a search for one pattern takes some 100 ms for each MiB:
    /// others have their turn after each.
    pub(crate) async fn apply_in_turns(&self, text: &str, start: usize) -> String {
        let mut found = Vec::new();
        for pattern in &self.0 {
            found.extend(pattern.matches(text, 0));
            tokio::task::yield_now().await;
        }
        hide(text, start, found)
    }

    /// A program and its arguments with `[redacted]` for every match, and for what is named a secret.
    pub(crate) fn apply_to_arguments(&self, words: &[String]) -> Vec<String> {
        let names = Names::new();
        let before = std::iter::once(None).chain(words.iter().map(|word| Some(word.as_str())));
        let words = words.iter().zip(before);
        words
            .map(|(word, before)| {
                let mut found = self.matches(word);
                found.extend(names.secrets(word, before));
                hide(word, 0, found)
            })
            .collect()
    }

    /// Where the patterns match. All are found in the text as it was: none can hide what another would have found.
    fn matches(&self, text: &str) -> Vec<Range<usize>> {
        self.0.iter().flat_map(|pattern| pattern.matches(text, 0)).collect()
    }

    fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// How far matches reach; `None` where there is no pattern.
    fn extent(&self) -> Option<Extent> {
        self.0.iter().map(|pattern| pattern.extent).max()
    }
}

impl Pattern {
    /// The matches that begin at `start`, a boundary of characters, or behind it, and have something in them. What is
    /// before it is seen by what looks at its surroundings (`^`, `\b`).
    fn matches(&self, text: &str, start: usize) -> impl Iterator<Item = Range<usize>> {
        let mut from = Some(start);
        std::iter::from_fn(move || {
            loop {
                let found = self.regex.find_at(text, from?)?.range();
                from = if found.is_empty() {
                    let rest = text.get(found.end..)?;
                    rest.chars().next().map(|letter| found.end + letter.len_utf8())
                } else {
                    Some(found.end)
                };
                if !found.is_empty() {
                    return Some(found);
                }
            }
        })
    }
}

/// The text from `start` on, with `[redacted]` for what was found in all of it; finds that overlap are one.
fn hide(text: &str, start: usize, mut found: Vec<Range<usize>>) -> String {
    found.sort_by_key(|range| range.start);
    found.dedup_by(|next, before| {
        let overlaps = next.start < before.end;
        if overlaps {
            before.end = before.end.max(next.end);
        }
        overlaps
    });
    let mut hidden = String::with_capacity(text.len().saturating_sub(start));
    let mut copied = start;
    for range in found.into_iter().filter(|range| range.end > start) {
        hidden.push_str(text.get(copied..range.start).unwrap_or_default());
        hidden.push_str(REDACTED);
        copied = range.end;
    }
    hidden.push_str(text.get(copied..).unwrap_or_default());
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(patterns: &[&str]) -> Redaction {
        let patterns = patterns.iter().map(|pattern| pattern.parse().expect("valid"));
        Redaction::new(patterns.collect()).expect("not too many")
    }

    #[test]
    fn every_match_is_replaced() {
        for (patterns, text, expected) in [
            (&[][..], "key=abc", "key=abc"),
            (&["sk-[a-z]+"], "a sk-abc b sk-def", "a [redacted] b [redacted]"),
            (&["(?i)^token: .*$"], "x\nToken: 1\ny", "x\n[redacted]\ny"),
            (&["x*"], "axxb", "a[redacted]b"),
            (&["é+"], "caféé!", "caf[redacted]!"),
        ] {
            assert_eq!(redaction(patterns).apply(text), expected);
        }
    }

    #[test]
    fn patterns_do_not_hide_each_other() {
        let text = "user:secret@host redacted";
        for patterns in [["user:secret", "secret@host"], ["secret@host", "user:secret"]] {
            assert_eq!(redaction(&patterns).apply(text), "[redacted] redacted");
        }
        assert_eq!(
            redaction(&["secret", "redacted"]).apply(text),
            "user:[redacted]@host [redacted]"
        );
        assert_eq!(redaction(&["a", "b"]).apply("ab"), "[redacted][redacted]");
    }

    #[test]
    fn of_a_match_that_is_cut_nothing_is_left() {
        let redaction = redaction(&["key=[a-z]+"]);
        let text = "one key=abcdef two key=x";
        assert_eq!(redaction.apply_from(text, 11), "[redacted] two [redacted]");
        assert_eq!(redaction.apply_from(text, 14), " two [redacted]");
        assert_eq!(redaction.apply_from(text, text.len()), "");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let refusal = |text: &str| text.parse::<Pattern>().map(|_| ()).expect_err("refused");
        assert_eq!(refusal(""), RedactionError::Length);
        assert_eq!(refusal(&"a".repeat(PATTERN_MAX_BYTES + 1)), RedactionError::Length);
        assert!(matches!(refusal("("), RedactionError::Syntax(_)));
        assert!(matches!(refusal("(?:(?:a{99}){99}){99}"), RedactionError::Syntax(_)));
        let patterns: Result<Vec<Pattern>, _> = vec!["a"; PATTERNS_MAX + 1].into_iter().map(str::parse).collect();
        let error = Redaction::new(patterns.expect("valid"))
            .map(|_| ())
            .expect_err("too many");
        assert_eq!(error, RedactionError::Count);
    }
}
