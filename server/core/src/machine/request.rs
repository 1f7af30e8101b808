//! Requests: what makes an operator's retry the same request (AIP-155).

use std::sync::Arc;

use rekindle::id::{AgentId, Incarnation, RequestId};
use rekindle::state::AgentState;

use super::step::{Reply, Step};
use super::{REQUESTS_MAX, Waiter};
use crate::effect::{Answer, OperationOutcome, RequestError};
use crate::input::{CallId, Wait};
use crate::record::{Fate, OperationKind, Record, RequestRecord};

/// What every order has.
pub(super) struct Order<'a> {
    pub(super) agent: &'a AgentId,
    pub(super) kind: OperationKind,
    pub(super) request_id: Option<&'a RequestId>,
    pub(super) expected: Option<Incarnation>,
}

impl Step<'_> {
    /// Checks what every order needs, and answers the retry of one that is known.
    pub(super) fn is_fresh(&mut self, call: CallId, wait: Wait, order: &Order<'_>) -> bool {
        let Some(agent) = self.find(order.agent) else {
            let error = RequestError::NotFound(order.agent.clone());
            self.reply(call, Answer::Operation(Err(error)));
            return false;
        };
        let known = order
            .request_id
            .and_then(|id| agent.requests.iter().find(|known| known.id == *id))
            .cloned();
        if let Some(known) = known {
            self.retried(call, wait, order, &known);
            return false;
        }
        let actual = agent.record.incarnation;
        if let Some(expected) = order.expected.filter(|expected| *expected != actual) {
            let error = RequestError::IncarnationMismatch {
                agent: order.agent.clone(),
                expected,
                actual,
            };
            self.reply(call, Answer::Operation(Err(error)));
            return false;
        }
        true
    }

    fn retried(&mut self, call: CallId, wait: Wait, order: &Order<'_>, known: &RequestRecord) {
        let previous_state = known.previous_state;
        let (outcome, detail) = match &known.fate {
            _ if known.kind != order.kind => {
                let error = RequestError::RequestIdReused {
                    agent: order.agent.clone(),
                    id: known.id.as_str().to_owned(),
                    used_for: known.kind.as_str(),
                };
                return self.reply(call, Answer::Operation(Err(error)));
            }
            Fate::Open => {
                let waiter = Waiter {
                    call,
                    kind: known.kind,
                    target: known.target,
                    wait,
                    previous_state,
                };
                return self.park(waiter, order.agent);
            }
            Fate::Completed(detail) => (OperationOutcome::Completed, detail.clone()),
            Fate::Failed(detail) => (OperationOutcome::Failed, detail.clone()),
        };
        self.reply_at_end(Reply {
            call,
            agent: order.agent.clone(),
            previous_state,
            outcome,
            detail,
        });
    }

    pub(super) fn remember(&mut self, order: &Order<'_>, target: Incarnation, previous_state: AgentState, fate: Fate) {
        let Some(id) = order.request_id else { return };
        let record = Arc::new(RequestRecord {
            agent: order.agent.clone(),
            id: id.clone(),
            time: self.now.wall,
            kind: order.kind,
            target,
            previous_state,
            fate,
        });
        self.persist(Record::Request(record.clone()));
        let requests = &mut self.agent(order.agent).requests;
        requests.push_back(record);
        if requests.len() > REQUESTS_MAX
            && let Some(oldest) = requests.pop_front()
        {
            self.persist(Record::RequestForgotten {
                agent: oldest.agent.clone(),
                id: oldest.id.clone(),
            });
        }
    }
}
