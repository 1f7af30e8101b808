//! Retention: what is forgotten for its age or its count, told to the machine in bounded batches.

pub mod events;
pub mod executions;
mod steadiness;
