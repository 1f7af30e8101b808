//! The signal that asks a process to end.

use serde::{Deserialize, Serialize};

use super::PolicyError;

/// First signal of a stop: those that a program may handle, and KILL for one that must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGTERM.
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGKILL.
    Kill,
}

impl StopSignal {
    /// Every stop signal.
    pub const ALL: [Self; 7] = [
        Self::Term,
        Self::Int,
        Self::Quit,
        Self::Hup,
        Self::Usr1,
        Self::Usr2,
        Self::Kill,
    ];

    /// Its name without `SIG`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Kill => "KILL",
        }
    }

    /// From its name, with or without `SIG`, in either case.
    pub fn parse(name: &str) -> Result<Self, PolicyError> {
        let upper = name.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        Self::ALL
            .into_iter()
            .find(|signal| signal.as_str() == bare)
            .ok_or_else(|| PolicyError {
                field: "stop_signal",
                problem: format!("{name:?} is none of TERM, INT, QUIT, HUP, USR1, USR2, KILL"),
            })
    }
}
