//! What is known of one state file.

use std::path::Path;

use rekindle_shim_core::RequestNumber;
use tokio::time::Instant;

use super::dir::{Digest, Stamp};
use super::owner::Owner;

/// One file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) owner: Owner,
    pub(super) name: String,
    pub(super) content: Content,
    /// What the shim has put there, for as long as nothing else was found.
    pub(super) handed: Option<Digest>,
    pub(super) tree: Tree,
    /// The save that is under way.
    pub(super) saving: Option<(RequestNumber, Digest)>,
    /// When what stands there is to be saved anew, which the disk had no room for.
    pub(super) again: Option<Instant>,
    /// Whether it was written since it was read last.
    pub(super) written: Written,
    /// What of what was handed over stands in variables too.
    pub(super) variables: Vec<(String, String)>,
    /// As it was when it was looked at last, where nobody else looks.
    pub(super) stamp: Option<Stamp>,
    /// How often something was not taken.
    pub(super) refused: u32,
}

/// What stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// What the shim has put there, and nobody has read.
    Handed,
    /// That, or something else: it was open to be written. Whether it was read after that.
    Doubtful(WasRead),
    /// That, and its reading was told; or what the agent has written; or nothing.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WasRead {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    Lives,
    Dead,
    /// Of an earlier shim: it lives if that one's child is taken up.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    No,
}

impl Entry {
    pub(super) const fn new(owner: Owner, name: String, tree: Tree) -> Self {
        Self {
            owner,
            name,
            content: Content::Other,
            handed: None,
            tree,
            saving: None,
            again: None,
            written: Written::No,
            variables: Vec::new(),
            stamp: None,
            refused: 0,
        }
    }

    /// Whether there is something to be read at this moment.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.saving.is_none() && (self.written == Written::Yes || self.again.is_some_and(|again| again <= now))
    }

    /// Somebody had it open to write it, or put another one in its place.
    pub(super) const fn touched(&mut self) {
        self.written = Written::Yes;
        if matches!(self.content, Content::Handed) {
            self.content = Content::Doubtful(WasRead::No);
        }
    }

    /// What is refused for a while is told less and less often.
    pub(super) fn refuse(&mut self, dir: &Path, why: &dyn std::fmt::Display) {
        self.refused = self.refused.saturating_add(1);
        if self.refused.is_power_of_two() {
            tracing::error!(
                file = %dir.join(&self.name).display(),
                times = self.refused,
                "what the agent has written into its state file is not saved, and what it has saved before is kept: {why}"
            );
        }
    }
}
