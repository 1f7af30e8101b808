use std::sync::Arc;

use rekindle::checkpoint::{CheckpointId, ClosedBy, Flags, Standing};
use rekindle::execution::ExecutionId;

use super::*;

#[test]
fn what_the_next_life_gets_is_told() {
    let saved = |change: fn(&mut CheckpointRecord)| {
        let mut newest = CheckpointRecord {
            agent: AgentId::new("planner-1").expect("valid"),
            id: CheckpointId::new(Incarnation::new(4), 3),
            fields: Arc::default(),
            body_bytes: 0,
            saved: at(NOW - 41),
            standing: Standing::Open,
            flags: Flags::default(),
            crashes: 0,
            read: None,
            confirmed_by: None,
        };
        change(&mut newest);
        newest
    };
    let running = agent(AgentState::Running, StateReason::None);
    let fresh = with(ordered(running.clone(), OperationKind::Restart), |record| {
        record.operation.as_mut().expect("it has one").context = Context::Fresh;
    });
    let deleted = with(running.clone(), |record| {
        record.checkpoint_line.deleted = Some(CheckpointId::new(Incarnation::new(4), 4));
    });
    let cases = [
        (&running, None),
        (&running, Some(saved(|_| ()))),
        (
            &running,
            Some(saved(|newest| {
                newest.flags = Flags::unclean([ExecutionId::new("e-1").expect("valid")]);
                newest.crashes = 1;
            })),
        ),
        (
            &running,
            Some(saved(|newest| newest.standing = Standing::Closed(ClosedBy::Agent))),
        ),
        (
            &running,
            Some(saved(|newest| newest.standing = Standing::Closed(ClosedBy::Task))),
        ),
        (
            &running,
            Some(saved(|newest| newest.standing = Standing::Closed(ClosedBy::Fresh))),
        ),
        (
            &running,
            Some(saved(|newest| {
                newest.standing = Standing::SetAside;
                newest.crashes = 2;
            })),
        ),
        (&fresh, Some(saved(|_| ()))),
        (&deleted, Some(saved(|_| ()))),
    ];
    let told = |record: &AgentRecord, newest: Option<&CheckpointRecord>| {
        let facts = explain(record, Link::Up, 0, newest, at(NOW)).facts;
        let fact = facts.into_iter().find(|fact| fact.name == "checkpoint");
        fact.map_or_else(|| "-".to_owned(), |fact| fact.value)
    };
    let lines: Vec<String> = cases
        .iter()
        .map(|(record, newest)| told(record, newest.as_ref()))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    -
    4.3, saved 41 s ago: the next life goes on from it
    4.3, saved 41 s ago: the next life goes on from it; the life whose it is ended uncleanly, executions in flight: 1; crashes in a row of lives that had read it: 1, and poison_after is 2
    4.3 is closed, as the agent says that its task is over: the next life begins without one
    4.3 is closed, as the execution that it is about is over: the next life begins without one
    4.3 is closed, as an operator had a life begin without it: the next life begins without one
    4.3 is set aside, crashes in a row of lives that had read it: 2; the next one begins without one
    the life that an operator ordered begins without one (CONTEXT_FRESH)
    4.4 was deleted by an operator: the next life begins without one
    ");
}
