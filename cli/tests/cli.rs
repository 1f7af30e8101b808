//! `rekindle` against a real server, as operators and scripts run it.

mod dev;
mod ending;
mod executions;
mod fake;
mod itself;
mod operator;
mod program;
mod run;
mod terminal;
mod workflows;
