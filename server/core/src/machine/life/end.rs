//! How a life ended, in types and in words.

use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::launch::Launch;

use super::super::step::{Attributes, attributes};

/// How a life ended.
pub(in super::super) enum End {
    Exited(Box<ExitEvidence>),
    SpawnFailed(String),
    /// The order to start it was not carried out in time.
    NotStarted,
    /// Its host has rebooted; what it ran with, as far as that was told.
    Rebooted(Option<Launch>),
    Lost(Lost),
}

/// Why nobody saw a life end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Lost {
    /// Its shim died, and it with it.
    Shim,
    /// Its shim was told to stop.
    ShimStop,
    /// Its shim had no server for too long.
    Fence,
}

/// Whether a life ended in the boot that its shim is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum SameBoot {
    Yes,
    No,
}

impl End {
    pub(super) const fn is_of_this_boot(&self) -> SameBoot {
        match self {
            Self::Rebooted(_) => SameBoot::No,
            Self::Exited(_) | Self::SpawnFailed(_) | Self::NotStarted | Self::Lost(_) => SameBoot::Yes,
        }
    }

    /// What happened, to be put behind a subject.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Exited(evidence) => match evidence.ended_by {
                EndedBy::Itself if evidence.oom_killed => {
                    format!("{}, as the host was out of memory", evidence.status)
                }
                EndedBy::Itself => evidence.status.to_string(),
                EndedBy::Command | EndedBy::ShimStop => format!("{}, as asked for", evidence.status),
                EndedBy::StartTimeout => format!("was not ready in time, and {}", evidence.status),
                EndedBy::Watchdog => format!("did not ping its watchdog in time, and {}", evidence.status),
                EndedBy::ShimDeath => Self::Lost(Lost::Shim).describe(),
                EndedBy::Stall => format!("did nothing for too long, and {}", evidence.status),
                EndedBy::MessageTimeout => format!("worked on a message past its time, and {}", evidence.status),
                EndedBy::MessageCancel => format!("worked on a message that was cancelled, and {}", evidence.status),
                EndedBy::Fence => format!(
                    "was ended, its shim being without a server for too long: {}",
                    evidence.status
                ),
            },
            Self::SpawnFailed(message) => format!("could not be started: {message}"),
            Self::NotStarted => "was not started in time; its shim is connected, and said nothing of it".to_owned(),
            Self::Lost(Lost::Shim) => "died with its shim, unseen".to_owned(),
            Self::Lost(Lost::ShimStop) => "ended with its shim, which was told to stop".to_owned(),
            Self::Rebooted(_) => "is gone with a reboot of its host".to_owned(),
            Self::Lost(Lost::Fence) => "was ended, its shim being without a server for too long".to_owned(),
        }
    }

    pub(super) fn attributes(&self) -> Attributes {
        match self {
            Self::Exited(evidence) => {
                let mut details = attributes([("uptime_ms", &evidence.uptime.as_millis())]);
                match evidence.status {
                    ExitStatus::Exited(code) => details.extend(attributes([("exit_code", &code)])),
                    ExitStatus::Signaled { signal, core_dumped } => {
                        details.extend(attributes([("signal", &signal), ("core_dumped", &core_dumped)]));
                    }
                    ExitStatus::Unknown => {}
                }
                if !evidence.stderr_tail.is_empty() {
                    details.extend(attributes([("stderr_tail", &evidence.stderr_tail)]));
                }
                if !evidence.stdout_tail.is_empty() {
                    details.extend(attributes([("stdout_tail", &evidence.stdout_tail)]));
                }
                details
            }
            Self::SpawnFailed(message) => attributes([("error", message)]),
            Self::Rebooted(launch) => launch
                .as_ref()
                .map(|launch| attributes([("directory", &launch.directory())]))
                .unwrap_or_default(),
            Self::NotStarted | Self::Lost(_) => Attributes::new(),
        }
    }
}
