//! A bounded number of worlds, the seeds that once found something, and proof that the oracle can fail.

use rekindle_sim::{Counts, Extent, Failure, Mutation, Options, Tracing, simulate};

/// Worlds that are run each time. More are run by the binary.
const SEEDS: u64 = 1_500;

/// Worlds in which a deliberate defect must show: the rarest does in one of one or two thousand.
const MUTANT_SEEDS: u64 = 3_000;

/// What a seed found in a world without work, and what was wrong. Schedules change with the code, so that each of these has a test of its own
/// beside the code that was wrong; the seeds stay, as worlds that are known to be rough.
const FOUND: &[(u64, &str)] = &[
    (0, "a restart that waits for its shim shows the older process"),
    (
        1,
        "a hello that its shim had given up was believed, and a living child counted as dead",
    ),
    (6, "a wall clock that was set back held a recovery up for an hour"),
    (10, "a journal that a power loss set back used a report's number twice"),
    (
        39,
        "a stream that ended while the server was paused counted as silent since before the pause",
    ),
    (123, "a wall clock that was set forward took a cooldown away"),
    (
        143,
        "a budget was made whole for an agent that nobody was there to speak for",
    ),
    (
        222,
        "a forced start that joined an order left RUNNING without a process",
    ),
    (
        347,
        "an order of a lost host was given again under its number, and one number stood for two lives",
    ),
    (355, "a hello that its shim had given up restarted an agent"),
    (674, "a stop was done while the restart that it replaced had begun"),
    (959, "a hello of an earlier boot was taken for a reboot"),
    (1868, "a pause of the server made a budget whole"),
    (2349, "a shim whose journal a power loss set back was refused for ever"),
    (
        3455,
        "a stop of what is quarantined was not told to a shim that came back",
    ),
    (
        18260,
        "old reports, told again after another marker's, started an agent that was TERMINATED",
    ),
    (
        39177,
        "an order that crossed a report of survivors began a life that nobody wanted any more",
    ),
    (
        39183,
        "survivors were old news to an order that had not begun, and a second life began beside them",
    ),
    (
        56707,
        "a reboot ended a quarantine, and the next life got the number of the one before",
    ),
    (
        16576,
        "a shim whose stream was cut for an overdue order had less than a lease to come back",
    ),
    (
        45887,
        "a life that was forced while its shim was away never became ready in the server's eyes",
    ),
    (95792, "an upgrade of a shim that was cut off began its fence anew"),
    (
        26,
        "a life that a shim began alone lent its number to one of another shim",
    ),
    (98, "a stop was done while a life ran that the shim had begun alone"),
    (1788, "an agent was deleted whose shim had begun a life alone"),
    (
        5526,
        "a shim that fences itself began a life alone after it had given up its claim",
    ),
    (
        14867,
        "a jump of the wall clock made the budget of an adopted child whole",
    ),
    (
        1_024_019,
        "a stop of what was down was done before its shim had heard of it, which then began a life alone",
    ),
    (
        2_079_370,
        "an agent was deleted whose shim had not written down that it is to rest, and began a life alone",
    ),
    (
        3_019_641,
        "a number that a power loss took from its shim was used by that shim again",
    ),
    (
        5_028_428,
        "a life that made way for an ordered one was a crash, and its successor was ended for the recovery's",
    ),
    (6_021_357, "an old report began a life anew that a reboot had ended"),
    (
        3504,
        "a hello that was long under way ended a stop while a life ran that its shim had begun since",
    ),
    (
        24731,
        "an agent was deleted while its child hung, and the verdict on it doubted",
    ),
    (29495, "a record that was written again was taken for a conclusion"),
    (
        10_699_790,
        "a shim that came up without a server judged lives by its own policy, and made a budget whole too soon",
    ),
    (
        9_281_170,
        "a life that its shim began alone had the number of an order that came to nothing, and was ended for it",
    ),
    (
        10_230_119,
        "a stop was done by an inventory that had waited in a paused server while its shim began a life alone",
    ),
    (
        10_019_224,
        "a stop that waited for its shim's word was done while a life ran that was seen since",
    ),
    (
        10_081_666,
        "a later stop was done by what an earlier one had waited for",
    ),
    (
        20_108_078,
        "an agent that was made anew was ordered under a number that its shim had used",
    ),
    (
        20_734_633,
        "a server that was paused again and again made the budget of an agent whole that it did not hear",
    ),
    (
        20_000_650,
        "a start that had joined another was open for ever once a stop came",
    ),
    (
        7_023_948,
        "an acknowledgement to a stream that had ended was held against an agent that was made anew",
    ),
];

/// The same, in worlds with work.
const FOUND_AT_WORK: &[(u64, &str)] = &[
    (
        392,
        "an upgrade with nothing to hand over was one still when the shim died later, and what had died was taken up",
    ),
    (
        822,
        "a life of which only survivors were left went on after an upgrade, without an end",
    ),
    (
        2519,
        "what was cancelled in a mass absence was held for ever, and its slot with it",
    ),
    (
        534,
        "a power loss took that a message had begun, and it was given back, and run again",
    ),
    (
        3521,
        "what a shim told again of a message that it had given back ended another shim's work on it",
    ),
    (
        1499,
        "the true end of what was called lost was refused, as its next attempt had never arrived",
    ),
    (
        94_085_463,
        "what outlived a fence was old news once another shim had the agent, and a life began beside it",
    ),
    (
        100_200_176,
        "what outlived a fence was old news where the other shim that had the agent was fenced in its turn",
    ),
    (
        120_168_782,
        "an order that was given anew, as its shim was fenced before it told of it, was a restart by its record",
    ),
    (
        150_020_302,
        "what an operator's order had ended unseen and queued again was cancelled when its true end was told",
    ),
    (
        160_143_131,
        "a fence was waited out for what SIGKILL had not ended, and its shim, back, began a life beside it unasked",
    ),
    (
        170_164_961,
        "a shim whose stream was to be cut was called silent by the time of that decision, and not of the cut",
    ),
];

/// The same, in worlds whose agents save, and with workflows.
const FOUND_IN_ALL: &[(u64, &str)] = &[
    (
        5081,
        "a save that the disk was late with was handed over as clean, as its shim died before it wrote how the life had ended",
    ),
    (
        156,
        "a crash was counted by the shim and by the server, and a checkpoint set aside after one",
    ),
    (
        193,
        "an agent that was made anew on another host had two contents under one id",
    ),
    (
        512,
        "the number of a checkpoint that a disk had lost was given again, and the server took the newer one for another",
    ),
    (
        677,
        "a late write that was refused was taken up again when its shim came back, and handed to a life",
    ),
    (
        58,
        "a fire that had waited for a slot was an execution, and given to nobody",
    ),
];

fn check(seed: u64, extent: Extent, what: &str) -> Counts {
    let options = Options {
        extent,
        ..Options::default()
    };
    match simulate(seed, options) {
        Ok(summary) => summary.faults,
        Err(failure) => panic!("{what}\n{failure}"),
    }
}

#[test]
fn all_invariants_hold() {
    let mut faults = Counts::default();
    for seed in 0..SEEDS {
        faults.merge(&check(seed, Extent::All, "a bounded run"));
    }
    let missing = faults.missing();
    assert!(missing.is_empty(), "these faults never fired: {missing:?}");
}

#[test]
fn what_was_found_stays_fixed() {
    for (seed, what) in FOUND {
        check(*seed, Extent::Lives, what);
    }
    for (seed, what) in FOUND_AT_WORK {
        check(*seed, Extent::Work, what);
    }
    for (seed, what) in FOUND_IN_ALL {
        check(*seed, Extent::All, what);
    }
}

#[test]
fn one_seed_makes_one_world() {
    let options = Options {
        tracing: Tracing::Hashed,
        ..Options::default()
    };
    for seed in 0..20 {
        let (first, second) = (simulate(seed, options), simulate(seed, options));
        assert_eq!(first, second);
        assert!(first.is_ok_and(|summary| summary.events > 0));
    }
}

#[test]
fn a_defect_is_caught() {
    for mutation in Mutation::DEFECTS {
        let caught = (0..MUTANT_SEEDS).find_map(|seed| broken_by(seed, mutation));
        let failure = caught.unwrap_or_else(|| panic!("{mutation:?} was not caught in {MUTANT_SEEDS} worlds"));
        println!(
            "{mutation:?}: seed {}, {}: {}",
            failure.seed, failure.invariant, failure.what
        );
    }
}

fn broken_by(seed: u64, mutation: Mutation) -> Option<Box<Failure>> {
    let options = Options {
        mutation,
        ..Options::default()
    };
    simulate(seed, options).err()
}
