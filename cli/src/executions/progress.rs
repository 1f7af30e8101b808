//! How an execution stands, in one line for who waits for it.

use std::time::SystemTime;

use rekindle::wire::v1::{self, ExecutionState};

use super::queue::Ahead;
use crate::time;

/// The line. Nothing where there is nothing to wait for.
pub(super) fn line(execution: &v1::Execution, ahead: Option<Ahead>, now: SystemTime) -> String {
    let mut line = match execution.state() {
        ExecutionState::Queued => queued(execution, ahead, now),
        ExecutionState::Dispatched => "sent to the agent's shim".to_owned(),
        ExecutionState::Accepted => "in the shim's keeping, about to begin".to_owned(),
        ExecutionState::Running => running(execution, now),
        ExecutionState::Unspecified
        | ExecutionState::Succeeded
        | ExecutionState::Failed
        | ExecutionState::Cancelled
        | ExecutionState::TimedOut
        | ExecutionState::Lost
        | ExecutionState::DeadLetter => return String::new(),
    };
    if execution.attempt > 1 {
        line.push_str(&format!(", attempt {}", execution.attempt));
    }
    if execution.cancelling {
        line.push_str(", being ended");
    }
    line
}

fn queued(execution: &v1::Execution, ahead: Option<Ahead>, now: SystemTime) -> String {
    let place = match ahead {
        None => String::new(),
        Some(Ahead::Exactly(0)) => ", next in line".to_owned(),
        Some(Ahead::Exactly(before)) => format!(", {before} before it"),
        Some(Ahead::AtLeast(before)) => format!(", at least {before} before it"),
    };
    match elapsed(execution.create_time.as_ref(), now) {
        Some(waited) => format!("queued{place}, for {waited}"),
        None => format!("queued{place}"),
    }
}

fn running(execution: &v1::Execution, now: SystemTime) -> String {
    let mut line = "running".to_owned();
    if let Some(process) = &execution.process {
        line.push_str(&format!(" on {} as pid {}", process.host, process.pid));
    }
    let limit = execution.timeout.as_ref().map(time::short_wire);
    let began = elapsed(execution.start_time.as_ref(), now);
    match (began, limit) {
        (Some(began), Some(limit)) => line.push_str(&format!(", {began} of {limit}")),
        (Some(began), None) => line.push_str(&format!(", for {began}")),
        (None, _) => {}
    }
    line
}

/// In whole seconds, as the line is drawn each second. A start in the future is one on a host whose clock is ahead.
fn elapsed(since: Option<&prost_types::Timestamp>, now: SystemTime) -> Option<String> {
    let since = SystemTime::try_from(*since?).ok()?;
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    Some(match seconds {
        0 => "0s".to_owned(),
        seconds => time::short(std::time::Duration::from_secs(seconds)),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn execution(state: ExecutionState) -> v1::Execution {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::Execution {
            state: state.into(),
            timeout: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
            attempt: 1,
            process: (state == ExecutionState::Running).then(|| v1::Process {
                host: "vm-7".to_owned(),
                pid: 4242,
                ..v1::Process::default()
            }),
            create_time: at(1_000),
            start_time: at(1_060),
            ..v1::Execution::default()
        }
    }

    #[test]
    fn every_state_in_a_line() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_072_900);
        let of = |state, ahead| line(&execution(state), ahead, now);
        for (said, expected) in [
            (of(ExecutionState::Queued, None), "queued, for 1m12s"),
            (
                of(ExecutionState::Queued, Some(Ahead::Exactly(0))),
                "queued, next in line, for 1m12s",
            ),
            (
                of(ExecutionState::Queued, Some(Ahead::Exactly(3))),
                "queued, 3 before it, for 1m12s",
            ),
            (
                of(ExecutionState::Queued, Some(Ahead::AtLeast(500))),
                "queued, at least 500 before it, for 1m12s",
            ),
            (of(ExecutionState::Dispatched, None), "sent to the agent's shim"),
            (
                of(ExecutionState::Accepted, None),
                "in the shim's keeping, about to begin",
            ),
            (
                of(ExecutionState::Running, None),
                "running on vm-7 as pid 4242, 12s of 5m",
            ),
            (of(ExecutionState::Succeeded, None), ""),
        ] {
            assert_eq!(said, expected);
        }
        let again = v1::Execution {
            attempt: 2,
            cancelling: true,
            process: None,
            ..execution(ExecutionState::Running)
        };
        let early = SystemTime::UNIX_EPOCH;
        assert_eq!(line(&again, None, early), "running, 0s of 5m, attempt 2, being ended");
    }
}
