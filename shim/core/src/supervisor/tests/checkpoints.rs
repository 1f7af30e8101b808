//! What the agent saves, what the next life is handed, and what the server is told of it.

mod ends;
mod handed;
mod left;
mod told;

use std::sync::Arc;

use rekindle::checkpoint::{
    AskedSave, Checkpoint, CheckpointBody, CheckpointDraft, CheckpointFields, CheckpointId, CheckpointState, ClosedBy,
    Flags, HeldCheckpoint, OfferedCheckpoint, Resumption, RunContext, Standing,
};
use rekindle::execution::Delivery;
use rekindle::session::CheckpointStock;

use super::work::{attempt, dispatch};
use super::*;
use crate::input::{About, NotWritten, RequestNumber, TaskIs, Word, WriteFault};

pub(super) const fn id(incarnation: u64, number: u32) -> CheckpointId {
    CheckpointId::new(n(incarnation), number)
}

pub(super) fn content(incarnation: u64, number: u32, task: &str) -> Arc<Checkpoint> {
    Arc::new(Checkpoint {
        id: id(incarnation, number),
        fields: fields(task),
        body: CheckpointBody::new(b"body".to_vec()).expect("short"),
        saved: Timestamp::UNIX_EPOCH,
    })
}

pub(super) fn held(incarnation: u64, number: u32, task: &str) -> HeldCheckpoint {
    HeldCheckpoint::new(
        content(incarnation, number, task),
        CheckpointState::saved(id(incarnation, number)),
    )
}

fn fields(task: &str) -> CheckpointFields {
    CheckpointFields::new(CheckpointDraft {
        task_id: task.to_owned(),
        ..CheckpointDraft::default()
    })
    .expect("valid")
}

/// The life saves, as request 1.
pub(super) fn save(incarnation: u64, task: &str) -> Input {
    Input::SaveAsked {
        request: RequestNumber(1),
        incarnation: Some(n(incarnation)),
        fields: fields(task),
        body: CheckpointBody::default(),
        task: TaskIs::GoingOn,
    }
}

fn last_save(incarnation: u64) -> Input {
    Input::SaveAsked {
        request: RequestNumber(1),
        incarnation: Some(n(incarnation)),
        fields: fields("t"),
        body: CheckpointBody::default(),
        task: TaskIs::Over,
    }
}

pub(super) fn load(incarnation: u64) -> Input {
    Input::LoadAsked {
        request: RequestNumber(2),
        incarnation: Some(n(incarnation)),
    }
}

pub(super) fn confirm(incarnation: u64) -> Input {
    Input::ConfirmAsked {
        request: RequestNumber(3),
        incarnation: Some(n(incarnation)),
    }
}

pub(super) fn close(incarnation: u64) -> Input {
    Input::CloseAsked {
        request: RequestNumber(4),
        incarnation: Some(n(incarnation)),
    }
}

pub(super) fn written(incarnation: u64, number: u32) -> Input {
    Input::CheckpointWritten {
        id: id(incarnation, number),
        result: Ok(()),
    }
}

fn no_room(incarnation: u64, number: u32) -> Input {
    Input::CheckpointWritten {
        id: id(incarnation, number),
        result: Err(NotWritten {
            cause: WriteFault::Room,
            message: "no space".into(),
        }),
    }
}

pub(super) fn run_with(incarnation: u64, context: RunContext) -> Input {
    Input::Commanded(
        CommandId(1),
        Command::Run {
            incarnation: n(incarnation),
            grace: None,
            context,
        },
    )
}

pub(super) fn resume(change: impl FnOnce(&mut Resumption)) -> RunContext {
    let mut resumption = Resumption::default();
    change(&mut resumption);
    RunContext::Resume(Box::new(resumption))
}

pub(super) fn offered(incarnation: u64, number: u32, standing: Standing) -> OfferedCheckpoint {
    OfferedCheckpoint {
        state: CheckpointState {
            standing,
            ..CheckpointState::saved(id(incarnation, number))
        },
        content: Some(content(incarnation, number, "t")),
    }
}

impl Bench {
    /// As [`Bench::linked`], to a server that takes checkpoints and has this.
    pub(super) fn with_server(settings: Settings, stock: Option<CheckpointState>) -> Self {
        let (mut bench, _) = Self::new(settings, journal());
        bench.step(Input::LinkOpened);
        bench.welcomed_with(stock);
        bench
    }

    pub(super) fn welcomed_with(&mut self, stock: Option<CheckpointState>) -> Vec<String> {
        let through = self.supervisor.journal().last_report;
        let Input::Welcomed(mut welcome) = self.welcome(through.get()) else {
            panic!("a welcome");
        };
        welcome.checkpoints = CheckpointStock::Newest(stock);
        self.step(Input::Welcomed(welcome))
    }

    /// Begins a life, and has all of it acknowledged; what was done.
    pub(super) fn begins(&mut self, input: Input, incarnation: u64) -> Vec<String> {
        let mut done = self.step(input);
        done.extend(self.step(spawned(incarnation)));
        let told = self.supervisor.journal().last_report;
        self.step(Input::Acknowledged(told));
        done
    }

    /// With a life that runs.
    pub(super) fn lives(incarnation: u64) -> Self {
        let mut bench = Self::with_server(settings(), None);
        bench.begins(run(incarnation), incarnation);
        bench
    }

    /// The life dies by itself, and the server knows.
    pub(super) fn crashes(&mut self, incarnation: u64) {
        self.step(exited(incarnation));
        self.step(gone(incarnation));
        let told = self.supervisor.journal().last_report;
        self.step(Input::Acknowledged(told));
    }

    /// The life saves, durably, and the server has that.
    pub(super) fn saves(&mut self, incarnation: u64, number: u32, task: &str) {
        self.step(save(incarnation, task));
        self.step(written(incarnation, number));
        self.step(kept(incarnation, number));
        self.pass(secs(1));
    }

    pub(super) fn newest(&self) -> Option<CheckpointState> {
        self.supervisor.journal().checkpoint.clone()
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.newest().map(|state| state.standing)
    }

    pub(super) fn handed(&self, incarnation: u64) -> Option<HeldCheckpoint> {
        self.supervisor.handed_over(&life(incarnation))
    }
}

pub(super) fn kept(incarnation: u64, number: u32) -> Input {
    Input::CheckpointAnswered(rekindle::session::CheckpointKept {
        id: id(incarnation, number),
        refused: None,
    })
}

/// Whether the newest life saved when it was asked to, as is told.
pub(super) fn asked(bench: &Bench) -> Option<AskedSave> {
    let outbox = &bench.supervisor.journal().outbox;
    outbox.iter().rev().find_map(|report| {
        let ReportFact::Exited(evidence) = &report.fact else {
            return None;
        };
        Some(evidence.asked_save)
    })
}

pub(super) fn unclean() -> Flags {
    Flags::unclean([])
}

#[test]
fn a_save_is_answered_when_it_is_durable() {
    let mut bench = Bench::lives(1);
    bench.does(save(1, "t"), &["write 1.1 Open []"]);
    bench.does(written(1, 1), &["answer 1 saved 1.1", "holds 1.1 Open []"]);
    bench.does(load(1), &["answer 2 loaded 1.1 Open []"]);
    assert_eq!(bench.newest(), Some(CheckpointState::saved(id(1, 1))));
}

#[test]
fn saves_are_written_one_after_the_other_and_in_order() {
    let mut bench = Bench::lives(1);
    bench.does(save(1, "a"), &["write 1.1 Open []"]);
    bench.does(save(1, "b"), &[]);
    bench.does(close(1), &[]);
    bench.does(load(1), &["answer 2 loaded nothing"]);
    bench.does(written(1, 9), &[]);
    bench.does(
        written(1, 1),
        &["answer 1 saved 1.1", "write 1.2 Open []", "holds 1.1 Open []"],
    );
    bench.does(
        written(1, 2),
        &["write and sync", "answer 1 saved 1.2", "answer 4 done"],
    );
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Agent)));
    bench.does(load(1), &["answer 2 loaded nothing"]);
}

#[test]
fn what_waits_has_a_bound() {
    let mut bench = Bench::lives(1);
    bench.step(save(1, "t"));
    for _ in 0..8 {
        bench.does(save(1, "t"), &[]);
    }
    bench.does(save(1, "t"), &["answer 1 TooMany"]);
    bench.step(written(1, 1));
    bench.does(save(1, "t"), &[]);
}

#[test]
fn a_full_disk_leaves_the_one_before_and_the_agent() {
    let mut bench = Bench::lives(1);
    bench.saves(1, 1, "t");
    bench.does(save(1, "u"), &["write 1.2 Open []"]);
    bench.does(
        no_room(1, 2),
        &["answer 1 NotWritten(NotWritten { cause: Room, message: \"no space\" })"],
    );
    bench.does(load(1), &["answer 2 loaded 1.1 Open []"]);
    // It may be on the disk all the same.
    bench.does(save(1, "u"), &["write 1.3 Open []"]);
}

#[test]
fn only_the_life_that_goes_on_is_heard() {
    let mut bench = Bench::with_server(settings(), None);
    for word in [save(1, "t"), load(1), confirm(1), close(1)] {
        let shown = bench.step(word);
        assert!(
            matches!(shown.as_slice(), [only] if only.ends_with("NotRunning")),
            "{shown:?}"
        );
    }
    bench.begins(run(2), 2);
    for word in [save(1, "t"), load(1), confirm(1), close(1), save(3, "t")] {
        let shown = bench.step(word);
        let expected = "OldIncarnation { living: Incarnation(2) }";
        assert!(
            matches!(shown.as_slice(), [only] if only.ends_with(expected)),
            "{shown:?}"
        );
    }
    let unsaid = Input::SaveAsked {
        request: RequestNumber(1),
        incarnation: None,
        fields: fields(""),
        body: CheckpointBody::default(),
        task: TaskIs::GoingOn,
    };
    bench.does(unsaid, &["write 2.1 Open []"]);
}

#[test]
fn there_is_nothing_to_confirm_or_to_close_where_nothing_was_saved() {
    let mut bench = Bench::lives(1);
    bench.does(load(1), &["answer 2 loaded nothing"]);
    bench.does(confirm(1), &["answer 3 NothingSaved"]);
    bench.does(close(1), &["answer 4 NothingSaved"]);
    bench.saves(1, 1, "t");
    bench.does(confirm(1), &["answer 3 done"]);
    bench.does(
        close(1),
        &["write and sync", "answer 4 done", "holds 1.1 Closed(Agent) []"],
    );
    bench.does(close(1), &["answer 4 done"]);
}

#[test]
fn the_last_save_of_a_task_closes_it() {
    let mut bench = Bench::lives(1);
    bench.step(last_save(1));
    bench.does(
        written(1, 1),
        &["write and sync", "answer 1 saved 1.1", "holds 1.1 Closed(Agent) []"],
    );
    bench.step(last_save(1));
    bench.does(
        no_room(1, 2),
        &["answer 1 NotWritten(NotWritten { cause: Room, message: \"no space\" })"],
    );
    assert_eq!(bench.newest().map(|state| state.id), Some(id(1, 1)));
}

fn pulls() -> Bench {
    let settings = Settings {
        delivery: Delivery::Pull,
        policy: AgentPolicy::new(PolicyFields {
            max_concurrent: 2,
            ..PolicyFields::default()
        })
        .expect("valid"),
        ..settings()
    };
    let mut bench = Bench::with_server(settings, None);
    bench.begins(run(1), 1);
    bench
}

impl Bench {
    /// The agent takes a message.
    fn takes(&mut self, number: u64) {
        self.step(dispatch(number));
        self.step(Input::WorkAsked {
            request: RequestNumber(100 + number),
        });
    }

    fn task_saved(&self) -> String {
        let held = self.supervisor.handed_over(&TreeId::Attempt(attempt(1)));
        held.map(|held| held.checkpoint.fields.task_id.clone())
            .unwrap_or_default()
    }

    fn finishes(&mut self, number: u64, word: Word) -> Vec<String> {
        let about = About::attempt(&attempt(number));
        self.step(Input::WorkSaid {
            request: None,
            about,
            word,
        })
    }
}

fn done() -> Word {
    Word::Done {
        output: rekindle::execution::Output::default(),
    }
}

#[test]
fn who_works_on_one_message_saves_for_that() {
    let mut bench = pulls();
    bench.takes(1);
    bench.saves(1, 1, "");
    assert_eq!(bench.task_saved(), "e1");
    bench.takes(2);
    bench.saves(1, 2, "");
    assert_eq!(bench.task_saved(), "", "which of the two?");
    bench.saves(1, 3, "agents/a/executions/e1");
    assert_eq!(bench.task_saved(), "agents/a/executions/e1");
}

#[test]
fn the_end_of_its_task_closes_a_checkpoint_and_no_other_end() {
    let failed = Word::Failed {
        message: "no".into(),
        output: rekindle::execution::Output::default(),
    };
    for (task, word, closed) in [
        ("e1", done(), true),
        ("agents/a/executions/e1", failed, true),
        ("e2", done(), false),
        ("agents/b/executions/e1", done(), false),
        ("mine", done(), false),
    ] {
        let mut bench = pulls();
        bench.takes(1);
        bench.saves(1, 1, task);
        bench.finishes(1, word);
        let standing = bench.standing();
        let expected = if closed {
            Standing::Closed(ClosedBy::Task)
        } else {
            Standing::Open
        };
        assert_eq!(standing, Some(expected), "{task}");
    }
}

#[test]
fn a_task_that_ends_while_its_checkpoint_is_being_written_closes_it_all_the_same() {
    let mut bench = pulls();
    bench.takes(1);
    bench.does(save(1, ""), &["write 1.1 Open []"]);
    bench.finishes(1, done());
    assert_eq!(bench.standing(), None);
    bench.step(written(1, 1));
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Task)));
}

#[test]
fn a_task_that_runs_past_its_time_is_over() {
    let mut bench = pulls();
    bench.takes(1);
    bench.saves(1, 1, "");
    bench.pass(secs(59));
    bench.step(Input::Tick);
    bench.step(gone(1));
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Task)));
}

#[test]
fn what_is_closed_already_stays_closed_as_it_was() {
    let mut bench = pulls();
    bench.takes(1);
    bench.saves(1, 1, "e1");
    bench.step(close(1));
    bench.finishes(1, done());
    assert_eq!(bench.standing(), Some(Standing::Closed(ClosedBy::Agent)));
}

#[test]
fn what_was_interrupted_or_cancelled_closes_nothing() {
    let mut bench = pulls();
    bench.takes(1);
    bench.saves(1, 1, "");
    bench.step(exited(1));
    bench.step(gone(1));
    assert_eq!(bench.standing(), Some(Standing::Open));
    let flags = bench.newest().expect("saved").flags;
    let in_flight: Vec<&str> = flags.in_flight.iter().map(|execution| execution.as_str()).collect();
    assert_eq!((flags.unclean, in_flight), (true, vec!["e1"]));
}
