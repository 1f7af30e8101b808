//! `rekindle fleet`: all agents at once, and the server that keeps them.

use std::time::SystemTime;

use rekindle::wire::v1;

use crate::agents::{state_style, state_word};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::json;
use crate::output::{Cell, Output, Style};
use crate::time;

/// Runs the command.
pub(crate) async fn run(server: &Connection, output: Output) -> Result<(), Failure> {
    let answer = server.fleet().get_fleet(v1::GetFleetRequest {}).await?.into_inner();
    let fleet = answer.fleet.ok_or(Failure::Answer("has no fleet"))?;
    if output.is_json() {
        return output.json(&json::of("Fleet", &fleet));
    }
    let now = SystemTime::now();
    let total = format!("{} agents, {} connected", fleet.agents, fleet.connected);
    output.line(&[Cell::styled(&total, Style::Strong)])?;
    for count in &fleet.states {
        let state = format!("  {:12}", state_word(count.state()));
        output.line(&[
            Cell::styled(&state, state_style(count.state())),
            format!("{:>7}", count.agents).into(),
        ])?;
    }
    let started = time::ago(fleet.server_start_time.as_ref(), now);
    output.line(&[format!("server {}, started {started}", fleet.server_version).into()])?;
    if let Some(end) = &fleet.adoption_end_time
        && SystemTime::try_from(*end).is_ok_and(|end| end > now)
    {
        let adopting = format!("waits for shims to report, at most until {}", time::of_day(end));
        output.line(&[Cell::styled(&adopting, Style::Busy)])?;
    }
    if let Some(store) = &fleet.store {
        let (first, last) = (store.first_sequence, store.last_sequence);
        let events = if last == 0 {
            "no events".to_owned()
        } else {
            format!("events {first} to {last}")
        };
        let size = store.size_bytes / 1024;
        let line = format!(
            "store {}, schema {}, {size} KiB, {events}",
            store.backend, store.schema_version
        );
        output.line(&[line.into()])?;
    }
    Ok(())
}
