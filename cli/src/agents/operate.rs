//! `rekindle agents restart`, `start` and `stop`: one operation each, however often the connection breaks.
//!
//! Every operation carries a request id, so that the server takes a call that was sent again for the same one.

use rekindle::id::AgentId;
use rekindle::wire::v1::{self, AgentState, Outcome, SaveOutcome, Wait};
use serde_json::Value as Json;

use super::show::state_word;
use crate::args::{Start, StartContext, StartWait, Stop, StopWait};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::json;
use crate::output::Output;
use crate::retry;

/// `rekindle agents restart`.
pub(super) async fn restart(start: Start, server: &Connection, output: Output) -> Result<(), Failure> {
    let wait = start_wait(start.wait);
    let request = v1::RestartAgentRequest {
        name: start.operation.agent.name.name(),
        reason: start.operation.reason.clone(),
        request_id: retry::request_id(start.operation.request_id.as_ref()),
        expected_incarnation: start.operation.expected_incarnation.unwrap_or_default(),
        grace_period: start.operation.grace_period,
        only_if_down: start.only_if_down,
        force: start.force,
        context: context(start.context).into(),
        wait: wait.into(),
    };
    let answer = retry::send(start.operation.timeout, request, async |request| {
        server.agents().restart_agent(request).await
    });
    let answer = answer.await?;
    Answer {
        name: start.operation.agent.name,
        json: json::of("RestartAgentResponse", &answer),
        outcome: answer.outcome(),
        previous: answer.previous_state(),
        saved: saved(answer.save_outcome(), &answer.checkpoint),
        agent: answer.agent,
        detail: answer.detail,
        done: if start.only_if_down && is_up(answer.previous_state) {
            Done::Over("nothing to do")
        } else if wait == Wait::Accepted {
            Done::Ordered("restart")
        } else {
            Done::Over("restarted")
        },
    }
    .show(output)
}

/// `rekindle agents start`.
pub(super) async fn start(start: Start, server: &Connection, output: Output) -> Result<(), Failure> {
    let wait = start_wait(start.wait);
    let request = v1::StartAgentRequest {
        name: start.operation.agent.name.name(),
        reason: start.operation.reason.clone(),
        request_id: retry::request_id(start.operation.request_id.as_ref()),
        expected_incarnation: start.operation.expected_incarnation.unwrap_or_default(),
        grace_period: start.operation.grace_period,
        only_if_down: start.only_if_down,
        force: start.force,
        context: context(start.context).into(),
        wait: wait.into(),
    };
    let answer = retry::send(start.operation.timeout, request, async |request| {
        server.agents().start_agent(request).await
    });
    let answer = answer.await?;
    Answer {
        name: start.operation.agent.name,
        json: json::of("StartAgentResponse", &answer),
        outcome: answer.outcome(),
        previous: answer.previous_state(),
        saved: saved(answer.save_outcome(), &answer.checkpoint),
        agent: answer.agent,
        detail: answer.detail,
        done: if start.only_if_down && is_up(answer.previous_state) {
            Done::Over("nothing to do")
        } else if wait == Wait::Accepted {
            Done::Ordered("start")
        } else {
            Done::Over("started")
        },
    }
    .show(output)
}

/// `rekindle agents stop`.
pub(super) async fn stop(stop: Stop, server: &Connection, output: Output) -> Result<(), Failure> {
    let request = v1::StopAgentRequest {
        name: stop.operation.agent.name.name(),
        reason: stop.operation.reason.clone(),
        request_id: retry::request_id(stop.operation.request_id.as_ref()),
        expected_incarnation: stop.operation.expected_incarnation.unwrap_or_default(),
        grace_period: stop.operation.grace_period,
        wait: match stop.wait {
            StopWait::Accepted => Wait::Accepted,
            StopWait::Stopped => Wait::Unspecified,
        }
        .into(),
    };
    let answer = retry::send(stop.operation.timeout, request, async |request| {
        server.agents().stop_agent(request).await
    });
    let answer = answer.await?;
    Answer {
        name: stop.operation.agent.name,
        json: json::of("StopAgentResponse", &answer),
        outcome: answer.outcome(),
        previous: answer.previous_state(),
        saved: saved(answer.save_outcome(), &answer.checkpoint),
        agent: answer.agent,
        detail: answer.detail,
        done: if stop.wait == StopWait::Accepted {
            Done::Ordered("stop")
        } else {
            Done::Over("stopped")
        },
    }
    .show(output)
}

fn start_wait(wait: StartWait) -> Wait {
    match wait {
        StartWait::Accepted => Wait::Accepted,
        StartWait::Started => Wait::Started,
        StartWait::Ready => Wait::Ready,
    }
}

fn context(context: StartContext) -> v1::Context {
    match context {
        StartContext::Resume => v1::Context::Resume,
        StartContext::Fresh => v1::Context::Fresh,
    }
}

/// What became of the old life's work, as people say it; empty where nobody asked.
fn saved(outcome: SaveOutcome, checkpoint: &str) -> String {
    let id = checkpoint.rsplit('/').next().unwrap_or_default();
    match (outcome, id) {
        (SaveOutcome::Saved, id) => format!("saved checkpoint {id} when it was asked to"),
        (SaveOutcome::NotSaved, _) => "did not save when it was asked to".to_owned(),
        (SaveOutcome::NotAsked | SaveOutcome::Unspecified, "") => String::new(),
        (SaveOutcome::NotAsked | SaveOutcome::Unspecified, id) => format!("goes on from checkpoint {id}"),
    }
}

/// What the three operations answer.
struct Answer {
    name: AgentId,
    json: Json,
    agent: Option<v1::Agent>,
    previous: AgentState,
    outcome: Outcome,
    saved: String,
    detail: String,
    done: Done,
}

/// Whether `only_if_down` left an agent in this state alone. One that was STARTING is waited for.
fn is_up(previous: i32) -> bool {
    matches!(
        AgentState::try_from(previous),
        Ok(AgentState::Running | AgentState::Unreachable)
    )
}

/// What a completed operation has done, as people say it.
#[derive(Debug, Clone, Copy)]
enum Done {
    /// The order is durable: `restart`.
    Ordered(&'static str),
    /// The process is what it should be: `restarted`.
    Over(&'static str),
}

impl Answer {
    /// Prints the answer. How the operation stands outweighs whether anybody reads it.
    fn show(&self, output: Output) -> Result<(), Failure> {
        let verdict = self.verdict();
        let printed = match &verdict {
            _ if output.is_json() => output.json(&self.json),
            Ok(sentence) => output.line(&[sentence.into()]),
            Err(_) => Ok(()),
        };
        verdict.and(printed)
    }

    /// What a completed operation has done, in one sentence.
    fn verdict(&self) -> Result<String, Failure> {
        let detail = || format!("{}: {}", self.name, self.detail);
        match (self.outcome, &self.agent) {
            (Outcome::Failed, _) => Err(Failure::Failed(detail())),
            (Outcome::Pending, _) => Err(Failure::Pending(detail())),
            // Also the outcomes that only a later version knows.
            (Outcome::Unspecified, _) => Err(Failure::Answer("does not say how the operation stands")),
            (Outcome::Completed, None) => Err(Failure::Answer("has no agent")),
            (Outcome::Completed, Some(agent)) => Ok(self.sentence(agent)),
        }
    }

    fn sentence(&self, agent: &v1::Agent) -> String {
        let name = &self.name;
        let mut line = match self.done {
            Done::Ordered(order) => format!("{name}: {order} accepted"),
            Done::Over(done) => format!("{name}: {done}"),
        };
        // An order that is only accepted has not changed the process.
        if let (Done::Over(_), Some(process)) = (self.done, &agent.process) {
            let life = agent.incarnation;
            line.push_str(&format!(
                ", incarnation {life} is pid {} on {}",
                process.pid, process.host
            ));
        }
        line.push_str(&format!("; was {}", state_word(self.previous)));
        if !self.saved.is_empty() {
            line.push_str(&format!(", {}", self.saved));
        }
        if !self.detail.is_empty() {
            line.push_str(&format!(" ({})", self.detail));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            name: AgentId::new("a").expect("a valid name"),
            json: Json::Null,
            agent: Some(v1::Agent {
                incarnation: 4,
                process: Some(v1::Process {
                    host: "vm".to_owned(),
                    pid: 7,
                    ..v1::Process::default()
                }),
                ..v1::Agent::default()
            }),
            previous: AgentState::Crashed,
            outcome: Outcome::Completed,
            saved: String::new(),
            detail: String::new(),
            done: Done::Over("restarted"),
        }
    }

    #[test]
    fn what_was_done_is_said() {
        let mut answer = answer();
        let said = |answer: &Answer| answer.verdict().expect("it is done");
        assert_eq!(said(&answer), "a: restarted, incarnation 4 is pid 7 on vm; was CRASHED");
        answer.done = Done::Ordered("restart");
        answer.detail = "incarnation 4 is ordered".to_owned();
        assert_eq!(
            said(&answer),
            "a: restart accepted; was CRASHED (incarnation 4 is ordered)"
        );
    }

    #[test]
    fn what_was_saved_is_said() {
        let name = "agents/a/checkpoints/7.3";
        let said = |outcome, checkpoint| {
            let answer = Answer {
                saved: saved(outcome, checkpoint),
                ..answer()
            };
            answer.verdict().expect("it is done")
        };
        let before = "a: restarted, incarnation 4 is pid 7 on vm; was CRASHED";
        let asked = format!("{before}, saved checkpoint 7.3 when it was asked to");
        assert_eq!(said(SaveOutcome::Saved, name), asked);
        assert_eq!(
            said(SaveOutcome::NotSaved, name),
            format!("{before}, did not save when it was asked to")
        );
        assert_eq!(
            said(SaveOutcome::NotAsked, name),
            format!("{before}, goes on from checkpoint 7.3")
        );
        assert_eq!(said(SaveOutcome::NotAsked, ""), before);
    }

    #[test]
    fn only_what_is_said_to_be_done_is_done() {
        let verdict = |outcome| Answer { outcome, ..answer() }.verdict();
        assert!(matches!(verdict(Outcome::Failed), Err(Failure::Failed(_))));
        assert!(matches!(verdict(Outcome::Pending), Err(Failure::Pending(_))));
        assert!(matches!(verdict(Outcome::Unspecified), Err(Failure::Answer(_))));
        let unknown = v1::RestartAgentResponse {
            outcome: 1000,
            ..v1::RestartAgentResponse::default()
        };
        assert!(matches!(verdict(unknown.outcome()), Err(Failure::Answer(_))));
        let nobody = Answer {
            agent: None,
            ..answer()
        };
        assert!(matches!(nobody.verdict(), Err(Failure::Answer(_))));
    }
}
