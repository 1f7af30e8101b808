//! How an execution ended, for its user and for the exit code.

use rekindle::wire::v1::{self, ExecutionState, FailureCause};

use super::ExecutionName;
use super::show::{cause_word, state_word};
use crate::agents;
use crate::failure::Failure;

/// An execution that is over and did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsuccessful {
    /// What happened, in one sentence.
    pub(crate) message: String,
    /// What is known of it, line by line.
    pub(crate) evidence: Vec<String>,
    /// What to do.
    pub(crate) hint: String,
    /// Whether its time was over, which has an exit code of its own.
    pub(crate) end: End,
}

/// What ended an execution that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its time.
    Time,
    /// Anything else.
    Failure,
}

/// What came of an execution; `None` while it goes on.
pub(super) fn result(execution: &v1::Execution, name: &ExecutionName) -> Option<Result<(), Failure>> {
    match execution.state() {
        // Also the states that only a later version knows: the stream tells whether it goes on.
        ExecutionState::Unspecified
        | ExecutionState::Queued
        | ExecutionState::Dispatched
        | ExecutionState::Accepted
        | ExecutionState::Running => None,
        ExecutionState::Succeeded => Some(Ok(())),
        state @ (ExecutionState::Failed
        | ExecutionState::Cancelled
        | ExecutionState::TimedOut
        | ExecutionState::Lost
        | ExecutionState::DeadLetter) => {
            let unsuccessful = unsuccessful(state, execution.failure.as_ref(), name);
            Some(Err(Failure::Unsuccessful(Box::new(unsuccessful))))
        }
    }
}

fn unsuccessful(state: ExecutionState, failure: Option<&v1::Failure>, name: &ExecutionName) -> Unsuccessful {
    let state_said = state_word(state);
    let message = match failure.map(|failure| failure.message.as_str()) {
        None | Some("") => format!("{name} is {state_said}"),
        Some(why) => format!("{name} is {state_said}: {why}"),
    };
    Unsuccessful {
        message,
        evidence: failure.map(evidence).unwrap_or_default(),
        hint: hint(state, failure, name),
        end: match state {
            ExecutionState::TimedOut => End::Time,
            ExecutionState::Unspecified
            | ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Accepted
            | ExecutionState::Running
            | ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::Cancelled
            | ExecutionState::Lost
            | ExecutionState::DeadLetter => End::Failure,
        },
    }
}

/// The cause, how the process ended, and the last that it wrote to stderr.
fn evidence(failure: &v1::Failure) -> Vec<String> {
    let cause = cause_word(failure.cause());
    let ended = match (failure.exit_code, failure.signal) {
        (None, None) => None,
        (Some(_), _) | (_, Some(_)) => Some(agents::failure_summary(failure)),
    };
    let summary = match ended {
        None => format!("cause {cause}"),
        Some(ended) => format!("cause {cause}, {ended}"),
    };
    let stderr = failure.stderr_tail.lines().map(|line| format!("stderr | {line}"));
    std::iter::once(summary).chain(stderr).collect()
}

fn hint(state: ExecutionState, failure: Option<&v1::Failure>, name: &ExecutionName) -> String {
    let redrive = format!("`rekindle executions redrive {name}` does it again");
    let failed_by = |cause| failure.is_some_and(|failure| failure.cause() == cause);
    match state {
        ExecutionState::TimedOut if failed_by(FailureCause::QueueTimeout) => format!(
            "No slot was free in time: `rekindle agents explain {}` says why, --schedule-to-start-timeout waits longer; \
             {redrive}.",
            name.agent()
        ),
        ExecutionState::TimedOut => format!("`rekindle run --timeout` gives more time; {redrive} with the same."),
        ExecutionState::Lost => format!(
            "It may have been done. A true result still replaces this, and `rekindle executions get {name}` shows it; \
             {redrive}."
        ),
        ExecutionState::Failed if failed_by(FailureCause::MessageLost) => {
            format!("`rekindle run {} MESSAGE` gives the message anew.", name.agent())
        }
        ExecutionState::Failed | ExecutionState::Cancelled | ExecutionState::DeadLetter => format!("{redrive}."),
        ExecutionState::Unspecified
        | ExecutionState::Queued
        | ExecutionState::Dispatched
        | ExecutionState::Accepted
        | ExecutionState::Running
        | ExecutionState::Succeeded => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(state: ExecutionState, failure: Option<v1::Failure>) -> Result<(), Failure> {
        let name: ExecutionName = "planner/e-1".parse().expect("valid");
        let execution = v1::Execution {
            name: name.resource(),
            state: state.into(),
            failure,
            ..v1::Execution::default()
        };
        result(&execution, &name).expect("it is over")
    }

    fn failure(cause: FailureCause, exit_code: Option<i32>, signal: Option<i32>, message: &str) -> Option<v1::Failure> {
        Some(v1::Failure {
            cause: cause.into(),
            exit_code,
            signal,
            message: message.to_owned(),
            uptime: Some(prost_types::Duration { seconds: 12, nanos: 0 }),
            stderr_tail: "trying\nout of ideas\n".to_owned(),
            ..v1::Failure::default()
        })
    }

    #[test]
    fn every_end_says_what_happened_and_what_to_do() {
        use {ExecutionState as S, FailureCause as C};
        let ends = [
            (
                S::Failed,
                failure(C::Exited, Some(3), None, "failed: its process exited with code 3"),
            ),
            (
                S::Failed,
                failure(C::MessageLost, None, None, "its message cannot be read"),
            ),
            (S::Cancelled, None),
            (
                S::TimedOut,
                failure(C::MessageTimeout, None, Some(15), "it ran past its time, and was ended"),
            ),
            (
                S::TimedOut,
                failure(
                    C::QueueTimeout,
                    None,
                    None,
                    "it did not start within its schedule_to_start_timeout",
                ),
            ),
            (S::Lost, failure(C::Lost, None, None, "its shim does not have it")),
            (S::DeadLetter, failure(C::Interrupted, None, Some(9), "")),
        ];
        let told = ends.map(|(state, failure)| {
            let failure = over(state, failure).expect_err("it did not succeed");
            let lines = failure.lines();
            format!("{} {}", failure.exit_code(), lines.join("\n"))
        });
        insta::assert_snapshot!(told.join("\n\n"));
    }

    #[test]
    fn what_goes_on_is_not_over() {
        let name: ExecutionName = "planner/e-1".parse().expect("valid");
        for state in [0, 1, 2, 3, 4, 1000] {
            let execution = v1::Execution {
                state,
                ..v1::Execution::default()
            };
            assert!(result(&execution, &name).is_none(), "{state}");
        }
        assert!(over(ExecutionState::Succeeded, None).is_ok());
    }
}
