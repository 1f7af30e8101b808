//! What agents save in a world, and what becomes of it. Drawn from a stream of its own, so that a world without
//! checkpoints is the same whether others have some.

use std::time::Duration;

use rekindle::policy::{AgentPolicy, PolicyFields};

use super::Swarm;
use crate::dice::Dice;

/// Worlds whose agents save.
const SAVING: f64 = 0.6;

/// Most lives in a row that read a checkpoint and die of it, by the policy.
const POISON_MAX: usize = 4;

/// The checkpoints of one world.
#[derive(Debug)]
pub(crate) struct CheckpointNature {
    /// One for each agent.
    pub(crate) savers: Vec<Saver>,
    /// Time between two saves of one process.
    pub(crate) save_every: Duration,
    /// That an agent which is asked to end saves.
    pub(crate) saves_when_asked: f64,
    /// That an agent says what it works on.
    pub(crate) names_task: f64,
    /// That it names its life.
    pub(crate) names_life: f64,
    pub(crate) reads: f64,
    pub(crate) confirms: f64,
    pub(crate) closes: f64,
    /// That who has read what it was handed dies of it.
    pub(crate) poisons: f64,
    /// That somebody speaks for a life that is over.
    pub(crate) late_words: f64,
    /// That an operator's order is to begin anew.
    pub(crate) fresh: f64,
    /// That an operator deletes what was saved.
    pub(crate) deletes: f64,
    pub(crate) disk: StateDisk,
}

/// How an agent saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saver {
    pub(crate) by: Means,
    /// How long its checkpoint command takes, where it has one.
    pub(crate) command: Option<Duration>,
}

/// By which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// It saves nothing.
    None,
    Socket,
    File,
}

/// The disk that state directories are on.
#[derive(Debug)]
pub(crate) struct StateDisk {
    /// That there is no room.
    pub(crate) full: f64,
    /// That a write takes a second or more.
    pub(crate) slow: f64,
    /// That what was written last cannot be read any more when its shim starts.
    pub(crate) torn: f64,
}

impl CheckpointNature {
    /// Draws what a world's agents save, or nothing.
    pub(super) fn draw(dice: &mut Dice, swarm: &mut Swarm) -> Option<Self> {
        if !dice.chance(SAVING) {
            return None;
        }
        let savers = swarm.agents.iter().map(|_| saver(dice)).collect();
        for agent in &mut swarm.agents {
            let fields = PolicyFields {
                poison_after: some_poison(dice),
                ..agent.policy.clone().into_fields()
            };
            agent.policy = AgentPolicy::new(fields).expect("within its limits");
        }
        let mut some = |probability: f64| if dice.chance(0.5) { probability } else { 0.0 };
        let (saves_when_asked, names_task, names_life) = (some(0.6), some(0.5), some(0.5));
        let (poisons, late_words) = (some(0.6), some(0.1));
        let (fresh, deletes, closes) = (some(0.2), some(0.1), some(0.1));
        let (full, slow, torn) = (some(0.1), some(0.1), some(0.1));
        Some(Self {
            savers,
            save_every: dice.millis(500..20_000),
            saves_when_asked,
            names_task,
            names_life,
            reads: 0.7,
            confirms: if dice.chance(0.5) { 0.3 } else { 0.0 },
            closes,
            poisons,
            late_words,
            fresh,
            deletes,
            disk: StateDisk { full, slow, torn },
        })
    }
}

fn saver(dice: &mut Dice) -> Saver {
    let by = match dice.below(10) {
        0 => Means::None,
        1..6 => Means::Socket,
        _ => Means::File,
    };
    let command = dice.chance(0.3).then(|| dice.millis(10..4_000));
    Saver { by, command }
}

/// After how many lives that died of it a checkpoint is set aside.
fn some_poison(dice: &mut Dice) -> u32 {
    u32::try_from(dice.below(POISON_MAX)).expect("small")
}
