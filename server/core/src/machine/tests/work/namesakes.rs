//! Executions of one name: that of one which is forgotten is free, and a shim may have something of it still.

use rekindle::policy::PolicyPatch;

use super::*;
use crate::input::{DeleteRequest, Force, Missing, UpdateMode, UpdateRequest};

fn made_again() -> UpdateRequest {
    UpdateRequest {
        agent: agent(),
        policy: None,
        labels: None,
        etag: None,
        missing: Missing::Create,
        mode: UpdateMode::Apply,
    }
}

impl World {
    /// The agent was deleted and made again while its shim was away with e#1. Gives that attempt.
    fn deleted_and_made_again() -> (Self, AttemptId) {
        let mut world = Self::at_work(|_| ());
        world.send("e");
        world.start("e", 1);
        world.disconnect();
        world.pass(60);
        world.request(Request::Delete(DeleteRequest {
            agent: agent(),
            etag: None,
            force: Force::Yes,
        }));
        assert_eq!(world.records.executions, [], "its executions go with it");
        world.request(Request::Update(Box::new(made_again())));
        let old = world.attempt("e", 1);
        world.told();
        world.effects.clear();
        (world, old)
    }

    /// The shim is back, with these attempts, and tells once more that e#1 has started.
    fn is_back(&mut self, held: &[(&str, u32, AttemptPhase)], old: &AttemptId) {
        let started = self.numbered(1, ReportFact::AttemptStarted(old.clone(), None));
        self.back_with_reports(held, vec![started]);
    }

    /// Whether the newest attempt at `e` is the first at the execution that has the name by now.
    fn is_another(&self, old: &AttemptId) -> bool {
        let newest = self.execution("e").newest();
        newest.is_namesake(old) && newest.number == 1
    }
}

#[test]
fn a_result_counts_for_no_other_execution_of_its_name() {
    let (mut world, old) = World::deleted_and_made_again();
    world.send("e");
    world.is_back(&[("e", 1, AttemptPhase::Running)], &old);
    assert_eq!(
        world.is("e"),
        ExecutionState::Queued,
        "what the shim has is another one"
    );
    assert_eq!(world.dispatched(), [""; 0], "and the two would be taken for each other");
    world.pass(30);
    assert_eq!(world.is("e"), ExecutionState::Queued);
    world.told();
    world.report(1, ReportFactOf(Verdict::Succeeded, "41").of(old.clone()));
    assert!(world.told().starts_with("EXECUTION_DISOWNED"));
    assert!(world.is_another(&old));
    assert_eq!(world.dispatched(), ["e#1"], "nothing is in its way any more");
    world.start("e", 1);
    world.finish("e", 1, ReportFactOf(Verdict::Failed, "no"));
    let record = world.execution("e");
    assert_eq!((record.state, record.output.kept), (ExecutionState::Failed, 2));
}

#[test]
fn an_execution_waits_for_what_its_shim_has_of_its_name_since_before_it_was_made() {
    let (mut world, old) = World::deleted_and_made_again();
    world.is_back(&[("e", 1, AttemptPhase::Running)], &old);
    world.send("e");
    world.send("other");
    assert_eq!(world.dispatched(), ["other#1"], "others pass it");
    world.finish("other", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), [""; 0]);
    world.report(1, result(Verdict::Interrupted).of(old.clone()));
    assert_eq!(world.dispatched(), ["e#1"]);
    assert!(world.is_another(&old));
}

#[test]
fn an_end_that_was_not_heard_in_time_is_told_in_words_alone() {
    let (mut world, old) = World::deleted_and_made_again();
    world.send("e");
    let started = world.numbered(1, ReportFact::AttemptStarted(old.clone(), None));
    let finished = world.numbered(1, ReportFactOf(Verdict::Succeeded, "41").of(old.clone()));
    world.back_with_reports(&[], vec![started, finished]);
    assert!(world.told().contains("EXECUTION_DISOWNED"));
    assert_eq!(world.is("e"), ExecutionState::Dispatched);
    assert!(world.is_another(&old));
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn no_word_on_an_attempt_counts_for_its_namesake_with_the_same_number() {
    let (mut world, old) = World::deleted_and_made_again();
    world.send("e");
    world.is_back(&[], &old);
    assert_eq!(world.dispatched(), ["e#1"]);
    for word in [
        ReportFact::AttemptAccepted(old.clone()),
        ReportFact::AttemptStarted(old.clone(), None),
        ReportFact::AttemptSurvived(old.clone(), Vec::new()),
        ReportFactOf(Verdict::Succeeded, "41").of(old),
    ] {
        world.report(1, word);
        assert_eq!(world.is("e"), ExecutionState::Dispatched);
    }
    assert!(world.says.contains("another execution has its name"), "{}", world.says);
}

#[test]
fn one_that_waits_for_its_name_takes_its_place_in_the_queue_and_no_others_slot() {
    let (mut world, old) = World::deleted_and_made_again();
    world.is_back(&[("e", 1, AttemptPhase::Running)], &old);
    let policy = PolicyPatch {
        queue_limit: Some(1),
        ..PolicyPatch::default()
    };
    world.request(Request::Update(Box::new(UpdateRequest {
        policy: Some(policy),
        missing: Missing::Fail,
        ..made_again()
    })));
    assert_eq!(world.send("e"), Some(Ok(())));
    assert_eq!(world.send("other"), Some(Ok(())), "a slot is free");
    assert_eq!(world.dispatched(), ["other#1"]);
    assert!(matches!(
        world.send("another"),
        Some(Err(ExecutionError::QueueFull { limit: 1, .. }))
    ));
}

/// As shims of an earlier version tell it.
#[test]
fn an_attempt_without_its_uid_goes_by_its_name_and_number() {
    let nameless = |number| AttemptId {
        execution: id("e"),
        uid: ExecutionUid::UNKNOWN,
        number,
    };
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.report(1, ReportFact::AttemptAccepted(nameless(1)));
    assert_eq!(world.is("e"), ExecutionState::Accepted);
    let inventory = Inventory {
        last_incarnation: Incarnation::new(1),
        child: Some(world.child(1)),
        attempts: vec![HeldAttempt {
            attempt: nameless(1),
            phase: AttemptPhase::Running,
        }],
        ..Inventory::default()
    };
    world.disconnect();
    world.connect_with(worker(|_| ()), inventory);
    world.pass(120);
    assert_eq!(world.is("e"), ExecutionState::Running);
    world.report(1, result(Verdict::Succeeded).of(nameless(1)));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
    assert_eq!(world.dispatched(), ["e#1"], "it was given once");
}
