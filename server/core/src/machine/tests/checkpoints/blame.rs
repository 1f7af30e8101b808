//! Poison: a checkpoint that crashes those who read it is set aside.

use super::*;

/// A life begins with a checkpoint.
fn begin(world: &mut World, life: u64, id: &str) {
    world.pass(120);
    world.spawn(life);
    world.report(life, ReportFact::HandedOver(at(id)));
}

fn read(world: &mut World, life: u64, id: &str) {
    begin(world, life, id);
    world.report(life, ReportFact::CheckpointRead(at(id)));
}

/// A world in which life 1 has saved, and crashed; `crashes` lives since have read that, and crashed.
fn after(crashes: u64) -> World {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.exit(1, 3);
    for life in 2..2 + crashes {
        read(&mut world, life, "1.1");
        world.exit(life, 3);
    }
    world
}

#[test]
fn two_crashes_in_a_row_of_who_read_it_set_it_aside() {
    let mut world = after(1);
    assert_eq!(world.kept("1.1").crashes, 1);
    world.told();
    read(&mut world, 3, "1.1");
    world.told();
    world.effects.clear();
    world.exit(3, 3);
    assert_eq!(world.kept("1.1").standing, Standing::SetAside);
    assert!(
        world.told().starts_with("CHECKPOINT_SET_ASIDE AGENT_CRASHED"),
        "told with the crash"
    );
    world.pass(120);
    let offered = world.offered();
    assert_eq!(
        offered.state.standing,
        Standing::SetAside,
        "the next life begins without"
    );
    assert!(offered.content.is_none());
    world.restart_server();
    assert_eq!(world.kept("1.1").standing, Standing::SetAside);
}

#[test]
fn nothing_else_is_counted() {
    let crashes = |what: fn(&mut World)| {
        let mut world = after(1);
        what(&mut world);
        (world.kept("1.1").crashes, world.kept("1.1").standing)
    };
    let open = |crashes| (crashes, Standing::Open);
    let not_read = crashes(|world| {
        begin(world, 3, "1.1");
        world.exit(3, 3);
    });
    assert_eq!(not_read, open(1), "it was only given it");
    let confirmed = crashes(|world| {
        read(world, 3, "1.1");
        world.report(3, ReportFact::CheckpointConfirmed(at("1.1")));
        world.exit(3, 3);
    });
    assert_eq!(confirmed, open(0), "it had made it its own");
    let clean = crashes(|world| {
        read(world, 3, "1.1");
        world.exit(3, 0);
    });
    assert_eq!(clean, open(0), "in a row");
    let asked_for = crashes(|world| {
        read(world, 3, "1.1");
        world.restart(|_| ());
        world.report(3, planned(AskedSave::NotSaved));
    });
    assert_eq!(asked_for, open(0), "somebody wanted it");
    let stable = crashes(|world| {
        read(world, 3, "1.1");
        let mut crash = ended(ExitStatus::Exited(3), EndedBy::Itself);
        if let ReportFact::Exited(evidence) = &mut crash {
            evidence.uptime = AgentPolicy::default().stable_after;
        }
        world.report(3, crash);
    });
    assert_eq!(stable, open(0), "it ran for long");
    let with_its_shim = crashes(|world| {
        read(world, 3, "1.1");
        world.report(3, ended(ExitStatus::Unknown, EndedBy::ShimDeath));
    });
    assert_eq!(with_its_shim, open(1), "nobody saw of what it died");
    let saved = crashes(|world| {
        read(world, 3, "1.1");
        world.save(held("3.1", "t"));
        world.exit(3, 3);
    });
    assert_eq!(saved, open(1), "it is not the newest any more");
    let rebooted = crashes(|world| {
        read(world, 3, "1.1");
        world.disconnect();
        world.pass(20);
        let mut later = hello("a", 2);
        later.host.boot_id = BootId::from_u128(9);
        world.connect(later);
    });
    assert_eq!(rebooted, open(0), "its host is to blame");
}

#[test]
fn the_count_goes_on_over_a_restart_of_the_server() {
    let mut world = after(1);
    world.pass(120);
    world.spawn(3);
    world.report(3, ReportFact::CheckpointRead(at("1.1")));
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(3),
            child: Some(world.child(3)),
            ..Inventory::default()
        },
    );
    world.exit(3, 3);
    assert_eq!(world.kept("1.1").standing, Standing::SetAside);
}

#[test]
fn a_crash_that_is_told_twice_counts_once() {
    let mut world = after(0);
    read(&mut world, 2, "1.1");
    world.save(with(held("1.1", "t"), |held| held.crashes = 1));
    world.exit(2, 3);
    assert_eq!(
        world.kept("1.1").crashes,
        1,
        "as one more of its crashes, and as the end of its reader"
    );
    world.save(with(held("1.1", "t"), |held| held.crashes = 1));
    assert_eq!(
        (world.kept("1.1").crashes, world.kept("1.1").standing),
        (1, Standing::Open)
    );
    read(&mut world, 3, "1.1");
    world.exit(3, 3);
    assert_eq!(world.kept("1.1").standing, Standing::SetAside);
}

#[test]
fn what_a_shim_counted_alone_counts() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.save(with(held("1.1", "t"), |held| held.crashes = 1));
    assert_eq!(world.kept("1.1").crashes, 1);
    world.told();
    world.save(with(held("1.1", "t"), |held| held.crashes = 2));
    assert_eq!(world.told(), "CHECKPOINT_SET_ASIDE");
    let mut world = World::running();
    world.save(with(held("1.1", "t"), standing(Standing::SetAside)));
    assert_eq!(world.told(), "CHECKPOINT_SAVED CHECKPOINT_SET_ASIDE");
}

#[test]
fn a_policy_of_zero_sets_nothing_aside() {
    let mut world = World::new();
    let never = Hello {
        policy: policy(|fields| {
            fields.poison_after = 0;
            fields.max_attempts = 100;
        }),
        ..hello("a", 1)
    };
    world.connect(never);
    world.spawn(1);
    world.save(held("1.1", "t"));
    world.exit(1, 3);
    for life in 2..6 {
        read(&mut world, life, "1.1");
        world.exit(life, 3);
    }
    assert_eq!(
        (world.kept("1.1").crashes, world.kept("1.1").standing),
        (4, Standing::Open)
    );
}
