//! The folder of `rekindle dev`.

use std::path::{Path, PathBuf};

use rekindle::id::AgentId;
use tempfile::TempDir;

use crate::failure::Failure;

/// Where data and logs are.
pub(super) struct Data {
    /// The folder.
    pub(super) path: PathBuf,
    /// Removes the folder at the end.
    _temporary: Option<TempDir>,
}

impl Data {
    /// Opens the folder, or a temporary one.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Dev {
            message: format!("cannot create the folder for data and logs: {error}"),
            hint: "Choose another one with --data-dir.".to_owned(),
        };
        match dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(failed)?;
                Ok(Self {
                    // The children may not share our working directory for ever.
                    path: dir.canonicalize().map_err(failed)?,
                    _temporary: None,
                })
            }
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("rekindle-dev-")
                    .tempdir()
                    .map_err(failed)?;
                Ok(Self {
                    path: temporary.path().to_owned(),
                    _temporary: Some(temporary),
                })
            }
        }
    }

    /// Where the server writes its address.
    pub(super) fn port_file(&self) -> PathBuf {
        self.path.join("server.address")
    }

    /// What the server writes.
    pub(super) fn server_log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Where an agent's shim keeps its journal: each agent its own, so that one folder serves several in turn.
    pub(super) fn shim_state(&self, agent: &AgentId) -> PathBuf {
        self.path.join("shims").join(agent.as_str())
    }

    /// The log of the shim.
    pub(super) fn shim_log(&self) -> PathBuf {
        self.path.join("shim.log")
    }
}

/// Says that a part has ended by itself.
pub(super) fn died(who: &str, status: &str, log: &Path) -> Failure {
    Failure::Dev {
        message: format!("the {who} has ended: {status}"),
        hint: tail_of(log),
    }
}

/// The last lines of a log, because a temporary one is gone when a person could look.
pub(super) fn tail_of(log: &Path) -> String {
    const LINES: usize = 5;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "Its log is empty.".to_owned();
    }
    let tail = &lines[lines.len().saturating_sub(LINES)..];
    format!("The end of its log:\n    {}", tail.join("\n    "))
}
