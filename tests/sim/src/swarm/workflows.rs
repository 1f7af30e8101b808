//! What workflows there are in a world. Drawn from a stream of its own, so that a world without them is the same
//! whether others have some.

use std::time::Duration;

use super::Swarm;
use crate::dice::Dice;

/// Worlds that have workflows.
const FLOWING: f64 = 0.6;

/// Workflows of one world: enough for chains, and for several of one agent.
const WORKFLOWS_MAX: usize = 8;

/// The workflows of one world.
#[derive(Debug)]
pub(crate) struct WorkflowNature {
    /// How many there are to be.
    pub(crate) count: usize,
    /// Time between two calls about workflows.
    pub(crate) meddle_every: Duration,
    /// Shortest and longest time from fire to fire.
    pub(crate) every: std::ops::Range<Duration>,
    /// That a call changes or deletes one, or triggers one, in that order.
    pub(crate) update: f64,
    pub(crate) delete: f64,
    /// That a trigger's key was used before.
    pub(crate) same_key: f64,
    /// That a workflow's fires last for a time only.
    pub(crate) expires: f64,
    /// That many triggers come at once.
    pub(crate) bursts: f64,
}

impl WorkflowNature {
    /// Draws a world's workflows, or none. Without work there is nothing that they could have done.
    pub(super) fn draw(dice: &mut Dice, swarm: &Swarm) -> Option<Self> {
        if !dice.chance(FLOWING) || swarm.work.is_none() {
            return None;
        }
        let shortest = dice.millis(3_000..10_000);
        let mut some = |probability: f64| if dice.chance(0.6) { probability } else { 0.0 };
        let (update, delete, same_key) = (some(0.2), some(0.08), some(0.4));
        let (expires, bursts) = (some(0.5), some(0.03));
        Some(Self {
            count: 1 + dice.below(WORKFLOWS_MAX),
            meddle_every: dice.millis(1_000..10_000),
            every: shortest..shortest + dice.millis(1_000..40_000),
            update,
            delete,
            same_key,
            expires,
            bursts,
        })
    }
}
