//! What is durable of an operator's request.

use rekindle::id::{AgentId, Incarnation, RequestId};
use rekindle::state::AgentState;
use rekindle::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::OperationKind;

/// What is known of an operator's request, so that its retry is the same request (AIP-155).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The agent that it was for.
    pub agent: AgentId,
    /// The caller's id for it.
    pub id: RequestId,
    /// When it came.
    pub time: Timestamp,
    /// Which order it gave.
    pub kind: OperationKind,
    /// The incarnation that its order is about.
    pub target: Incarnation,
    /// The state before the order.
    pub previous_state: AgentState,
    /// How it went.
    pub fate: Fate,
}

/// How an operator's request went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It goes on.
    Open,
    /// Done.
    Completed(String),
    /// Not done, and it will not be.
    Failed(String),
}
