//! Work: queue and slots, attempts and their ends, cancels, what is missing, and what a caller is told.

mod retention;

use rekindle::execution::{
    AttemptId, AttemptPhase, AttemptResult, Delivery, ExecutionId, ExecutionState, HeldAttempt, Output, Verdict,
};
use rekindle::policy::InterruptPolicy;
use rekindle::session::EndWhen;
use rekindle::state::FailureCause;

use super::*;
use crate::effect::{CancelOutcome, ExecutionError};
use crate::execution::ExecutionRecord;
use crate::input::{CancelExecution, CreateExecution};

fn id(id: &str) -> ExecutionId {
    ExecutionId::new(id).expect("valid")
}

fn agent() -> AgentId {
    AgentId::new("a").expect("valid")
}

fn attempt(execution: &str, number: u32) -> AttemptId {
    AttemptId {
        execution: id(execution),
        number,
    }
}

fn result(verdict: Verdict) -> ReportFactOf {
    ReportFactOf(verdict, "")
}

/// An end of an attempt, with the text that it wrote.
#[derive(Clone, Copy)]
struct ReportFactOf(Verdict, &'static str);

impl ReportFactOf {
    fn of(self, attempt: AttemptId) -> ReportFact {
        let result = AttemptResult {
            verdict: self.0,
            message: String::new(),
            evidence: None,
            output: Output {
                text: self.1.into(),
                dropped: 0,
            },
        };
        ReportFact::AttemptFinished(attempt, Box::new(result))
    }
}

fn worker(change: impl FnOnce(&mut PolicyFields)) -> Hello {
    Hello {
        delivery: Delivery::PerMessage,
        policy: policy(change),
        ..hello("a", 1)
    }
}

impl World {
    /// A ready agent that takes messages.
    fn at_work(change: impl FnOnce(&mut PolicyFields)) -> Self {
        let mut world = Self::new();
        world.connect(worker(change));
        world.spawn(1);
        world.told();
        world.commands();
        world
    }

    fn send(&mut self, execution: &str) -> Option<Result<(), ExecutionError>> {
        self.send_with(execution, |_| ())
    }

    fn send_with(
        &mut self,
        execution: &str,
        change: impl FnOnce(&mut CreateExecution),
    ) -> Option<Result<(), ExecutionError>> {
        let mut create = CreateExecution {
            agent: agent(),
            id: Some(id(execution)),
            message: "do".into(),
            timeout: None,
            schedule_to_start: None,
            priority: 0,
            request_id: None,
            redrive_of: None,
        };
        change(&mut create);
        let call = self.request(Request::CreateExecution(Box::new(create)));
        self.answered(call, |answer| match answer {
            Answer::Execution(answer) => Some(answer.clone().map(drop)),
            Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Cancelled(_) => None,
        })
    }

    fn cancel(&mut self, execution: &str) -> CallId {
        self.request(Request::CancelExecution(CancelExecution {
            agent: agent(),
            id: id(execution),
            reason: String::new(),
            grace: None,
        }))
    }

    fn cancelled(&self, call: CallId) -> Option<CancelOutcome> {
        self.answered(call, |answer| match answer {
            Answer::Cancelled(answer) => answer.as_ref().ok().map(|answer| answer.outcome),
            Answer::Operation(_)
            | Answer::Updated(_)
            | Answer::Deleted(_)
            | Answer::Signalled(_)
            | Answer::Execution(_) => None,
        })
    }

    fn answered<T>(&self, call: CallId, pick: impl Fn(&Answer) -> Option<T>) -> Option<T> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply { call: other, answer } if *other == call => pick(answer),
            Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    fn execution(&self, execution: &str) -> &ExecutionRecord {
        let execution = id(execution);
        let mut all = self.machine.executions();
        all.find(|record| record.id == execution).expect("it is kept")
    }

    fn is(&self, execution: &str) -> ExecutionState {
        self.execution(execution).state
    }

    /// What was dispatched since it was last asked.
    fn dispatched(&mut self) -> Vec<String> {
        let (given, rest) = std::mem::take(&mut self.effects)
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Dispatch { .. }));
        self.effects = rest;
        let given: Vec<Effect> = given;
        given
            .iter()
            .filter_map(|effect| match effect {
                Effect::Dispatch { attempt, .. } => Some(attempt.to_string()),
                Effect::Welcome { .. }
                | Effect::Refuse { .. }
                | Effect::Disconnect { .. }
                | Effect::Acknowledge { .. }
                | Effect::Command { .. }
                | Effect::Reply { .. } => None,
            })
            .collect()
    }

    fn accept(&mut self, execution: &str, number: u32) {
        self.report(1, ReportFact::AttemptAccepted(attempt(execution, number)));
    }

    fn start(&mut self, execution: &str, number: u32) {
        self.accept(execution, number);
        self.report(1, ReportFact::AttemptStarted(attempt(execution, number), None));
    }

    fn finish(&mut self, execution: &str, number: u32, end: ReportFactOf) {
        self.report(1, end.of(attempt(execution, number)));
    }

    /// The same shim says hello again, with these attempts.
    fn back_with(&mut self, held: &[(&str, u32, AttemptPhase)]) {
        self.disconnect();
        self.back_with_reports(held, Vec::new());
    }

    fn back_with_reports(&mut self, held: &[(&str, u32, AttemptPhase)], reports: Vec<Report>) {
        let attempts = held.iter().map(|(execution, number, phase)| HeldAttempt {
            attempt: attempt(execution, *number),
            phase: *phase,
        });
        let inventory = Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(self.child(1)),
            attempts: attempts.collect(),
            reports,
            ..Inventory::default()
        };
        let policy = self.agent().policy.clone();
        let same = Hello {
            policy,
            ..worker(|_| ())
        };
        self.connect_with(same, inventory);
    }

    fn ends(&mut self) -> Vec<String> {
        self.commands()
            .into_iter()
            .filter_map(|command| match command {
                Command::EndAttempt { attempt, when, .. } => Some(match when {
                    EndWhen::Now => attempt.to_string(),
                    EndWhen::Overdue => format!("{attempt} if overdue"),
                    EndWhen::NotBegun => format!("{attempt} if not begun"),
                }),
                Command::Run { .. }
                | Command::Stop { .. }
                | Command::Signal { .. }
                | Command::SetPolicy(_)
                | Command::Charge(_)
                | Command::Dispatch(_) => None,
            })
            .collect()
    }
}

#[test]
fn a_message_goes_its_way() {
    let mut world = World::at_work(|_| ());
    assert_eq!(world.send("e"), Some(Ok(())));
    assert_eq!(world.dispatched(), ["e#1"]);
    assert_eq!(world.is("e"), ExecutionState::Dispatched);
    world.start("e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
    world.finish("e", 1, ReportFactOf(Verdict::Succeeded, "42\n"));
    assert_eq!(
        (world.is("e"), world.execution("e").output.kept),
        (ExecutionState::Succeeded, 3)
    );
    assert_eq!(
        world.told(),
        "EXECUTION_QUEUED EXECUTION_DISPATCHED EXECUTION_ACCEPTED EXECUTION_RUNNING EXECUTION_SUCCEEDED"
    );
    // Told again, and late.
    world.finish("e", 1, result(Verdict::Failed));
    assert_eq!(
        (world.is("e"), world.told()),
        (ExecutionState::Succeeded, String::new())
    );
}

#[test]
fn slots_are_taken_by_priority_and_then_by_age() {
    let mut world = World::at_work(|p| (p.max_concurrent, p.queue_limit) = (2, 3));
    for execution in ["a", "b", "c", "d"] {
        assert_eq!(world.send(execution), Some(Ok(())));
    }
    assert_eq!(world.send_with("urgent", |create| create.priority = 1), Some(Ok(())));
    let full = world.send("f");
    assert!(
        matches!(full, Some(Err(ExecutionError::QueueFull { limit: 3, .. }))),
        "{full:?}"
    );
    assert_eq!(world.dispatched(), ["a#1", "b#1"]);
    world.start("a", 1);
    world.finish("a", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), ["urgent#1"]);
    world.finish("b", 1, result(Verdict::Succeeded));
    world.finish("urgent", 1, result(Verdict::Succeeded));
    assert_eq!(world.dispatched(), ["c#1", "d#1"]);
}

#[test]
fn nothing_is_given_to_an_agent_that_is_not_ready() {
    let mut world = World::new();
    world.connect(worker(|_| ()));
    assert_eq!(world.send("e"), Some(Ok(())));
    assert_eq!(world.dispatched(), [""; 0]);
    world.spawn(1);
    assert_eq!(world.dispatched(), ["e#1"]);

    let mut world = World::new();
    world.connect(hello("a", 1));
    assert!(matches!(world.send("e"), Some(Err(ExecutionError::TakesNone(_)))));
}

#[test]
fn what_an_end_means() {
    let redeliver = |p: &mut PolicyFields| p.max_deliveries = 2;
    for (verdict, state) in [
        (Verdict::Succeeded, ExecutionState::Succeeded),
        (Verdict::Failed, ExecutionState::Failed),
        (Verdict::SpawnFailed, ExecutionState::Failed),
        (Verdict::TimedOut, ExecutionState::TimedOut),
        (Verdict::Cancelled, ExecutionState::Cancelled),
        (Verdict::Interrupted, ExecutionState::DeadLetter),
    ] {
        let mut world = World::at_work(|_| ());
        world.send("e");
        world.start("e", 1);
        world.dispatched();
        world.finish("e", 1, result(verdict));
        assert_eq!((world.is("e"), world.dispatched()), (state, vec![]), "{verdict:?}");
    }
    // The agent died with it: once more, and no more.
    let mut world = World::at_work(redeliver);
    world.send("e");
    world.start("e", 1);
    world.dispatched();
    world.finish("e", 1, result(Verdict::Interrupted));
    assert_eq!(world.dispatched(), ["e#2"]);
    world.start("e", 2);
    world.finish("e", 2, result(Verdict::Interrupted));
    assert_eq!(world.is("e"), ExecutionState::DeadLetter);
    // What did not begin does not count.
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.accept("e", 1);
    world.dispatched();
    world.finish("e", 1, result(Verdict::NotBegun));
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn a_cancel_comes_first_or_not() {
    // Before it is given to anybody.
    let mut world = World::at_work(|_| ());
    world.send("busy");
    world.send("e");
    let call = world.cancel("e");
    assert_eq!(
        (world.cancelled(call), world.is("e")),
        (Some(CancelOutcome::Cancelled), ExecutionState::Cancelled)
    );
    // While it runs: answered when none of its processes is left.
    world.start("busy", 1);
    let call = world.cancel("busy");
    assert_eq!((world.cancelled(call), world.ends()), (None, vec!["busy#1".to_owned()]));
    world.finish("busy", 1, result(Verdict::Cancelled));
    assert_eq!(world.cancelled(call), Some(CancelOutcome::Cancelled));
    // An end that was on its way wins.
    world.send("f");
    world.start("f", 1);
    let call = world.cancel("f");
    world.finish("f", 1, result(Verdict::Succeeded));
    assert_eq!(
        (world.cancelled(call), world.is("f")),
        (Some(CancelOutcome::AlreadyOver), ExecutionState::Succeeded)
    );
    // Between accept and spawn.
    world.send("g");
    world.accept("g", 1);
    let call = world.cancel("g");
    world.finish("g", 1, result(Verdict::NotBegun));
    assert_eq!(
        (world.cancelled(call), world.is("g")),
        (Some(CancelOutcome::Cancelled), ExecutionState::Cancelled)
    );
}

#[test]
fn how_an_attempt_failed_is_told_until_the_next_one_is_given() {
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.send("next");
    world.start("e", 1);
    world.finish("e", 1, ReportFactOf(Verdict::Interrupted, "half"));
    // It has its old place in the queue.
    let record = world.execution("e");
    assert_eq!((record.attempt, record.state), (2, ExecutionState::Dispatched));
    assert_eq!(
        (record.failure.as_ref(), record.output.kept),
        (None, 0),
        "of the newest attempt there is none"
    );
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.start("e", 1);
    world.report(1, ended(ExitStatus::Exited(1), EndedBy::Itself));
    world.finish("e", 1, ReportFactOf(Verdict::Interrupted, "half"));
    let record = world.execution("e");
    assert_eq!((record.attempt, record.state), (1, ExecutionState::Queued));
    let cause = record.failure.as_ref().map(|failure| failure.cause);
    assert_eq!((cause, record.output.kept), (Some(FailureCause::Interrupted), 4));
}

#[test]
fn a_cancel_is_told_with_its_reason() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.request(Request::CancelExecution(CancelExecution {
        agent: agent(),
        id: id("e"),
        reason: "wrong inbox".into(),
        grace: None,
    }));
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.says, "ended, as somebody asked for it (wrong inbox)");
}

#[test]
fn a_cancel_of_what_a_silent_shim_has_is_told_when_it_is_back() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.disconnect();
    let call = world.cancel("e");
    assert_eq!(world.cancelled(call), Some(CancelOutcome::Pending));
    world.commands();
    world.connect_with(
        worker(|_| ()),
        Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(world.child(1)),
            attempts: vec![HeldAttempt {
                attempt: attempt("e", 1),
                phase: AttemptPhase::Running,
            }],
            ..Inventory::default()
        },
    );
    assert_eq!(world.ends(), ["e#1"]);
}

#[test]
fn what_never_arrived_is_given_again_and_what_is_held_is_not() {
    let mut world = World::at_work(|p| p.max_concurrent = 2);
    world.send("lost");
    world.send("held");
    world.accept("held", 1);
    world.dispatched();
    world.back_with(&[("held", 1, AttemptPhase::Accepted)]);
    assert_eq!(world.dispatched(), ["lost#1"]);
    assert_eq!(world.execution("lost").attempt, 1);
    assert_eq!(world.is("held"), ExecutionState::Accepted);
}

#[test]
fn what_is_missing_is_lost_and_a_true_end_replaces_that() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.back_with(&[]);
    assert_eq!(world.is("e"), ExecutionState::Running, "the pass decides");
    world.pass(11);
    assert_eq!(world.is("e"), ExecutionState::Lost);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
    world.finish("e", 1, result(Verdict::Failed));
    assert_eq!(world.is("e"), ExecutionState::Succeeded, "once");
}

#[test]
fn what_is_told_again_of_an_earlier_delivery_means_nothing_to_a_later_one() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.accept("e", 1);
    let given_back = world.numbered(1, result(Verdict::NotBegun).of(attempt("e", 1)));
    let session = world.last_session();
    let report = given_back.clone();
    world.step(Input::ShimReported { session, report });
    // It did not begin, and is given again under its number.
    world.start("e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
    // As after another shim had the agent: its own reports count from their beginning.
    let cursor = world.records.agents[0].reports.as_mut().expect("it has reported");
    cursor.sequence = ReportSequence::ZERO;
    world.restart_server();
    world.back_with_reports(&[("e", 1, AttemptPhase::Running)], vec![given_back]);
    assert_eq!(world.is("e"), ExecutionState::Running, "or it would run twice");
}

#[test]
fn a_true_end_of_the_attempt_before_counts_where_the_newest_never_arrived() {
    let mut world = World::at_work(|p| p.max_deliveries = 2);
    world.send("e");
    world.start("e", 1);
    world.back_with(&[]);
    world.pass(11);
    assert_eq!(
        world.is("e"),
        ExecutionState::Dispatched,
        "called lost, and given again"
    );
    world.restart_server();
    world.back_with_reports(&[], Vec::new());
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(
        world.is("e"),
        ExecutionState::Dispatched,
        "the second one is under way by then"
    );
    world.stop();
    world.finish("e", 2, result(Verdict::NotBegun));
    assert_eq!(world.is("e"), ExecutionState::Queued);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.is("e"), ExecutionState::Succeeded);
}

#[test]
fn a_mass_of_missing_executions_is_not_judged() {
    let mut world = World::at_work(|p| p.max_concurrent = 12);
    let names: Vec<String> = (0..12).map(|number| format!("e{number}")).collect();
    for name in &names {
        world.send(name);
        world.start(name, 1);
    }
    world.told();
    world.back_with(&[]);
    world.told();
    world.pass(60);
    assert_eq!(world.told(), "EXECUTION_VERDICTS_HELD", "once");
    assert!(names.iter().all(|name| world.is(name) == ExecutionState::Running));
}

#[test]
fn what_an_operator_gives_up_ends_in_a_mass_absence_too() {
    let mut world = World::at_work(|p| p.max_concurrent = 12);
    let names: Vec<String> = (0..12).map(|number| format!("e{number}")).collect();
    for name in &names {
        world.send(name);
        world.start(name, 1);
    }
    world.back_with(&[]);
    world.pass(60);
    world.cancel("e0");
    world.pass(60);
    assert_eq!(world.is("e0"), ExecutionState::Cancelled);
    assert_eq!(world.is("e1"), ExecutionState::Running, "the others wait for a word");
    world.cancel("e1");
    world.cancel("e2");
    world.pass(60);
    assert_eq!(world.is("e3"), ExecutionState::Lost, "they are no mass any more");
}

#[test]
fn unreachable_is_unknown() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.start("e", 1);
    world.disconnect();
    world.pass(100_000);
    assert_eq!(world.is("e"), ExecutionState::Running);
    world.restart_server();
    world.pass(100_000);
    assert_eq!(world.is("e"), ExecutionState::Running);
}

#[test]
fn a_start_that_comes_too_late_is_none() {
    let mut world = World::at_work(|_| ());
    world.send("busy");
    world.send_with("e", |create| create.schedule_to_start = Some(Duration::from_secs(5)));
    world.pass(4);
    assert_eq!(world.is("e"), ExecutionState::Queued);
    world.pass(1);
    assert_eq!(world.is("e"), ExecutionState::TimedOut);
}

#[test]
fn whether_what_was_accepted_has_begun_in_time_its_shim_knows() {
    for (away, begun) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::at_work(|_| ());
        world.send_with("e", |create| create.schedule_to_start = Some(Duration::from_secs(5)));
        world.report(1, ReportFact::AttemptAccepted(attempt("e", 1)));
        if away {
            world.disconnect();
        }
        world.pass(20);
        if away {
            assert_eq!(world.ends(), [""; 0]);
            if begun {
                let started = world.numbered(1, ReportFact::AttemptStarted(attempt("e", 1), None));
                world.back_with_reports(&[("e", 1, AttemptPhase::Running)], vec![started]);
            } else {
                world.back_with_reports(&[("e", 1, AttemptPhase::Accepted)], Vec::new());
            }
            world.pass(1);
        }
        let case = format!("away {away}, begun {begun}");
        if begun && !away {
            // It began before it was asked.
            assert_eq!(world.ends(), ["e#1 if not begun"], "{case}");
            world.start("e", 1);
            assert_eq!(world.is("e"), ExecutionState::Running, "{case}");
            world.finish("e", 1, result(Verdict::Succeeded));
            assert_eq!(world.is("e"), ExecutionState::Succeeded, "{case}");
        } else if begun {
            assert_eq!(world.ends(), [""; 0], "{case}");
            assert_eq!(world.is("e"), ExecutionState::Running, "{case}");
        } else {
            assert_eq!(world.ends(), ["e#1 if not begun"], "{case}");
            world.finish("e", 1, result(Verdict::NotBegun));
            assert_eq!(world.is("e"), ExecutionState::TimedOut, "{case}");
        }
    }
}

#[test]
fn a_shim_that_is_away_is_not_judged_by_the_servers_clock() {
    let mut world = World::at_work(|p| {
        p.message_timeout = Duration::from_secs(30);
        p.blocked_limit = Duration::from_secs(1);
    });
    world.send("e");
    world.start("e", 1);
    world.disconnect();
    world.pass(1000);
    assert_eq!(world.execution("e").ending, None);
    world.back_with_reports(&[("e", 1, AttemptPhase::Running)], Vec::new());
    assert_eq!(world.ends(), [""; 0]);
}

#[test]
fn a_shim_that_does_not_keep_the_time_is_asked_to_and_asked_again() {
    let mut world = World::at_work(|p| {
        p.message_timeout = Duration::from_secs(30);
        p.blocked_limit = Duration::from_secs(40);
    });
    world.send("e");
    world.start("e", 1);
    world.pass(40);
    assert_eq!(world.ends(), [""; 0]);
    world.pass(5);
    assert_eq!(world.ends(), ["e#1 if overdue"]);
    world.pass(30);
    assert_eq!(world.ends(), ["e#1 if overdue"], "its agent may be blocked");
    world.pass(10);
    assert_eq!(world.ends(), ["e#1"]);
    world.pass(15);
    assert_eq!(world.ends(), ["e#1"], "without grace");
    assert_eq!(world.is("e"), ExecutionState::Running, "its slot is held");
    world.finish("e", 1, result(Verdict::Cancelled));
    assert_eq!(world.is("e"), ExecutionState::TimedOut);
}

#[test]
fn a_cancel_that_ends_the_agent_spends_nothing_of_its_budget() {
    for (by, attempts) in [(EndedBy::MessageCancel, 0), (EndedBy::MessageTimeout, 1)] {
        let mut world = World::at_work(|_| ());
        world.report(1, ended(ExitStatus::Exited(0), by));
        let record = world.agent();
        assert_eq!(
            (record.incarnation.get(), record.budget.attempts),
            (2, attempts),
            "{by:?}"
        );
    }
}

#[test]
fn a_dispatch_that_is_not_answered_ends_the_stream() {
    let mut world = World::at_work(|_| ());
    world.send("e");
    world.pass(60);
    assert!(
        world
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Disconnect { .. }))
    );
    world.dispatched();
    world.back_with(&[]);
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn a_restart_cancels_or_requeues_what_runs() {
    for (policy, state) in [
        (InterruptPolicy::Cancel, ExecutionState::Cancelled),
        (InterruptPolicy::Requeue, ExecutionState::Queued),
    ] {
        let mut world = World::at_work(|p| p.on_restart = policy);
        world.send("e");
        world.send("waits");
        world.start("e", 1);
        let call = world.restart(|_| ());
        world.finish("e", 1, result(Verdict::Interrupted));
        assert_eq!((world.is("e"), world.is("waits")), (state, ExecutionState::Queued));
        world.report(1, ended(ExitStatus::Exited(0), EndedBy::Command));
        world.report(2, ReportFact::Spawned(Some(process(2))));
        world.report(2, ReportFact::Ready);
        let answer = world.answer(call).expect("answered").expect("done");
        let cancels: Vec<String> = answer.cancels.iter().map(ToString::to_string).collect();
        match policy {
            InterruptPolicy::Cancel => assert_eq!(cancels, ["e"]),
            InterruptPolicy::Requeue => assert!(cancels.is_empty()),
        }
    }
}

#[test]
fn a_request_is_one_request_and_a_name_is_one_execution() {
    let mut world = World::at_work(|_| ());
    let with_id = |create: &mut CreateExecution| create.request_id = request_id("r");
    assert_eq!(world.send_with("e", with_id), Some(Ok(())));
    world.restart_server();
    assert_eq!(world.send_with("e", with_id), Some(Ok(())));
    assert!(matches!(
        world.send_with("f", with_id),
        Some(Err(ExecutionError::RequestIdReused { .. }))
    ));
    assert!(matches!(world.send("e"), Some(Err(ExecutionError::Exists { .. }))));
    assert_eq!(world.machine.executions().count(), 1);
}

#[test]
fn what_is_over_can_be_done_again() {
    let mut world = World::at_work(|_| ());
    let again = |create: &mut CreateExecution| create.redrive_of = Some(id("e"));
    assert!(matches!(
        world.send_with("f", again),
        Some(Err(ExecutionError::NotFound { .. }))
    ));
    world.send("e");
    assert!(matches!(
        world.send_with("f", again),
        Some(Err(ExecutionError::NotOver { .. }))
    ));
    world.start("e", 1);
    world.finish("e", 1, result(Verdict::Interrupted));
    assert_eq!(world.send_with("f", again), Some(Ok(())));
    assert_eq!(world.execution("e").redriven_as, Some(id("f")));
    assert_eq!(world.execution("f").redrive_of, Some(id("e")));
}
