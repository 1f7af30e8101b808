//! What a child's output tells: while it lives, and when it is dead.

use std::sync::Arc;

use rekindle::execution::Output as MessageOutput;
use rekindle_shim_core::{About, Word};

use super::answers::Answer;
use super::pump::Rest;
use super::ring::{Record, Ring};
use super::transcript::Passage;
use super::{Output, Source};
use crate::redaction::Redaction;

/// What is left of a dead child's output.
#[derive(Debug, Default)]
pub(in crate::process) struct LastWords {
    /// Redacted.
    pub(in crate::process) stdout_tail: String,
    /// Redacted.
    pub(in crate::process) stderr_tail: String,
    /// Of a child that was run for a message.
    pub(in crate::process) output: Option<Unredacted>,
    pub(in crate::process) unheard: Unheard,
}

/// What a child has answered that is dead, and nobody has heard; as long as other output.
#[derive(Debug, Default)]
pub(in crate::process) struct Unheard {
    answers: Vec<Answer>,
    redaction: Arc<Redaction>,
}

impl Unheard {
    pub(in crate::process) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The answers, redacted. Others have their turn in between.
    pub(in crate::process) async fn redacted(self) -> Vec<(About, Word)> {
        let mut said = Vec::with_capacity(self.answers.len());
        for answer in self.answers {
            said.push(answer.redacted(&self.redaction).await.say());
        }
        said
    }
}

/// The output for a message, which is long: a search for patterns in all of it takes its time.
#[derive(Debug)]
pub(in crate::process) struct Unredacted {
    record: Record,
    written: u64,
    redaction: Arc<Redaction>,
}

impl Unredacted {
    /// The output, redacted. Others have their turn in between.
    pub(in crate::process) async fn redacted(self) -> MessageOutput {
        self.record.output(self.written, &self.redaction).await
    }

    /// As [`Record::passage`].
    pub(super) fn passage(&self, from: u64, max_bytes: usize) -> Passage {
        self.record.passage(self.written, from, max_bytes)
    }
}

impl Output {
    /// Waits until the child answers a message, and gives what it says of which. Never, where it reads none. Can be
    /// dropped at any point, and called again.
    pub(in crate::process) async fn answer(&self) -> (About, Word) {
        match &self.source {
            Source::Pipes { stdout, .. } => stdout.answer().await.say(),
            Source::Files(_) | Source::None => std::future::pending().await,
        }
    }

    /// What is left of the output of a child that is dead. Takes what is left in its pipes without waiting for anybody,
    /// and passes it on for as long as the drain limit.
    pub(in crate::process) fn finish(self) -> LastWords {
        let lines = |stdout: &Ring, stderr: &Ring| LastWords {
            stdout_tail: stdout.text(&self.redaction),
            stderr_tail: stderr.text(&self.redaction),
            output: None,
            unheard: Unheard::default(),
        };
        match self.source {
            Source::Pipes { stdout, stderr } => {
                let Rest {
                    ring,
                    written,
                    record,
                    answers,
                } = stdout.finish();
                LastWords {
                    unheard: Unheard {
                        answers,
                        redaction: Arc::clone(&self.redaction),
                    },
                    output: record.map(|record| Unredacted {
                        record,
                        written,
                        redaction: Arc::clone(&self.redaction),
                    }),
                    ..lines(&ring, &stderr.finish().ring)
                }
            }
            Source::Files(files) => {
                let [stdout, stderr] = files.finish();
                lines(&stdout, &stderr)
            }
            Source::None => LastWords::default(),
        }
    }
}
