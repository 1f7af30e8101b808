//! What operators' orders do with checkpoints, and what they are told.

use super::*;

fn fresh(run: &mut RunRequest) {
    run.context = Context::Fresh;
}

#[test]
fn a_fresh_start_closes_what_is_open_with_the_order() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.told();
    world.restart(fresh);
    assert_eq!(world.told(), "CHECKPOINT_CLOSED AGENT_STOPPING");
    assert_eq!(world.kept("1.1").standing, Standing::Closed(ClosedBy::Fresh));
    assert_eq!(world.context(), RunContext::Fresh);
    // What the old life still saves is nothing to go on from either.
    world.save(held("1.2", "t"));
    assert_eq!(world.kept("1.2").standing, Standing::Closed(ClosedBy::Fresh));
    world.report(1, planned(AskedSave::Saved(at("1.2"))));
    world.report(2, ReportFact::Spawned(Some(process(2))));
    world.save(held("2.1", "t"));
    assert_eq!(world.kept("2.1").standing, Standing::Open, "the new life's own");
    world.report(2, ReportFact::Ready);
    world.effects.clear();
    world.exit(2, 3);
    assert_eq!(world.offered().state.id, at("2.1"));
}

#[test]
fn a_fresh_start_stays_one_until_its_life_has_begun() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.disconnect();
    world.restart(fresh);
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    assert_eq!(
        world.context(),
        RunContext::Fresh,
        "over a restart of the server, and the shim's"
    );
    world.spawn(2);
    world.exit(2, 3);
    assert!(
        !world.offered().state.standing.is_open(),
        "what was closed stays closed"
    );
}

#[test]
fn a_fresh_start_joins_none_but_its_like() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    let resumes = world.restart(|_| ());
    world.restart(fresh);
    assert_eq!(
        world.agent().incarnation,
        Incarnation::new(3),
        "the one before may have begun with it"
    );
    assert_eq!(world.context(), RunContext::Fresh);
    let replaced = world.answer(resumes).expect("it is decided").expect("an answer");
    assert!(replaced.detail.contains("replaced"), "{}", replaced.detail);
    world.effects.clear();
    world.restart(fresh);
    world.restart(|_| ());
    assert_eq!(
        world.agent().incarnation,
        Incarnation::new(3),
        "what is fresh is joined"
    );
    assert!(world.commands().is_empty());
}

#[test]
fn a_fresh_start_of_what_is_up_already_changes_nothing() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.told();
    world.restart(|run| {
        fresh(run);
        run.unless = Unless::Up;
    });
    assert_eq!(world.told(), "");
    assert!(world.kept("1.1").standing.is_open());
}

#[test]
fn answers_say_whether_the_old_life_saved() {
    let answer = |asked| {
        let mut world = World::running();
        world.save(held("1.1", "t"));
        let call = world.restart(|_| ());
        world.report(1, planned(asked));
        world.report(2, ReportFact::Spawned(Some(process(2))));
        world.report(2, ReportFact::HandedOver(at("1.1")));
        world.report(2, ReportFact::Ready);
        let answer = world.answer(call).expect("it is done").expect("an answer");
        (answer.asked, answer.handed)
    };
    for asked in [AskedSave::NotAsked, AskedSave::NotSaved, AskedSave::Saved(at("1.1"))] {
        assert_eq!(answer(asked), (Some(asked), Some(at("1.1"))));
    }
    let mut world = World::running();
    let call = world.stop();
    world.report(1, planned(AskedSave::Saved(at("1.7"))));
    let answer = world.answer(call).expect("it is done").expect("an answer");
    assert_eq!((answer.asked, answer.handed), (Some(AskedSave::Saved(at("1.7"))), None));
}

#[test]
fn an_answer_that_comes_early_says_nothing_of_it() {
    let mut world = World::running();
    let call = world.restart(|run| run.wait = Wait::Accepted);
    let answer = world.answer(call).expect("at once").expect("an answer");
    assert_eq!((answer.asked, answer.handed), (None, None));
}

#[test]
fn a_crash_of_the_new_life_is_not_what_was_asked_of_the_old_one() {
    let mut world = World::running();
    let call = world.restart(|_| ());
    world.report(1, planned(AskedSave::Saved(at("1.1"))));
    world.report(2, ReportFact::Spawned(Some(process(2))));
    world.report(2, crashed());
    let answer = world.answer(call).expect("it failed").expect("an answer");
    assert_eq!(answer.asked, Some(AskedSave::Saved(at("1.1"))));
}
