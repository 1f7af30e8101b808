//! Processes: the only part of Rekindle that spawns, signals and reaps, and the only one with unsafe code.
//!
//! Called by the shim's driver, on the main thread. Keeps the invariants I2 (a signal goes to a process whose identity
//! was checked at that moment, through a descriptor that cannot come to mean another) and I7 (dead means that the
//! kernel lists no living descendant).
//!
//! The shim is a child subreaper (prctl(2)), so that whoever of the tree loses its parent becomes the shim's child.
//! From that follows the proof of death: when every child of the shim is a zombie, nothing of the tree lives. Where
//! several trees stand side by side, as messages are worked on, it is every child that is of the tree.

mod cgroup;
mod checkpoint_command;
mod child;
mod confinement;
mod feed;
mod handover;
pub(crate) mod host;
mod hunt;
mod identity;
mod inherited;
mod notify;
mod oom;
mod output;
mod pidfd;
mod proc;
mod reap;
mod sample;
mod spawn;
mod sweep;
mod tree;
mod want;

#[cfg(test)]
mod tests;

pub(crate) use cgroup::{Groups, NoGroups};
pub(crate) use checkpoint_command::{CheckpointCommand, CommandEnd};
pub(crate) use child::{Answered, Buried, Child, Left, NoChild, Stillborn, UnderWay};
pub(crate) use confinement::{
    Account, AccountError, ChosenBy, Confinement, Environment, Limit, NamePattern, Privileges,
};
pub(crate) use feed::NotFed;
pub(crate) use handover::{ChildsOwn, Handover, hold_signals, release_signals};
pub(crate) use identity::boot_id;
pub(crate) use notify::NotifyName;
pub(crate) use output::{Console, Log, LogFiles, Outputs, OutputsError, Progress, Reader, Sink, leave_signals_to_main};
pub(crate) use pidfd::register as readable;
pub(crate) use proc::{booted, ignored_signals};
pub(crate) use spawn::{Birth, Program, Purpose, SpawnError};
pub(crate) use sweep::{Leftovers, sweep};
pub(crate) use tree::{Force, Tree};
pub(crate) use want::is_want;
