//! One run, from its seed to its end.

use std::fmt;

use crate::fault::Counts;
use crate::mutation::Mutation;
use crate::oracle::Invariant;
use crate::trace::{Trace, Tracing};
use crate::world::World;

/// How a run is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How much is written down.
    pub tracing: Tracing,
    /// What the model drivers do wrong on purpose.
    pub mutation: Mutation,
    /// How much there may be in the world.
    pub extent: Extent,
}

/// How much there may be in a world. Each extent adds what is drawn from a stream of its own, so that the worlds of the
/// smaller ones are what they always were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Extent {
    /// Agents that live and die.
    Lives,
    /// And what they are given to do.
    Work,
    /// And what they save, and what workflows have them do.
    #[default]
    All,
}

impl Extent {
    /// Its name on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lives => "lives",
            Self::Work => "work",
            Self::All => "all",
        }
    }
}

/// A run that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What went wrong, and was borne.
    pub faults: Counts,
    /// Events of the world.
    pub events: u64,
    /// Of every line of the trace; the same for each run without one.
    pub hash: u64,
}

/// A run in which an invariant did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How much its world may have.
    pub extent: Extent,
    /// What did not hold.
    pub invariant: Invariant,
    /// How that showed.
    pub what: String,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}: {} does not hold: {}", self.seed, self.invariant, self.what)?;
        write!(
            f,
            "replay it: cargo run -p rekindle-sim -- --seed {} --extent {} --trace",
            self.seed,
            self.extent.as_str()
        )
    }
}

/// Runs one world to its end.
///
/// # Errors
/// An invariant did not hold; the run is made again for its trace.
pub fn simulate(seed: u64, options: Options) -> Result<Summary, Box<Failure>> {
    let mut world = run(seed, options);
    let Some(broken) = world.oracle.broken.take() else {
        let (faults, events, hash) = (world.counts.clone(), world.events(), world.trace.hash());
        return Ok(Summary { faults, events, hash });
    };
    if options.tracing == Tracing::Off {
        world = run(
            seed,
            Options {
                tracing: Tracing::Hashed,
                ..options
            },
        );
    }
    let trace = world.trace.into_last();
    Err(Box::new(Failure {
        seed,
        extent: options.extent,
        invariant: broken.invariant,
        what: broken.what,
        trace,
    }))
}

fn run(seed: u64, options: Options) -> World {
    let mut world = World::new(seed, options, Trace::new(options.tracing));
    world.run();
    world
}
