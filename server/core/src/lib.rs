//! The server's decisions, and nothing else: no clock, no randomness, no input or output, no hash order.

pub mod effect;
pub mod event;
pub mod input;
pub mod record;
