//! What the server does once it is durable, and how its sessions go.

use std::time::Duration;

use rekindle::execution::Dispatch;
use rekindle::session::{CheckpointKept, CheckpointStock, Command, ServerMessage, Welcome};
use rekindle_server_core::effect::{Effect, Refusal};
use rekindle_server_core::input::{Input, SessionId};

use super::World;
use super::server::HEARTBEAT;
use crate::fault::Fault;
use crate::queue::{Event, StreamIx};
use crate::stream::{Down, Fence, FinEarly, Inventoried, OUTBOX_MAX, ServerEnd};

/// Longest time from the welcome to the inventory, as the server has it.
const INVENTORY_TIMEOUT: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let about = Self::about(&effect);
            // What is for a stream that has ended since is said to nobody; its agent may be another by now.
            if about.is_none_or(|ix| self.streams[ix.0].server != ServerEnd::Closed) {
                let shim = about.map(|ix| &self.shims[self.streams[ix.0].shim.0]);
                self.oracle.leaves(&effect, &self.server.disk, shim);
            }
            match effect {
                Effect::Welcome {
                    session,
                    epoch,
                    policy,
                    acknowledged,
                    standing,
                    checkpoint,
                    ..
                } => {
                    let welcome = Welcome {
                        epoch,
                        heartbeat_interval: HEARTBEAT,
                        policy,
                        acknowledged,
                        standing,
                        checkpoints: CheckpointStock::Newest(checkpoint.map(|newest| *newest)),
                    };
                    self.welcome(session, welcome);
                }
                Effect::Refuse { session, refusal } => {
                    let down = match refusal {
                        Refusal::Held { .. } => Down::Refusal(Fence::Yes),
                        Refusal::TooManyAgents { .. } => Down::Refusal(Fence::No),
                        Refusal::BootOver { .. } => Down::Refusal(Fence::Starts),
                        Refusal::Stale => Down::Fin,
                    };
                    self.end_stream(session, down);
                }
                Effect::Disconnect { session, .. } => self.end_stream(session, Down::Fin),
                Effect::Acknowledge { session, through } => {
                    self.tell(session, ServerMessage::Acknowledge(through));
                }
                Effect::CheckpointKept { session, id, refused } => {
                    let agent = self.shims[self.streams[stream_of(session).0].shim.0].agent.clone();
                    let kept = CheckpointKept { id, refused };
                    self.oracle.kept(&agent, &kept);
                    self.tell(session, ServerMessage::CheckpointKept(kept));
                }
                Effect::Command { session, id, command } => {
                    let command = self.with_body(session, command);
                    if !self.tell(session, ServerMessage::Command(id, command)) {
                        self.server_step(Input::CommandLost { command: id });
                    }
                }
                Effect::Dispatch {
                    session,
                    id,
                    agent,
                    attempt,
                    timeout,
                } => {
                    let Some(message) = self.server.disk.message(&agent, &attempt.execution).cloned() else {
                        // It was forgotten by a later step of the same batch.
                        continue;
                    };
                    let dispatch = Dispatch {
                        attempt,
                        message,
                        timeout,
                    };
                    let command = Command::Dispatch(Box::new(dispatch));
                    if !self.tell(session, ServerMessage::Command(id, command)) {
                        self.server_step(Input::CommandLost { command: id });
                    }
                }
                Effect::Reply { call, answer } => self.answered(call, answer),
            }
        }
    }

    /// The stream that an effect is for, where it tells a shim of what is durable.
    fn about(effect: &Effect) -> Option<StreamIx> {
        match effect {
            Effect::Welcome { session, .. }
            | Effect::Acknowledge { session, .. }
            | Effect::CheckpointKept { session, .. }
            | Effect::Command { session, .. }
            | Effect::Dispatch { session, .. } => Some(stream_of(*session)),
            Effect::Refuse { .. } | Effect::Disconnect { .. } | Effect::Reply { .. } => None,
        }
    }

    fn welcome(&mut self, session: SessionId, welcome: Welcome) {
        let ix = stream_of(session);
        if self.streams[ix.0].server != ServerEnd::Judged {
            return;
        }
        let shim = &self.shims[self.streams[ix.0].shim.0];
        let held_by = self.server.held_by.insert(shim.agent.clone(), shim.marker);
        if held_by.is_some_and(|marker| marker != shim.marker) {
            self.fired(Fault::RivalAdmitted);
        }
        let mono = self.server.mono(self.now);
        let stream = &mut self.streams[ix.0];
        stream.server = ServerEnd::Held;
        stream.heard = mono;
        if stream.fin_early == FinEarly::Yes {
            return self.session_ends(ix);
        }
        self.after(INVENTORY_TIMEOUT, Event::InventoryLate(ix));
        self.send_down(ix, Down::Says(ServerMessage::Welcome(Box::new(welcome))));
        self.heed(ix);
    }

    /// Whether it was said. A stream that cannot take a message is ended.
    fn tell(&mut self, session: SessionId, message: ServerMessage) -> bool {
        let ix = stream_of(session);
        if self.streams[ix.0].server != ServerEnd::Held {
            return false;
        }
        if self.streams[ix.0].down.len() >= OUTBOX_MAX {
            self.session_ends(ix);
            return false;
        }
        self.send_down(ix, Down::Says(message));
        true
    }

    fn end_stream(&mut self, session: SessionId, last: Down) {
        let ix = stream_of(session);
        match self.streams[ix.0].server {
            ServerEnd::Held => self.session_ends_with(ix, last),
            ServerEnd::Unheard | ServerEnd::Judged => {
                self.streams[ix.0].server = ServerEnd::Closed;
                self.send_down(ix, last);
            }
            ServerEnd::Closed => {}
        }
    }

    /// A shim that was welcomed, and says nothing of what it holds, is not waited for.
    pub(super) fn inventory_late(&mut self, ix: StreamIx) {
        let stream = &self.streams[ix.0];
        let over = stream.server != ServerEnd::Held || stream.server_life != self.server.life;
        if over || stream.inventoried == Inventoried::Yes {
            return;
        }
        let until = self.server.stands_still_until();
        if until > self.now {
            return self.queue.push(until, Event::InventoryLate(ix));
        }
        self.session_ends(ix);
        self.server_turns();
    }

    /// The server sees the end of a stream.
    pub(super) fn session_ends(&mut self, ix: StreamIx) {
        self.session_ends_with(ix, Down::Fin);
    }

    fn session_ends_with(&mut self, ix: StreamIx, last: Down) {
        let last_heard = self.last_heard(ix);
        self.note_contact(ix);
        self.streams[ix.0].server = ServerEnd::Closed;
        self.send_down(ix, last);
        self.server_step(Input::SessionClosed {
            session: SessionId(ix.0 as u64),
            last_heard,
        });
    }
}

/// Sessions are numbered by their streams.
fn stream_of(session: SessionId) -> StreamIx {
    StreamIx(usize::try_from(session.0).expect("a stream's place"))
}
