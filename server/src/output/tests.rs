use rekindle::execution::{ExecutionId, OutputKind};
use rekindle::id::ExecutionUid;

use super::*;

const SESSION: SessionId = SessionId(1);

fn agent() -> AgentId {
    AgentId::new("a").expect("valid")
}

fn attempt() -> AttemptId {
    AttemptId {
        execution: ExecutionId::new("e").expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    }
}

/// Bytes of an output in which each tells its own place.
fn bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to)
        .map(|place| u8::try_from(place % 251).expect("below 251"))
        .collect()
}

fn part(from: u64, to: u64) -> OutputPart {
    OutputPart {
        attempt: attempt(),
        kind: OutputKind::Output,
        offset: from,
        data: bytes(from, to),
    }
}

/// A hub, and what it asks the one shim for.
struct World {
    outputs: Outputs,
    out: mpsc::Sender<ToShim>,
    asked: mpsc::Receiver<ToShim>,
}

impl World {
    fn new() -> Self {
        let (out, asked) = mpsc::channel(64);
        let outputs = Outputs::default();
        outputs.connected(&agent(), SESSION, out.downgrade());
        Self { outputs, out, asked }
    }

    fn watch(&self) -> Watcher {
        self.outputs.watch(&agent(), &attempt())
    }

    fn arrives(&self, from: u64, to: u64) {
        self.outputs.arrived(&agent(), part(from, to));
    }

    /// What was asked for since: where from, and how much.
    fn asked(&mut self) -> Vec<(Option<u64>, u32)> {
        std::iter::from_fn(|| self.asked.try_recv().ok())
            .map(|message| match message {
                ToShim::Follow(follow) => {
                    assert_eq!(follow.attempt, attempt());
                    (follow.from, follow.credit)
                }
                other @ (ToShim::Welcome { .. }
                | ToShim::Acknowledge(_)
                | ToShim::CheckpointKept(_)
                | ToShim::HandOver { .. }
                | ToShim::Command(..)
                | ToShim::Dispatch { .. }
                | ToShim::Refuse(_)
                | ToShim::Disconnect(_)) => panic!("only output is asked for: {other:?}"),
            })
            .collect()
    }
}

/// All that waits for a watcher, as spans; what is in them is what belongs there.
fn spans(watcher: &mut Watcher) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| watcher.waiting())
        .map(|part| {
            assert_eq!(part.data, bytes(part.offset, part.end()));
            (part.offset, part.end())
        })
        .collect()
}

#[test]
fn a_shim_is_asked_while_somebody_watches() {
    let mut world = World::new();
    world.arrives(0, 10);
    assert_eq!(world.asked(), []);
    let first = world.watch();
    let second = world.watch();
    assert_eq!(world.asked(), [(Some(0), CREDIT), (Some(0), CREDIT)]);
    drop(first);
    assert_eq!(world.asked(), []);
    drop(second);
    assert_eq!(world.asked(), [(None, 0)], "nobody watches any more");
    assert!(world.outputs.state().followed.is_empty());
}

#[test]
fn each_watcher_sees_each_byte_once_and_in_order() {
    let world = World::new();
    let mut first = world.watch();
    world.arrives(0, 100);
    world.arrives(100, 200);
    assert_eq!(spans(&mut first), [(0, 100), (100, 200)]);
    // For the second the shim begins anew, in other pieces.
    let mut second = world.watch();
    for (from, to) in [(0, 150), (150, 250), (250, 300)] {
        world.arrives(from, to);
    }
    assert_eq!(spans(&mut first), [(200, 250), (250, 300)]);
    assert_eq!(spans(&mut second), [(0, 150), (150, 250), (250, 300)]);
}

#[test]
fn a_gap_is_seen_by_its_offset() {
    let world = World::new();
    let mut watcher = world.watch();
    world.arrives(1_000, 1_100);
    world.arrives(5_000, 5_001);
    assert_eq!(spans(&mut watcher), [(1_000, 1_100), (5_000, 5_001)]);
}

#[tokio::test]
async fn credit_is_renewed_as_the_fastest_reads() {
    let mut world = World::new();
    let mut fast = world.watch();
    let mut slow = world.watch();
    world.asked();
    let piece = CREDIT as u64 / 16;
    let all = 8 * PIECES_MAX as u64;
    for number in 0..all {
        world.arrives(number * piece, (number + 1) * piece);
        assert_eq!(fast.next().await.offset, number * piece);
    }
    let renewals = usize::try_from(all / 8).expect("few");
    assert_eq!(world.asked(), vec![(None, CREDIT); renewals]);
    let seen = spans(&mut slow);
    assert_eq!(seen.len(), PIECES_MAX, "the slow one has what its queue held");
    world.arrives(all * piece, (all + 1) * piece);
    assert_eq!(
        spans(&mut slow),
        [(all * piece, (all + 1) * piece)],
        "and goes on after a gap"
    );
}

#[tokio::test]
async fn nobody_who_reads_means_no_credit() {
    let mut world = World::new();
    let mut watcher = world.watch();
    world.asked();
    let piece = CREDIT as u64 / PIECES_MAX as u64;
    for number in 0..PIECES_MAX as u64 {
        world.arrives(number * piece, (number + 1) * piece);
    }
    // By half of it the queue is half full: it was read until then, as far as one can tell.
    assert_eq!(world.asked(), [(None, CREDIT)]);
    for _ in 0..ROOM_MIN {
        assert_eq!(world.asked(), []);
        watcher.next().await;
    }
    assert_eq!(world.asked(), [(None, CREDIT)]);
}

#[test]
fn one_who_leaves_while_others_wait_stalls_nobody() {
    let mut world = World::new();
    let mut first = world.watch();
    let second = world.watch();
    let (piece, pieces) = (CREDIT as u64 / 16, 16);
    for number in 0..pieces {
        world.arrives(number * piece, (number + 1) * piece);
        first.waiting().expect("it has come");
    }
    drop(second);
    world.asked();
    // What comes once more, as it was asked for by the one who left, counts as read.
    for number in 0..pieces {
        world.arrives(number * piece, (number + 1) * piece);
    }
    assert_eq!(first.waiting(), None);
    assert_eq!(world.asked(), [(None, CREDIT), (None, CREDIT)]);
}

#[test]
fn a_shim_that_is_back_is_asked_to_go_on() {
    let mut world = World::new();
    let mut watcher = world.watch();
    world.arrives(0, 100);
    world.asked();
    let (out, asked) = mpsc::channel(64);
    let newer = SessionId(2);
    world.outputs.connected(&agent(), newer, out.downgrade());
    (world.out, world.asked) = (out, asked);
    assert_eq!(world.asked(), [(Some(100), CREDIT)]);
    world.outputs.disconnected(&agent(), SESSION);
    assert!(
        world.outputs.state().shims.contains_key(&agent()),
        "the newer one stays"
    );
    world.arrives(50, 150);
    assert_eq!(spans(&mut watcher), [(0, 100), (100, 150)]);
    world.outputs.disconnected(&agent(), newer);
    assert!(world.outputs.state().shims.is_empty());
}

#[test]
fn half_of_a_shims_queue_is_not_for_watchers() {
    let mut world = World::new();
    for _ in 0..100 {
        drop(world.watch());
    }
    assert_eq!(world.asked().len(), 32);
    world.outputs.sent(SESSION);
    assert_eq!(world.asked(), [(None, 0)], "what had no room is asked once, the newest");
    world.outputs.sent(SESSION);
    assert_eq!(world.asked(), []);
}

#[test]
fn who_comes_while_the_queue_is_full_is_not_forgotten() {
    let mut world = World::new();
    for number in 0..40 {
        let order = ToShim::Acknowledge(rekindle::id::ReportSequence::new(number));
        world.out.try_send(order).expect("there is room for orders");
    }
    let mut watcher = world.watch();
    // One that came by an earlier ask, and spends half of the credit.
    world.arrives(0, RENEWED_AFTER);
    assert_eq!(spans(&mut watcher), [(0, RENEWED_AFTER)]);
    world.outputs.sent(SESSION);
    for _ in 0..40 {
        assert!(
            matches!(world.asked.try_recv(), Ok(ToShim::Acknowledge(_))),
            "no room yet"
        );
    }
    world.outputs.sent(SESSION);
    assert_eq!(
        world.asked(),
        [(Some(0), CREDIT)],
        "from the beginning, whatever came since"
    );
}

#[test]
fn what_was_not_asked_ends_with_its_session() {
    let mut world = World::new();
    for _ in 0..33 {
        drop(world.watch());
    }
    assert!(world.outputs.state().unasked.contains_key(&SESSION));
    let (out, asked) = mpsc::channel(64);
    let newer = SessionId(2);
    world.outputs.connected(&agent(), newer, out.downgrade());
    (world.out, world.asked) = (out, asked);
    world.outputs.sent(SESSION);
    assert_eq!(world.asked(), [], "nobody watches");
    world.outputs.disconnected(&agent(), SESSION);
    assert!(world.outputs.state().unasked.is_empty());
}
