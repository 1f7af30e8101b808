//! Why there is no session, in words for the shim's log.

use std::error::Error;

use rekindle::convert::WireError;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a stream could not be opened, or ended.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What to tell.
    pub(crate) text: String,
    /// What kind of trouble it is. Told once in one outage.
    pub(crate) trouble: Trouble,
    /// What follows for the shim's child.
    pub(crate) fence: Fence,
}

/// Kinds of trouble, by what somebody would do about them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// There is no server, or no way to it.
    NoServer,
    /// There is one that does not answer.
    Silence,
    /// There is something else.
    Nonsense,
    /// Another shim, on this host, has the agent.
    Held(String),
    /// The server gives this reason.
    Reason(String),
}

/// What a shim must not do any more without the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The agent is still the shim's, as far as anybody knows.
    No,
    /// The agent may have been given to another shim: nothing is started, and what runs goes on.
    Starts,
    /// Another life may run elsewhere: nothing is started, and the child must end.
    Yes,
}

impl Refusal {
    const fn new(trouble: Trouble, text: String) -> Self {
        Self {
            text,
            trouble,
            fence: Fence::No,
        }
    }

    /// The server cannot be reached.
    pub(crate) fn unreachable(error: &dyn Error) -> Self {
        let text = format!("cannot reach the server: {}", root(error));
        Self::new(Trouble::NoServer, text)
    }

    /// The server said nothing for too long after Hello.
    pub(crate) fn silent() -> Self {
        let text = "the server took the stream, and did not welcome the shim".to_owned();
        Self::new(Trouble::Silence, text)
    }

    /// The server said something that cannot be.
    pub(crate) fn nonsense(problem: &str) -> Self {
        let text = format!("the server does not speak this shim's protocol: {problem}; compare their versions");
        Self::new(Trouble::Nonsense, text)
    }

    /// The server ended the stream without a reason.
    pub(crate) fn closed() -> Self {
        Self::new(Trouble::NoServer, "the server ended the stream".to_owned())
    }

    /// The server ended the stream with a reason, or the network did.
    pub(crate) fn from_status(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info.as_ref().map_or("", |info| info.reason.as_str());
        let metadata = |key: &str| {
            info.as_ref()
                .and_then(|info| info.metadata.get(key))
                .map_or("", String::as_str)
        };
        match (reason, status.code()) {
            ("AGENT_HELD", _) => Self {
                text: format!(
                    "another shim holds the agent: on {}, last heard {} s ago; stop it, or force a RestartAgent",
                    metadata("host"),
                    metadata("last_heartbeat")
                ),
                trouble: Trouble::Held(metadata("host").to_owned()),
                fence: Fence::Yes,
            },
            ("BOOT_OVER", _) => Self {
                text: format!(
                    "{} (BOOT_OVER); until then the program goes on, and is not started again",
                    status.message()
                ),
                trouble: Trouble::Reason(reason.to_owned()),
                fence: Fence::Starts,
            },
            ("", Code::Unimplemented) => Self::nonsense("it has no rekindle.v1.ShimService"),
            // Without a reason it is no word of the server's, but of the library on the way to it.
            ("", _) => {
                let text = format!("the link to the server broke: {}", broken(status));
                Self::new(Trouble::NoServer, text)
            }
            (_, _) => {
                let text = format!("the server ended the session: {} ({reason})", status.message());
                Self::new(Trouble::Reason(reason.to_owned()), text)
            }
        }
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::nonsense(&error.to_string())
    }
}

fn broken(status: &Status) -> String {
    match status.source() {
        Some(source) => root(source),
        None => status.message().to_owned(),
    }
}

/// The innermost cause: what surrounds it says "transport error" in several ways.
fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn refusal(reason: &str, metadata: &[(&str, &str)]) -> Refusal {
        let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let details = ErrorDetails::with_error_info(reason, "rekindle", metadata);
        Refusal::from_status(&Status::with_error_details(Code::FailedPrecondition, "words", details))
    }

    #[test]
    fn a_holder_is_named_once() {
        let at = |seconds| refusal("AGENT_HELD", &[("host", "h1"), ("last_heartbeat", seconds)]);
        assert_eq!(
            at("7").text,
            "another shim holds the agent: on h1, last heard 7 s ago; stop it, or force a RestartAgent"
        );
        assert_eq!(at("7").trouble, at("8").trouble, "the seconds are no news");
        assert_eq!(refusal("AGENT_HELD", &[]).fence, Fence::Yes);
    }

    #[test]
    fn a_boot_that_counts_as_over_ends_nobody_and_starts_nobody() {
        let over = refusal("BOOT_OVER", &[("host", "h1")]);
        assert_eq!(
            over.text,
            "words (BOOT_OVER); until then the program goes on, and is not started again"
        );
        assert_eq!(over.fence, Fence::Starts);
    }

    #[test]
    fn other_reasons_are_told_with_their_words() {
        let limit = refusal("TOO_MANY_AGENTS", &[]);
        assert_eq!(limit.fence, Fence::No);
        assert_eq!(limit.text, "the server ended the session: words (TOO_MANY_AGENTS)");
        let other = Refusal::from_status(&Status::unimplemented(""));
        assert!(other.text.contains("no rekindle.v1.ShimService"), "{}", other.text);
        let broken = Refusal::from_status(&Status::unknown("h2 protocol error"));
        let reset = Refusal::from_status(&Status::unknown("connection reset"));
        assert_eq!(broken.trouble, reset.trouble, "one outage, whatever it looks like");
        assert_ne!(broken.trouble, limit.trouble);
        assert_eq!(broken.text, "the link to the server broke: h2 protocol error");
    }
}
