//! Errors of the agent's API: statuses with `google.rpc` details (AIP-193), as the server's are.

use std::collections::HashMap;
use std::time::Duration;

use rekindle::convert::{WireError, cut_line};
use rekindle_shim_core::{CheckpointRefused, Refused, WriteFault};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every reason (google.rpc.ErrorInfo).
const DOMAIN: &str = "rekindle";

/// Longest message, in bytes: clients refuse trailers of more than 8 KiB, in which it travels twice or thrice.
const MESSAGE_MAX_BYTES: usize = 1024;

/// When a caller should try again: what stands in its way is over by then, as a rule.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why there is no work for who asked.
pub(super) fn ask_refused(refused: Refused) -> Status {
    match refused {
        Refused::NotPulled => rich(
            Code::FailedPrecondition,
            "NOT_PULLED",
            "messages do not reach this agent by its asking for them; start its rekindle-shim with --delivery pull",
        ),
        Refused::TooMany => rich(
            Code::ResourceExhausted,
            "TOO_MANY_WAITING",
            "more callers wait for work than the agent may have executions at once; ask from fewer, or raise \
             --max-concurrent",
        ),
        Refused::NotRunning
        | Refused::OtherAttempt
        | Refused::WhichAttempt
        | Refused::EndedOtherwise
        | Refused::Which => rich(
            Code::Unavailable,
            "AGENT_ENDING",
            "this life of the agent is over, and gets no more work; the next one may ask",
        ),
    }
}

/// Why a word on an execution has no effect.
pub(super) fn word_refused(refused: Refused) -> Status {
    match refused {
        Refused::NotPulled => rich(
            Code::FailedPrecondition,
            "NOT_PULLED",
            "what comes of this execution is told by how its own process ends, exit code 0 for done; words are for agents \
             whose rekindle-shim was started with --delivery pull",
        ),
        Refused::NotRunning | Refused::TooMany => rich(
            Code::FailedPrecondition,
            "NOT_RUNNING",
            "the agent does not work on this execution: it has ended it already, or its time is over; ask for the next one",
        ),
        Refused::OtherAttempt => rich(
            Code::FailedPrecondition,
            "OTHER_ATTEMPT",
            "this attempt is over, and the agent works on a later one at the same execution, of which nothing was said; drop \
             what there is of the older one",
        ),
        Refused::WhichAttempt => rich(
            Code::FailedPrecondition,
            "WHICH_ATTEMPT",
            "no attempt was named, and this life of the agent may have been given several at this execution; say which, as \
             its assignment has it (rekindle self: --attempt)",
        ),
        Refused::EndedOtherwise => rich(
            Code::FailedPrecondition,
            "ENDED_OTHERWISE",
            "how this attempt has ended is told already, and stays as it was; ask for the next execution",
        ),
        Refused::Which => rich(
            Code::FailedPrecondition,
            "WHICH_EXECUTION",
            "no execution was named, and the agent works on several; name the one that it is about",
        ),
    }
}

/// Why a word on a checkpoint has no effect; `None` of one that needs none.
pub(crate) fn checkpoint_refused(refused: CheckpointRefused) -> Option<Status> {
    Some(match refused {
        CheckpointRefused::OldIncarnation { living } => rich(
            Code::FailedPrecondition,
            "OLD_INCARNATION",
            &format!(
                "this is of another life of the agent than the one that goes on, which is incarnation {living}; end what \
                 is left of it"
            ),
        ),
        CheckpointRefused::NotRunning => rich(
            Code::FailedPrecondition,
            "OLD_INCARNATION",
            "no life of the agent goes on that this could be of; end what is left of it",
        ),
        CheckpointRefused::TooMany => rich(
            Code::ResourceExhausted,
            "TOO_MANY_SAVES",
            "more wait for the disk than a life has to say at a time; save less often, each time all there is to know",
        ),
        CheckpointRefused::NothingSaved => return None,
        CheckpointRefused::NotWritten(not) => match not.cause {
            WriteFault::Room => rich(
                Code::ResourceExhausted,
                "DISK_FULL",
                &format!(
                    "the disk of the shim's state directory has no room, and what was saved before is kept: {}",
                    cut_line(&not.message, MESSAGE_MAX_BYTES / 2)
                ),
            ),
            WriteFault::Other => rich(
                Code::Unavailable,
                "NOT_SAVED",
                &format!(
                    "it could not be written, and what was saved before is kept: {}",
                    cut_line(&not.message, MESSAGE_MAX_BYTES / 2)
                ),
            ),
        },
    })
}

/// The shim does not answer any more.
pub(super) fn ending() -> Status {
    rich(
        Code::Unavailable,
        "SHIM_ENDING",
        "the shim ends; where the agent lives on, the next shim answers at the same address",
    )
}

/// A request that is longer than any that can be meant.
pub(super) fn too_large(limit: usize) -> Status {
    rich(
        Code::InvalidArgument,
        "REQUEST_TOO_LARGE",
        &format!("the request has more than {limit} bytes; put what is longer into a file that it names"),
    )
}

/// A request that did not come as a whole in time.
pub(super) fn too_slow(limit: Duration) -> Status {
    let limit = rekindle::duration::show(limit);
    rich(
        Code::DeadlineExceeded,
        "REQUEST_TOO_SLOW",
        &format!("the request was not whole within {limit}; send it anew"),
    )
}

/// A request whose end did not come. Its caller does not hear this any more, as a rule.
pub(super) fn broken_off() -> Status {
    rich(
        Code::Cancelled,
        "REQUEST_BROKEN_OFF",
        "the request broke off; send it anew",
    )
}

/// An argument that cannot be: which field, and what would be right.
pub(super) fn invalid(field: &str, problem: &str) -> Status {
    let problem = cut_line(problem, MESSAGE_MAX_BYTES);
    let metadata = HashMap::from([("field".to_owned(), field.to_owned())]);
    let mut details = ErrorDetails::with_error_info("INVALID_ARGUMENT", DOMAIN, metadata);
    details.add_bad_request_violation(field, problem.as_str());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {problem}"), details)
}

/// An argument that did not parse.
pub(super) fn unparsed(error: &WireError) -> Status {
    invalid(&error.field, &error.problem)
}

fn rich(code: Code, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if [Code::Unavailable, Code::ResourceExhausted].contains(&code) {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, message, details)
}
