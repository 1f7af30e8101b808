//! Messages that cannot be read: each fails alone.

use super::*;

impl World {
    /// The driver could not read the message of an attempt that was to go by a stream.
    fn lose(&mut self, session: SessionId, execution: &str, number: u32) {
        let attempt = self.attempt(execution, number);
        self.step(Input::MessageLost { session, attempt });
    }
}

#[test]
fn what_cannot_be_read_fails_and_the_next_goes() {
    let mut world = World::at_work(|_| ());
    for execution in ["e", "next"] {
        world.send(execution);
    }
    assert_eq!(world.dispatched(), ["e#1"]);
    world.told();
    world.lose(world.last_session(), "e", 1);
    assert_eq!(world.told(), "EXECUTION_FAILED EXECUTION_DISPATCHED");
    let failed = world.execution("e");
    let cause = failed.failure.as_ref().map(|failure| failure.cause);
    assert_eq!(
        (failed.state, cause, failed.attempt),
        (ExecutionState::Failed, Some(FailureCause::MessageLost), 0)
    );
    assert_eq!(world.dispatched(), ["next#1"]);
}

#[test]
fn one_whose_end_was_asked_for_ends_so() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    let call = world.cancel("e");
    world.lose(world.last_session(), "e", 1);
    assert_eq!(world.is("e"), ExecutionState::Cancelled);
    assert_eq!(world.cancelled(call), Some(CancelOutcome::Cancelled));
}

#[test]
fn an_old_word_or_one_of_another_attempt_counts_for_nothing() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    let old = world.last_session();
    world.lose(old, "e", 2);
    world.lose(old, "unknown", 1);
    // Given anew, by a stream that may have the message.
    world.back_with(&[]);
    world.lose(old, "e", 1);
    assert_eq!(world.is("e"), ExecutionState::Dispatched);
    world.start("e", 1);
    world.lose(world.last_session(), "e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
}
