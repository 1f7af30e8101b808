//! `rekindle` against a real server, as operators and scripts run it.

mod dev;
mod ending;
mod operator;
mod program;
