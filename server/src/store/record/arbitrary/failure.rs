//! Arbitrary failures, with their evidence.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rekindle::checkpoint::{AskedSave, CheckpointId};
use rekindle::exit::{EndedBy, ExitEvidence, ExitStatus};
use rekindle::id::Incarnation;
use rekindle::report::Survivor;
use rekindle::state::FailureCause;
use rekindle_server_core::record::Failure;

use super::{incarnation, timestamp};

/// Any failure.
pub(super) fn failure() -> impl Strategy<Value = Failure> {
    let survivor = (any::<u32>(), option::of(any::<u64>()), any::<u64>(), any::<String>());
    let survivor = survivor.prop_map(|(pid, pidfd_inode, start_time_ticks, command)| Survivor {
        pid,
        pidfd_inode,
        start_time_ticks,
        command,
    });
    let life = (cause(), any::<String>(), timestamp(), incarnation());
    (life, option::of(evidence()), vec(survivor, 0..4)).prop_map(|(life, evidence, survivors)| {
        let (cause, message, time, incarnation) = life;
        Failure {
            cause,
            message,
            time,
            incarnation,
            evidence,
            survivors,
        }
    })
}

fn evidence() -> impl Strategy<Value = ExitEvidence> {
    let status = prop_oneof![
        any::<i32>().prop_map(ExitStatus::Exited),
        (any::<i32>(), any::<bool>()).prop_map(|(signal, core_dumped)| ExitStatus::Signaled { signal, core_dumped }),
        Just(ExitStatus::Unknown),
    ];
    let ended_by = select(vec![
        EndedBy::Itself,
        EndedBy::Command,
        EndedBy::ShimStop,
        EndedBy::StartTimeout,
        EndedBy::Fence,
        EndedBy::Watchdog,
        EndedBy::Stall,
        EndedBy::ShimDeath,
        EndedBy::MessageTimeout,
        EndedBy::MessageCancel,
    ]);
    let how = (ended_by, any::<bool>());
    let times = (any::<Duration>(), any::<Duration>(), any::<Duration>());
    let tails = (any::<String>(), any::<String>(), asked_save());
    (status, how, times, any::<u64>(), tails).prop_map(|(status, how, times, max_rss_kib, tails)| {
        let (ended_by, oom_killed) = how;
        let (uptime, user_time, system_time) = times;
        let (stderr_tail, stdout_tail, asked_save) = tails;
        ExitEvidence {
            status,
            ended_by,
            oom_killed,
            uptime,
            user_time,
            system_time,
            max_rss_kib,
            stderr_tail,
            stdout_tail,
            asked_save,
        }
    })
}

fn asked_save() -> impl Strategy<Value = AskedSave> {
    let saved = (1u64.., 1u32..).prop_map(|(life, number)| CheckpointId::new(Incarnation::new(life), number));
    prop_oneof![
        Just(AskedSave::NotAsked),
        Just(AskedSave::NotSaved),
        saved.prop_map(AskedSave::Saved)
    ]
}

/// Any cause of a failure.
pub(super) fn cause() -> impl Strategy<Value = FailureCause> {
    select(&FailureCause::ALL[..])
}
