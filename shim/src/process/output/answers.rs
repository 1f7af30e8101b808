//! What an agent answers that reads messages from its stdin: lines of its stdout that are JSON objects.
//!
//! `{"id": "e-1", "result": "done"}` says that the execution `e-1` has succeeded, `{"id": "e-1", "error": "no such file"}`
//! that it has failed. A result that is no string counts as its JSON text. Every other line is ordinary output; and
//! answers are passed on with the rest.

use std::collections::VecDeque;

use rekindle::execution::{ExecutionId, OUTPUT_MAX_BYTES, Output};
use rekindle::exit::{last_bytes, printable_tail};
use rekindle_shim_core::Word;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::redaction::Redaction;

/// Answers that wait to be heard, past which nothing more is read: a few times what an agent says at once.
const WAITING_MAX: usize = 16;

/// One answer, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    execution: ExecutionId,
    result: Option<String>,
    error: Option<String>,
}

/// The line that a stream is in, and the answers before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Answers {
    /// At most [`OUTPUT_MAX_BYTES`].
    line: Vec<u8>,
    length: Length,
    waiting: VecDeque<Answer>,
}

/// Whether a line can be an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Length {
    #[default]
    Within,
    /// Longer than any answer.
    Beyond,
}

/// Whether more may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Some,
    None,
}

impl Answers {
    /// Takes what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', rest)) => {
                    self.add(rest);
                    self.end_line();
                }
                Some(_) | None => self.add(piece),
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > OUTPUT_MAX_BYTES {
            self.length = Length::Beyond;
            self.line.clear();
        }
        match self.length {
            Length::Within => self.line.extend_from_slice(bytes),
            Length::Beyond => {}
        }
    }

    fn end_line(&mut self) {
        match self.length {
            Length::Within => self.waiting.extend(Answer::parse(&self.line)),
            Length::Beyond => tracing::warn!(
                "the agent wrote a line of more than {OUTPUT_MAX_BYTES} bytes, which is not looked at; answers are shorter"
            ),
        }
        self.length = Length::Within;
        self.line.clear();
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn room(&self) -> Room {
        if self.waiting.len() < WAITING_MAX {
            Room::Some
        } else {
            Room::None
        }
    }

    /// The oldest that waits.
    pub(super) fn next(&mut self) -> Option<Answer> {
        self.waiting.pop_front()
    }
}

impl Answer {
    fn parse(line: &[u8]) -> Option<Self> {
        // Most of what is written is no JSON, and needs no more than a look.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(line) else {
            return None;
        };
        let execution = ExecutionId::new(fields.get("id")?.as_str()?).ok()?;
        let mut text = |name: &str| fields.remove(name).map(text_of);
        let (result, error) = (text("result"), text("error"));
        (result.is_some() || error.is_some()).then_some(Self {
            execution,
            result,
            error,
        })
    }

    /// What it says, without what must not leave the host.
    pub(super) fn say(self, redaction: &Redaction) -> (ExecutionId, Word) {
        let result = redaction.apply(&self.result.unwrap_or_default());
        // Replacements can be longer than what they stand for.
        let last = last_bytes(&result, OUTPUT_MAX_BYTES);
        let output = Output {
            text: last.into(),
            dropped: (result.len() - last.len()) as u64,
        };
        let word = match self.error {
            Some(error) => Word::Failed {
                message: printable_tail(&redaction.apply(&error)),
                output,
            },
            None => Word::Done { output },
        };
        (self.execution, word)
    }
}

fn text_of(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(pieces: &[&[u8]]) -> Vec<(String, Word)> {
        let mut answers = Answers::default();
        for piece in pieces {
            answers.push(piece);
        }
        let redaction = Redaction::new(vec!["sk-[a-z]+".parse().expect("valid")]).expect("one");
        let said = std::iter::from_fn(|| answers.next().map(|answer| answer.say(&redaction)));
        said.map(|(execution, word)| (execution.to_string(), word)).collect()
    }

    fn done(text: &str) -> Word {
        Word::Done {
            output: Output {
                text: text.into(),
                dropped: 0,
            },
        }
    }

    fn failed(message: &str, text: &str) -> Word {
        let output = Output {
            text: text.into(),
            dropped: 0,
        };
        Word::Failed {
            message: message.into(),
            output,
        }
    }

    #[test]
    fn lines_that_are_answers_are_heard() {
        for (line, expected) in [
            (r#"{"id": "e-1", "result": "four\n"}"#, Some(done("four\n"))),
            (r#"  {"result":"","id":"e-1","attempt":1} "#, Some(done(""))),
            (r#"{"id":"e-1","result":null}"#, Some(done(""))),
            (
                r#"{"id":"e-1","result":{"n":[1,true]}}"#,
                Some(done(r#"{"n":[1,true]}"#)),
            ),
            (r#"{"id":"e-1","result":"my sk-abc"}"#, Some(done("my [redacted]"))),
            (r#"{"id":"e-1","error":"no sk-abc"}"#, Some(failed("no [redacted]", ""))),
            (
                r#"{"id":"e-1","error":"no","result":"half"}"#,
                Some(failed("no", "half")),
            ),
            (r#"{"id":"e-1"}"#, None),
            (r#"{"id":"E 1","result":""}"#, None),
            (r#"{"id":7,"result":""}"#, None),
            (r#"{"result":"four"}"#, None),
            (r#"["e-1","four"]"#, None),
            (r#"{"id":"e-1","result":"fou"#, None),
            ("working on it", None),
            ("", None),
        ] {
            let expected: Vec<(String, Word)> = expected.into_iter().map(|word| ("e-1".to_owned(), word)).collect();
            assert_eq!(heard(&[line.as_bytes(), b"\n"]), expected, "{line}");
        }
    }

    #[test]
    fn lines_come_in_pieces_and_several_at_once() {
        let text =
            b"starting\n{\"id\":\"a\",\"result\":\"1\"}\n\xff\xfe\n{\"id\":\"b\",\"result\":\"2\"}\n{\"id\":\"c\"";
        let expected = [("a".to_owned(), done("1")), ("b".to_owned(), done("2"))];
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(heard(&pieces), expected, "{size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_no_answer_and_hides_none() {
        let long = format!("{{\"id\":\"a\",\"result\":\"{}\"}}\n", "x".repeat(OUTPUT_MAX_BYTES));
        let mut answers = Answers::default();
        for piece in long.as_bytes().chunks(5000) {
            answers.push(piece);
            assert!(answers.line.len() <= OUTPUT_MAX_BYTES);
        }
        answers.push(b"{\"id\":\"b\",\"result\":\"2\"}\n");
        let said = answers.next().expect("one");
        assert_eq!(said.execution.as_str(), "b");
        assert_eq!(answers.next(), None);
    }

    #[test]
    fn who_says_too_much_has_to_wait() {
        let mut answers = Answers::default();
        for _ in 0..WAITING_MAX {
            assert_eq!(answers.room(), Room::Some);
            answers.push(b"{\"id\":\"a\",\"result\":\"\"}\n");
        }
        assert_eq!(answers.room(), Room::None);
        answers.next().expect("one waits");
        assert_eq!(answers.room(), Room::Some);
    }
}
