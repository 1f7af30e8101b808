//! Workflows that are set off by agents' events, and by one another.

use super::*;
use rekindle::workflow::{AgentEventKind, AgentEvents, CHAIN_MAX, Completion};

fn on_events(types: &[AgentEventKind]) -> Trigger {
    Trigger::AgentEvent(AgentEvents::new(agent(), types.iter().copied()).expect("valid"))
}

fn after(id: &str, states: &[ExecutionState]) -> Trigger {
    Trigger::Completion(Completion::new(wid(id), states.iter().copied()).expect("valid"))
}

#[test]
fn an_agents_event_sets_off_who_waits_for_it() {
    let mut world = World::at_work(|_| ());
    world.flow("crash", on_events(&[AgentEventKind::Crashed]), |_| ());
    world.flow(
        "ready",
        on_events(&[AgentEventKind::Ready, AgentEventKind::Registered]),
        |_| (),
    );
    world.flow("off", on_events(&[AgentEventKind::Crashed]), |fields| {
        fields.enabled = false
    });
    world.messages.clear();
    world.dies();
    assert_eq!(
        (world.waiting("crash"), world.waiting("ready"), world.waiting("off")),
        (vec![1], vec![], vec![])
    );
    assert_eq!(world.record("crash").pending[0].source.as_str(), "agent_event");
    world.comes_back();
    // Both are made in the step in which the agent is RUNNING.
    assert_eq!(
        (world.made("crash").as_str(), world.made("ready").as_str()),
        ("1:DISPATCHED", "1:QUEUED")
    );
    let told = &world.messages[0];
    assert!(
        told.contains(r#"{"agent":"agents/a","event":"AGENT_CRASHED","sequence":"#),
        "{told}"
    );
}

#[test]
fn the_end_of_an_execution_sets_off_who_follows_its_workflow() {
    let mut world = World::at_work(|_| ());
    world.flow("first", Trigger::Manual, |_| ());
    world.flow("then", after("first", &[]), |_| ());
    world.flow("failed", after("first", &[ExecutionState::Failed]), |_| ());
    world.trigger("first", "k").expect("accepted");
    world.messages.clear();
    world.does("first", 1);
    assert_eq!(
        (world.made("then").as_str(), world.made("failed").as_str()),
        ("1:DISPATCHED", "")
    );
    let told = format!(
        r#"do {{"workflow":"workflows/first","execution":"agents/a/executions/{}","state":"SUCCEEDED"}}"#,
        world.execution_of("first", 1)
    );
    assert_eq!(world.messages, [told]);
    world.does("then", 1);
    world.trigger("first", "l").expect("accepted");
    world.works_on("first", 2);
    world.did("first", 2, Verdict::Failed);
    assert_eq!(
        (world.made("then").as_str(), world.made("failed").as_str()),
        ("1:SUCCEEDED", "1:DISPATCHED")
    );
    // Of another workflow of the same name nobody waited for the end.
    world.does("failed", 1);
    world.trigger("first", "m").expect("accepted");
    world.works_on("first", 3);
    let execution = world.execution_of("first", 3);
    world.drop_workflow("first", None).expect("there");
    world.flow("first", Trigger::Manual, |_| ());
    world.finish(&execution, 1, result(Verdict::Succeeded));
    assert_eq!(world.made("then"), "1:SUCCEEDED");
}

#[test]
fn the_end_of_what_a_workflow_made_that_is_gone_sets_off_who_follows() {
    let mut world = World::at_work(|_| ());
    world.flow("first", Trigger::Manual, |_| ());
    world.flow("then", after("first", &[]), |_| ());
    world.trigger("first", "k").expect("accepted");
    world.works_on("first", 1);
    let execution = world.execution_of("first", 1);
    world.drop_workflow("first", None).expect("there");
    world.finish(&execution, 1, result(Verdict::Succeeded));
    assert_eq!(world.made("then"), "1:DISPATCHED");
}

#[test]
fn what_goes_on_when_its_agent_is_deleted_has_ended() {
    for (is_given, state) in [(true, ExecutionState::Lost), (false, ExecutionState::Cancelled)] {
        let mut world = World::at_work(|policy| policy.max_concurrent = 1);
        if !is_given {
            world.send("other").expect("told").expect("made");
        }
        world.flow("first", Trigger::Manual, |_| ());
        for (name, waits_for) in [("lost", ExecutionState::Lost), ("cancelled", ExecutionState::Cancelled)] {
            world.flow(name, after("first", &[waits_for]), |_| ());
        }
        world.trigger("first", "k").expect("accepted");
        world.disconnect();
        world.told();
        world.request(Request::Delete(DeleteRequest {
            agent: agent(),
            etag: None,
            force: Force::Yes,
        }));
        let fired = |name: &str| world.waiting(name).len();
        let expected = if is_given { (1, 0) } else { (0, 1) };
        assert_eq!((fired("lost"), fired("cancelled")), expected, "{state}");
        let error = world.record("first").last_error.as_ref().expect("told");
        assert!(
            error.message.contains(&format!("{state}: its agent was deleted")),
            "{}",
            error.message
        );
        world.restart_server();
        let fired = |name: &str| world.waiting(name).len();
        assert_eq!((fired("lost"), fired("cancelled")), expected, "{state}: it is durable");
    }
}

#[test]
fn what_is_lost_and_given_again_has_not_ended() {
    let mut world = World::at_work(|policy| policy.max_deliveries = 2);
    world.flow("first", Trigger::Manual, |_| ());
    world.flow(
        "then",
        after("first", &[ExecutionState::Lost, ExecutionState::Succeeded]),
        |_| (),
    );
    world.trigger("first", "k").expect("accepted");
    world.works_on("first", 1);
    world.back_with(&[]);
    world.pass(10);
    let execution = world.execution_of("first", 1);
    assert_eq!(world.execution(&execution).attempt, 2, "it is given again");
    assert_eq!(
        (world.runner("first"), world.made("then").as_str()),
        (RunnerState::InFlight, "")
    );
}

#[test]
fn a_ring_comes_to_an_end() {
    let mut world = World::at_work(|_| ());
    world.flow("ring", after("ring", &[]), |_| ());
    world.trigger("ring", "k").expect("accepted");
    let mut fire = 1;
    while world.made("ring").contains(&format!("{fire}:DISPATCHED")) {
        assert!(fire < 100, "it ends");
        world.does("ring", fire);
        fire += 1;
    }
    assert_eq!(fire, 2 + u64::from(CHAIN_MAX), "the first, and so many after it");
    assert!(world.told_of_workflows().ends_with("TRIGGERED SKIPPED"));
    assert_eq!(
        (world.waiting("ring"), world.runner("ring")),
        (vec![], RunnerState::Armed)
    );
}

#[test]
fn who_cancels_what_goes_on_sets_off_who_follows_in_the_same_step() {
    let mut world = World::at_work(|_| ());
    world.send("other").expect("told").expect("made");
    world.flow("first", Trigger::Manual, |fields| {
        fields.overlap = Overlap::CancelRunning
    });
    world.flow("then", after("first", &[ExecutionState::Cancelled]), |_| ());
    assert_eq!(world.trigger("first", "one"), Ok("1 QUEUED".into()));
    assert_eq!(world.trigger("first", "two"), Ok("2 QUEUED".into()));
    assert_eq!(
        (world.made("first").as_str(), world.made("then").as_str()),
        ("1:CANCELLED 2:QUEUED", "1:QUEUED")
    );
}
