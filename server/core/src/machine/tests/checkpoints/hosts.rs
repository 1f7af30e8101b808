//! Another host, a reboot, a shim that was alone, a store that was set back.

use rekindle::execution::{Delivery, ExecutionState};

use super::*;

/// The shim of the agent on another host.
fn elsewhere(life: u128) -> Hello {
    let mut hello = hello("a", life);
    hello.host = Host {
        name: "host-b".into(),
        machine_id: Some("machine-b".into()),
        boot_id: BootId::from_u128(2),
    };
    hello.marker = Marker::from_u128(2);
    hello
}

fn last(incarnation: u64) -> Inventory {
    Inventory {
        last_incarnation: Incarnation::new(incarnation),
        ..Inventory::default()
    }
}

/// The agent's shim is gone with its host, and an operator gives the agent to another one; the life that this begins.
fn taken_over(world: &mut World) -> u64 {
    world.disconnect();
    world.pass(20);
    world.restart(|run| run.force = Force::Yes);
    world.sequence = 0;
    world.effects.clear();
    world.connect(elsewhere(9));
    world.agent().incarnation.get()
}

#[test]
fn another_host_gets_the_whole_of_it() {
    let mut world = World::new();
    world.connect(Hello {
        delivery: Delivery::Pull,
        policy: policy(|fields| fields.on_restart = rekindle::policy::InterruptPolicy::Requeue),
        ..hello("a", 1)
    });
    world.spawn(1);
    world.send("e");
    world.start("e", 1);
    assert_eq!(world.is("e"), ExecutionState::Running);
    world.save(held("1.1", "t"));
    taken_over(&mut world);
    let resumption = world.resumption();
    let offered = resumption.offered.expect("one is");
    assert_eq!(offered.state.id, at("1.1"));
    assert_eq!(offered.state.flags, in_flight(&["e"]), "nobody saw its end");
    let content = offered.content.expect("that host has never had it");
    assert_eq!((content.id, content.fields.task_id.as_str()), (at("1.1"), "t"));
}

#[test]
fn a_late_write_by_an_older_life_is_refused() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    let life = taken_over(&mut world);
    world.spawn(life);
    world.report(life, ReportFact::HandedOver(at("1.1")));
    world.exit(life, 0);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    // The first host is back, where life 1 saved again while nobody heard it.
    world.sequence = 1000;
    world.connect_with(hello("a", 3), last(1));
    assert_eq!(
        world.why_refused(held("1.2", "t")),
        format!("a late write: another host's shim has begun incarnation {life} since")
    );
    assert_eq!(world.ids(), ["1.1"]);
    assert_eq!(
        world.save(held("1.1", "t")),
        Some(Ok(())),
        "what it was handed is no news"
    );
    world.effects.clear();
    world.restart(|_| ());
    assert_eq!(
        world.resumption().late_through,
        Incarnation::new(life - 1),
        "its shim hands over none of that"
    );
}

#[test]
fn what_another_directory_has_under_the_same_id_is_not_taken_for_it() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    taken_over(&mut world);
    world.effects.clear();
    world.disconnect();
    // A directory that an agent of the same name has left, which was deleted.
    world.connect_with(
        elsewhere(9),
        Inventory {
            checkpoint: Some((at("1.1"), Timestamp::from_unix_nanos(8))),
            ..last(1)
        },
    );
    assert!(world.offered().content.is_some(), "it may be another one");
    assert_eq!(
        world.why_refused(held("1.1", "other")),
        "the server has another one under this id"
    );
    let life = world.agent().incarnation.get();
    world.spawn(life);
    world.effects.clear();
    world.restart(|_| ());
    assert!(world.offered().content.is_some(), "it is");
}

#[test]
fn what_was_late_once_stays_late() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    let life = taken_over(&mut world);
    world.spawn(life);
    world.exit(life, 0);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    // The first host has the agent again, and begins a life of its own.
    world.sequence = 0;
    world.connect_with(hello("a", 3), last(1));
    world.restart(|_| ());
    let back = world.agent().incarnation.get();
    world.spawn(back);
    let late = world.why_refused(held("1.2", "t"));
    assert_eq!(
        late,
        format!("a late write: another host's shim has begun incarnation {life} since")
    );
    world.restart_server();
    world.connect_with(
        hello("a", 4),
        Inventory {
            child: Some(world.child(back)),
            ..last(back)
        },
    );
    assert_eq!(world.why_refused(held("1.2", "t")), late, "over restarts of all");
    assert_eq!(
        world.save(held(&format!("{back}.1"), "t")),
        Some(Ok(())),
        "what it saves since is not"
    );
    world.effects.clear();
    world.restart(|_| ());
    assert_eq!(world.resumption().late_through, Incarnation::new(life - 1));
}

#[test]
fn what_its_own_shim_tells_late_is_none() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.exit(1, 3);
    world.spawn(2);
    world.report(2, ReportFact::HandedOver(at("1.2")));
    assert_eq!(
        world.save(held("1.2", "t")),
        Some(Ok(())),
        "told after the life that it was handed to"
    );
    assert_eq!(world.save(held("2.1", "t")), Some(Ok(())));
    world.restart(|_| ());
    assert_eq!(world.resumption().late_through, Incarnation::ZERO);
}

#[test]
fn what_a_shim_did_alone_is_told_and_taken() {
    let mut world = World::running();
    world.disconnect();
    let exit = world.numbered(1, crashed());
    let alone = world.numbered(2, ReportFact::Recovering { attempts: 1 });
    let spawned = world.numbered(2, ReportFact::Spawned(Some(process(2))));
    let handed = world.numbered(2, ReportFact::HandedOver(at("1.3")));
    let child = world.child(2);
    world.events.clear();
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(child),
            reports: vec![exit, alone, spawned, handed],
            wanted: Wanted::Run,
            checkpoint: Some(shown("1.3")),
            ..last(2)
        },
    );
    assert!(world.told().contains("CHECKPOINT_HANDED_OVER"));
    assert_eq!(world.save(held("1.3", "t")), Some(Ok(())));
}

#[test]
fn a_reboot_makes_it_unclean() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.disconnect();
    world.pass(20);
    let mut later = hello("a", 2);
    later.host.boot_id = BootId::from_u128(9);
    world.effects.clear();
    world.connect_with(later, last(1));
    let offered = world.offered();
    assert!(offered.state.flags.unclean && offered.state.standing.is_open());
}

#[test]
fn a_store_that_was_set_back_takes_what_it_lacks() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    let backup = world.records.clone();
    world.save(held("1.2", "t"));
    world.exit(1, 3);
    world.spawn(2);
    world.save(held("2.1", "t"));
    world.records = backup;
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(world.child(2)),
            checkpoint: Some(shown("2.1")),
            ..last(2)
        },
    );
    assert_eq!(world.save(held("2.1", "t")), Some(Ok(())));
    assert_eq!(world.ids(), ["1.1", "2.1"]);
}

#[test]
fn an_old_shim_that_knows_none_changes_nothing() {
    let mut world = World::running();
    world.exit(1, 3);
    assert_eq!(world.context(), RunContext::default());
    world.spawn(2);
    assert_eq!(world.state(), AgentState::Running);
}
