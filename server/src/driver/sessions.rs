//! The streams that are open, as the driver reaches them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rekindle::checkpoint::{CheckpointState, RunContext};
use rekindle::execution::{AttemptId, Follow};
use rekindle::id::{AgentId, Epoch, ReportSequence};
use rekindle::policy::AgentPolicy;
use rekindle::session::{CheckpointKept, Command, CommandId};
use rekindle::time::MonoTime;
use rekindle_server_core::effect::{Disconnect, Effect, Refusal};
use rekindle_server_core::input::{Input, SessionId};
use tokio::sync::{mpsc, oneshot};

use crate::handle::LiveSessions;
use crate::lease::{Lease, LeaseTable, Slot};

/// What a session's task is told.
#[derive(Debug)]
pub enum ToShim {
    /// The shim holds its agent, by this lease.
    Welcome {
        /// The session's epoch.
        epoch: Epoch,
        /// The policy in force.
        policy: Box<AgentPolicy>,
        /// Reports through this one are durable.
        acknowledged: ReportSequence,
        /// What the server wants, in words.
        standing: String,
        /// The agent's newest checkpoint, as far as the server has one.
        checkpoint: Option<Box<CheckpointState>>,
    },
    /// Reports through this one are durable.
    Acknowledge(ReportSequence),
    /// What became of the checkpoint that the shim told of.
    CheckpointKept(CheckpointKept),
    /// Something to do.
    Command(CommandId, Command),
    /// To run a life, with a checkpoint whose body is in the store.
    HandOver {
        /// The command's number.
        id: CommandId,
        /// The agent.
        agent: AgentId,
        /// The command, without the body.
        command: Command,
    },
    /// An attempt, whose message is in the store.
    Dispatch {
        /// The command's number.
        id: CommandId,
        /// The agent.
        agent: AgentId,
        /// The attempt.
        attempt: AttemptId,
        /// Time from its start, past which it is ended.
        timeout: Duration,
    },
    /// Whether what an attempt writes is to be sent.
    Follow(Follow),
    /// The end: another shim holds the agent.
    Refuse(Refusal),
    /// The end.
    Disconnect(Disconnect),
}

/// How a session's task is reached.
#[derive(Debug)]
pub struct SessionLink {
    /// To the shim. A full queue means that the shim does not read.
    pub out: mpsc::Sender<ToShim>,
    /// The lease, once there is one.
    pub lease: oneshot::Sender<Lease>,
    /// Dropped to end the task.
    pub open: oneshot::Sender<Infallible>,
    /// The shim's address.
    pub peer: Arc<str>,
}

struct Session {
    out: mpsc::Sender<ToShim>,
    lease: Option<oneshot::Sender<Lease>>,
    _open: oneshot::Sender<Infallible>,
    peer: Arc<str>,
    held: Option<Held>,
}

struct Held {
    agent: AgentId,
    epoch: Epoch,
    slot: Slot,
    lease: Lease,
}

/// Every open stream.
pub(super) struct Sessions {
    open: HashMap<SessionId, Session>,
    live: LiveSessions,
}

impl Sessions {
    pub(super) fn new(live: LiveSessions) -> Self {
        Self {
            open: HashMap::new(),
            live,
        }
    }

    pub(super) fn open(&mut self, session: SessionId, link: SessionLink) {
        let SessionLink { out, lease, open, peer } = link;
        self.open.insert(
            session,
            Session {
                out,
                lease: Some(lease),
                _open: open,
                peer,
                held: None,
            },
        );
    }

    /// Forgets a stream; its task ends with it. When the shim was last heard, where it held a lease.
    pub(super) fn close(&mut self, session: SessionId, leases: &mut LeaseTable) -> Option<MonoTime> {
        let held = self.open.remove(&session)?.held?;
        leases.release(held.slot);
        self.live.remove(&held.agent, held.epoch);
        Some(held.lease.last_heard())
    }

    /// Does what concerns a stream. What came of it, where that is a fact for the machine.
    pub(super) fn carry_out(&mut self, effect: Effect, leases: &mut LeaseTable, now: MonoTime) -> Option<Vec<Input>> {
        match effect {
            Effect::Welcome {
                session,
                agent,
                epoch,
                policy,
                acknowledged,
                standing,
                checkpoint,
            } => {
                self.welcome(session, agent, epoch, leases, now);
                let policy = Box::new(policy);
                self.send(
                    session,
                    ToShim::Welcome {
                        epoch,
                        policy,
                        acknowledged,
                        standing,
                        checkpoint,
                    },
                    leases,
                )
            }
            Effect::Refuse { session, mut refusal } => {
                self.tell_silence(&mut refusal, now);
                self.end(session, ToShim::Refuse(refusal), leases)
            }
            Effect::Disconnect { session, cause } => self.end(session, ToShim::Disconnect(cause), leases),
            Effect::Acknowledge { session, through } => self.send(session, ToShim::Acknowledge(through), leases),
            Effect::CheckpointKept { session, id, refused } => {
                self.send(session, ToShim::CheckpointKept(CheckpointKept { id, refused }), leases)
            }
            Effect::Command { session, id, command } => {
                let message = match self.agent_of(session).filter(|_| offers_content(&command)) {
                    Some(agent) => ToShim::HandOver { id, agent, command },
                    None => ToShim::Command(id, command),
                };
                let mut facts = self.send(session, message, leases);
                if let Some(facts) = &mut facts {
                    facts.push(Input::CommandLost { command: id });
                }
                facts
            }
            // One that is lost with its stream is given again when the shim says what it has.
            Effect::Dispatch {
                session,
                id,
                agent,
                attempt,
                timeout,
            } => {
                let dispatch = ToShim::Dispatch {
                    id,
                    agent,
                    attempt,
                    timeout,
                };
                self.send(session, dispatch, leases)
            }
            Effect::Reply { .. } => None,
        }
    }

    fn agent_of(&self, session: SessionId) -> Option<AgentId> {
        let held = self.open.get(&session)?.held.as_ref()?;
        Some(held.agent.clone())
    }

    fn welcome(&mut self, session: SessionId, agent: AgentId, epoch: Epoch, leases: &mut LeaseTable, now: MonoTime) {
        let Some(open) = self.open.get_mut(&session) else {
            return;
        };
        let (slot, lease) = leases.grant(session, now);
        self.live
            .insert(agent.clone(), session, epoch, open.peer.clone(), lease.clone());
        open.held = Some(Held {
            agent,
            epoch,
            slot,
            lease: lease.clone(),
        });
        if let Some(task) = open.lease.take() {
            // A task that has ended will say so by SessionClosed.
            let _ = task.send(lease);
        }
    }

    /// A stream that cannot take a message is ended: its shim connects again, and is told everything anew.
    fn send(&mut self, session: SessionId, message: ToShim, leases: &mut LeaseTable) -> Option<Vec<Input>> {
        let sent = match self.open.get(&session) {
            Some(open) => open.out.try_send(message).is_ok(),
            None => false,
        };
        if sent {
            return None;
        }
        let closed = self.close(session, leases);
        Some(
            closed
                .into_iter()
                .map(|last_heard| Input::SessionClosed { session, last_heard })
                .collect(),
        )
    }

    /// A holder whose stream is open beats into its lease alone: the machine does not know when it was last heard.
    fn tell_silence(&self, refusal: &mut Refusal, now: MonoTime) {
        if let Refusal::Held { agent, silent_for, .. } = refusal {
            let heard = self.live.last_heard(agent);
            *silent_for = silent_for.or(heard.map(|heard| now.saturating_since(heard)));
        }
    }

    fn end(&mut self, session: SessionId, message: ToShim, leases: &mut LeaseTable) -> Option<Vec<Input>> {
        if let Some(open) = self.open.get(&session) {
            // Where the queue is full the stream ends without its reason.
            let _ = open.out.try_send(message);
        }
        self.close(session, leases);
        None
    }
}

/// Whether what a command says of a checkpoint lacks its body.
fn offers_content(command: &Command) -> bool {
    match command {
        Command::Run { context, .. } => match context {
            RunContext::Resume(resume) => resume.offered.as_ref().is_some_and(|offered| offered.content.is_some()),
            RunContext::Fresh => false,
        },
        Command::Stop { .. }
        | Command::Signal { .. }
        | Command::SetPolicy(_)
        | Command::Charge(_)
        | Command::Dispatch(_)
        | Command::EndAttempt { .. } => false,
    }
}
