//! A deterministic simulator of the whole system, from one seed.
//!
//! The server's core and the shims' cores are the real ones. Around them are models: of both drivers, of the network,
//! the disk, the hosts, the processes and the operators. A seed makes a world, and decides what goes wrong in it; while
//! it does, and after it has ended, the oracle holds the design's invariants against what truly happened.
//!
//! ```text
//! operators --calls--> server core -- model driver -- model disk
//!                          |
//!                     model network: delay, loss, partition, half-open, reordered streams
//!                          |
//!                      shim cores -- model driver -- journal
//!                          |
//!                     model hosts, processes, and agents at work, which save what they are at
//! ```
//!
//! How much there is of this in a world is its extent: lives alone, and work, and what agents save and workflows have them
//! do. Each is drawn from a stream of its own, so that the worlds of a smaller extent are what they always were.

mod dice;
mod disk;
mod fault;
mod host;
mod mind;
mod mutation;
mod oracle;
mod queue;
mod run;
mod shim;
mod stream;
mod swarm;
mod task;
mod trace;
mod world;

pub use fault::{Counts, Fault};
pub use mutation::Mutation;
pub use oracle::Invariant;
pub use run::{Extent, Failure, Options, Summary, simulate};
pub use trace::Tracing;
