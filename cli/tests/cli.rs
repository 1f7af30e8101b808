//! `rekindle` against a real server, as operators and scripts run it.

mod dev;
mod operator;
mod program;
