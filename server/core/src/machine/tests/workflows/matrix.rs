//! Each trigger, with the agent away, busy or ready, under each policy.

use super::*;

/// What sets the workflow off, three times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Interval,
    Cron,
    Manual,
    Webhook,
}

/// How the agent is meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    /// Not RUNNING.
    Away,
    /// RUNNING, at an execution of the workflow.
    Busy,
    /// RUNNING, and done with each execution before the next fire.
    Ready,
}

impl By {
    fn trigger(self) -> Trigger {
        match self {
            Self::Interval => every(MINUTE),
            Self::Cron => cron("* * * * *"),
            Self::Manual => Trigger::Manual,
            Self::Webhook => Trigger::Webhook,
        }
    }

    const fn is_schedule(self) -> bool {
        match self {
            Self::Interval | Self::Cron => true,
            Self::Manual | Self::Webhook => false,
        }
    }

    /// A minute passes, and the workflow goes off.
    fn fire(self, world: &mut World, key: u64) {
        world.pass(MINUTE);
        let by = match self {
            Self::Interval | Self::Cron => return,
            Self::Manual => TriggeredBy::Call,
            Self::Webhook => TriggeredBy::Webhook,
        };
        let key = FireKey::new(&key.to_string()).expect("valid");
        let fire = |trigger: &mut TriggerWorkflow| {
            trigger.key = Some(key);
            trigger.by = by;
        };
        world.trigger_with("w", fire).expect("accepted");
    }
}

/// Goes through one cell, and says what was made of the three fires, and what waits.
fn cell(by: By, agent: Agent, misfire: Misfire, overlap: Overlap, expires: bool) -> String {
    let mut world = World::at_work(|policy| policy.message_timeout = Duration::from_secs(3600));
    world.now.wall = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);
    world.flow("w", by.trigger(), |fields| {
        fields.misfire = misfire;
        fields.overlap = overlap;
        // Of three fires a minute apart the first has expired by the time of the third.
        fields.expires_after = expires.then_some(Duration::from_secs(2 * MINUTE - 1));
    });
    match agent {
        Agent::Away => world.dies(),
        Agent::Busy | Agent::Ready => {}
    }
    for number in 1..=3 {
        by.fire(&mut world, number);
        match agent {
            Agent::Ready => world.does("w", number),
            // At the first one for as long as nobody cancels it.
            Agent::Busy if number == 1 => world.works_on("w", 1),
            Agent::Busy | Agent::Away => {}
        }
    }
    let waits: Vec<String> = world.waiting("w").iter().map(u64::to_string).collect();
    let before = world.made("w");
    // From here on no schedule goes off any more; what waits goes.
    if by.is_schedule() {
        let stop = WorkflowPatch {
            trigger: Some(Trigger::Manual),
            ..WorkflowPatch::default()
        };
        world.change(update("w", stop)).expect("there");
    }
    match agent {
        Agent::Away => world.comes_back(),
        Agent::Busy => {
            let verdict = if overlap == Overlap::CancelRunning {
                Verdict::Cancelled
            } else {
                Verdict::Succeeded
            };
            world.did("w", 1, verdict);
        }
        Agent::Ready => {}
    }
    format!("{before} | {} | {}", waits.join(","), world.made("w"))
}

/// What should have been made when the third has come, what waits then, and what was made when the agent is there again, or
/// done with the first.
fn expected(by: By, agent: Agent, misfire: Misfire, overlap: Overlap, expires: bool) -> &'static str {
    match (agent, overlap) {
        (Agent::Ready, _) => "1:SUCCEEDED 2:SUCCEEDED 3:SUCCEEDED |  | 1:SUCCEEDED 2:SUCCEEDED 3:SUCCEEDED",
        (Agent::Busy, Overlap::Skip) => "1:RUNNING |  | 1:SUCCEEDED",
        (Agent::Busy, Overlap::Queue) => "1:RUNNING | 2,3 | 1:SUCCEEDED 2:DISPATCHED",
        (Agent::Busy, Overlap::CancelRunning) => "1:RUNNING | 3 | 1:CANCELLED 3:DISPATCHED",
        (Agent::Away, _) if by.is_schedule() && misfire == Misfire::Skip => " |  | ",
        (Agent::Away, _) if by.is_schedule() && misfire == Misfire::Once => " | 3 | 3:DISPATCHED",
        (Agent::Away, Overlap::CancelRunning) => " | 3 | 3:DISPATCHED",
        (Agent::Away, Overlap::Skip | Overlap::Queue) if expires => " | 2,3 | 2:DISPATCHED",
        (Agent::Away, Overlap::Skip | Overlap::Queue) => " | 1,2,3 | 1:DISPATCHED",
    }
}

#[test]
fn each_cell_of_the_policies() {
    for by in [By::Interval, By::Cron, By::Manual, By::Webhook] {
        for agent in [Agent::Away, Agent::Busy, Agent::Ready] {
            for misfire in Misfire::ALL {
                for overlap in Overlap::ALL {
                    for expires in [false, true] {
                        let is = cell(by, agent, misfire, overlap, expires);
                        let should_be = expected(by, agent, misfire, overlap, expires);
                        assert_eq!(
                            is, should_be,
                            "{by:?} {agent:?} {misfire:?} {overlap:?}, expires: {expires}"
                        );
                    }
                }
            }
        }
    }
}
