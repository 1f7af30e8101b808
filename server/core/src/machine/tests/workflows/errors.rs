//! What a runner's last error tells of, and until when.

use super::*;
use crate::workflow::{ErrorOf, LAST_ERROR_MAX_BYTES, LastError};

impl World {
    /// What the last error of the workflow is about, where that names what it should.
    fn error_of(&self, words: &str) -> Option<ErrorOf> {
        let error = self.record("w").last_error.as_ref()?;
        assert!(error.message.contains(words), "{}", error.message);
        Some(error.about)
    }

    /// The first execution of the workflow ends so.
    fn ends_as(&mut self, end: ExecutionState) {
        match end {
            ExecutionState::Failed => self.did("w", 1, Verdict::Failed),
            ExecutionState::Cancelled => {
                let execution = self.execution_of("w", 1);
                self.cancel(&execution);
                self.did("w", 1, Verdict::Cancelled);
            }
            ExecutionState::TimedOut => {
                self.did("w", 1, Verdict::TimedOut);
            }
            ExecutionState::Lost => {
                self.back_with(&[]);
                self.pass(10);
            }
            ExecutionState::DeadLetter => {
                self.did("w", 1, Verdict::Interrupted);
                self.dies();
                self.comes_back();
            }
            ExecutionState::Queued
            | ExecutionState::Dispatched
            | ExecutionState::Accepted
            | ExecutionState::Running
            | ExecutionState::Succeeded => panic!("{end} is no bad end"),
        }
    }
}

#[test]
fn each_end_but_success_is_told_until_the_next_success() {
    for end in [
        ExecutionState::Failed,
        ExecutionState::Cancelled,
        ExecutionState::TimedOut,
        ExecutionState::Lost,
        ExecutionState::DeadLetter,
    ] {
        let mut world = World::at_work(|policy| policy.max_deliveries = 1);
        world.flow("w", Trigger::Manual, |_| ());
        world.trigger("w", "one").expect("accepted");
        world.works_on("w", 1);
        world.ends_as(end);
        let execution = world.execution_of("w", 1);
        assert_eq!(world.is(&execution), end);
        let name = format!("agents/a/executions/{execution} is {end}");
        assert_eq!(world.error_of(&name), Some(ErrorOf::Ended), "{end}");
        world.restart_server();
        assert_eq!(world.error_of(&name), Some(ErrorOf::Ended), "{end}: it is durable");
        world.reconnects();
        world.pass(1);
        world.trigger("w", "two").expect("accepted");
        assert_eq!(
            world.error_of(&name),
            Some(ErrorOf::Ended),
            "{end}: the next one goes on"
        );
        world.does("w", 2);
        assert_eq!(world.error_of(""), None, "{end}: it has SUCCEEDED");
    }
}

#[test]
fn what_is_skipped_or_expires_is_told() {
    let mut world = World::at_work(|_| ());
    world.flow("w", Trigger::Manual, |fields| fields.overlap = Overlap::Skip);
    world.trigger("w", "one").expect("accepted");
    assert_eq!(world.trigger("w", "two"), Ok("2 skipped".into()));
    assert_eq!(world.error_of("skipped fire 2"), Some(ErrorOf::Dropped));
    world.does("w", 1);
    assert_eq!(world.error_of(""), None);
    let patch = WorkflowPatch {
        expires_after: Some(Some(Duration::from_secs(10))),
        ..WorkflowPatch::default()
    };
    world.change(update("w", patch)).expect("there");
    world.dies();
    world.trigger("w", "three").expect("accepted");
    world.pass(10);
    assert_eq!(world.error_of("fire 3 waited for longer"), Some(ErrorOf::Dropped));
}

#[test]
fn what_is_kept_of_an_error_is_short_and_whole_characters() {
    for (text, kept) in [
        ("é".repeat(600), 1024),
        (format!("x{}", "é".repeat(600)), 1023),
        ("x".into(), 1),
    ] {
        let error = LastError::new(Timestamp::UNIX_EPOCH, ErrorOf::Ended, text);
        assert!(error.message.len() == kept && kept <= LAST_ERROR_MAX_BYTES);
    }
}
