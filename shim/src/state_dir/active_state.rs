//! The newest checkpoint of the agent, and the one before it, in the state directory.
//!
//! ```text
//! active_state.new ── fsync ──> active_state.json ──> active_state.previous.json
//!                     rename    the newest, whole     what was the newest before
//! ```
//!
//! Each is one JSON object: a version, a checksum over the bytes of what follows it, and the checkpoint. Whatever moment the
//! shim, the host or the power dies at, and however full the disk is, the newest of those that were told as saved is whole
//! there. One that is not whole, too long, or of another agent or directory is told loudly and put aside as
//! `active_state.damaged`, and the one before it counts.

mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rekindle::checkpoint::{
    Checkpoint, CheckpointBody, CheckpointFields, CheckpointId, CheckpointState, Flags, HeldCheckpoint, Standing,
};
use rekindle::id::{AgentId, Marker};
use rekindle::time::Timestamp;
use rekindle_shim_core::{NotWritten, WriteFault};
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::slot::checksum;

pub(crate) use writer::Writer;

/// The version of the format, the first thing in a file.
const VERSION: u32 = 1;

/// Largest file that is read: one that is longer was not written here. A body of 256 KiB takes two bytes for one where each of
/// them has to be escaped, or four for three; beside it the fields, of six for one.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

const NEWEST: &str = "active_state.json";
const PREVIOUS: &str = "active_state.previous.json";
/// A newest that is being written.
const NEW: &str = "active_state.new";
/// A previous that is being put in its place.
const NEW_PREVIOUS: &str = "active_state.previous.new";
/// The newest of those that could not be used, for people to look at: in its place it would be kept as the one before.
const DAMAGED: &str = "active_state.damaged";

/// The files of one state directory.
#[derive(Debug, Clone)]
pub(crate) struct ActiveState {
    dir: PathBuf,
    agent: AgentId,
    marker: Marker,
}

/// A checkpoint as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    agent: AgentId,
    marker: Marker,
    checkpoint: CheckpointId,
    saved: Timestamp,
    standing: Standing,
    flags: Flags,
    crashes: u32,
    fields: CheckpointFields,
    /// The body, where it is text that people can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Why a file is no checkpoint of this agent.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    #[error("it has more than {FILE_MAX_BYTES} bytes")]
    TooLong,
    #[error("it was written in part, or changed since")]
    Torn,
    #[error("it has format {0}, and this shim reads {VERSION}")]
    Version(u32),
    #[error("it is no checkpoint: {0}")]
    Nonsense(String),
    #[error("it is of agent {0}")]
    Agent(AgentId),
    #[error("it is of another state directory, with marker {0}")]
    Marker(Marker),
}

impl ActiveState {
    /// The files of this agent in the state directory with this marker.
    pub(super) fn new(dir: &Path, agent: AgentId, marker: Marker) -> Self {
        Self {
            dir: dir.to_owned(),
            agent,
            marker,
        }
    }

    /// The newest that is whole.
    pub(crate) fn load(&self) -> Option<HeldCheckpoint> {
        let placed = self.load_placed();
        // One that is not whole was told to nobody as saved.
        let Ok(Some(new)) = self.read(&self.dir.join(NEW)) else {
            return placed;
        };
        let id = |held: &HeldCheckpoint| held.checkpoint.id;
        if Some(id(&new)) <= placed.as_ref().map(id) {
            return placed;
        }
        match self.place() {
            Ok(()) => Some(new),
            Err(error) => {
                tracing::error!("a checkpoint that was all but saved cannot be put in its place: {error}");
                placed
            }
        }
    }

    /// The newest that is whole, of those that are in their places.
    fn load_placed(&self) -> Option<HeldCheckpoint> {
        for (name, follows) in [
            (NEWEST, "the one before it counts"),
            (PREVIOUS, "the agent begins without one, unless the server has it"),
        ] {
            let file = self.dir.join(name);
            match self.read(&file) {
                Ok(Some(held)) => return Some(held),
                Ok(None) => {}
                Err(why) => {
                    tracing::error!(file = %file.display(), "a checkpoint cannot be used: {}; {follows}", crate::chain(&why));
                    if name == NEWEST
                        && let Err(error) = fs::rename(&file, self.dir.join(DAMAGED))
                    {
                        tracing::error!(file = %file.display(), "it cannot be put aside as {DAMAGED}: {error}");
                    }
                }
            }
        }
        None
    }

    /// Writes the newest, and keeps the one before. Once this is done no power loss takes it; where it fails, the newest is
    /// whole and what it was. Waits for the disk.
    pub(crate) fn write(&self, held: &HeldCheckpoint) -> Result<(), NotWritten> {
        let written = self.try_write(held);
        if written.is_err() {
            // It takes room that others need.
            let _ = fs::remove_file(self.dir.join(NEW));
        }
        written.map_err(|error| NotWritten {
            cause: match Errno::from_io_error(&error) {
                Some(Errno::NOSPC | Errno::DQUOT) => WriteFault::Room,
                Some(_) | None => WriteFault::Other,
            },
            message: format!("cannot write {}: {error}", self.dir.join(NEWEST).display()),
        })
    }

    fn try_write(&self, held: &HeldCheckpoint) -> io::Result<()> {
        let bytes = self.encode(held)?;
        let new = self.dir.join(NEW);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&new)?;
        reserve(&file, bytes.len())?;
        file.write_all(&bytes)?;
        drop(file);
        self.place()
    }

    /// Makes the one that was written whole the newest.
    fn place(&self) -> io::Result<()> {
        let (new, newest) = (self.dir.join(NEW), self.dir.join(NEWEST));
        File::open(&new)?.sync_all()?;
        self.keep_previous(&newest)?;
        fs::rename(&new, &newest)?;
        File::open(&self.dir)?.sync_all()
    }

    /// At no moment is there no newest, but on file systems without links (link(2), EPERM): there the one before counts
    /// meanwhile.
    fn keep_previous(&self, newest: &Path) -> io::Result<()> {
        let (linked, previous) = (self.dir.join(NEW_PREVIOUS), self.dir.join(PREVIOUS));
        match fs::remove_file(&linked) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match fs::hard_link(newest, &linked) {
            Ok(()) => fs::rename(&linked, &previous),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => fs::rename(newest, &previous),
                Some(_) | None => Err(error),
            },
        }
    }

    fn encode(&self, held: &HeldCheckpoint) -> io::Result<Vec<u8>> {
        let checkpoint = &held.checkpoint;
        let text = std::str::from_utf8(checkpoint.body.as_bytes())
            .ok()
            .filter(|text| is_readable(text));
        let stored = Stored {
            agent: self.agent.clone(),
            marker: self.marker,
            checkpoint: checkpoint.id,
            saved: checkpoint.saved,
            standing: held.standing,
            flags: held.flags.clone(),
            crashes: held.crashes,
            fields: checkpoint.fields.clone(),
            body: text.map(str::to_owned),
            body_base64: text.is_none().then(|| STANDARD.encode(checkpoint.body.as_bytes())),
        };
        let state = serde_json::to_vec(&stored)?;
        let sum = checksum(VERSION.into(), &state);
        let mut bytes = format!("{{\"version\":{VERSION},\"checksum\":\"{sum:016x}\",\"state\":").into_bytes();
        bytes.extend(state);
        bytes.extend(b"}\n");
        Ok(bytes)
    }

    /// `None` where there is none.
    fn read(&self, path: &Path) -> Result<Option<HeldCheckpoint>, Unusable> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_MAX_BYTES {
            return Err(Unusable::TooLong);
        }
        let stored: Stored =
            serde_json::from_slice(whole(&bytes)?).map_err(|error| Unusable::Nonsense(error.to_string()))?;
        if stored.agent != self.agent {
            return Err(Unusable::Agent(stored.agent));
        }
        if stored.marker != self.marker {
            return Err(Unusable::Marker(stored.marker));
        }
        stored.held().map(Some).map_err(Unusable::Nonsense)
    }
}

impl Stored {
    fn held(self) -> Result<HeldCheckpoint, String> {
        let body = match (self.body, self.body_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(base64)) => STANDARD
                .decode(base64)
                .map_err(|error| format!("body_base64: {error}"))?,
            (None, None) => Vec::new(),
        };
        let checkpoint = Checkpoint {
            id: self.checkpoint,
            fields: self.fields,
            body: CheckpointBody::new(body).map_err(|error| error.to_string())?,
            saved: self.saved,
        };
        let state = CheckpointState {
            id: self.checkpoint,
            standing: self.standing,
            flags: self.flags,
            crashes: self.crashes,
        };
        Ok(HeldCheckpoint::new(Arc::new(checkpoint), state))
    }
}

/// The state in a file of this version, if it is whole.
fn whole(bytes: &[u8]) -> Result<&[u8], Unusable> {
    let rest = bytes.strip_prefix(b"{\"version\":").ok_or(Unusable::Torn)?;
    let end = rest.iter().position(|byte| *byte == b',').ok_or(Unusable::Torn)?;
    let (version, rest) = rest.split_at(end);
    let version = std::str::from_utf8(version)
        .ok()
        .and_then(|version| version.parse().ok());
    match version {
        Some(VERSION) => {}
        Some(other) => return Err(Unusable::Version(other)),
        None => return Err(Unusable::Torn),
    }
    let state = || {
        let rest = rest.strip_prefix(b",\"checksum\":\"")?;
        let (sum, rest) = rest.split_at_checked(16)?;
        let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
        let state = rest.strip_prefix(b"\",\"state\":")?.strip_suffix(b"}\n")?;
        (checksum(VERSION.into(), state) == sum).then_some(state)
    };
    state().ok_or(Unusable::Torn)
}

/// Whether people can read it as it is, and JSON takes two bytes for one at most.
fn is_readable(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
}

/// A disk that is full says so before what is left of it is filled: the journal needs room, too.
fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    let length = u64::try_from(bytes).expect("a length in memory fits 64 bits");
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
