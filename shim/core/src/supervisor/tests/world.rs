//! A world that does anything that can happen, in any order.

mod moves;
mod saves;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use rekindle::activity::BlockedOn;
use rekindle::execution::{AttemptId, Delivery, Dispatch, Output, Verdict};

use super::work::attempt;
use rekindle::session::EndWhen;

use self::moves::{Move, moves};
use self::saves::{Saves, Takes};
use super::*;
use crate::effect::ExitCode;
use crate::input::{About, RequestNumber, Word};
use crate::journal::JournalChild;

/// Attempts that may run side by side.
const SLOTS: u32 = 3;

struct World {
    bench: Bench,
    /// As it would be read after SIGKILL of the shim.
    disk: Journal,
    settings: Settings,
    open: VecDeque<Effect>,
    /// Lives with a process, and whether the machine was told that they cannot be ended.
    alive: Vec<(Incarnation, bool)>,
    terminal: Vec<Incarnation>,
    /// Attempts that the machine said it has, and the verdicts on them.
    attempts: BTreeMap<AttemptId, Option<Verdict>>,
    /// Those that have processes of their own, and whether the machine was told that they cannot be ended.
    busy: Vec<(AttemptId, bool)>,
    dispatched: u64,
    saves: Saves,
    stubborn: bool,
    left: Option<ExitCode>,
}

impl World {
    fn new(stubborn: bool, fence: Option<u64>, delivery: Delivery) -> Self {
        let policy = PolicyFields {
            max_concurrent: SLOTS,
            ..PolicyFields::default()
        };
        let settings = Settings {
            fence_after: fence.map(secs),
            policy: AgentPolicy::new(policy).expect("valid"),
            delivery,
            ..settings()
        };
        let (bench, _) = Bench::new(settings.clone(), journal());
        let open = VecDeque::new();
        Self {
            bench,
            disk: journal(),
            settings,
            open,
            alive: Vec::new(),
            terminal: Vec::new(),
            attempts: BTreeMap::new(),
            busy: Vec::new(),
            dispatched: 0,
            saves: Saves::default(),
            stubborn,
            left: None,
        }
    }

    fn feed(&mut self, input: Input) {
        let outcome = self.bench.supervisor.step(self.bench.at, input);
        self.bench.supervisor.check().expect("sound");
        self.take(outcome);
    }

    fn take(&mut self, outcome: Outcome) {
        if let Some(journal) = outcome.persist {
            assert!(
                journal.last_incarnation >= self.disk.last_incarnation,
                "the number only rises"
            );
            for report in journal
                .outbox
                .iter()
                .filter(|report| report.sequence > self.disk.last_report)
            {
                match &report.fact {
                    ReportFact::AttemptAccepted(attempt) => {
                        assert_eq!(self.attempts.insert(attempt.clone(), None), None, "accepted once");
                    }
                    ReportFact::AttemptFinished(attempt, result) => {
                        let lives = self.busy.contains(&(attempt.clone(), false));
                        assert!(!lives, "{attempt} is over, and its processes live");
                        let before = self.attempts.insert(attempt.clone(), Some(result.verdict));
                        assert_eq!(before.flatten(), None, "one end per attempt");
                    }
                    ReportFact::AttemptStarted(attempt, _) => {
                        assert_eq!(self.attempts.get(attempt), Some(&None), "started between");
                    }
                    ReportFact::AttemptSurvived(attempt, _) => {
                        assert_eq!(self.attempts.get(attempt), Some(&None), "survived between");
                    }
                    ReportFact::Exited(_) | ReportFact::SpawnFailed(_) => {
                        assert!(!self.terminal.contains(&report.incarnation), "one end per life");
                        self.terminal.push(report.incarnation);
                    }
                    ReportFact::Recovering { .. }
                    | ReportFact::Spawned(_)
                    | ReportFact::MainProcess(_)
                    | ReportFact::Ready
                    | ReportFact::Stopping
                    | ReportFact::Survived(_)
                    | ReportFact::HandedOver(_)
                    | ReportFact::CheckpointRead(_)
                    | ReportFact::CheckpointConfirmed(_) => {}
                }
            }
            self.disk = journal;
        }
        for effect in outcome.then {
            self.saves.see(&effect, &self.open, &self.disk);
            match &effect {
                Effect::Spawn { incarnation } => {
                    if let Some(held) = self.bench.supervisor.handed_over(&life(incarnation.get())) {
                        self.saves.may_be_handed(&held);
                    }
                    assert!(
                        self.alive.iter().all(|(_, given_up)| *given_up),
                        "two lives: {:?}",
                        self.alive
                    );
                    assert_eq!(self.disk.last_incarnation, *incarnation, "written before");
                    self.alive.push((*incarnation, false));
                    self.open.push_back(effect);
                }
                Effect::SpawnAttempt { attempt, .. } => {
                    let run = self.busy.iter().filter(|(_, given_up)| !given_up).count();
                    assert!(run < SLOTS as usize, "{:?} run", self.busy);
                    let known = self.disk.attempts.iter().any(|held| held.attempt == *attempt);
                    assert!(known, "written before");
                    self.busy.push((attempt.clone(), false));
                    self.open.push_back(effect);
                }
                Effect::Exit(code) => {
                    assert!(*code == ExitCode::Survivors || self.alive.iter().all(|(_, given_up)| *given_up));
                    assert!(*code == ExitCode::Survivors || self.busy.iter().all(|(_, given_up)| *given_up));
                    self.left = Some(*code);
                }
                Effect::Send(ShimMessage::Inventory(inventory)) => {
                    assert!(inventory.child.is_some() || self.alive.iter().all(|(_, given_up)| *given_up));
                }
                Effect::Send(_)
                | Effect::Connect
                | Effect::Reconnect
                | Effect::GiveUp
                | Effect::Give { .. }
                | Effect::Feed { .. }
                | Effect::ShowProgress { .. }
                | Effect::Answer { .. }
                | Effect::AnswerCheckpoint { .. } => {}
                Effect::Adopt { .. }
                | Effect::WriteCheckpoint(_)
                | Effect::RunCheckpointCommand { .. }
                | Effect::EndCheckpointCommand { .. }
                | Effect::Upgrade
                | Effect::Sweep { .. }
                | Effect::SignalTree { .. }
                | Effect::KillTree { .. }
                | Effect::AwaitTree { .. }
                | Effect::NameSurvivors { .. }
                | Effect::Probe { .. }
                | Effect::SignalChild { .. } => self.open.push_back(effect),
            }
        }
    }

    fn is_alive(&self, life: Incarnation) -> bool {
        self.alive.iter().any(|(alive, _)| *alive == life)
    }

    fn bury(&mut self, life: Incarnation) {
        self.alive.retain(|(alive, _)| *alive != life);
        let tree = TreeId::Life(life);
        self.feed(Input::ChildExited { tree: tree.clone() });
        self.feed(Input::TreeGone {
            tree,
            remains: remains(),
        });
    }

    fn end(&mut self, tree: &TreeId) {
        match tree {
            TreeId::Life(life) if self.is_alive(*life) => self.bury(*life),
            TreeId::Attempt(attempt) if self.is_busy(attempt) => self.bury_attempt(attempt),
            TreeId::Life(_) | TreeId::Attempt(_) => {}
        }
    }

    fn is_busy(&self, attempt: &AttemptId) -> bool {
        self.busy.iter().any(|(busy, _)| busy == attempt)
    }

    fn bury_attempt(&mut self, attempt: &AttemptId) {
        self.busy.retain(|(busy, _)| busy != attempt);
        let tree = TreeId::Attempt(attempt.clone());
        self.feed(Input::ChildExited { tree: tree.clone() });
        self.feed(Input::TreeGone {
            tree,
            remains: remains(),
        });
    }

    fn answer(&mut self) {
        let Some(effect) = self.open.pop_front() else { return };
        match effect {
            Effect::Spawn { incarnation } => self.feed(spawned(incarnation.get())),
            Effect::SignalTree { tree, .. } | Effect::AwaitTree { tree } | Effect::KillTree { tree } => {
                if !self.stubborn {
                    self.end(&tree);
                }
            }
            Effect::NameSurvivors { tree } => {
                match &tree {
                    TreeId::Life(incarnation) => {
                        for (life, given_up) in &mut self.alive {
                            *given_up |= life == incarnation;
                        }
                    }
                    TreeId::Attempt(attempt) => {
                        for (busy, given_up) in &mut self.busy {
                            *given_up |= busy == attempt;
                        }
                    }
                }
                self.feed(survivors_of(tree));
            }
            Effect::SpawnAttempt { attempt, .. } => self.feed(Input::AttemptSpawned {
                attempt,
                process: process(1),
            }),
            Effect::SignalChild {
                command, incarnation, ..
            } => {
                self.feed(Input::Signalled {
                    command,
                    result: Ok(process(incarnation.get())),
                });
            }
            Effect::Probe { incarnation } => self.feed(Input::Probed {
                incarnation,
                sample: Sample::default(),
            }),
            // What outlives a shim is the simulator's.
            Effect::Adopt { .. } => self.feed(Input::NotAdopted),
            Effect::Upgrade => self.feed(Input::UpgradeFailed),
            Effect::Sweep { .. } => {
                let mut survivors = Vec::new();
                if self.stubborn && !self.alive.is_empty() {
                    self.alive.iter_mut().for_each(|(_, given_up)| *given_up = true);
                    survivors.push(Survivor {
                        pid: 9,
                        pidfd_inode: Some(70),
                        start_time_ticks: 700,
                        command: "stuck".into(),
                    });
                } else {
                    self.alive.clear();
                    self.busy.clear();
                }
                self.feed(Input::Swept { survivors });
            }
            Effect::WriteCheckpoint(held) => self.write(&held),
            Effect::RunCheckpointCommand { incarnation, .. } => self.feed(Input::CheckpointCommandDone { incarnation }),
            Effect::EndCheckpointCommand { .. }
            | Effect::GiveUp
            | Effect::Give { .. }
            | Effect::Feed { .. }
            | Effect::ShowProgress { .. }
            | Effect::Answer { .. }
            | Effect::AnswerCheckpoint { .. }
            | Effect::Connect
            | Effect::Reconnect
            | Effect::Send(_)
            | Effect::Exit(_) => {}
        }
    }

    fn start_again(&mut self) {
        self.saves.new_shim(&self.open);
        self.open.clear();
        self.left = None;
        let (bench, _) = Bench::new(self.settings.clone(), self.disk.clone());
        let at = self.bench.at;
        self.bench = bench;
        self.bench.at = at;
        let (supervisor, outcome) =
            Supervisor::recover(self.settings.clone(), self.disk.clone(), self.saves.file.clone(), at);
        self.bench.supervisor = supervisor;
        self.take(outcome);
    }

    fn make(&mut self, step: Move) {
        let newest = self.disk.last_incarnation.get();
        match step {
            Move::Answer => self.answer(),
            Move::FailSpawn => {
                if let Some(Effect::Spawn { incarnation }) = self.open.front().cloned() {
                    self.open.pop_front();
                    self.alive.retain(|(life, _)| *life != incarnation);
                    self.feed(Input::SpawnFailed {
                        incarnation,
                        message: "no such file".into(),
                    });
                }
            }
            Move::Run(above) => self.feed(run(newest + above)),
            Move::Stop(above, grace) => self.feed(stop(newest + above, grace.map(secs))),
            Move::Signal(above) => {
                let command = Command::Signal {
                    incarnation: n(newest + above),
                    signal: 1,
                };
                self.feed(Input::Commanded(CommandId(3), command));
            }
            Move::Crash => {
                let spawning = self.open.iter().any(|effect| matches!(effect, Effect::Spawn { .. }));
                if let (Some((life, _)), false) = (self.alive.last().copied(), spawning) {
                    self.bury(life);
                }
            }
            Move::Pass(millis) => {
                self.bench.pass(Duration::from_millis(millis));
                self.feed(Input::Tick);
            }
            Move::Suspend(millis) => {
                self.bench.at.since_boot += Duration::from_millis(millis);
                self.feed(Input::Tick);
            }
            Move::Link(takes) => self.link(takes),
            Move::RunWith(above, begins) => self.run_with(above, begins),
            Move::Speak(says, above) => self.speak(says, above),
            Move::FailWrite(fault) => self.fail_write(fault),
            Move::ServerAnswers(keeps) => self.server_answers(keeps),
            Move::Unlink => self.feed(Input::LinkLost),
            Move::DoubtClaim => self.feed(Input::ClaimDoubted),
            Move::LoseClaim => self.feed(Input::ClaimLost),
            Move::Acknowledge => self.feed(Input::Acknowledged(self.disk.last_report)),
            Move::Terminate => self.feed(Input::StopRequested),
            Move::KillShim => self.start_again(),
            Move::Dispatch => {
                self.dispatched += 1;
                let dispatch = Dispatch {
                    attempt: attempt(self.dispatched),
                    message: "m".into(),
                    timeout: secs(20),
                };
                self.feed(Input::Commanded(CommandId(4), Command::Dispatch(Box::new(dispatch))));
            }
            Move::EndAttempt(which) => {
                if let Some((attempt, _)) = self.attempts.iter().nth(which) {
                    let attempt = attempt.clone();
                    let command = Command::EndAttempt {
                        attempt,
                        grace: None,
                        when: EndWhen::Now,
                    };
                    self.feed(Input::Commanded(CommandId(5), command));
                }
            }
            Move::EndByItself(which) => {
                let spawning = self
                    .open
                    .iter()
                    .any(|effect| matches!(effect, Effect::SpawnAttempt { .. }));
                if let (Some((attempt, _)), false) = (self.busy.get(which).cloned(), spawning) {
                    self.bury_attempt(&attempt);
                }
            }
            Move::Ask => {
                self.dispatched += 1;
                let request = RequestNumber(self.dispatched);
                self.feed(Input::WorkAsked { request });
            }
            Move::Say(which, done) => {
                let word = if done {
                    Word::Done {
                        output: Output::default(),
                    }
                } else {
                    Word::Blocked(BlockedOn::User)
                };
                let about = self.attempts.keys().nth(which).cloned();
                self.feed(Input::WorkSaid {
                    request: None,
                    about: about.map_or(About::Only, |attempt| About::attempt(&attempt)),
                    word,
                });
            }
            Move::Reboot => {
                self.busy.clear();
                self.alive.clear();
                let boot_id = BootId::from_u128(self.settings.host.boot_id.as_u128() + 1);
                self.settings.host.boot_id = boot_id;
                self.start_again();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn never_two_lives(
        stubborn in proptest::bool::weighted(0.2),
        fence in proptest::option::of(5u64..60),
        delivery in proptest::sample::select(vec![Delivery::None, Delivery::PerMessage, Delivery::Pull, Delivery::Stdin]),
        steps in proptest::collection::vec(moves(), 1..160),
    ) {
        let mut world = World::new(stubborn, fence, delivery);
        for step in steps {
            world.make(step);
            if world.left.is_some() {
                world.start_again();
            }
        }
        // Asked to end, it ends, whatever has happened.
        world.stubborn = false;
        world.feed(Input::StopRequested);
        world.feed(Input::StopRequested);
        for _ in 0..100 {
            if world.left.is_some() {
                break;
            }
            world.answer();
            world.bench.pass(secs(1));
            world.feed(Input::Tick);
        }
        prop_assert!(world.left.is_some());
        // Of what outlives SIGKILL the next shim tells.
        let told = world.attempts.values().all(Option::is_some);
        prop_assert!(told || world.left == Some(ExitCode::Survivors), "{:?}", world.attempts);
    }
}

#[test]
fn a_life_that_was_written_and_never_begun_is_swept() {
    let mut world = World::new(false, None, Delivery::None);
    world.make(Move::Link(Takes::No));
    world.feed(run(1));
    assert_eq!(
        world.disk.child,
        Some(JournalChild {
            incarnation: n(1),
            process: None,
            phase: crate::journal::JournalPhase::Starting,
        })
    );
    world.make(Move::KillShim);
    world.answer();
    world.make(Move::Link(Takes::No));
    world.make(Move::Run(1));
    assert_eq!(world.disk.last_incarnation, n(2));
}
