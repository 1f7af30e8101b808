//! What a policy's exit rules make of an end, and of those that the shim's watches bring about.

use super::*;
use rekindle::policy::RestartPolicy;
use rekindle::recovery::Budget;

/// A world whose agent has these rules, and runs.
fn with_rules(rules: &[&str]) -> World {
    let mut world = World::new();
    let mut hello = hello("a", 1);
    hello.policy = policy(|fields| {
        fields.exit_rules = rules.iter().map(|rule| rule.parse().expect("valid")).collect();
    });
    world.connect(hello);
    world.spawn(1);
    world.told();
    world.commands();
    world
}

#[test]
fn a_quota_parks_the_agent_and_spends_nothing() {
    let mut world = with_rules(&["quota:code=75,park=1h"]);
    world.exit(1, 75);
    assert_eq!(world.told(), "AGENT_CRASHED RECOVERY_SCHEDULED");
    assert_eq!(world.agent().reason.as_str(), "QUOTA");
    world.pass(3599);
    assert_eq!(world.commands(), []);
    world.pass(1);
    assert_eq!(world.commands(), run(2));
    assert_eq!(world.agent().budget, Budget::default());
    world.spawn(2);
    assert_eq!(world.state(), AgentState::Running);
}

#[test]
fn a_park_goes_on_where_the_server_died() {
    let mut world = with_rules(&["quota:code=75,park=1h"]);
    world.exit(1, 75);
    world.pass(1800);
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    world.pass(1799);
    assert_eq!(world.commands(), []);
    world.pass(1);
    assert_eq!(world.commands(), run(2));
}

#[test]
fn what_no_restart_can_cure_is_parked_for_good() {
    for (class, reason) in [("config", "CONFIG"), ("auth", "AUTH")] {
        let mut world = with_rules(&[&format!("{class}:code=78")]);
        world.exit(1, 78);
        assert_eq!(world.told(), "AGENT_CRASHED AGENT_TERMINATED", "{class}");
        assert_eq!(world.agent().reason.as_str(), reason);
        world.pass(100_000);
        assert_eq!(world.commands(), []);
        assert_eq!(world.agent().budget, Budget::default(), "nothing was spent");
    }
}

#[test]
fn a_clean_code_of_the_policy_finishes_or_repeats() {
    let mut world = with_rules(&["clean:code=3"]);
    world.exit(1, 3);
    assert_eq!(world.agent().reason.as_str(), "exit:clean");

    let mut world = World::new();
    let mut hello = hello("a", 1);
    hello.policy = policy(|fields| {
        fields.exit_rules = vec!["crash:code=0".parse().expect("valid")];
        fields.restart = RestartPolicy::Always;
    });
    world.connect(hello);
    world.spawn(1);
    world.exit(1, 0);
    assert_eq!(world.agent().budget.attempts, 1, "a code of 0 that is called a crash");
}

#[test]
fn causes_are_told_apart() {
    let killed = ExitStatus::Signaled {
        signal: 9,
        core_dumped: false,
    };
    for (ended_by, cause) in [
        (EndedBy::Watchdog, "WATCHDOG_TIMEOUT"),
        (EndedBy::Stall, "STALLED"),
        (EndedBy::ShimDeath, "SHIM_LOST"),
        (EndedBy::StartTimeout, "START_TIMEOUT"),
        (EndedBy::Itself, "SIGNALED"),
    ] {
        let mut world = World::running();
        world.report(1, ended(killed, ended_by));
        let failure = world.agent().last_failure.as_ref().expect("it failed");
        assert_eq!(failure.cause.as_str(), cause);
        assert_eq!(world.agent().budget.attempts, 1, "{cause}: a restart may cure it");
    }
    let mut world = World::running();
    let ReportFact::Exited(mut evidence) = ended(killed, EndedBy::Itself) else {
        unreachable!("an end")
    };
    evidence.oom_killed = true;
    world.report(1, ReportFact::Exited(evidence));
    let failure = world.agent().last_failure.as_ref().expect("it failed");
    assert_eq!(failure.cause.as_str(), "OOM_KILLED");
}
