//! The server's decisions, and nothing else: no clock, no randomness, no input or output, no hash order.
//!
//! [`Machine::step`](machine::Machine::step) takes one fact and the time, and says what must become durable and what is
//! done afterwards. The driver in `rekindle-server` and the simulator in `tests/sim` both run it; the same inputs give
//! the same decisions, byte for byte (invariant I9).

pub mod checkpoint;
pub mod claim;
pub mod effect;
pub mod event;
pub mod execution;
pub mod explain;
pub mod host;
pub mod input;
pub mod machine;
pub mod record;
pub mod schedule;
pub mod standing;
pub mod workflow;
