//! What can happen next in the world.

use proptest::prelude::*;
use proptest::sample::select;

use super::saves::{Begins, Fault, Says, Takes};

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
    Link(Takes),
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
    RunWith(u64, Begins),
    /// The agent says something of its checkpoints, as of this life after the one before the newest.
    Speak(Says, u64),
    /// The disk does not take what is being written.
    FailWrite(Fault),
    /// The server answers what it was told, and keeps it or not.
    ServerAnswers(bool),
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
        5 => select(vec![Takes::Yes, Takes::Yes, Takes::Yes, Takes::No]).prop_map(Move::Link),
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
        2 => (0u64..3, select(vec![Begins::Fresh, Begins::ServersOwn, Begins::Elsewhere]))
            .prop_map(|(above, begins)| Move::RunWith(above, begins)),
        8 => (says(), select(vec![0, 1, 1, 1, 1, 1, 2])).prop_map(|(says, above)| Move::Speak(says, above)),
        1 => select(vec![Fault::Lost, Fault::Kept]).prop_map(Move::FailWrite),
        3 => proptest::bool::weighted(0.8).prop_map(Move::ServerAnswers),
        3 => (0usize..4, proptest::bool::ANY).prop_map(|(which, done)| Move::Say(which, done)),
    ]
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        4 => (0usize..4).prop_map(Says::Save),
        2 => Just(Says::Load),
        1 => Just(Says::Confirm),
        1 => Just(Says::Close),
        1 => Just(Says::ReadsFile),
    ]
}
