//! What agents say of attempts, and what becomes of those that they cannot be given.

use rekindle::activity::{ActivityState, BlockedOn};
use rekindle::execution::{AttemptId, Delivery, Dispatch, Output};

use super::work::{asked, attempt, dispatch, done, ready, said};
use super::*;
use crate::input::{About, RequestNumber, Word};

/// Redelivered: another attempt at the first execution.
fn second(number: u32) -> AttemptId {
    AttemptId { number, ..attempt(1) }
}

fn dispatch_of(attempt: AttemptId) -> Input {
    let dispatch = Dispatch {
        attempt,
        message: "m".into(),
        timeout: secs(60),
    };
    Input::Commanded(CommandId(7), Command::Dispatch(Box::new(dispatch)))
}

fn said_of(request: u64, attempt: AttemptId, word: Word) -> Input {
    Input::WorkSaid {
        request: Some(RequestNumber(request)),
        about: About::attempt(&attempt),
        word,
    }
}

#[test]
fn a_late_word_on_an_older_attempt_is_not_taken_for_one_on_the_next() {
    let mut bench = ready(Delivery::Stdin, 1);
    bench.step(dispatch(1));
    let message = "it has closed its standard input".to_owned();
    bench.step(Input::FeedFailed {
        attempt: attempt(1),
        message,
    });
    bench.step(exited(1));
    bench.step(gone(1));
    bench.step(run(2));
    bench.step(spawned(2));
    bench.step(dispatch_of(second(2)));
    // A life that was given one attempt need not number it.
    for (request, word) in [(1, Word::Moves), (2, done())] {
        let late = said_of(request, attempt(1), word);
        bench.does(late, &[&format!("answer {request} Err(OtherAttempt)")]);
    }
    bench.does(said(3, Some(1), Word::Moves), &["answer 3 Ok(())"]);
    bench.step(said_of(4, second(2), done()));
    bench.step(dispatch_of(second(3)));
    bench.does(said(5, Some(1), done()), &["answer 5 Err(WhichAttempt)"]);
    bench.does(said_of(6, second(2), Word::Moves), &["answer 6 Err(OtherAttempt)"]);
    let over = ["write", "say 15 finished e1#3 Succeeded", "answer 7 Ok(())"];
    bench.does(said_of(7, second(3), done()), &over);
}

#[test]
fn a_result_that_is_said_again_is_taken_as_it_was() {
    let with = |dropped| {
        let text = "".into();
        let output = Output { text, dropped };
        Word::Done { output }
    };
    let mut bench = ready(Delivery::Pull, 1);
    bench.step(dispatch(1));
    bench.step(asked(1));
    bench.step(said_of(2, attempt(1), with(4)));
    bench.does(said_of(3, attempt(1), with(4)), &["answer 3 Ok(())"]);
    bench.does(said(4, Some(1), with(4)), &["answer 4 Ok(())"]);
    bench.does(said(5, None, with(4)), &["answer 5 Ok(())"]);
    bench.does(said_of(6, attempt(1), with(5)), &["answer 6 Err(EndedOtherwise)"]);
    bench.does(said(7, Some(1), with(5)), &["answer 7 Err(EndedOtherwise)"]);
    bench.does(said(8, None, with(5)), &["answer 8 Err(NotRunning)"]);
    bench.does(said_of(9, attempt(1), Word::Moves), &["answer 9 Err(NotRunning)"]);
    // Where there is another one by now, the same words are not about the one before.
    bench.step(dispatch(2));
    bench.step(asked(2));
    bench.does(said_of(10, attempt(1), with(4)), &["answer 10 Ok(())"]);
    bench.step(Input::Acknowledged(seq(9)));
    bench.does(said_of(11, attempt(1), with(4)), &["answer 11 Err(NotRunning)"]);
}

#[test]
fn an_agent_is_blocked_while_anything_that_it_works_on_is() {
    let mut bench = ready(Delivery::Pull, 2);
    for number in 1..=2 {
        bench.step(dispatch(number));
        bench.step(asked(number));
    }
    bench.does(
        said(3, Some(1), Word::Blocked(BlockedOn::Approval)),
        &["write", "answer 3 Ok(())", "does Blocked(Approval) \"\""],
    );
    bench.pass(secs(2));
    bench.does(said(4, Some(2), Word::Moves), &["answer 4 Ok(())"]);
    let text = "half".to_owned();
    bench.does(
        said(5, Some(1), Word::Progress { text }),
        &["write", "show e1#1 \"half\"", "answer 5 Ok(())", "does Busy \"\""],
    );
    bench.pass(secs(2));
    bench.step(said(6, Some(2), Word::Blocked(BlockedOn::Quota)));
    bench.pass(secs(2));
    // What it says of itself goes before, and is all that there is once its work is done.
    let says = |state| Input::Notified {
        incarnation: n(1),
        notices: vec![Notice::Activity(state)],
    };
    bench.does(
        says(ActivityState::Blocked(BlockedOn::User)),
        &["write", "does Blocked(User) \"\""],
    );
    bench.pass(secs(2));
    bench.does(says(ActivityState::Idle), &["write", "does Blocked(Quota) \"\""]);
    bench.pass(secs(2));
    let over = [
        "write",
        "say 7 finished e2#1 Succeeded",
        "answer 7 Ok(())",
        "does Busy \"\"",
    ];
    bench.does(said(7, Some(2), done()), &over);
    bench.pass(secs(2));
    let over = [
        "write",
        "say 8 finished e1#1 Succeeded",
        "answer 8 Ok(())",
        "does Idle \"\"",
    ];
    bench.does(said(8, Some(1), done()), &over);
}

#[test]
fn an_agent_that_cannot_be_written_to_is_one_that_ends() {
    let mut bench = ready(Delivery::Stdin, 2);
    bench.step(dispatch(1));
    bench.step(dispatch(2));
    let message = "it has closed its standard input".to_owned();
    let failed = Input::FeedFailed {
        attempt: attempt(2),
        message,
    };
    bench.does(
        failed.clone(),
        &["write", "say 7 finished e2#1 Interrupted", "say 8 stopping"],
    );
    bench.does(failed, &[]);
    // What comes is not begun. What it has read it may still answer, in its grace.
    bench.does(dispatch(3), &["write", "say 9 accepted e3#1"]);
    bench.does(
        said(1, Some(1), done()),
        &["write", "say 10 finished e1#1 Succeeded", "answer 1 Ok(())"],
    );
    bench.does_after(secs(10), &["kill tree"]);
}
