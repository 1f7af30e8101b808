//! Quarantines: what outlived SIGKILL, when its shim comes back.

use super::*;

fn survivors() -> ReportFact {
    ReportFact::Survived(vec![rekindle::report::Survivor {
        pid: 7,
        pidfd_inode: Some(70),
        start_time_ticks: 700,
        command: "stuck".into(),
    }])
}

#[test]
fn survivors_are_no_old_news_to_an_order_that_had_not_begun() {
    let mut world = World::running();
    world.disconnect();
    world.restart(|_| ());
    let reports = vec![world.numbered(1, survivors())];
    world.connect_with(
        hello("a", 1),
        Inventory {
            child: Some(world.child(1)),
            last_incarnation: Incarnation::new(1),
            reports,
            ..Inventory::default()
        },
    );
    assert_eq!((world.state(), world.commands()), (AgentState::Quarantined, vec![]));
}

#[test]
fn a_reboot_ends_a_quarantine_and_uses_no_number_twice() {
    let mut world = World::running();
    world.report(1, survivors());
    world.disconnect();
    world.pass(15);
    let mut rebooted = hello("a", 2);
    rebooted.host.boot_id = BootId::from_u128(9);
    world.connect(rebooted);
    assert_eq!(world.commands(), run(2));
}

#[test]
fn a_stop_of_what_is_quarantined_is_told_to_a_shim_that_comes_back() {
    let mut world = World::running();
    world.restart(|_| ());
    world.report(1, survivors());
    world.disconnect();
    world.stop();
    let child = Some(world.child(1));
    world.commands();
    world.connect_with(
        hello("a", 1),
        Inventory {
            child,
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert!(matches!(world.commands()[..], [Command::Stop { .. }]));
}
