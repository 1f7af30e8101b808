//! Which executions are forgotten for their age or their count, and which are not, whoever asks.

use super::*;

impl World {
    /// All of these are said to be too old, and what is left after that.
    fn aged(&mut self, executions: &[&str]) -> Vec<String> {
        self.surplus(executions, usize::MAX)
    }

    /// So many of these are said to be too many, and what is left after that.
    fn surplus(&mut self, executions: &[&str], most: usize) -> Vec<String> {
        let executions = executions.iter().map(|name| (agent(), id(name))).collect();
        self.step(Input::ExecutionsAged { executions, most });
        self.machine.executions().map(|record| record.id.to_string()).collect()
    }

    /// The only execution, `e`, is LOST: its shim came back without it.
    fn with_one_lost() -> Self {
        let mut world = Self::at_work(|_| ());
        world.send("e");
        world.start("e", 1);
        world.back_with(&[]);
        world.pass(11);
        assert_eq!(world.is("e"), ExecutionState::Lost);
        world
    }
}

#[test]
fn only_what_is_over_is_forgotten() {
    for (verdict, left) in [
        (Some(Verdict::Succeeded), vec![]),
        (Some(Verdict::Failed), vec![]),
        (Some(Verdict::TimedOut), vec![]),
        (Some(Verdict::Cancelled), vec![]),
        (Some(Verdict::Interrupted), vec![]),
        // Given again at once.
        (Some(Verdict::NotBegun), vec!["e"]),
        (None, vec!["e"]),
    ] {
        let mut world = World::at_work(|_| ());
        world.send("e");
        world.start("e", 1);
        if let Some(verdict) = verdict {
            world.finish("e", 1, result(verdict));
        }
        assert_eq!(world.aged(&["e", "unknown"]), left, "{verdict:?}");
    }
    let mut world = World::at_work(|_| ());
    for execution in ["dispatched", "queued"] {
        world.send(execution);
    }
    assert_eq!(world.aged(&["dispatched", "queued"]), ["dispatched", "queued"]);
}

#[test]
fn what_is_forgotten_may_come_again_under_its_name_and_its_request() {
    let mut world = World::at_work(|_| ());
    let with_id = |create: &mut CreateExecution| create.request_id = request_id("r");
    world.send_with("e", with_id);
    world.start("e", 1);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.aged(&["e"]), [""; 0]);
    assert_eq!(world.records.executions, []);
    world.dispatched();
    assert_eq!(world.send_with("e", with_id), Some(Ok(())));
    assert_eq!(world.dispatched(), ["e#1"]);
}

#[test]
fn an_empty_inventory_forgets_nothing() {
    let mut world = World::at_work(|p| p.max_concurrent = 2);
    for execution in ["done", "runs"] {
        world.send(execution);
        world.start(execution, 1);
    }
    world.finish("done", 1, result(Verdict::Succeeded));
    world.back_with(&[]);
    world.pass(11);
    let left: Vec<String> = world.machine.executions().map(|record| record.id.to_string()).collect();
    assert_eq!(left, ["done", "runs"]);
    assert_eq!(world.is("runs"), ExecutionState::Lost);
}

#[test]
fn one_that_is_lost_waits_for_its_shims_word() {
    // Its shim is there, and has told all that it has: nothing is to come.
    let mut world = World::with_one_lost();
    assert_eq!(world.aged(&["e"]), [""; 0]);
    // It is away, and the true end may be in its outbox.
    let mut world = World::with_one_lost();
    world.disconnect();
    assert_eq!(world.aged(&["e"]), ["e"]);
    world.restart_server();
    assert_eq!(world.aged(&["e"]), ["e"]);
    // It says that it has it after all.
    world.back_with(&[("e", 1, AttemptPhase::Running)]);
    assert_eq!(world.aged(&["e"]), ["e"]);
    world.finish("e", 1, result(Verdict::Succeeded));
    assert_eq!(world.aged(&["e"]), [""; 0]);
}

#[test]
fn it_is_kept_from_when_the_server_learned_of_its_end() {
    let mut world = World::with_one_lost();
    let lost = world.execution("e").times.closed;
    assert_eq!(lost, Some(world.now.wall));
    world.pass(3600);
    let mut end = world.numbered(1, result(Verdict::Succeeded).of(world.attempt("e", 1)));
    // A host whose clock stands still.
    end.time = Timestamp::UNIX_EPOCH;
    let session = world.last_session();
    world.step(Input::ShimReported { session, report: end });
    let times = &world.execution("e").times;
    assert_eq!(
        (times.ended, times.closed),
        (Some(Timestamp::UNIX_EPOCH), Some(world.now.wall))
    );
}

#[test]
fn one_that_has_to_stay_is_not_counted_among_those_that_go() {
    let mut world = World::at_work(|p| p.max_concurrent = 4);
    for execution in ["lost", "a", "b", "c"] {
        world.send(execution);
        world.start(execution, 1);
    }
    for execution in ["a", "b", "c"] {
        world.finish(execution, 1, result(Verdict::Succeeded));
    }
    world.back_with(&[]);
    world.pass(11);
    assert_eq!(world.is("lost"), ExecutionState::Lost);
    world.disconnect();
    assert_eq!(world.surplus(&["lost", "a", "b", "c"], 2), ["c", "lost"]);
}

#[test]
fn the_order_of_ends_is_that_of_their_events() {
    let mut world = World::at_work(|p| p.max_concurrent = 2);
    for execution in ["first", "second"] {
        world.send(execution);
        world.start(execution, 1);
    }
    world.finish("second", 1, result(Verdict::Succeeded));
    // The clock is set back by years.
    world.now.wall = Timestamp::UNIX_EPOCH;
    world.finish("first", 1, result(Verdict::Succeeded));
    let (first, second) = (world.execution("first"), world.execution("second"));
    assert!(first.times.closed < second.times.closed && first.end_order > second.end_order);
}
