//! The API's client, with what tests wait for.

use rekindle::wire::v1;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use v1::agent_service_client::AgentServiceClient;
use v1::checkpoint_service_client::CheckpointServiceClient;
use v1::event_service_client::EventServiceClient;
use v1::execution_service_client::ExecutionServiceClient;
use v1::fleet_service_client::FleetServiceClient;
use v1::shim_service_client::ShimServiceClient;
use v1::workflow_service_client::WorkflowServiceClient;
use v1::{Agent, AgentState};

use crate::history::{History, Watch};
use crate::wait::until_answered;

/// A client of one server, which connects again by itself.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    /// The generated client of the agents.
    pub agents: AgentServiceClient<Channel>,
    /// The generated client of the checkpoints.
    pub checkpoints: CheckpointServiceClient<Channel>,
    /// The generated client of the events.
    pub events: EventServiceClient<Channel>,
    /// The generated client of the executions.
    pub executions: ExecutionServiceClient<Channel>,
    /// The generated client of the fleet.
    pub fleet: FleetServiceClient<Channel>,
    /// The generated client of the workflows.
    pub workflows: WorkflowServiceClient<Channel>,
}

/// The resource name of an agent.
pub fn name(agent: &str) -> String {
    format!("agents/{agent}")
}

/// Whether the agent is RUNNING, and ready, in this incarnation.
pub fn runs(incarnation: u64) -> impl Fn(&Agent) -> bool {
    move |agent| agent.state() == AgentState::Running && agent.ready && agent.incarnation == incarnation
}

/// Whether the agent is in this state.
pub fn is(state: AgentState) -> impl Fn(&Agent) -> bool {
    move |agent| agent.state() == state
}

impl Client {
    /// A client of the server at `url`, which need not be there yet.
    ///
    /// # Panics
    /// When that is no URL.
    pub fn new(url: &str) -> Self {
        let channel = Endpoint::from_shared(url.to_owned())
            .expect("a valid URL")
            .connect_lazy();
        Self {
            agents: AgentServiceClient::new(channel.clone()),
            checkpoints: CheckpointServiceClient::new(channel.clone()),
            events: EventServiceClient::new(channel.clone()),
            executions: ExecutionServiceClient::new(channel.clone()),
            fleet: FleetServiceClient::new(channel.clone()),
            workflows: WorkflowServiceClient::new(channel.clone()),
            channel,
        }
    }

    /// A client of the shims' side.
    pub fn shims(&self) -> ShimServiceClient<Channel> {
        ShimServiceClient::new(self.channel.clone())
    }

    /// The connection itself, for what no generated client says.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The agent as it is.
    pub async fn get(&mut self, agent: &str) -> Result<Agent, Status> {
        let answer = self.agents.get_agent(v1::GetAgentRequest { name: name(agent) }).await?;
        answer
            .into_inner()
            .agent
            .ok_or_else(|| Status::internal("the answer has no agent"))
    }

    /// Waits until the agent is as `wanted`, over outages of the server.
    ///
    /// # Panics
    /// After [`LIMIT`](crate::wait::LIMIT), or when the server answers with an error that waiting cannot mend.
    pub async fn until(&mut self, agent: &str, wanted: impl Fn(&Agent) -> bool) -> Agent {
        let passing = [Code::NotFound, Code::Unavailable, Code::Cancelled];
        until_answered(agent, &passing, async || self.get(agent).await, wanted).await
    }

    /// RestartAgent by name alone.
    pub async fn restart(&mut self, agent: &str) -> Result<v1::RestartAgentResponse, Status> {
        self.restart_with(v1::RestartAgentRequest {
            name: name(agent),
            ..Default::default()
        })
        .await
    }

    /// RestartAgent.
    pub async fn restart_with(&mut self, request: v1::RestartAgentRequest) -> Result<v1::RestartAgentResponse, Status> {
        Ok(self.agents.restart_agent(request).await?.into_inner())
    }

    /// StopAgent by name alone.
    pub async fn stop(&mut self, agent: &str) -> Result<v1::StopAgentResponse, Status> {
        let request = v1::StopAgentRequest {
            name: name(agent),
            ..Default::default()
        };
        Ok(self.agents.stop_agent(request).await?.into_inner())
    }

    /// StartAgent by name alone.
    pub async fn start(&mut self, agent: &str) -> Result<v1::StartAgentResponse, Status> {
        let request = v1::StartAgentRequest {
            name: name(agent),
            ..Default::default()
        };
        Ok(self.agents.start_agent(request).await?.into_inner())
    }

    /// The agent's checkpoints, the newest first, without their bodies.
    pub async fn checkpoints_of(&mut self, agent: &str) -> Result<Vec<v1::Checkpoint>, Status> {
        let request = v1::ListCheckpointsRequest {
            parent: name(agent),
            ..Default::default()
        };
        Ok(self
            .checkpoints
            .list_checkpoints(request)
            .await?
            .into_inner()
            .checkpoints)
    }

    /// Waits until the agent's newest checkpoint is as `wanted`, over outages of the server, and gives it with its body.
    ///
    /// # Panics
    /// After [`LIMIT`](crate::wait::LIMIT), or when the server answers with an error that waiting cannot mend.
    pub async fn until_saved(&mut self, agent: &str, wanted: impl Fn(&v1::Checkpoint) -> bool) -> v1::Checkpoint {
        let passing = [Code::NotFound, Code::Unavailable, Code::Cancelled];
        let newest = async || {
            let newest = self.checkpoints_of(agent).await?.into_iter().next();
            newest.ok_or_else(|| Status::not_found("nothing is saved yet"))
        };
        let newest = until_answered(&format!("the newest of {agent}"), &passing, newest, wanted).await;
        let request = v1::GetCheckpointRequest { name: newest.name };
        let whole = self
            .checkpoints
            .get_checkpoint(request)
            .await
            .expect("it is kept")
            .into_inner();
        whole.checkpoint.expect("the answer has it")
    }

    /// UpdateAgent with a policy, which makes the agent where it is not known yet.
    pub async fn set_policy(&mut self, agent: &str, policy: v1::AgentPolicy) -> Result<Agent, Status> {
        let request = v1::UpdateAgentRequest {
            agent: Some(Agent {
                name: name(agent),
                policy: Some(policy),
                ..Default::default()
            }),
            allow_missing: true,
            ..Default::default()
        };
        let answer = self.agents.update_agent(request).await?.into_inner();
        answer.agent.ok_or_else(|| Status::internal("the answer has no agent"))
    }

    /// What ExplainAgent says in one sentence.
    pub async fn explain(&mut self, agent: &str) -> Result<String, Status> {
        let request = v1::ExplainAgentRequest { name: name(agent) };
        Ok(self.agents.explain_agent(request).await?.into_inner().summary)
    }

    /// Follows the events, from the oldest on.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn watch(&mut self) -> Watch {
        Watch::open(self.events.clone()).await
    }

    /// Every event that there is, checked for what must hold of every history.
    ///
    /// # Panics
    /// When it does not hold, or the server does not answer.
    pub async fn history(&mut self) -> History {
        let history = History::read(&mut self.events).await;
        history.check();
        history
    }
}
