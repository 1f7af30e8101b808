//! One stream between a shim and the server, as the network carries it: in order, late, or not at all.

use std::collections::VecDeque;
use std::time::Duration;

use rekindle::id::Incarnation;
use rekindle::session::{ServerMessage, ShimMessage};
use rekindle::time::MonoTime;

use crate::queue::{Life, ShimIx};

/// Messages that wait for a shim that does not read; past it the server ends the stream.
pub(crate) const OUTBOX_MAX: usize = 32;

/// A stream, from the attempt to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) shim: ShimIx,
    pub(crate) shim_life: Life,
    pub(crate) server_life: Life,
    pub(crate) client: ClientEnd,
    pub(crate) server: ServerEnd,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Down>,
    /// When the newest of each way arrives.
    pub(crate) up_at: Duration,
    pub(crate) down_at: Duration,
    pub(crate) welcomed: Welcomed,
    /// What the shim's newest life was when it said hello.
    pub(crate) greeted_after: Incarnation,
    pub(crate) inventoried: Inventoried,
    /// Since when the server has heard nothing, by its clock.
    pub(crate) mute: Option<MonoTime>,
    /// When the server first heard it in its present state, by its clock.
    pub(crate) heard: MonoTime,
    pub(crate) lease: Lease,
    /// The end of the shim's side has arrived before the welcome was given.
    pub(crate) fin_early: FinEarly,
}

/// The shim's end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientEnd {
    Open,
    Closed,
}

/// The server's end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerEnd {
    /// Nothing has arrived.
    Unheard,
    /// The machine has its hello.
    Judged,
    /// It has a lease.
    Held,
    Closed,
}

/// Whether the shim has read its welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Welcomed {
    No,
    Yes,
}

/// Whether the server has heard what the shim holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inventoried {
    No,
    Yes,
}

/// Whether the machine was told that a stream's lease has run out. It may be heard once more before it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lease {
    Runs,
    Expired,
}

/// Whether a stream's end came before its welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FinEarly {
    No,
    Yes,
}

/// On its way to the server.
#[derive(Debug)]
pub(crate) enum Up {
    Says(ShimMessage),
    Fin,
}

/// On its way to a shim.
#[derive(Debug)]
pub(crate) enum Down {
    Says(ServerMessage),
    Refusal(Fence),
    Fin,
}

impl Stream {
    pub(crate) const fn new(shim: ShimIx, shim_life: Life, server_life: Life) -> Self {
        Self {
            shim,
            shim_life,
            server_life,
            client: ClientEnd::Open,
            server: ServerEnd::Unheard,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_at: Duration::ZERO,
            down_at: Duration::ZERO,
            welcomed: Welcomed::No,
            greeted_after: Incarnation::ZERO,
            inventoried: Inventoried::No,
            mute: None,
            heard: MonoTime::START,
            lease: Lease::Runs,
            fin_early: FinEarly::No,
        }
    }
}

/// What a shim that is refused must not do any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    No,
    /// It starts nothing.
    Starts,
    /// It starts nothing, and ends what runs.
    Yes,
}
