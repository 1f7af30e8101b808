//! The contract that Rekindle's halves share: the words of the design as types that are valid by construction.
//!
//! Everything here is pure: no clock, no randomness, no input or output. The server's core, the shim's core and
//! their drivers speak in these types; the generated wire types sit behind the feature `wire`, and `convert` is
//! the one place where the two meet.

pub mod activity;
pub mod checkpoint;
pub mod duration;
pub mod execution;
pub mod exit;
pub mod exit_rule;
pub mod host;
pub mod id;
pub mod label;
pub mod launch;
pub mod policy;
pub mod process;
pub mod recovery;
pub mod report;
pub mod session;
pub mod state;
pub mod text;
pub mod time;
pub mod workflow;

#[cfg(feature = "wire")]
pub mod convert;
#[cfg(feature = "wire")]
pub mod state_file;
#[cfg(feature = "wire")]
pub mod wire;

#[cfg(feature = "settings")]
pub mod settings;
