//! How a child's life ended, and what that means.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::AskedSave;
use crate::time::Timestamp;

/// Most bytes of one stream's last lines that travel as evidence. Several times what a stack trace takes, and small
/// enough that the record of an agent stays far below the store's limit.
pub const TAIL_MAX_BYTES: usize = 4096;

/// What the kernel says of a child's end (waitid(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called exit(3) with this status.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// Nobody could tell: the process was not the asker's child, or the asker died with it.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signaled { signal, core_dumped } => {
                write!(f, "killed by {}", signal_name(signal))?;
                if core_dumped {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
            }
            Self::Unknown => f.write_str("ended, nobody saw how"),
        }
    }
}

/// Why a shim ended a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndedBy {
    /// Nobody asked: the child ended by itself.
    Itself,
    /// The server's `run` or `stop`.
    Command,
    /// The shim was told to stop.
    ShimStop,
    /// The child was not ready within `start_timeout`.
    StartTimeout,
    /// The shim had no server for `fence_after`.
    Fence,
    /// No ping came within `watchdog_timeout`, or the child reported itself as stuck.
    Watchdog,
    /// No output, no ping and no use of the processor within `stall_timeout`.
    Stall,
    /// Its shim died, and it with it, unseen.
    ShimDeath,
    /// A message ran past its time.
    MessageTimeout,
    /// The server had a message ended that the child worked on.
    MessageCancel,
}

/// What is known of one ended life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitEvidence {
    /// How it ended.
    pub status: ExitStatus,
    /// Who asked for the end.
    pub ended_by: EndedBy,
    /// Whether the kernel ran out of memory, and ended it by SIGKILL.
    #[serde(default)]
    pub oom_killed: bool,
    /// From spawn to death.
    pub uptime: Duration,
    /// User CPU time of the child and the descendants it waited for (getrusage(2)).
    pub user_time: Duration,
    /// System CPU time of the same.
    pub system_time: Duration,
    /// Largest resident set of the same, in KiB.
    pub max_rss_kib: u64,
    /// Last lines of stderr, at most [`TAIL_MAX_BYTES`].
    pub stderr_tail: String,
    /// Last lines of stdout, at most [`TAIL_MAX_BYTES`].
    pub stdout_tail: String,
    /// Whether it saved when it was asked to.
    #[serde(default)]
    pub asked_save: AskedSave,
}

/// What an end that nobody asked for means. See [`crate::exit_rule::classify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitClass {
    /// The work is done.
    Clean,
    /// A failure that a restart may cure; it spends an attempt.
    Crash,
    /// Something is used up for a while. A restart spends nothing.
    Quota {
        /// The agent is parked until then.
        until: Timestamp,
    },
    /// A fault of the configuration: no restart can cure it.
    Config,
    /// Credentials are missing or refused: no restart can cure it.
    Auth,
    /// Somebody ended it together with the message that it worked on: it goes on at once, and spends nothing.
    Interrupted,
}

const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The name of a signal on Linux (signal(7)), `SIG` included; a number without a name stays a number.
pub fn signal_name(signal: i32) -> String {
    match SIGNALS.iter().find(|(_, number)| *number == signal) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// The number of a signal from its name, with or without `SIG`, in either case.
pub fn signal_number(name: &str) -> Option<i32> {
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS
        .iter()
        .find(|(known, _)| *known == bare)
        .map(|(_, number)| *number)
}

/// The last bytes of a text, at most `max`, cut at a character.
pub fn last_bytes(text: &str, max: usize) -> &str {
    let mut start = text.len().saturating_sub(max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// The last [`TAIL_MAX_BYTES`] of a text, cut at a character. Control characters but for line ends and tabs are
/// replaced: evidence is shown on terminals, which would obey them.
pub fn printable_tail(text: &str) -> String {
    let printable = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let text: String = text.chars().map(printable).collect();
    last_bytes(&text, TAIL_MAX_BYTES).to_owned()
}
