//! What can happen next in the world.

use proptest::prelude::*;

/// What the world does next.
#[derive(Debug, Clone)]
pub(super) enum Move {
    /// The oldest open effect has its result.
    Answer,
    /// The spawn that is under way fails.
    FailSpawn,
    Run(u64),
    Stop(u64, Option<u64>),
    Signal(u64),
    /// The child dies by itself.
    Crash,
    Pass(u64),
    Suspend(u64),
    Link,
    Unlink,
    DoubtClaim,
    LoseClaim,
    Acknowledge,
    Terminate,
    /// SIGKILL to the shim; a later one reads its journal.
    KillShim,
    Reboot,
    Dispatch,
    EndAttempt(usize),
    /// The process of an attempt dies by itself.
    EndByItself(usize),
    Ask,
    Say(usize, bool),
}

pub(super) fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => Just(Move::Answer),
        1 => Just(Move::FailSpawn),
        6 => (0u64..4).prop_map(Move::Run),
        4 => (0u64..3, proptest::option::of(0u64..4)).prop_map(|(life, grace)| Move::Stop(life, grace)),
        1 => (0u64..3).prop_map(Move::Signal),
        3 => Just(Move::Crash),
        4 => (0u64..12_000).prop_map(Move::Pass),
        1 => (0u64..40_000).prop_map(Move::Suspend),
        5 => Just(Move::Link),
        2 => Just(Move::Unlink),
        1 => Just(Move::DoubtClaim),
        1 => Just(Move::LoseClaim),
        4 => Just(Move::Acknowledge),
        1 => Just(Move::Terminate),
        1 => Just(Move::KillShim),
        1 => Just(Move::Reboot),
        6 => Just(Move::Dispatch),
        2 => (0usize..4).prop_map(Move::EndAttempt),
        2 => (0usize..4).prop_map(Move::EndByItself),
        3 => Just(Move::Ask),
        3 => (0usize..4, proptest::bool::ANY).prop_map(|(which, done)| Move::Say(which, done)),
    ]
}
