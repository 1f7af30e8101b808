//! Why a command failed, what its exit code is, and what its user can do.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use rekindle::checkpoint::BODY_MAX_BYTES;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::executions::{End, Unsuccessful};
use crate::output::printable;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection to the server.
    #[error("cannot reach the server at {server}: {}", root(.source))]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The address of the server is none.
    #[error("{server:?} is not the address of a server: {reason}")]
    Address {
        /// As it was given.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server answered with an error, or the connection broke.
    #[error("{}", status_line(.0, "the server"))]
    Call(Box<Status>),
    /// The operation was carried out, and did not succeed.
    #[error("{0}")]
    Failed(String),
    /// The operation goes on.
    #[error("{0}")]
    Pending(String),
    /// An execution is over, and did not succeed.
    #[error("{}", .0.message)]
    Unsuccessful(Box<Unsuccessful>),
    /// An execution is not over.
    #[error("{message}")]
    Unfinished {
        /// How it stands.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A message cannot be given to anybody.
    #[error("{0}")]
    Message(String),
    /// The server sent what this program does not understand.
    #[error("the server's answer cannot be understood: it {0}")]
    Answer(&'static str),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// No shim has started this program.
    #[error("REKINDLE_SOCKET is not set: `rekindle self` is for programs that a rekindle-shim runs")]
    NoShim,
    /// No connection to the shim.
    #[error("cannot reach the rekindle-shim at {socket}: {}", root(.source))]
    ShimUnreachable {
        /// What `REKINDLE_SOCKET` says.
        socket: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The shim answered with an error, or the connection broke.
    #[error("{}", status_line(.0, "the shim"))]
    Shim(Box<Status>),
    /// The shim had no work in time.
    #[error("nothing came in time")]
    NothingCame,
    /// No checkpoint is open.
    #[error("no checkpoint is open")]
    NoCheckpoint,
    /// An agent has no checkpoint that its next life gets.
    #[error("{0}")]
    NoneOpen(String),
    /// The body of a checkpoint is too long.
    #[error("the body has more than {} KiB; put it into a file of its own, and save where that is", BODY_MAX_BYTES / 1024)]
    Body,
    /// A file cannot be read or written.
    #[error("cannot use the file {}: {source}", path.display())]
    File {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// `rekindle dev` cannot go on.
    #[error("{message}")]
    Dev {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

impl Failure {
    /// Prints the failure and what to do next to standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.is_closed_pipe() {
            // As for `rekindle events | head`: the reader has what it wanted.
            return ExitCode::SUCCESS;
        }
        for line in self.lines() {
            eprintln!("{line}");
        }
        ExitCode::from(self.exit_code())
    }

    /// The failure, what is known of it, and what to do next, with nothing in it that commands a terminal.
    pub(crate) fn lines(&self) -> Vec<String> {
        let evidence = match self {
            Self::Unsuccessful(unsuccessful) => unsuccessful.evidence.as_slice(),
            // As usual as work is, for who asks in a loop: the exit code says it.
            Self::NothingCame | Self::NoCheckpoint => return Vec::new(),
            Self::Unreachable { .. }
            | Self::Address { .. }
            | Self::Call(_)
            | Self::Failed(_)
            | Self::Pending(_)
            | Self::Unfinished { .. }
            | Self::Message(_)
            | Self::Answer(_)
            | Self::Output(_)
            | Self::NoShim
            | Self::ShimUnreachable { .. }
            | Self::Shim(_)
            | Self::NoneOpen(_)
            | Self::Body
            | Self::File { .. }
            | Self::Input(_)
            | Self::Signals(_)
            | Self::Dev { .. } => &[],
        };
        let details = evidence.iter().cloned().chain(self.hints());
        let details = details.map(|line| format!("  {line}"));
        let lines = std::iter::once(format!("error: {self}")).chain(details);
        lines.map(|line| printable(&line)).collect()
    }

    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The exit code of the design, section 9.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_)
            | Self::Answer(_)
            | Self::Output(_)
            | Self::File { .. }
            | Self::Input(_)
            | Self::Signals(_)
            | Self::Dev { .. } => 1,
            Self::Unsuccessful(unsuccessful) => match unsuccessful.end {
                End::Failure => 1,
                End::Time => 6,
            },
            Self::Address { .. } | Self::Message(_) | Self::Body | Self::NoShim => 2,
            Self::NoCheckpoint | Self::NoneOpen(_) => 3,
            Self::ShimUnreachable { source, .. } if is_denied(source) => 5,
            Self::Unreachable { .. } | Self::ShimUnreachable { .. } => 4,
            Self::Pending(_) | Self::Unfinished { .. } | Self::NothingCame => 6,
            Self::Call(status) | Self::Shim(status) => status_exit_code(status),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreachable { .. } => vec![
                "Is it running? `rekindle-server` starts one, and `rekindle dev` a whole fleet of one. Its address is \
                 --server's, or REKINDLE_SERVER's."
                    .to_owned(),
            ],
            Self::Address { .. } => vec!["Write for example http://127.0.0.1:7420.".to_owned()],
            Self::Call(status) => call_hints(status),
            Self::Failed(_) => vec!["`rekindle agents explain AGENT` says why, and what happens next.".to_owned()],
            Self::Pending(_) => vec![
                "It goes on at the server: `rekindle agents explain AGENT` says what it waits for. --timeout waits \
                 longer."
                    .to_owned(),
            ],
            Self::Unsuccessful(unsuccessful) => vec![unsuccessful.hint.clone()],
            Self::Unfinished { hint, .. } => vec![hint.clone()],
            Self::Message(_) => Vec::new(),
            Self::Answer(_) => vec!["Is the server of another version than this program?".to_owned()],
            Self::NoShim => vec![
                "`rekindle-shim --agent NAME --delivery pull -- PROGRAM` runs a program that takes work by it."
                    .to_owned(),
            ],
            Self::ShimUnreachable { source, .. } if is_denied(source) => {
                vec!["Only the user that the agent runs as, the shim's own, and root may speak to it.".to_owned()]
            }
            Self::ShimUnreachable { .. } => {
                vec!["The shim that ran this program has ended; the next one listens at the same place.".to_owned()]
            }
            Self::Shim(status) if is_lost(status) => {
                vec!["Try again: a shim that starts anew listens at the same place.".to_owned()]
            }
            Self::Output(_)
            | Self::Input(_)
            | Self::File { .. }
            | Self::Body
            | Self::Shim(_)
            | Self::NothingCame
            | Self::NoCheckpoint => Vec::new(),
            Self::NoneOpen(_) => {
                vec!["`rekindle checkpoint AGENT list` shows those that are kept.".to_owned()]
            }
            Self::Signals(_) => vec!["The system is out of file descriptors or memory.".to_owned()],
            Self::Dev { hint, .. } => vec![hint.clone()],
        }
    }
}

/// The exit code for an answer that is an error.
fn status_exit_code(status: &Status) -> u8 {
    if is_timeout(status) {
        return 6;
    }
    if is_lost(status) {
        return 4;
    }
    match status.code() {
        Code::InvalidArgument => 2,
        Code::NotFound => 3,
        Code::Unavailable => 4,
        Code::PermissionDenied | Code::Unauthenticated => 5,
        Code::DeadlineExceeded => 6,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => 1,
    }
}

/// Whether the connection broke, or the server was not there: the call may have been carried out or not.
pub(crate) fn is_lost(status: &Status) -> bool {
    // What the server itself answers has no source. One that is unavailable and says why is there, unless it is going.
    let going = status
        .get_details_error_info()
        .is_none_or(|info| ["SERVER_ENDING", "SHIM_ENDING"].contains(&info.reason.as_str()));
    (status.code() == Code::Unavailable && going) || (status.source().is_some() && !is_timeout(status))
}

/// Whether the caller's deadline passed before an answer came.
fn is_timeout(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || chain(status).any(|error| error.is::<tonic::TimeoutExpired>())
        // A server's own deadline handling, in tonic's words.
        || (status.code() == Code::Cancelled && status.message() == tonic::TimeoutExpired(()).to_string())
}

/// One line: the message, the fields that are wrong, and the stable reason.
fn status_line(status: &Status, peer: &str) -> String {
    if is_timeout(status) {
        return "no answer came in time".to_owned();
    }
    if is_lost(status) {
        let why = match chain(status).last() {
            Some(root) => root.to_string(),
            None => status.message().to_owned(),
        };
        return format!("the connection to {peer} was lost: {why}");
    }
    let mut line = status.message().to_owned();
    if line.is_empty() {
        line = status.code().description().to_owned();
    }
    let details = status.get_error_details();
    if let Some(request) = details.bad_request() {
        for wrong in &request.field_violations {
            // A good message names the field already.
            if !line.contains(&wrong.description) {
                line.push_str(&format!("; {}: {}", wrong.field, wrong.description));
            }
        }
    }
    if let Some(info) = details.error_info() {
        line.push_str(&format!(" ({})", info.reason));
    }
    line
}

fn call_hints(status: &Status) -> Vec<String> {
    if is_timeout(status) {
        return vec![
            "An operation goes on at the server: `rekindle agents explain AGENT` says how it stands. --timeout waits \
             longer."
                .to_owned(),
        ];
    }
    if is_lost(status) {
        return vec!["Try again; `rekindle fleet` says whether the server is there.".to_owned()];
    }
    let details = status.get_error_details();
    let mut hints = Vec::new();
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        hints.push(format!("Try again in {}.", rekindle::duration::show(delay)));
    }
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    let general = match status.code() {
        Code::NotFound if reason == "EXECUTION_NOT_FOUND" => {
            "`rekindle executions list` shows the executions that there are; those that were long over are forgotten."
        }
        Code::NotFound if reason == "CHECKPOINT_NOT_FOUND" => {
            "`rekindle checkpoint AGENT list` shows those that are kept."
        }
        Code::FailedPrecondition if reason == "EXECUTION_NOT_OVER" => {
            "`rekindle executions watch` waits for its end, and `rekindle executions cancel` ends it."
        }
        // Its message says what to do.
        Code::FailedPrecondition if reason == "AGENT_TAKES_NO_MESSAGES" => "",
        Code::NotFound if reason == "WORKFLOW_NOT_FOUND" => {
            "`rekindle workflows list` shows the workflows that there are."
        }
        Code::FailedPrecondition if reason == "WORKFLOW_DISABLED" => {
            "`rekindle workflows enable WORKFLOW` lets it fire."
        }
        Code::Aborted
            if details
                .error_info()
                .is_some_and(|info| info.metadata.contains_key("workflow")) =>
        {
            "The workflow has changed: look again with `rekindle workflows get`, then decide."
        }
        Code::NotFound => "`rekindle agents list` shows the agents that there are.",
        Code::PermissionDenied | Code::Unauthenticated => "These credentials do not allow it.",
        Code::Aborted => "The agent has changed: look again with `rekindle agents get`, then decide.",
        Code::FailedPrecondition => "`rekindle agents explain AGENT` says what stands in the way.",
        Code::Unimplemented => "The server does not know this call: is it of another version than this program?",
        Code::Internal => "This is a bug of the server; its log says more.",
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => "",
    };
    if !general.is_empty() {
        hints.push(general.to_owned());
    }
    hints
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// Whether the operating system did not let this program connect.
fn is_denied(error: &tonic::transport::Error) -> bool {
    connect_error(error) == Some(io::ErrorKind::PermissionDenied)
}

/// Why a connection was not made, where the operating system said it.
pub(crate) fn connect_error(error: &tonic::transport::Error) -> Option<io::ErrorKind> {
    let source = chain(error).last()?.downcast_ref::<io::Error>()?;
    Some(source.kind())
}

fn root(error: &tonic::transport::Error) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn exit_codes() {
        let code = |code| Failure::from(Status::new(code, "x")).exit_code();
        assert_eq!(code(Code::InvalidArgument), 2);
        assert_eq!(code(Code::NotFound), 3);
        assert_eq!(code(Code::Unavailable), 4);
        assert_eq!(code(Code::PermissionDenied), 5);
        assert_eq!(code(Code::Unauthenticated), 5);
        assert_eq!(code(Code::DeadlineExceeded), 6);
        assert_eq!(code(Code::FailedPrecondition), 1);
        assert_eq!(Failure::Failed(String::new()).exit_code(), 1);
        assert_eq!(Failure::Pending(String::new()).exit_code(), 6);
        assert_eq!(Failure::Answer("has no agent").exit_code(), 1);
        let timeout = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert_eq!(Failure::from(timeout).exit_code(), 6);
        let broken = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!(Failure::from(broken).exit_code(), 4);
    }

    #[test]
    fn terminals_are_not_commanded() {
        let failure = Failure::from(Status::not_found("no \u{1b}[2J"));
        assert_eq!(failure.lines()[0], "error: no \\u{1b}[2J");
    }

    #[test]
    fn details_are_told() {
        let mut details = ErrorDetails::new();
        details.set_error_info("AGENT_BUSY", "rekindle", std::collections::HashMap::new());
        details.add_bad_request_violation("policy.cooldown", "must be at most 1 day");
        details.set_retry_info(Some(std::time::Duration::from_secs(5)));
        let status = Status::with_error_details(Code::InvalidArgument, "refused", details);
        let failure = Failure::from(status);
        assert_eq!(
            failure.to_string(),
            "refused; policy.cooldown: must be at most 1 day (AGENT_BUSY)"
        );
        assert_eq!(failure.hints(), ["Try again in 5s."]);
    }
}
