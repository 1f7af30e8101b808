//! Checkpoints: taken or refused, offered or not, closed, blamed, and told.

mod blame;
mod closings;
mod hosts;
mod orders;

use std::sync::Arc;

use rekindle::checkpoint::{
    AskedSave, Checkpoint, CheckpointBody, CheckpointDraft, CheckpointFields, CheckpointId, ClosedBy, Flags,
    HeldCheckpoint, OfferedCheckpoint, Resumption, RunContext, Standing,
};
use rekindle::execution::ExecutionId;

use super::*;
use crate::checkpoint::{CHECKPOINTS_KEPT_MAX, CheckpointRecord};
use crate::effect::CheckpointError;

fn at(id: &str) -> CheckpointId {
    id.parse().expect("a checkpoint's id")
}

/// What life `incarnation` has saved as its `number`th, of this task.
/// When all of them were saved.
const SAVED: Timestamp = Timestamp::from_unix_nanos(7);

/// As an inventory names it.
fn shown(id: &str) -> (CheckpointId, Timestamp) {
    (at(id), SAVED)
}

fn held(id: &str, task: &str) -> HeldCheckpoint {
    let fields = CheckpointFields::new(CheckpointDraft {
        task_id: task.into(),
        ..CheckpointDraft::default()
    });
    HeldCheckpoint {
        checkpoint: Arc::new(Checkpoint {
            id: at(id),
            fields: fields.expect("valid"),
            body: CheckpointBody::new(b"body".to_vec()).expect("short"),
            saved: SAVED,
        }),
        standing: Standing::Open,
        flags: Flags::default(),
        crashes: 0,
    }
}

fn with(mut held: HeldCheckpoint, change: impl FnOnce(&mut HeldCheckpoint)) -> HeldCheckpoint {
    change(&mut held);
    held
}

fn standing(standing: Standing) -> impl FnOnce(&mut HeldCheckpoint) {
    move |held| held.standing = standing
}

fn in_flight(ids: &[&str]) -> Flags {
    Flags::unclean(ids.iter().map(|id| ExecutionId::new(id).expect("valid")))
}

fn crashed() -> ReportFact {
    ended(ExitStatus::Exited(3), EndedBy::Itself)
}

/// An end that was asked for, with what came of asking the agent to save.
fn planned(asked: AskedSave) -> ReportFact {
    let mut end = ended(ExitStatus::Exited(0), EndedBy::Command);
    if let ReportFact::Exited(evidence) = &mut end {
        evidence.asked_save = asked;
    }
    end
}

impl World {
    /// The shim tells of its newest checkpoint; what it is answered.
    fn save(&mut self, held: HeldCheckpoint) -> Option<Result<(), String>> {
        let (session, asked) = (self.last_session(), held.checkpoint.id);
        self.effects.clear();
        self.step(Input::ShimSaved {
            session,
            held: Box::new(held),
        });
        self.effects.iter().find_map(|effect| match effect {
            Effect::CheckpointKept { id, refused, .. } if *id == asked => Some(match refused {
                None => Ok(()),
                Some(why) => Err(why.clone()),
            }),
            Effect::CheckpointKept { .. }
            | Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    /// Why the shim's newest checkpoint is refused.
    fn why_refused(&mut self, held: HeldCheckpoint) -> String {
        self.save(held).expect("it is answered").expect_err("it is refused")
    }

    fn kept(&self, id: &str) -> &CheckpointRecord {
        let mut all = self.machine.checkpoints();
        all.find(|record| record.id == at(id)).expect("it is kept")
    }

    fn ids(&self) -> Vec<String> {
        self.machine.checkpoints().map(|record| record.id.to_string()).collect()
    }

    fn delete_checkpoint(&mut self, id: &str) -> Option<Result<(), CheckpointError>> {
        let agent = AgentId::new("a").expect("valid");
        let call = self.request(Request::DeleteCheckpoint { agent, id: at(id) });
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply {
                call: answered,
                answer: Answer::CheckpointDeleted(answer),
            } if *answered == call => Some(answer.clone()),
            Effect::CheckpointKept { .. }
            | Effect::Welcome { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    }

    /// What the newest order to run says, since commands were last taken.
    fn context(&mut self) -> RunContext {
        let contexts = self.commands().into_iter().filter_map(|command| match command {
            Command::Run { context, .. } => Some(context),
            Command::Stop { .. }
            | Command::Signal { .. }
            | Command::SetPolicy(_)
            | Command::Charge(_)
            | Command::Dispatch(_)
            | Command::EndAttempt { .. } => None,
        });
        contexts.last().expect("a life was ordered")
    }

    fn resumption(&mut self) -> Resumption {
        match self.context() {
            RunContext::Resume(resumption) => *resumption,
            RunContext::Fresh => panic!("the order is a fresh start"),
        }
    }

    fn offered(&mut self) -> OfferedCheckpoint {
        self.resumption().offered.expect("a checkpoint is offered")
    }
}

#[test]
fn what_an_agent_saved_is_kept_and_offered_to_the_next_life() {
    let mut world = World::running();
    assert_eq!(world.save(held("1.1", "t")), Some(Ok(())));
    assert_eq!(world.told(), "CHECKPOINT_SAVED");
    assert_eq!(world.save(held("1.2", "t")), Some(Ok(())));
    assert_eq!(world.told(), "CHECKPOINT_SAVED");
    assert_eq!(world.save(held("1.2", "t")), Some(Ok(())), "told again");
    assert_eq!(world.told(), "");
    assert_eq!(world.ids(), ["1.1", "1.2"]);
    world.restart_server();
    assert_eq!(world.ids(), ["1.1", "1.2"], "it is durable");
    let child = world.child(1);
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(child),
            ..Inventory::default()
        },
    );
    world.effects.clear();
    world.exit(1, 3);
    let offered = world.offered();
    assert_eq!(offered.state.id, at("1.2"));
    assert_eq!(offered.state.standing, Standing::Open);
    assert!(offered.state.flags.unclean, "it crashed");
    assert!(offered.content.is_some(), "its shim has not shown that it has it");
}

#[test]
fn the_content_goes_to_who_has_not_shown_it() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.restart(|_| ());
    assert!(world.offered().content.is_none(), "the shim has just told it");
    world.disconnect();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(world.child(1)),
            ..Inventory::default()
        },
    );
    let content = world.offered().content.expect("its disk may have lost it");
    assert_eq!((content.id, content.fields.task_id.as_str()), (at("1.1"), "t"));
    world.disconnect();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            child: Some(world.child(1)),
            checkpoint: Some(shown("1.1")),
            ..Inventory::default()
        },
    );
    assert!(world.offered().content.is_none(), "its inventory has it");
}

#[test]
fn a_welcome_says_what_is_known() {
    let welcomed = |world: &World| {
        world.effects.iter().rev().find_map(|effect| match effect {
            Effect::Welcome { checkpoint, .. } => Some(checkpoint.clone()),
            Effect::CheckpointKept { .. }
            | Effect::Refuse { .. }
            | Effect::Disconnect { .. }
            | Effect::Acknowledge { .. }
            | Effect::Command { .. }
            | Effect::Dispatch { .. }
            | Effect::Reply { .. } => None,
        })
    };
    let mut world = World::new();
    world.connect(hello("a", 1));
    assert_eq!(welcomed(&world), Some(None));
    world.spawn(1);
    world.save(held("1.1", "t"));
    world.greet(hello("a", 1));
    let known = welcomed(&world).flatten().expect("one is known");
    assert_eq!((known.id, known.standing), (at("1.1"), Standing::Open));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let mut world = World::running();
    world.save(held("1.2", "t"));
    let events = world.records.events;
    assert_eq!(
        world.why_refused(held("2.1", "t")),
        "incarnation 2 of the agent has never been; its newest is 1"
    );
    assert_eq!(
        world.why_refused(held("1.1", "t")),
        "the server has 1.2, which is newer"
    );
    assert_eq!(
        world.why_refused(held("1.2", "another")),
        "the server has another one under this id"
    );
    assert_eq!(world.records.events, events, "no event is made of it");
    assert_eq!(world.kept("1.2").fields.task_id, "t");
}

#[test]
fn who_has_not_said_what_it_holds_is_not_listened_to() {
    let mut world = World::running();
    world.greet(hello("a", 2));
    assert_eq!(world.save(held("1.1", "t")), None);
    assert_eq!(world.ids(), [""; 0]);
}

#[test]
fn the_newest_eight_are_kept() {
    let mut world = World::running();
    for number in 1..=CHECKPOINTS_KEPT_MAX + 3 {
        assert_eq!(world.save(held(&format!("1.{number}"), "t")), Some(Ok(())));
    }
    assert_eq!(world.ids().len(), CHECKPOINTS_KEPT_MAX);
    assert_eq!(world.ids().first().map(String::as_str), Some("1.4"));
    assert_eq!(world.records.checkpoints.len(), CHECKPOINTS_KEPT_MAX);
}

#[test]
fn a_deleted_one_is_handed_to_nobody_and_stays_away() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.save(held("1.2", "t"));
    world.told();
    assert_eq!(world.delete_checkpoint("1.2"), Some(Ok(())));
    assert_eq!(world.told(), "CHECKPOINT_CLOSED");
    assert!(matches!(
        world.delete_checkpoint("1.2"),
        Some(Err(CheckpointError::NotFound { .. }))
    ));
    assert_eq!(world.save(held("1.2", "t")), Some(Ok(())), "its shim has it still");
    assert_eq!(world.told(), "");
    world.restart_server();
    world.connect_with(
        hello("a", 1),
        Inventory {
            last_incarnation: Incarnation::new(1),
            ..Inventory::default()
        },
    );
    let offered = world.offered();
    assert_eq!(offered.state.id, at("1.2"), "so that its shim hands it to nobody");
    assert!(!offered.state.standing.is_open() && offered.content.is_none());
    assert_eq!(world.ids(), ["1.1"]);
    world.told();
    assert_eq!(
        world.delete_checkpoint("1.1"),
        Some(Ok(())),
        "an old one goes without a word"
    );
    assert_eq!(world.told(), "");
    assert!(world.records.checkpoints.is_empty());
}

#[test]
fn they_go_with_their_agent() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.exit(1, 0);
    let session = world.last_session();
    world.step(Input::ShimLeft { session });
    assert_eq!(world.delete("a"), Some(Ok(())));
    assert!(world.records.checkpoints.is_empty());
}

#[test]
fn what_a_life_was_handed_is_told_once_by_the_shims_word() {
    let mut world = World::running();
    world.save(held("1.1", "t"));
    world.exit(1, 3);
    assert!(
        !world.told().contains("HANDED_OVER"),
        "an order is not yet a handing over"
    );
    let spawned = ReportFact::Spawned(Some(process(2)));
    world.report(2, spawned);
    world.report(2, ReportFact::HandedOver(at("1.1")));
    assert_eq!(world.told(), "AGENT_STARTED CHECKPOINT_HANDED_OVER");
    assert!(
        world.says.contains("incarnation 2 goes on from checkpoint 1.1"),
        "{}",
        world.says
    );
    assert_eq!(
        world.agent().checkpoint_line.begun.and_then(|begun| begun.handed),
        Some(at("1.1"))
    );
}

#[test]
fn flags_follow_the_life_whose_it_is() {
    let flags = |fact: ReportFact| {
        let mut world = World::running();
        world.save(held("1.1", "t"));
        world.report(1, fact);
        world.kept("1.1").flags.unclean
    };
    assert!(!flags(ended(ExitStatus::Exited(0), EndedBy::Itself)), "a clean exit");
    assert!(flags(crashed()));
    assert!(flags(ended(ExitStatus::Exited(0), EndedBy::Watchdog)));
    assert!(flags(planned(AskedSave::NotAsked)), "killed without a word");
    assert!(flags(planned(AskedSave::NotSaved)));
    assert!(!flags(planned(AskedSave::Saved(at("1.1")))));
    let mut killed = planned(AskedSave::Saved(at("1.1")));
    if let ReportFact::Exited(evidence) = &mut killed {
        evidence.status = ExitStatus::Signaled {
            signal: 9,
            core_dumped: false,
        };
    }
    assert!(flags(killed), "it went on after that until it was killed");
}

#[test]
fn what_a_life_confirms_is_its_own() {
    let mut world = World::running();
    world.save(with(held("1.1", "t"), |held| held.flags = in_flight(&["e-1"])));
    assert_eq!(world.kept("1.1").flags, in_flight(&["e-1"]), "its shim's word");
    world.exit(1, 3);
    world.spawn(2);
    world.report(2, ReportFact::CheckpointConfirmed(at("1.1")));
    assert_eq!(world.kept("1.1").flags, Flags::default(), "it lives");
    world.exit(2, 3);
    assert!(world.kept("1.1").flags.unclean);
    world.pass(120);
    world.spawn(3);
    world.exit(3, 0);
    assert!(
        world.kept("1.1").flags.unclean,
        "who did not confirm it says nothing of it"
    );
}
