//! How far a pattern's matches reach, as far as its text tells.
//!
//! What ends no line is known: characters, some classes and escapes, groups and repetitions of these. A pattern with
//! anything else counts as one that reaches over lines, which costs a reader time, and gives no secret away.

use std::iter::Peekable;
use std::str::Chars;

/// How far matches reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// No match has the end of a line in it.
    OneLine,
    /// Some may.
    Lines,
}

/// Whether the end of a line can be among what a part of a pattern matches.
type Part = Extent;

impl Extent {
    /// That of a pattern, which is a valid one.
    pub(super) fn of(pattern: &str) -> Self {
        let mut rest = pattern.chars().peekable();
        let parts = std::iter::from_fn(|| part(&mut rest));
        parts.max().unwrap_or(Self::OneLine)
    }
}

/// Reads the next part of a pattern.
fn part(rest: &mut Peekable<Chars<'_>>) -> Option<Part> {
    Some(match rest.next()? {
        '\n' => Part::Lines,
        '\\' => match rest.next() {
            Some('d' | 'w' | 'S' | 't' | 'b' | 'B' | 'A' | 'z') => Part::OneLine,
            Some(letter) if letter.is_ascii_punctuation() => Part::OneLine,
            Some(_) | None => Part::Lines,
        },
        '[' => class(rest),
        '(' if rest.next_if_eq(&'?').is_some() => group(rest),
        _ => Part::OneLine,
    })
}

/// Reads what a group begins with: its name, or its flags, of which `s` has `.` match the end of a line.
fn group(rest: &mut Peekable<Chars<'_>>) -> Part {
    loop {
        match rest.next() {
            Some('i' | 'm' | 'U') => {}
            Some(':' | ')' | '<' | 'P') => return Part::OneLine,
            Some(_) | None => return Part::Lines,
        }
    }
}

/// What the members of a class say of the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Is,
    IsNot,
    Unknown,
}

/// Reads a class to its end.
fn class(rest: &mut Peekable<Chars<'_>>) -> Part {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut members = Vec::new();
    // One that comes first ends nothing.
    if rest.next_if_eq(&']').is_some() {
        members.push(Member::IsNot);
    }
    loop {
        let Some(letter) = rest.next() else {
            return Part::Lines;
        };
        members.push(match letter {
            ']' => break,
            '\\' => match rest.next() {
                Some('s' | 'n') => Member::Is,
                Some('d' | 'w' | 'S') => Member::IsNot,
                // As the beginning of a range it would be before the end of a line.
                Some('t') if rest.peek() != Some(&'-') => Member::IsNot,
                Some(letter) if letter.is_ascii_punctuation() => Member::IsNot,
                Some(_) | None => Member::Unknown,
            },
            '\n' => Member::Is,
            // Other classes, and what combines them.
            '[' | '&' | '~' => Member::Unknown,
            letter if letter.is_control() => Member::Unknown,
            _ => Member::IsNot,
        });
    }
    let has = |wanted: Member| members.contains(&wanted);
    let excludes = if negated { has(Member::Is) } else { !has(Member::Is) };
    if excludes && !has(Member::Unknown) {
        Part::OneLine
    } else {
        Part::Lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redaction::Pattern;

    /// Whatever letters meet, with ends of lines between them.
    fn texts() -> Vec<String> {
        let letters = ["a", "k", "=", " ", "\t", "\n", "]", "-", "é", "\"", "1", "\r"];
        let pairs = letters.iter().flat_map(|a| letters.map(|b| format!("{a}{b}")));
        let pairs: Vec<String> = pairs.collect();
        pairs
            .iter()
            .flat_map(|a| pairs.iter().map(move |b| format!("key={a}\n{b}")))
            .collect()
    }

    #[test]
    fn what_stays_in_a_line_is_known() {
        let texts = texts();
        for pattern in [
            "sk-[a-z]+",
            "(?i)^token: .*$",
            "ghp_\\w{36}",
            "(?P<name>key)=\\S*",
            "(?<name>key)=\\S*",
            "key=[^\\s]*",
            "key=[^\"\\n]*",
            "[]a-z]*",
            "[\\w.+-]*",
            "[ \\t=]*",
            "[^\\S\\n]*",
            "(?:key|a)*.",
            "\\.?\\[?.*\\b",
            "é+",
        ] {
            assert_eq!(Extent::of(pattern), Extent::OneLine, "{pattern}");
            let compiled: Pattern = pattern.parse().expect("valid");
            for text in &texts {
                let mut found = compiled.matches(text, 0);
                let over = found.find(|range| text[range.clone()].contains('\n'));
                assert_eq!(over, None, "{pattern} in {text:?}");
            }
        }
    }

    #[test]
    fn what_may_reach_over_lines_is_told_from_it() {
        for pattern in [
            "key\\s*=",
            "BEGIN[^-]*END",
            "(?s)BEGIN.*END",
            "(?is:BEGIN.*END)",
            "a\\nb",
            "a\nb",
            "a\\x0ab",
            "a\\W",
            "a\\D",
            "[\\s]",
            "[\\W]",
            "[^a]",
            "[^\\S]",
            "[\\t-z]",
            "[[:space:]]",
            "[\t-z]",
            "a\\u{a}",
        ] {
            assert_eq!(Extent::of(pattern), Extent::Lines, "{pattern}");
            assert!(pattern.parse::<Pattern>().is_ok(), "{pattern}");
        }
    }
}
