//! From message to request, with every limit checked.

use std::time::Duration;

use rekindle::convert::duration_from_wire;
use rekindle::execution::{ExecutionId, MESSAGE_MAX_BYTES};
use rekindle::id::AgentId;
use rekindle::policy::{MESSAGE_TIMEOUT_MAX, MESSAGE_TIMEOUT_MIN};
use rekindle::wire::v1;
use rekindle_server_core::execution::ExecutionRecord;
use rekindle_server_core::input::{CancelExecution, CreateExecution};
use tonic::Status;

use super::super::operations::{grace, reason, request_id};
use super::execution_name;
use crate::status::{invalid, unparsed};

/// Highest priority, and the lowest with its sign turned: more steps than anybody tells apart.
const PRIORITY_MAX: i32 = 100;

/// Longest wait for a start: past that nobody remembers what it was for.
const SCHEDULE_TO_START_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn create(request: v1::CreateExecutionRequest) -> Result<CreateExecution, Status> {
    let agent = AgentId::from_name(&request.parent).map_err(|error| invalid("parent", error.to_string()))?;
    let execution = request
        .execution
        .ok_or_else(|| invalid("execution", "must be given, with its message"))?;
    let bytes = execution.message.len();
    if bytes == 0 {
        return Err(invalid("execution.message", "must not be empty"));
    }
    if bytes > MESSAGE_MAX_BYTES {
        let problem = format!(
            "has {bytes} bytes, and at most {MESSAGE_MAX_BYTES} are taken; put what is longer into a file that it names"
        );
        return Err(invalid("execution.message", problem));
    }
    if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&execution.priority) {
        let problem = format!("must be between -{PRIORITY_MAX} and {PRIORITY_MAX}");
        return Err(invalid("execution.priority", problem));
    }
    Ok(CreateExecution {
        agent,
        id: execution_id(&request.execution_id)?,
        message: execution.message,
        timeout: within(
            execution.timeout,
            "execution.timeout",
            MESSAGE_TIMEOUT_MIN,
            MESSAGE_TIMEOUT_MAX,
        )?,
        schedule_to_start: within(
            execution.schedule_to_start_timeout,
            "execution.schedule_to_start_timeout",
            Duration::from_millis(1),
            SCHEDULE_TO_START_MAX,
        )?,
        priority: execution.priority,
        request_id: request_id(&request.request_id)?,
        redrive_of: None,
    })
}

/// The same message, with the same limits, once more.
pub(super) fn redrive(
    request: &v1::RedriveExecutionRequest,
    record: &ExecutionRecord,
    message: String,
) -> Result<CreateExecution, Status> {
    let created = record.times.created;
    Ok(CreateExecution {
        agent: record.agent.clone(),
        id: execution_id(&request.execution_id)?,
        message,
        timeout: Some(record.timeout),
        schedule_to_start: record.start_by.map(|at| at.saturating_since(created)),
        priority: record.priority,
        request_id: request_id(&request.request_id)?,
        redrive_of: Some(record.id.clone()),
    })
}

pub(super) fn cancel(request: v1::CancelExecutionRequest) -> Result<CancelExecution, Status> {
    let (agent, id) = execution_name(&request.name)?;
    Ok(CancelExecution {
        agent,
        id,
        reason: reason(request.reason)?,
        grace: grace(request.grace_period)?,
    })
}

fn execution_id(id: &str) -> Result<Option<ExecutionId>, Status> {
    if id.is_empty() {
        return Ok(None);
    }
    ExecutionId::new(id)
        .map(Some)
        .map_err(|error| invalid("execution_id", error.to_string()))
}

fn within(
    duration: Option<prost_types::Duration>,
    field: &str,
    min: Duration,
    max: Duration,
) -> Result<Option<Duration>, Status> {
    let Some(duration) = duration else { return Ok(None) };
    let duration = duration_from_wire(duration, field).map_err(unparsed)?;
    if (min..=max).contains(&duration) {
        return Ok(Some(duration));
    }
    let show = rekindle::duration::show;
    Err(invalid(
        field,
        format!("must be between {} and {}", show(min), show(max)),
    ))
}
