//! RestartAgent, StartAgent, StopAgent and SignalAgent: from message to request, and from answer to message.

use std::time::Duration;

use rekindle::checkpoint::AskedSave;
use rekindle::convert::{duration_from_wire, process_to_wire};
use rekindle::exit::signal_number;
use rekindle::id::{AgentId, Incarnation, RequestId};
use rekindle::policy::STOP_GRACE_MAX;
use rekindle::wire::v1;
use rekindle_server_core::effect::{OperationAnswer, OperationOutcome, SignalAnswer};
use rekindle_server_core::input::{Force, RunRequest, SignalRequest, StopRequest, Unless, Wait};
use rekindle_server_core::record::{Context, OperationKind};
use tonic::Status;

use super::view;
use crate::handle::Handle;
use crate::status::{invalid, unparsed};

/// Longest `reason`, in bytes: a sentence.
const REASON_MAX_BYTES: usize = 256;

/// Signals that StopAgent is there for, or that would stop a process without ending it.
const NOT_BY_SIGNAL: [&str; 5] = ["KILL", "STOP", "TSTP", "TTIN", "TTOU"];

/// Reads the name of an agent.
pub(super) fn agent_name(name: &str) -> Result<AgentId, Status> {
    AgentId::from_name(name).map_err(|error| invalid("name", error.to_string()))
}

pub(super) fn restart(request: v1::RestartAgentRequest) -> Result<RunRequest, Status> {
    Ok(RunRequest {
        agent: agent_name(&request.name)?,
        kind: OperationKind::Restart,
        reason: reason(request.reason)?,
        request_id: request_id(&request.request_id)?,
        expected_incarnation: expected(request.expected_incarnation),
        grace: grace(request.grace_period)?,
        unless: if request.only_if_down {
            Unless::Up
        } else {
            Unless::Never
        },
        force: if request.force { Force::Yes } else { Force::No },
        context: context(request.context)?,
        wait: wait(request.wait)?,
    })
}

/// A start is a restart under its other name.
pub(super) fn start(request: v1::StartAgentRequest) -> Result<RunRequest, Status> {
    let v1::StartAgentRequest {
        name,
        reason,
        request_id,
        expected_incarnation,
        grace_period,
        only_if_down,
        force,
        context,
        wait,
    } = request;
    let same = v1::RestartAgentRequest {
        name,
        reason,
        request_id,
        expected_incarnation,
        grace_period,
        only_if_down,
        force,
        context,
        wait,
    };
    Ok(RunRequest {
        kind: OperationKind::Start,
        ..restart(same)?
    })
}

pub(super) fn stop(request: v1::StopAgentRequest) -> Result<StopRequest, Status> {
    Ok(StopRequest {
        agent: agent_name(&request.name)?,
        reason: reason(request.reason)?,
        request_id: request_id(&request.request_id)?,
        expected_incarnation: expected(request.expected_incarnation),
        grace: grace(request.grace_period)?,
        wait: wait(request.wait)?,
    })
}

pub(super) fn signal(request: &v1::SignalAgentRequest) -> Result<SignalRequest, Status> {
    let agent = agent_name(&request.name)?;
    let upper = request.signal.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if NOT_BY_SIGNAL.contains(&bare) {
        return Err(invalid(
            "signal",
            format!("{bare} cannot be sent; use StopAgent to end the agent"),
        ));
    }
    let signal = signal_number(bare)
        .ok_or_else(|| invalid("signal", "is not a signal's name; write for example HUP or SIGUSR1"))?;
    Ok(SignalRequest {
        agent,
        signal,
        expected_incarnation: expected(request.expected_incarnation),
    })
}

pub(super) fn reason(reason: String) -> Result<String, Status> {
    if reason.len() > REASON_MAX_BYTES || reason.chars().any(char::is_control) {
        let problem = format!("must have at most {REASON_MAX_BYTES} bytes, and no control characters");
        return Err(invalid("reason", problem));
    }
    Ok(reason)
}

pub(super) fn request_id(id: &str) -> Result<Option<RequestId>, Status> {
    if id.is_empty() {
        return Ok(None);
    }
    RequestId::new(id)
        .map(Some)
        .map_err(|error| invalid("request_id", error.to_string()))
}

fn expected(incarnation: u64) -> Option<Incarnation> {
    (incarnation != 0).then(|| Incarnation::new(incarnation))
}

pub(super) fn grace(grace: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(grace) = grace else { return Ok(None) };
    let grace = duration_from_wire(grace, "grace_period").map_err(unparsed)?;
    if grace > STOP_GRACE_MAX {
        let most = rekindle::duration::show(STOP_GRACE_MAX);
        return Err(invalid(
            "grace_period",
            format!("must be at most {most}; 0s kills at once"),
        ));
    }
    Ok(Some(grace))
}

fn wait(wait: i32) -> Result<Wait, Status> {
    match v1::Wait::try_from(wait) {
        Ok(v1::Wait::Accepted) => Ok(Wait::Accepted),
        Ok(v1::Wait::Started) => Ok(Wait::Started),
        Ok(v1::Wait::Ready | v1::Wait::Unspecified) => Ok(Wait::Ready),
        Err(_) => Err(invalid("wait", "is none of WAIT_ACCEPTED, WAIT_STARTED, WAIT_READY")),
    }
}

fn context(context: i32) -> Result<Context, Status> {
    match v1::Context::try_from(context) {
        Ok(v1::Context::Resume | v1::Context::Unspecified) => Ok(Context::Resume),
        Ok(v1::Context::Fresh) => Ok(Context::Fresh),
        Err(_) => Err(invalid("context", "is none of CONTEXT_RESUME, CONTEXT_FRESH")),
    }
}

/// The fields that every operation's answer has.
pub(super) struct Answered {
    pub(super) agent: Option<v1::Agent>,
    pub(super) previous_state: i32,
    pub(super) outcome: i32,
    pub(super) detail: String,
    pub(super) cancelled_executions: Vec<String>,
    pub(super) checkpoint: String,
    pub(super) save_outcome: i32,
}

pub(super) fn answered(answer: OperationAnswer, handle: &Handle) -> Answered {
    let outcome = match answer.outcome {
        OperationOutcome::Completed => v1::Outcome::Completed,
        OperationOutcome::Pending => v1::Outcome::Pending,
        OperationOutcome::Failed => v1::Outcome::Failed,
    };
    let id = &answer.agent.id;
    let (save_outcome, saved) = match (answer.asked, answer.outcome) {
        (Some(AskedSave::Saved(saved)), _) => (v1::SaveOutcome::Saved, Some(saved)),
        (Some(AskedSave::NotSaved), _) => (v1::SaveOutcome::NotSaved, None),
        // Done, and nothing was there to be ended.
        (Some(AskedSave::NotAsked), _) | (None, OperationOutcome::Completed) => (v1::SaveOutcome::NotAsked, None),
        (None, OperationOutcome::Pending | OperationOutcome::Failed) => (v1::SaveOutcome::Unspecified, None),
    };
    let checkpoint = saved.or(answer.handed);
    Answered {
        checkpoint: checkpoint.map(|checkpoint| checkpoint.name(id)).unwrap_or_default(),
        save_outcome: save_outcome.into(),
        cancelled_executions: answer.cancels.iter().map(|execution| execution.name(id)).collect(),
        agent: Some(view::agent(&answer.agent, handle)),
        previous_state: v1::AgentState::from(answer.previous_state).into(),
        outcome: outcome.into(),
        detail: answer.detail,
    }
}

pub(super) fn signalled(answer: &SignalAnswer) -> v1::SignalAgentResponse {
    v1::SignalAgentResponse {
        process: Some(process_to_wire(&answer.process, &answer.host)),
    }
}
