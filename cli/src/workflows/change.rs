//! What changes a workflow, and what fires one: each one request, however often the connection breaks.

use rekindle::execution::MESSAGE_MAX_BYTES;
use rekindle::wire::v1;
use rekindle::workflow::{PAYLOAD_MAX_BYTES, WorkflowId};

use super::{NO_WORKFLOW, show};
use crate::args::{CreateWorkflow, DeleteWorkflow, Policies, TriggerNow, UpdateWorkflow};
use crate::connection::{self, Connection};
use crate::failure::Failure;
use crate::input;
use crate::json;
use crate::output::Output;
use crate::retry;

/// `rekindle workflows create`.
pub(super) async fn create(
    create: CreateWorkflow,
    (url, server): (&str, &Connection),
    output: Output,
) -> Result<(), Failure> {
    let name = create.workflow.name;
    let request = v1::CreateWorkflowRequest {
        workflow_id: name.to_string(),
        workflow: Some(v1::Workflow {
            agent: create.agent.name(),
            message: input::text(create.message, "message", MESSAGE_MAX_BYTES)?,
            trigger: create.trigger.to_wire(),
            enabled: Some(!create.disabled),
            ..of(&create.policies)
        }),
        request_id: retry::request_id(create.request_id.as_ref()),
        validate_only: false,
    };
    let answer = retry::send(None, request, async |request| {
        server.workflows().create_workflow(request).await
    });
    let answer = answer.await?;
    if output.is_json() {
        return output.json(&json::of("CreateWorkflowResponse", &answer));
    }
    let workflow = answer.workflow.ok_or(NO_WORKFLOW)?;
    output.line(&[format!("{name}: created, {}", show::standing(&workflow)).into()])?;
    let has_webhook = matches!(
        workflow.trigger.and_then(|trigger| trigger.kind),
        Some(v1::trigger::Kind::Webhook(_))
    );
    if has_webhook && answer.webhook_secret.is_empty() {
        eprintln!(
            "its secret was in an answer that was lost; `rekindle workflows update {name} --rotate-secret` makes another"
        );
    }
    how_to_call(&name, &answer.webhook_secret, url, output)
}

/// `rekindle workflows update`.
pub(super) async fn update(
    update: UpdateWorkflow,
    (url, server): (&str, &Connection),
    output: Output,
) -> Result<(), Failure> {
    let name = update.workflow.name;
    let message = update
        .message
        .map(|text| input::text(text, "message", MESSAGE_MAX_BYTES));
    let request = v1::UpdateWorkflowRequest {
        workflow: Some(v1::Workflow {
            name: name.name(),
            agent: update.agent.map(|agent| agent.name()).unwrap_or_default(),
            message: message.transpose()?.unwrap_or_default(),
            trigger: update.trigger.to_wire(),
            etag: update.etag,
            ..of(&update.policies)
        }),
        rotate_webhook_secret: update.rotate_secret,
        ..v1::UpdateWorkflowRequest::default()
    };
    let answer = server.workflows().update_workflow(request).await?.into_inner();
    if output.is_json() {
        return output.json(&json::of("UpdateWorkflowResponse", &answer));
    }
    let workflow = answer.workflow.ok_or(NO_WORKFLOW)?;
    output.line(&[format!("{name}: updated, {}", show::standing(&workflow)).into()])?;
    how_to_call(&name, &answer.webhook_secret, url, output)
}

/// `rekindle workflows enable` and `disable`.
pub(super) async fn toggle(
    name: &WorkflowId,
    enabled: bool,
    server: &Connection,
    output: Output,
) -> Result<(), Failure> {
    let request = v1::UpdateWorkflowRequest {
        workflow: Some(v1::Workflow {
            name: name.name(),
            enabled: Some(enabled),
            ..v1::Workflow::default()
        }),
        ..v1::UpdateWorkflowRequest::default()
    };
    let answer = retry::send(None, request, async |request| {
        server.workflows().update_workflow(request).await
    });
    let answer = answer.await?;
    if output.is_json() {
        return output.json(&json::of("UpdateWorkflowResponse", &answer));
    }
    let workflow = answer.workflow.ok_or(NO_WORKFLOW)?;
    let word = if enabled { "enabled" } else { "disabled" };
    output.line(&[format!("{name}: {word}, {}", show::standing(&workflow)).into()])
}

/// `rekindle workflows trigger`.
pub(super) async fn trigger(trigger: TriggerNow, server: &Connection, output: Output) -> Result<(), Failure> {
    let name = trigger.workflow.name;
    let request = v1::TriggerWorkflowRequest {
        name: name.name(),
        request_id: match trigger.request_id {
            Some(key) => key.into(),
            None => retry::request_id(None),
        },
        payload: input::text(trigger.payload, "payload", PAYLOAD_MAX_BYTES)?,
    };
    let answer = retry::send(None, request, async |request| {
        server.workflows().trigger_workflow(request).await
    });
    let answer = answer.await?;
    if output.is_json() {
        return output.json(&json::of("TriggerWorkflowResponse", &answer));
    }
    output.line(&[show::fired(&name, &answer)?.into()])
}

/// `rekindle workflows delete`.
pub(super) async fn delete(delete: DeleteWorkflow, server: &Connection, output: Output) -> Result<(), Failure> {
    let name = delete.workflow.name;
    let request = v1::DeleteWorkflowRequest {
        name: name.name(),
        etag: delete.etag,
    };
    let answer = server.workflows().delete_workflow(request).await?.into_inner();
    if output.is_json() {
        return output.json(&json::of("DeleteWorkflowResponse", &answer));
    }
    output.line(&[format!("{name}: deleted").into()])
}

/// The fields that policies are, and no other.
fn of(policies: &Policies) -> v1::Workflow {
    v1::Workflow {
        timeout: policies.timeout,
        misfire: policies
            .misfire
            .map_or(v1::Misfire::Unspecified, v1::Misfire::from)
            .into(),
        overlap: policies
            .overlap
            .map_or(v1::Overlap::Unspecified, v1::Overlap::from)
            .into(),
        expires_after: policies.expires_after,
        ..v1::Workflow::default()
    }
}

/// The one time that a secret is told.
fn how_to_call(name: &WorkflowId, secret: &str, server: &str, output: Output) -> Result<(), Failure> {
    if secret.is_empty() {
        return Ok(());
    }
    let url = connection::url(server);
    let url = url.trim_end_matches('/');
    for line in [
        "Its secret is told this once:".to_owned(),
        format!("  {secret}"),
        "It is called so:".to_owned(),
        format!(
            "  curl -H 'Authorization: Bearer {secret}' --data-binary @FILE {url}/v1/{}:trigger",
            name.name()
        ),
    ] {
        output.line(&[line.into()])?;
    }
    Ok(())
}
