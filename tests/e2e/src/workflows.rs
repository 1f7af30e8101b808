//! Workflows: made, fired and read, over the API and by webhooks.

use std::time::Duration;

use rekindle::wire::v1;
use serde_json::Value;
use tonic::{Code, Status};
use v1::trigger::Kind;
use v1::{EventType, Execution, RunnerState, Workflow};

use crate::client::{Client, name};
use crate::history::History;
use crate::server::Server;
use crate::wait::{LIMIT, eventually, until_answered};
use crate::work::time;
use crate::world::World;

/// Longest time from an agent's being ready to its workflows' being armed (DESIGN.md, section 6).
const ARMED_WITHIN: Duration = Duration::from_secs(1);

/// The resource name of a workflow.
pub fn workflow_name(workflow: &str) -> String {
    format!("workflows/{workflow}")
}

/// Each time so many seconds have passed.
pub fn every(seconds: i64) -> Kind {
    Kind::Interval(v1::trigger::Interval {
        every: Some(prost_types::Duration { seconds, nanos: 0 }),
    })
}

/// By TriggerWorkflow alone.
pub fn by_hand() -> Kind {
    Kind::Manual(v1::trigger::Manual {})
}

/// By an HTTP request.
pub fn by_webhook() -> Kind {
    Kind::Webhook(v1::trigger::Webhook {})
}

/// How a workflow's runner stands.
pub fn state(workflow: &Workflow) -> RunnerState {
    workflow
        .runner
        .as_ref()
        .map_or(RunnerState::Unspecified, v1::Runner::state)
}

/// How many fires of a workflow wait.
pub fn pending(workflow: &Workflow) -> u32 {
    workflow.runner.as_ref().map_or(0, |runner| runner.pending)
}

impl Client {
    /// CreateWorkflow for this agent. Gives the secret, where there is one.
    ///
    /// # Panics
    /// When it fails.
    pub async fn make(&mut self, workflow: &str, agent: &str, message: &str, kind: Kind) -> String {
        self.make_with(workflow, agent, message, kind, |_| ()).await
    }

    /// CreateWorkflow for this agent, with something changed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn make_with(
        &mut self,
        workflow: &str,
        agent: &str,
        message: &str,
        kind: Kind,
        change: impl FnOnce(&mut Workflow),
    ) -> String {
        let mut made = Workflow {
            agent: name(agent),
            message: message.to_owned(),
            trigger: Some(v1::Trigger { kind: Some(kind) }),
            ..Default::default()
        };
        change(&mut made);
        let request = v1::CreateWorkflowRequest {
            workflow_id: workflow.to_owned(),
            workflow: Some(made),
            ..Default::default()
        };
        let answer = self.workflows.create_workflow(request).await;
        answer.expect("CreateWorkflow succeeds").into_inner().webhook_secret
    }

    /// UpdateWorkflow with what is set.
    ///
    /// # Panics
    /// When it fails.
    pub async fn change(&mut self, workflow: &str, change: impl FnOnce(&mut Workflow)) {
        let mut changed = Workflow {
            name: workflow_name(workflow),
            ..Default::default()
        };
        change(&mut changed);
        let request = v1::UpdateWorkflowRequest {
            workflow: Some(changed),
            ..Default::default()
        };
        self.workflows
            .update_workflow(request)
            .await
            .expect("UpdateWorkflow succeeds");
    }

    /// DeleteWorkflow by name alone.
    ///
    /// # Panics
    /// When it fails.
    pub async fn forget(&mut self, workflow: &str) {
        let request = v1::DeleteWorkflowRequest {
            name: workflow_name(workflow),
            ..Default::default()
        };
        self.workflows
            .delete_workflow(request)
            .await
            .expect("DeleteWorkflow succeeds");
    }

    /// TriggerWorkflow.
    ///
    /// # Panics
    /// When it fails.
    pub async fn fire(&mut self, workflow: &str, payload: &str) -> v1::TriggerWorkflowResponse {
        let request = v1::TriggerWorkflowRequest {
            name: workflow_name(workflow),
            payload: payload.to_owned(),
            ..Default::default()
        };
        let answer = self.workflows.trigger_workflow(request).await;
        answer.expect("TriggerWorkflow succeeds").into_inner()
    }

    /// The workflow as it is.
    pub async fn workflow(&mut self, workflow: &str) -> Result<Workflow, Status> {
        let request = v1::GetWorkflowRequest {
            name: workflow_name(workflow),
        };
        let answer = self.workflows.get_workflow(request).await?.into_inner();
        answer
            .workflow
            .ok_or_else(|| Status::internal("the answer has no workflow"))
    }

    /// Waits until the workflow is as `wanted`, over outages of the server.
    ///
    /// # Panics
    /// After [`LIMIT`], or when the server answers with an error that waiting cannot mend.
    pub async fn until_workflow(&mut self, workflow: &str, wanted: impl Fn(&Workflow) -> bool) -> Workflow {
        let passing = [Code::Unavailable, Code::Cancelled];
        until_answered(workflow, &passing, async || self.workflow(workflow).await, wanted).await
    }

    /// What a workflow has made, as far as it is kept, oldest first.
    ///
    /// # Panics
    /// When ListExecutions fails.
    pub async fn made_by(&mut self, workflow: &str) -> Vec<Execution> {
        let request = v1::ListExecutionsRequest {
            parent: "agents/-".to_owned(),
            page_size: 1000,
            filter: format!("workflow = {}", workflow_name(workflow)),
            ..Default::default()
        };
        let answer = self.executions.list_executions(request).await;
        let mut made = answer.expect("ListExecutions succeeds").into_inner().executions;
        made.sort_by_key(|execution| time(execution.create_time));
        made
    }

    /// Waits for an execution of a workflow that is as `wanted`.
    ///
    /// # Panics
    /// After [`LIMIT`].
    pub async fn until_made(&mut self, workflow: &str, wanted: impl Fn(&Execution) -> bool) -> Execution {
        let what = format!("an execution of {workflow} that is as wanted");
        eventually(&what, async || {
            let made = self.made_by(workflow).await;
            made.into_iter().find(|execution| wanted(execution))
        })
        .await
    }
}

impl History {
    /// How often a workflow was armed. Each time it was not armed before; it was so at most a second after its agent was
    /// ready, or it was enabled; and it fired nothing while it was not.
    ///
    /// # Panics
    /// When one of these does not hold.
    pub fn armed(&self, workflow: &str, agent: &str) -> usize {
        let (workflow, agent) = (workflow_name(workflow), name(agent));
        let (mut armed, mut count, mut back) = (false, 0, None);
        for event in &self.0 {
            let kind = event.r#type();
            if event.agent == agent && [EventType::AgentReady, EventType::AgentReconnected].contains(&kind) {
                back = Some(time(event.time));
            }
            if event.workflow != workflow {
                continue;
            }
            if [EventType::WorkflowCreated, EventType::WorkflowUpdated].contains(&kind) {
                back = back.map(|_| time(event.time));
            } else if kind == EventType::WorkflowArmed {
                assert!(!armed, "armed twice: {self:#?}");
                let back = back.unwrap_or_else(|| panic!("armed without its agent: {self:#?}"));
                let late = time(event.time).duration_since(back).unwrap_or_default();
                assert!(
                    late <= ARMED_WITHIN,
                    "armed {late:?} after its agent was ready: {self:#?}"
                );
                armed = true;
                count += 1;
            } else if kind == EventType::WorkflowDisarmed {
                assert!(armed, "disarmed twice: {self:#?}");
                armed = false;
            } else if kind == EventType::ExecutionQueued {
                assert!(armed, "it fired unarmed: {self:#?}");
            }
        }
        count
    }

    /// How many events of this type the workflow has.
    pub fn count_of_workflow(&self, workflow: &str, kind: EventType) -> usize {
        let workflow = workflow_name(workflow);
        let matching = |event: &&v1::Event| event.workflow == workflow && event.r#type() == kind;
        self.0.iter().filter(matching).count()
    }
}

/// What a webhook answered.
#[derive(Debug)]
pub struct Called {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// Calls a webhook by curl, with further arguments of it.
///
/// # Panics
/// When curl cannot be run, or the answer is none of HTTP.
pub async fn call(
    world: &World,
    server: &Server<'_>,
    (workflow, secret): (&str, &str),
    payload: &str,
    arguments: &[&str],
) -> Called {
    let url = format!("{}/v1/workflows/{workflow}:trigger", server.url());
    let mut command = world.command("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--write-out",
        "%{http_code}",
    ]);
    command.args(["--header", &format!("Authorization: Bearer {secret}")]);
    command.args(["--data-binary", payload]).args(arguments).arg(&url);
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output)
        .await
        .expect("curl ends")
        .expect("curl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {url}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, status) = text.split_at(text.len() - 3);
    Called {
        status: status.parse().expect("a status"),
        body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")),
    }
}
