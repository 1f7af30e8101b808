//! The watchdog's pass over many live executions: how long it takes, and how long a call waits that comes with it; and
//! what an inventory takes.
//!
//! Measured on the server's core by itself, which decides all of it: the driver hands it one input after the other, so
//! that whatever comes while a step goes on waits for its end.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::policy::MAX_CONCURRENT_MAX;
use rekindle_server_core::event::EventKind;

use crate::args::Part;
use crate::clock::Moment;
use crate::figures::Figures;
use crate::report::{Row, What};

mod crowd;

use crowd::{Crowd, Done, Prepared};

/// Executions that are missing at their shims in a round in which they are judged: a hundred, each of another agent.
const MISSING: u32 = 100;

/// Fewest live executions: of fewer, so many missing ones would not be judged.
pub const LIVE_MIN: u32 = 4 * MISSING;

/// What passes stand beside.
const CALL: &str = "CreateExecution alone";

/// Measures it with so many live executions, at least [`LIVE_MIN`]: each of an agent of its own, but for those of one
/// that has as many as an agent may have.
///
/// # Errors
/// The core decided otherwise than it should.
pub fn run(live: u32, rounds: u16) -> anyhow::Result<Vec<Row>> {
    let alone = inventories(&mut Crowd::new(), rounds)?;
    let mut crowd = gather(live - MAX_CONCURRENT_MAX)?;
    let among = inventories(&mut crowd, rounds)?;
    if crowd.live() != live as usize {
        bail!("{} executions are live, not {live}", crowd.live());
    }
    let judged = judged_passes(&mut crowd, rounds)?;
    let held = held_passes(&mut crowd, rounds)?;

    let inventory = row(&inventory_of("nobody else"), alone)?;
    let call = row(CALL, judged.calls)?;
    let among = row(&inventory_of(&format!("among {live}")), among)?.beside(&inventory);
    let behind = row("CreateExecution behind a pass", judged.calls_behind)?.beside(&call);
    let pass = row(&format!("pass, {MISSING} missing and LOST"), judged.passes)?.beside(&call);
    let held = row("pass, all missing, held back", held)?.beside(&call);
    Ok(vec![inventory, among, call, behind, pass, held])
}

fn inventory_of(whom: &str) -> String {
    format!("inventory of {MAX_CONCURRENT_MAX}, {whom}")
}

fn row(subject: &str, samples: Vec<Duration>) -> anyhow::Result<Row> {
    let figures = Figures::of(&samples).context("no rounds were asked for")?;
    Ok(Row::new(Part::Watchdog, subject, What::Decision, figures))
}

/// So many agents with one execution each.
fn gather(agents: u32) -> anyhow::Result<Crowd> {
    let mut crowd = Crowd::new();
    for _ in 0..agents {
        crowd.add(1)?;
    }
    Ok(crowd)
}

/// Adds an agent that works in all the slots that an agent may have, and has its shim come back with all of it.
fn inventories(crowd: &mut Crowd, rounds: u16) -> anyhow::Result<Vec<Duration>> {
    let wide = crowd.add(MAX_CONCURRENT_MAX)?;
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let inventory = crowd.come_back(wide)?;
        let (took, _done) = time(crowd, inventory);
        samples.push(took);
    }
    Ok(samples)
}

/// What the rounds took in which missing executions were judged.
#[derive(Debug, Default)]
struct Judged {
    passes: Vec<Duration>,
    calls: Vec<Duration>,
    calls_behind: Vec<Duration>,
}

fn judged_passes(crowd: &mut Crowd, rounds: u16) -> anyhow::Result<Judged> {
    // The newest agent is called for, whose slots are full; the missing are those of the oldest.
    let mut judged = Judged::default();
    let caller = crowd.newest().context("there is nobody to call for")?;
    for _ in 0..rounds {
        let call = crowd.create(caller);
        let (took, done) = time(crowd, call);
        crowd.take_back(&done)?;
        judged.calls.push(took);

        for index in 0..MISSING as usize {
            crowd.lose_work(index)?;
        }
        let tick = crowd.wait_for_pass()?;
        let (pass, done) = time(crowd, tick);
        if done.told(EventKind::ExecutionLost) != MISSING as usize {
            bail!("a pass did not call {MISSING} executions LOST that were missing");
        }
        let call = crowd.create(caller);
        let (took, done) = time(crowd, call);
        crowd.take_back(&done)?;
        judged.passes.push(pass);
        judged.calls_behind.push(pass + took);
        for index in 0..MISSING as usize {
            crowd.fill(index)?;
        }
    }
    Ok(judged)
}

/// What passes take over a fleet of which everything is missing, which they judge none of.
fn held_passes(crowd: &mut Crowd, rounds: u16) -> anyhow::Result<Vec<Duration>> {
    let newest = crowd.newest().context("there are no agents")?;
    for index in 0..=newest {
        crowd.lose_work(index)?;
    }
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let tick = crowd.wait_for_pass()?;
        let (took, done) = time(crowd, tick);
        samples.push(took);
        if done.told(EventKind::ExecutionLost) != 0 {
            bail!("a pass judged a mass of missing executions");
        }
    }
    Ok(samples)
}

/// How long the core took to decide.
fn time(crowd: &mut Crowd, input: Prepared) -> (Duration, Done) {
    let begin = Moment::now();
    let outcome = crowd.decide(input);
    let took = Moment::now().since(begin);
    (took, crowd.keep(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_decide_as_they_are_measured() {
        let rows = run(LIVE_MIN, 2).expect("the core decides");
        let subjects: Vec<_> = rows
            .iter()
            .map(|row| (row.subject.as_str(), row.figures.rounds))
            .collect();
        assert_eq!(
            subjects,
            [
                ("inventory of 64, nobody else", 2),
                ("inventory of 64, among 400", 2),
                ("CreateExecution alone", 2),
                ("CreateExecution behind a pass", 2),
                ("pass, 100 missing and LOST", 2),
                ("pass, all missing, held back", 2),
            ]
        );
    }
}
