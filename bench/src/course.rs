//! How rounds follow each other: those of everybody interleaved, so that what else the machine does hits all alike.

use std::path::Path;
use std::time::Duration;

use crate::args::Part;
use crate::birth::Birth;
use crate::clock::Moment;
use crate::machine::ProcessorTime;
use crate::programs::Programs;

/// How long a child lives before it is ended again: runsv, supervise and s6 hold one back that lived for less than a
/// second, which would be measured as theirs.
const LIFE: Duration = Duration::from_millis(1_100);

/// Longest wait for what a round waits for. The slowest known supervisor takes two seconds.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How long the machine is looked at for quiet.
const QUIET_LOOK: Duration = Duration::from_millis(300);

/// What processors may do in that time, in percent: two ticks of the 60 of two processors are the bench's own and the
/// kernel's.
const QUIET_PERCENT: f64 = 5.0;

/// Longest wait for quiet before one round.
const QUIET_WAIT: Duration = Duration::from_secs(60);

/// Rounds that are not counted, in which caches and connections warm up.
const WARM_UP: usize = 3;

/// What a measurement needs.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// The programs.
    pub programs: &'a Programs,
    /// Where files go.
    pub site: &'a Path,
    /// Rounds that count.
    pub rounds: u16,
    /// When one begins.
    pub pace: Pace,
}

/// When a round begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When the one before has ended.
    AtOnce,
    /// When, besides, the machine was idle for a moment.
    WhenQuiet,
}

/// Whether a round counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// It does.
    Yes,
    /// It warms up.
    No,
}

/// What follows a round for who had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Its next round.
    Round,
    /// Nothing: it drops out.
    Out,
}

/// Whether the machine was quiet when the wait for it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quiet {
    Yes,
    No,
}

impl Course<'_> {
    /// Gives a turn to each of so many subjects, by its index, in every round: nobody always follows the same one.
    ///
    /// # Errors
    /// That of the turn that failed.
    pub fn go(
        &self,
        part: Part,
        subjects: usize,
        mut turn: impl FnMut(usize, Counts) -> anyhow::Result<Next>,
    ) -> anyhow::Result<()> {
        let mut left: Vec<usize> = (0..subjects).collect();
        let mut noisy = 0;
        for round in 0..WARM_UP + usize::from(self.rounds) {
            let counts = if round < WARM_UP { Counts::No } else { Counts::Yes };
            for index in order(&left, round) {
                if self.pace == Pace::WhenQuiet && wait_for_quiet()? == Quiet::No {
                    noisy += 1;
                }
                match turn(index, counts)? {
                    Next::Round => {}
                    Next::Out => left.retain(|other| *other != index),
                }
            }
        }
        if noisy > 0 {
            eprintln!("{part}: {noisy} rounds began although the machine was busy for all of {QUIET_WAIT:?}");
        }
        Ok(())
    }
}

/// Those who are left, another one first in each round.
fn order(left: &[usize], round: usize) -> Vec<usize> {
    let mut order = left.to_vec();
    if !order.is_empty() {
        order.rotate_left(round % left.len());
    }
    order
}

/// Lets a child live for as long as every child does.
pub fn let_live(child: &Birth) {
    std::thread::sleep(LIFE.saturating_sub(Moment::now().since(child.at)));
}

fn wait_for_quiet() -> anyhow::Result<Quiet> {
    let began = Moment::now();
    while Moment::now().since(began) < QUIET_WAIT {
        let before = ProcessorTime::so_far()?;
        std::thread::sleep(QUIET_LOOK);
        if ProcessorTime::so_far()?.wanted_percent_since(before) < QUIET_PERCENT {
            return Ok(Quiet::Yes);
        }
    }
    Ok(Quiet::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_begins_each_round() {
        let rounds: Vec<_> = (0..4).map(|round| order(&[0, 2, 5], round)).collect();
        assert_eq!(rounds, [[0, 2, 5], [2, 5, 0], [5, 0, 2], [0, 2, 5]]);
        assert!(order(&[], 1).is_empty(), "all have dropped out");
    }
}
