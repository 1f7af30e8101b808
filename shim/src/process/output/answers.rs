//! What an agent says that reads messages from its stdin: lines of its stdout that are JSON objects.
//!
//! `{"id": "e-1", "attempt": 1, "result": "done"}` says that the execution `e-1` has succeeded, `"error": "no such file"` in
//! place of the result that it has failed, `"progress": "half"` how far it is, and `"blocked": "approval"` (`quota`, `user`)
//! that it waits for somebody. The attempt is that of the message, and need not be said. A text that is no string counts as
//! its JSON text. Every other line is ordinary output; and answers are passed on with the rest.

use std::collections::VecDeque;

use rekindle::activity::BlockedOn;
use rekindle::execution::{ExecutionId, OUTPUT_MAX_BYTES, Output};
use rekindle::exit::{TAIL_MAX_BYTES, last_bytes, printable_tail};
use rekindle_shim_core::{About, Word};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::redaction::Redaction;

/// Answers that wait to be heard, past which nothing more is read: a few times what an agent says at once.
const WAITING_MAX: usize = 16;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    execution: ExecutionId,
    attempt: Option<u32>,
    says: Says,
    redacted: Redacted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Says {
    Done { result: String },
    Failed { error: String, result: String },
    Blocked(BlockedOn),
    Progress { text: String },
}

/// Whether what must not leave the host is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Redacted {
    No,
    Yes,
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

    /// The stream has ended: an answer needs no end of its line.
    pub(super) fn end(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    /// The oldest that is not redacted.
    pub(super) fn unredacted(&self) -> Option<&Answer> {
        self.waiting.iter().find(|answer| answer.redacted == Redacted::No)
    }

    /// Takes that one back, redacted; nothing where it is not here any more.
    pub(super) fn put_back(&mut self, redacted: Answer) {
        let place = self.waiting.iter_mut().find(|answer| answer.redacted == Redacted::No);
        if let Some(place) = place {
            *place = redacted;
        }
    }

    pub(super) fn room(&self) -> Room {
        if self.waiting.len() < WAITING_MAX {
            Room::Some
        } else {
            Room::None
        }
    }

    /// The oldest, once it is redacted.
    pub(super) fn next(&mut self) -> Option<Answer> {
        self.waiting.pop_front_if(|answer| answer.redacted == Redacted::Yes)
    }

    /// All that nobody has heard, of a stream that has ended.
    pub(super) fn rest(mut self) -> Vec<Answer> {
        self.end();
        self.waiting.into()
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
        let attempt = match fields.get("attempt") {
            Some(number) => Some(u32::try_from(number.as_u64().filter(|number| *number > 0)?).ok()?),
            None => None,
        };
        let mut text = |name: &str| fields.remove(name).map(text_of);
        let (result, error) = (text("result"), text("error"));
        let (blocked, progress) = (text("blocked"), text("progress"));
        let says = match (result, error, blocked.as_deref(), progress) {
            (result, Some(error), _, _) => Says::Failed {
                error,
                result: result.unwrap_or_default(),
            },
            (Some(result), None, _, _) => Says::Done { result },
            (None, None, Some("approval"), _) => Says::Blocked(BlockedOn::Approval),
            (None, None, Some("quota"), _) => Says::Blocked(BlockedOn::Quota),
            (None, None, Some("user"), _) => Says::Blocked(BlockedOn::User),
            (None, None, None, Some(text)) => Says::Progress { text },
            (None, None, Some(_), _) | (None, None, None, None) => return None,
        };
        Some(Self {
            execution,
            attempt,
            says,
            redacted: Redacted::No,
        })
    }

    /// Without what must not leave the host. It takes its time, and others have their turn in between.
    pub(super) async fn redacted(mut self, redaction: &Redaction) -> Self {
        match (self.redacted, &mut self.says) {
            (Redacted::Yes, _) | (Redacted::No, Says::Blocked(_)) => {}
            (Redacted::No, Says::Done { result: text } | Says::Progress { text }) => {
                *text = redaction.apply_in_turns(text, 0).await;
            }
            (Redacted::No, Says::Failed { error, result }) => {
                *error = redaction.apply_in_turns(error, 0).await;
                *result = redaction.apply_in_turns(result, 0).await;
            }
        }
        self.redacted = Redacted::Yes;
        self
    }

    /// What it says, of which attempt.
    pub(super) fn say(self) -> (About, Word) {
        let word = match self.says {
            Says::Done { result } => Word::Done {
                output: output(&result),
            },
            Says::Failed { error, result } => Word::Failed {
                message: printable_tail(&error),
                output: output(&result),
            },
            Says::Blocked(on) => Word::Blocked(on),
            Says::Progress { text } => Word::Progress {
                text: last_bytes(&text, TAIL_MAX_BYTES).to_owned(),
            },
        };
        let execution = self.execution;
        let about = match self.attempt {
            Some(number) => About::Attempt { execution, number },
            None => About::Execution(execution),
        };
        (about, word)
    }
}

/// What replaces a match can be longer than it.
fn output(text: &str) -> Output {
    let last = last_bytes(text, OUTPUT_MAX_BYTES);
    Output {
        text: last.into(),
        dropped: (text.len() - last.len()) as u64,
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
        redact(&mut answers);
        let said = std::iter::from_fn(|| answers.next().map(Answer::say));
        said.map(|(about, word)| (show(&about), word)).collect()
    }

    fn redact(answers: &mut Answers) {
        let redaction = Redaction::new(vec!["sk-[a-z]+".parse().expect("valid")]).expect("one");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        while let Some(answer) = answers.unredacted().cloned() {
            answers.put_back(runtime.block_on(answer.redacted(&redaction)));
        }
    }

    fn show(about: &About) -> String {
        match about {
            About::Only => "the only one".to_owned(),
            About::Execution(execution) => execution.to_string(),
            About::Attempt { execution, number } => format!("{execution}#{number}"),
        }
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
        let progress = |text: &str| Word::Progress { text: text.into() };
        for (line, expected) in [
            (r#"{"id": "e-1", "result": "four\n"}"#, Some(("e-1", done("four\n")))),
            (r#"  {"result":"","id":"e-1","attempt":2} "#, Some(("e-1#2", done("")))),
            (r#"{"id":"e-1","result":null}"#, Some(("e-1", done("")))),
            (
                r#"{"id":"e-1","result":{"n":[1,true]}}"#,
                Some(("e-1", done(r#"{"n":[1,true]}"#))),
            ),
            (
                r#"{"id":"e-1","result":"my sk-abc"}"#,
                Some(("e-1", done("my [redacted]"))),
            ),
            (
                r#"{"id":"e-1","error":"no sk-abc"}"#,
                Some(("e-1", failed("no [redacted]", ""))),
            ),
            (
                r#"{"id":"e-1","error":"no","result":"half","progress":"x"}"#,
                Some(("e-1", failed("no", "half"))),
            ),
            (
                r#"{"id":"e-1","attempt":1,"progress":"at sk-abc"}"#,
                Some(("e-1#1", progress("at [redacted]"))),
            ),
            (
                r#"{"id":"e-1","blocked":"quota"}"#,
                Some(("e-1", Word::Blocked(BlockedOn::Quota))),
            ),
            (r#"{"id":"e-1","blocked":"sulking"}"#, None),
            (r#"{"id":"e-1"}"#, None),
            (r#"{"id":"e-1","attempt":0,"result":""}"#, None),
            (r#"{"id":"e-1","attempt":"1","result":""}"#, None),
            (r#"{"id":"E 1","result":""}"#, None),
            (r#"{"id":7,"result":""}"#, None),
            (r#"{"result":"four"}"#, None),
            (r#"["e-1","four"]"#, None),
            (r#"{"id":"e-1","result":"fou"#, None),
            ("working on it", None),
            ("", None),
        ] {
            let expected = expected.map(|(about, word)| (about.to_owned(), word));
            assert_eq!(heard(&[line.as_bytes(), b"\n"]), Vec::from_iter(expected), "{line}");
        }
    }

    #[test]
    fn the_last_answer_needs_no_end_of_its_line() {
        for (line, expected) in [
            (&b"{\"id\":\"a\",\"result\":\"1\"}"[..], 1),
            (b"{\"id\":\"a\",\"result\":\"1", 0),
            (b"", 0),
        ] {
            let mut answers = Answers::default();
            answers.push(line);
            assert!(answers.unredacted().is_none());
            assert_eq!(answers.rest().len(), expected);
        }
    }

    #[test]
    fn what_was_heard_while_another_was_redacted_is_heard_once() {
        let mut answers = Answers::default();
        answers.push(b"{\"id\":\"a\",\"result\":\"1\"}\n{\"id\":\"b\",\"result\":\"2\"}\n");
        assert_eq!(answers.next(), None, "nothing leaves as it was written");
        let first = answers.unredacted().cloned().expect("one");
        let mut redacted = first;
        redacted.redacted = Redacted::Yes;
        answers.put_back(redacted.clone());
        assert_eq!(answers.next(), Some(redacted.clone()));
        assert_eq!(answers.next(), None);
        let mut taken = std::mem::take(&mut answers);
        answers.put_back(redacted);
        assert_eq!(answers.rest().len(), 0);
        redact(&mut taken);
        assert_eq!(taken.rest().len(), 1);
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
        redact(&mut answers);
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
        redact(&mut answers);
        answers.next().expect("one waits");
        assert_eq!(answers.room(), Room::Some);
    }
}
