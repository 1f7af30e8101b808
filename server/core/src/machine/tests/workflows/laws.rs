//! What holds whatever happens to workflows, their agent, the server and its clock: no fire is lost (I10), and none is stuck.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use rekindle::id::WorkflowUid;

const NAMES: [&str; 3] = ["by-hand", "by-time", "by-clock"];

#[derive(Debug, Clone)]
enum Move {
    Trigger(&'static str, u8),
    Pass(u64),
    SetClock(i64),
    Dies,
    ComesBack,
    RestartsServer,
    Works(Verdict),
    Switches(&'static str, bool),
    Changes(&'static str, Misfire, Overlap, Option<u64>),
    Recreates(&'static str),
}

fn moves() -> impl Strategy<Value = Move> {
    let name = || select(&NAMES[..]);
    let verdicts = vec![
        Verdict::Succeeded,
        Verdict::Failed,
        Verdict::Interrupted,
        Verdict::Cancelled,
    ];
    prop_oneof![
        4 => (name(), 0u8..6).prop_map(|(name, key)| Move::Trigger(name, key)),
        4 => select(vec![1u64, 20, 59, 60, 61, 300, 4000]).prop_map(Move::Pass),
        1 => select(vec![-4000i64, -61, 61, 4000]).prop_map(Move::SetClock),
        2 => Just(Move::Dies),
        2 => Just(Move::ComesBack),
        1 => Just(Move::RestartsServer),
        5 => select(verdicts).prop_map(Move::Works),
        1 => (name(), any::<bool>()).prop_map(|(name, on)| Move::Switches(name, on)),
        1 => (name(), select(&Misfire::ALL[..]), select(&Overlap::ALL[..]), select(vec![None, Some(30), Some(90)]))
            .prop_map(|(name, misfire, overlap, expires)| Move::Changes(name, misfire, overlap, expires)),
        1 => name().prop_map(Move::Recreates),
    ]
}

fn trigger_of(name: &str) -> Trigger {
    match name {
        "by-time" => every(MINUTE),
        "by-clock" => cron("* * * * *"),
        _ => Trigger::Manual,
    }
}

impl World {
    fn is_connected(&self) -> bool {
        !self.machine.sessions.is_empty()
    }

    /// The agent is RUNNING, whatever was before.
    fn heals(&mut self) {
        if !self.is_connected() {
            let record = self.agent();
            let incarnation = record.process.as_ref().map(|process| process.incarnation);
            let inventory = Inventory {
                last_incarnation: record.incarnation,
                child: incarnation.map(|incarnation| self.child(incarnation.get())),
                ..Inventory::default()
            };
            let policy = self.agent().policy.clone();
            self.connect_with(
                Hello {
                    policy,
                    ..worker(|_| ())
                },
                inventory,
            );
        }
        if self.state() != AgentState::Running {
            self.comes_back();
        }
    }

    /// The agent does something of what it has been given.
    fn works(&mut self, verdict: Verdict) {
        let held = self.machine.executions().find(|execution| execution.state.is_held());
        let Some(attempt) = held.map(|execution| execution.newest()) else {
            return;
        };
        if !self.is_connected() || self.state() != AgentState::Running {
            return;
        }
        let incarnation = self.agent().incarnation.get();
        self.report(incarnation, ReportFact::AttemptStarted(attempt.clone(), None));
        self.report(incarnation, result(verdict).of(attempt));
    }

    fn moves(&mut self, step: &Move) {
        match step {
            Move::Trigger(name, key) => {
                let key = FireKey::new(&format!("key-{key}")).expect("valid");
                let _ = self.trigger_with(name, |trigger| {
                    trigger.key = Some(key);
                    trigger.payload = "p".into();
                });
            }
            Move::Pass(seconds) => self.pass(*seconds),
            Move::SetClock(by) => {
                let (by, on) = (Duration::from_secs(by.unsigned_abs()), *by > 0);
                self.set_clock(|now| {
                    if on {
                        now.saturating_add(by)
                    } else {
                        now.saturating_sub(by)
                    }
                });
            }
            Move::Dies if self.is_connected() && self.state() == AgentState::Running => self.dies(),
            Move::ComesBack if self.is_connected() && self.state() != AgentState::Running => self.comes_back(),
            Move::Dies | Move::ComesBack => {}
            Move::RestartsServer => {
                self.restart_server();
                self.heals();
            }
            Move::Works(verdict) => self.works(*verdict),
            Move::Switches(name, on) => self.switch(name, *on),
            Move::Changes(name, misfire, overlap, expires) => {
                let patch = WorkflowPatch {
                    misfire: Some(*misfire),
                    overlap: Some(*overlap),
                    expires_after: Some(expires.map(Duration::from_secs)),
                    ..WorkflowPatch::default()
                };
                self.change(update(name, patch)).expect("there");
            }
            Move::Recreates(name) => {
                self.drop_workflow(name, None).expect("there");
                self.create(creation(name, spec(trigger_of(name), |_| ())))
                    .expect("made");
            }
        }
        self.effects.clear();
    }

    /// What became of each fire, by the log and the records: exactly one thing.
    fn account(&self) -> Result<(), String> {
        // Of each workflow and number: how often it went off, and how often that came to an end.
        let mut fires: BTreeMap<(WorkflowUid, u64), (u32, u32)> = BTreeMap::new();
        let mut uids: BTreeMap<WorkflowId, WorkflowUid> = BTreeMap::new();
        let mut uid_of = self.uids.iter();
        for event in &self.log {
            let Some(id) = &event.workflow else { continue };
            let kind = event.kind.as_str();
            if kind == "WORKFLOW_CREATED" {
                uids.insert(id.clone(), *uid_of.next().ok_or("a creation without a record")?);
            }
            let Some(uid) = uids.get(id).copied() else { continue };
            let one = event.attributes.get("fire").into_iter().flat_map(|one| one.split(','));
            let many = event
                .attributes
                .get("fires")
                .into_iter()
                .flat_map(|many| many.split(','));
            for number in one.chain(many) {
                let number = number.parse().map_err(|_| format!("{number} is no number"))?;
                let fire = fires.entry((uid, number)).or_default();
                match kind {
                    "WORKFLOW_TRIGGERED" => fire.0 += 1,
                    "WORKFLOW_SKIPPED" | "WORKFLOW_EXPIRED" | "WORKFLOW_DELETED" => fire.1 += 1,
                    other => return Err(format!("{other} tells of a fire")),
                }
            }
        }
        for execution in self.machine.executions() {
            if let Some(by) = &execution.workflow {
                fires.entry((by.uid, by.fire.get())).or_default().1 += 1;
            }
        }
        for record in self.machine.workflows() {
            for fire in &record.pending {
                fires.entry((record.uid, fire.number.get())).or_default().1 += 1;
            }
        }
        match fires.iter().find(|(_, counts)| **counts != (1, 1)) {
            Some((fire, counts)) => Err(format!("{fire:?} went off and became something {counts:?} times")),
            None => Ok(()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_fire_is_lost_and_none_is_stuck(
        steps in prop::collection::vec(moves(), 1..60),
        deliveries in 1u32..3,
        queue_limit in 0u32..3,
    ) {
        let mut world = World::at_work(|policy| {
            policy.max_deliveries = deliveries;
            policy.queue_limit = queue_limit;
            policy.restart = rekindle::policy::RestartPolicy::Never;
            policy.message_timeout = Duration::from_secs(24 * 3600);
        });
        for name in NAMES {
            world.flow(name, trigger_of(name), |_| ());
        }
        for step in &steps {
            world.moves(step);
            prop_assert_eq!(world.account(), Ok(()));
        }
        // All is well from here on, and no schedule goes off any more: what waits goes.
        for name in NAMES {
            let patch = WorkflowPatch { trigger: Some(Trigger::Manual), ..switched(true) };
            world.change(update(name, patch)).expect("there");
        }
        world.heals();
        for _ in 0..1000 {
            world.pass(1);
            world.works(Verdict::Succeeded);
        }
        for name in NAMES {
            prop_assert!(world.waiting(name).is_empty(), "{} waits: {:?}", name, world.record(name));
            prop_assert_eq!(world.runner(name), RunnerState::Armed);
        }
        prop_assert_eq!(world.account(), Ok(()));
    }
}
