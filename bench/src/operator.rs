//! An operator's program: a gRPC channel that is kept open, and calls that wait for their end.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1;
use rekindle::wire::v1::agent_service_client::AgentServiceClient;
use rekindle::wire::v1::execution_service_client::ExecutionServiceClient;
use rekindle::wire::v1::watch_execution_response::Update;
use rekindle::wire::v1::workflow_service_client::WorkflowServiceClient;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::clock::Moment;
use crate::ours::Server;

/// What the events say of who asked, and why.
const REASON: &str = "benchmark";

/// Time between two looks at something that is not measured.
const LOOK: Duration = Duration::from_millis(10);

/// A client of one server.
#[derive(Debug)]
pub struct Operator {
    client: AgentServiceClient<Channel>,
    executions: ExecutionServiceClient<Channel>,
    workflows: WorkflowServiceClient<Channel>,
    runtime: Runtime,
}

impl Operator {
    /// Connects to the server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn connect(server: &Server) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(server.url())?;
        let channel = runtime
            .block_on(endpoint.connect())
            .context("cannot connect to the server")?;
        Ok(Self {
            client: AgentServiceClient::new(channel.clone()),
            executions: ExecutionServiceClient::new(channel.clone()),
            workflows: WorkflowServiceClient::new(channel),
            runtime,
        })
    }

    /// Restarts an agent, and tells when that was answered. Without a `grace`, the policy's.
    ///
    /// # Errors
    /// The call failed, or did not end with a ready agent.
    pub fn restart(&mut self, agent: &str, grace: Option<Duration>) -> anyhow::Result<Moment> {
        let request = v1::RestartAgentRequest {
            name: name(agent),
            reason: REASON.to_owned(),
            grace_period: grace.map(wire).transpose()?,
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.restart_agent(request));
        let answered = Moment::now();
        let answer = answer.context("RestartAgent failed")?.into_inner();
        is_completed("RestartAgent", answer.outcome(), &answer.detail)?;
        Ok(answered)
    }

    /// Starts an agent that was stopped.
    ///
    /// # Errors
    /// The call failed, or did not end with a ready agent.
    pub fn start(&mut self, agent: &str) -> anyhow::Result<()> {
        let request = v1::StartAgentRequest {
            name: name(agent),
            reason: REASON.to_owned(),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.start_agent(request));
        let answer = answer.context("StartAgent failed")?.into_inner();
        is_completed("StartAgent", answer.outcome(), &answer.detail)
    }

    /// Stops an agent at once, and tells when that was answered: when its tree is proven dead.
    ///
    /// # Errors
    /// The call failed, or something lives.
    pub fn kill(&mut self, agent: &str) -> anyhow::Result<Moment> {
        let request = v1::StopAgentRequest {
            name: name(agent),
            reason: REASON.to_owned(),
            grace_period: Some(wire(Duration::ZERO)?),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.client.stop_agent(request));
        let answered = Moment::now();
        let answer = answer.context("StopAgent failed")?.into_inner();
        is_completed("StopAgent", answer.outcome(), &answer.detail)?;
        Ok(answered)
    }

    /// Gives an agent a message; the execution's name, and when that was answered. Without a `timeout`, the policy's.
    ///
    /// # Errors
    /// The call failed.
    pub fn create_execution(&mut self, agent: &str, timeout: Option<Duration>) -> anyhow::Result<(String, Moment)> {
        let request = v1::CreateExecutionRequest {
            parent: name(agent),
            execution: Some(v1::Execution {
                message: REASON.to_owned(),
                timeout: timeout.map(wire).transpose()?,
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.executions.create_execution(request));
        let answered = Moment::now();
        let created = answer.context("CreateExecution failed")?.into_inner().execution;
        let name = created.context("CreateExecution answered without one")?.name;
        Ok((name, answered))
    }

    /// Makes a workflow for an agent, which nothing but a call fires.
    ///
    /// # Errors
    /// The call failed.
    pub fn create_manual_workflow(&mut self, agent: &str) -> anyhow::Result<()> {
        let request = v1::CreateWorkflowRequest {
            workflow_id: agent.to_owned(),
            workflow: Some(v1::Workflow {
                agent: name(agent),
                trigger: Some(v1::Trigger {
                    kind: Some(v1::trigger::Kind::Manual(v1::trigger::Manual {})),
                }),
                message: REASON.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = self.runtime.block_on(self.workflows.create_workflow(request));
        answer.context("CreateWorkflow failed")?;
        Ok(())
    }

    /// An execution once it is over, with its output, and when that was told.
    ///
    /// # Errors
    /// The call failed.
    pub fn execution_result(&mut self, name: &str) -> anyhow::Result<(v1::Execution, Moment)> {
        let request = v1::WatchExecutionRequest { name: name.to_owned() };
        let (runtime, executions) = (&self.runtime, &mut self.executions);
        runtime.block_on(async {
            let answer = executions.watch_execution(request).await;
            let mut updates = answer.context("WatchExecution failed")?.into_inner();
            let mut newest = None;
            // It ends with the last change.
            while let Some(update) = updates.message().await.context("WatchExecution failed")? {
                match update.update {
                    Some(Update::Execution(execution)) => newest = Some((*execution, Moment::now())),
                    Some(Update::Output(_)) | None => {}
                }
            }
            newest.context("WatchExecution told nothing")
        })
    }

    /// An agent as it is.
    ///
    /// # Errors
    /// The call failed.
    pub fn get(&mut self, agent: &str) -> anyhow::Result<v1::Agent> {
        let agent = self.find(agent)?;
        agent.context("GetAgent found no such agent")
    }

    /// An agent, once it is known and in this state.
    ///
    /// # Errors
    /// The call failed, or it is not so within `limit`.
    pub fn wait_until(&mut self, agent: &str, state: v1::AgentState, limit: Duration) -> anyhow::Result<v1::Agent> {
        let asked = Moment::now();
        loop {
            let found = self.find(agent)?;
            if let Some(found) = found.filter(|found| found.state() == state) {
                return Ok(found);
            }
            if Moment::now().since(asked) > limit {
                let found = self.get(agent)?;
                bail!(
                    "{agent} is {}, not {}, after {limit:?}",
                    found.state().as_str_name(),
                    state.as_str_name()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// `None` as long as the server knows of no such agent.
    fn find(&mut self, agent: &str) -> anyhow::Result<Option<v1::Agent>> {
        let request = v1::GetAgentRequest { name: name(agent) };
        match self.runtime.block_on(self.client.get_agent(request)) {
            Ok(answer) => {
                let agent = answer.into_inner().agent;
                agent.context("GetAgent answered without an agent").map(Some)
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status).context("GetAgent failed"),
        }
    }
}

fn name(agent: &str) -> String {
    format!("agents/{agent}")
}

fn wire(duration: Duration) -> anyhow::Result<prost_types::Duration> {
    duration.try_into().context("a duration is out of range")
}

fn is_completed(call: &str, outcome: v1::Outcome, detail: &str) -> anyhow::Result<()> {
    match outcome {
        v1::Outcome::Completed => Ok(()),
        v1::Outcome::Unspecified | v1::Outcome::Pending | v1::Outcome::Failed => {
            bail!("{call} answered {}: {detail}", outcome.as_str_name())
        }
    }
}
