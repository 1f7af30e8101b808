//! What work there is in a world, and how it goes. Drawn from a stream of its own, so that a world without work is the
//! same whether others have some.

use std::ops::Range;
use std::time::Duration;

use rekindle::execution::Delivery;
use rekindle::policy::{AgentPolicy, InterruptPolicy, PolicyFields};
use rekindle_shim_core::{OnShimExit, Readiness};

use super::{AgentNature, Swarm};
use crate::dice::Dice;
use crate::fault::Fault;

/// Worlds that have work.
const WORKING: f64 = 0.6;

/// Executions of one world: enough to fill every queue a few times, and few enough for a world to stay short.
pub(crate) const EXECUTIONS_MAX: usize = 250;

/// Agents of a crowded world: with four slots each, more than are called LOST at a time.
const CROWD: usize = 6;

/// What makes an agent go to another host, and back.
const MOVES: [Fault; 5] = [
    Fault::Partitioned,
    Fault::Partitioned,
    Fault::ShimStopped,
    Fault::HostRebooted,
    Fault::ShimKilled,
];

/// How many times its capacity an overloaded world is given.
const OVERLOAD: u32 = 3;

/// For how long nothing but overload lasts: twice the watchdog's grace for what was given and is not accepted, which is
/// the longest that it waits before it looks for what may be lost.
const OVERLOADED_FOR: Duration = Duration::from_secs(120);

/// How late each message is, at most, where there is too much to do, and how long a flush takes: so late that what was
/// given is accepted seconds after, and not so late that anybody seems to be gone.
const LOADED_LATENCY: Duration = Duration::from_millis(1_500);
const LOADED_FLUSH: Duration = Duration::from_millis(800);

/// A timeout that no message of a world reaches.
const NEVER: Duration = Duration::from_secs(3_600);

/// Most slots that an agent is given.
pub(crate) const SLOTS_MAX: usize = 4;

/// Most messages that may wait for an agent.
pub(crate) const QUEUE_MAX: usize = 20;

/// The work of one world.
#[derive(Debug)]
pub(crate) struct WorkNature {
    pub(crate) losses: Losses,
    pub(crate) setback: Option<Setback>,
    pub(crate) deliveries: Vec<Delivery>,
    /// How many messages an agent that takes them itself asks for at a time.
    pub(crate) hands: usize,
    pub(crate) employ_every: Duration,
    /// When more comes than there is room for.
    pub(crate) rush: Option<Rush>,
    pub(crate) tasks: Tasks,
    pub(crate) clients: Clients,
    /// That a client makes an agent's slots and queue other ones, instead of asking for something.
    pub(crate) resize: f64,
}

/// Whether anything may be called LOST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Losses {
    /// What its shim cannot tell of.
    Explained,
    /// Nothing: whatever is slow is there.
    Forbidden,
}

/// When the server's store is copied, and when the copy takes its place.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) copied: Duration,
    pub(crate) put_back: Duration,
}

/// A time in which more comes than there is room for.
#[derive(Debug)]
pub(crate) struct Rush {
    pub(crate) during: Range<Duration>,
    pub(crate) every: Duration,
}

/// What becomes of messages.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    pub(crate) takes: Duration,
    pub(crate) exec_fails: f64,
    pub(crate) fails: f64,
    /// That nobody ever hears of it again.
    pub(crate) hangs: f64,
    /// That a shim dies as it is told how one of them went.
    pub(crate) cuts: f64,
    pub(crate) blocks: f64,
    /// That who asked for work does not wait for it.
    pub(crate) hangs_up: f64,
    /// That who asked for work is gone when it is given.
    pub(crate) gone: f64,
    /// That an agent which works on one thing alone does not say on which.
    pub(crate) mumbles: f64,
}

/// What those do who have work.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) with_request_id: f64,
    pub(crate) repeat: f64,
    pub(crate) cancel: f64,
    pub(crate) redrive: f64,
    pub(crate) own_timeout: f64,
    pub(crate) start_timeout: f64,
    pub(crate) forget: f64,
}

impl WorkNature {
    /// Draws a world's work, and how its agents take it.
    pub(super) fn draw(dice: &mut Dice, swarm: &mut Swarm) -> Option<Self> {
        if !dice.chance(WORKING) {
            return None;
        }
        let kind = match dice.below(20) {
            0..3 => Kind::Crowded,
            3..7 => Kind::Restless,
            7..9 => Kind::Overloaded,
            9 => Kind::SetBack,
            _ => Kind::Ordinary,
        };
        kind.shape(dice, swarm);
        let deliveries = employ_all(dice, swarm, kind);
        let mut some = |probability: f64| if dice.chance(0.5) { probability } else { 0.0 };
        let (exec_fails, fails, hangs, cuts) = (some(0.1), some(0.3), some(0.15), some(0.02));
        let (blocks, hangs_up, gone, mumbles) = (some(0.2), some(0.2), some(0.1), some(0.5));
        let clients = Clients {
            with_request_id: 0.6,
            repeat: some(0.2),
            cancel: some(0.2),
            redrive: some(0.1),
            own_timeout: some(0.3),
            start_timeout: some(0.2),
            forget: some(0.05),
        };
        let takes = match kind {
            Kind::Ordinary | Kind::Restless | Kind::Overloaded => dice.millis(300..12_000),
            Kind::Crowded => dice.millis(6_000..12_000),
            Kind::SetBack => dice.millis(15_000..30_000),
        };
        let employ_every = match kind {
            Kind::Ordinary | Kind::Restless | Kind::Overloaded => dice.millis(400..10_000),
            Kind::Crowded | Kind::SetBack => dice.millis(200..500),
        };
        let rushes = kind == Kind::Overloaded || dice.chance(0.3);
        let setback = (kind == Kind::SetBack).then(|| setback(dice));
        let rush = rushes.then(|| rush(dice, &swarm.agents, takes, kind));
        let mut work = Self {
            losses: match kind {
                Kind::Ordinary | Kind::Restless | Kind::Crowded | Kind::SetBack => Losses::Explained,
                Kind::Overloaded => Losses::Forbidden,
            },
            setback,
            deliveries,
            hands: 1 + dice.below(4),
            employ_every,
            rush,
            tasks: Tasks {
                takes,
                exec_fails,
                fails,
                hangs,
                cuts,
                blocks,
                hangs_up,
                gone,
                mumbles,
            },
            clients,
            // Drawn after all else: a world without it is the same whether others have it.
            resize: if dice.chance(0.5) { 0.1 } else { 0.0 },
        };
        kind.spare(&mut work);
        Some(work)
    }
}

/// What sort of world it is for those who work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it comes.
    Ordinary,
    /// Agents go from host to host, and back.
    Restless,
    /// Many agents on one host are busy, and go from it all at once.
    Crowded,
    /// There is too much to do, and nothing else is wrong.
    Overloaded,
    /// Many agents are busy, the server's store is set back, and nothing else is wrong.
    SetBack,
}

impl Kind {
    fn shape(self, dice: &mut Dice, swarm: &mut Swarm) {
        match self {
            Self::Ordinary => return,
            Self::Restless => {
                swarm.strikes = MOVES.to_vec();
                swarm.strike_every = dice.millis(4_000..15_000);
                swarm.rough_for = dice.millis(150_000..400_000);
            }
            Self::Crowded => {
                let more = || AgentNature::new(dice, 1, 0.0, false);
                swarm.agents.resize_with(CROWD, more);
                swarm.strikes = vec![Fault::Partitioned];
                swarm.strike_every = dice.millis(20_000..40_000);
                swarm.rough_for = dice.millis(100_000..300_000);
            }
            Self::SetBack => {
                let more = || AgentNature::new(dice, 1, 0.0, false);
                swarm.agents.resize_with(CROWD, more);
                swarm.spare_all();
                swarm.rough_for = dice.millis(200_000..240_000);
            }
            Self::Overloaded => {
                swarm.spare_all();
                swarm.network.latency.end = LOADED_LATENCY;
                swarm.disk.flush.end = LOADED_FLUSH;
                swarm.rough_for = OVERLOADED_FOR + dice.millis(0..60_000);
            }
        }
        swarm.hosts = swarm.hosts.max(2);
    }

    /// Takes away what would be another thing that is wrong.
    fn spare(self, work: &mut WorkNature) {
        match self {
            Self::Ordinary | Self::Restless | Self::Crowded => {}
            Self::Overloaded => work.tasks.cuts = 0.0,
            Self::SetBack => {
                work.hands = SLOTS_MAX;
                work.tasks = Tasks {
                    takes: work.tasks.takes,
                    fails: work.tasks.fails,
                    ..Tasks::default()
                };
                work.clients = Clients::default();
                work.resize = 0.0;
            }
        }
    }

    /// Where an agent is, and where it goes.
    fn move_in(self, dice: &mut Dice, hosts: usize, agent: &mut AgentNature) {
        let fence = match self {
            Self::Ordinary | Self::Overloaded | Self::SetBack => return,
            Self::Restless => {
                agent.rival = Some((agent.home + 1) % hosts);
                dice.millis(3_000..20_000)
            }
            Self::Crowded => {
                (agent.home, agent.rival) = (0, Some(1));
                dice.millis(2_000..4_000)
            }
        };
        agent.fence_after = (agent.on_shim_exit == OnShimExit::Kill).then_some(fence);
    }
}

/// Draws how each agent takes its messages.
fn employ_all(dice: &mut Dice, swarm: &mut Swarm, kind: Kind) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for agent in &mut swarm.agents {
        let delivery = match (kind, dice.below(10)) {
            (Kind::Ordinary | Kind::Restless, 0) => Delivery::None,
            (_, 0..4) => Delivery::PerMessage,
            (_, 4..7) => Delivery::Pull,
            (_, _) => Delivery::Stdin,
        };
        employ(dice, agent, delivery, kind);
        kind.move_in(dice, swarm.hosts, agent);
        deliveries.push(delivery);
    }
    deliveries
}

fn employ(dice: &mut Dice, agent: &mut AgentNature, delivery: Delivery, kind: Kind) {
    let slots = some_slots(dice);
    let fields = PolicyFields {
        message_timeout: match kind {
            Kind::Ordinary | Kind::Restless | Kind::Overloaded => dice.millis(500..45_000),
            Kind::Crowded => dice.millis(30_000..45_000),
            Kind::SetBack => NEVER,
        },
        max_concurrent: match kind {
            Kind::Ordinary | Kind::Restless | Kind::Overloaded => slots,
            Kind::Crowded | Kind::SetBack => 4,
        },
        queue_limit: some_queue(dice),
        max_deliveries: 1 + u32::try_from(dice.below(3)).expect("small"),
        on_restart: if dice.chance(0.5) {
            InterruptPolicy::Cancel
        } else {
            InterruptPolicy::Requeue
        },
        blocked_limit: dice.millis(1_000..30_000),
        ..agent.policy.clone().into_fields()
    };
    agent.policy = AgentPolicy::new(fields).expect("within its limits");
    // The shim refuses to be started in any other way.
    match delivery {
        Delivery::PerMessage => (agent.readiness, agent.on_shim_exit) = (Readiness::Exec, OnShimExit::Kill),
        Delivery::Stdin => agent.on_shim_exit = OnShimExit::Kill,
        Delivery::None | Delivery::Pull => {}
    }
}

/// How many slots an agent has.
pub(crate) fn some_slots(dice: &mut Dice) -> u32 {
    1 + u32::try_from(dice.below(SLOTS_MAX)).expect("small")
}

/// How many messages may wait for an agent.
pub(crate) fn some_queue(dice: &mut Dice) -> u32 {
    u32::try_from(dice.below(QUEUE_MAX)).expect("small")
}

fn setback(dice: &mut Dice) -> Setback {
    let copied = dice.millis(25_000..40_000);
    Setback {
        copied,
        put_back: copied + dice.millis(40_000..60_000),
    }
}

fn rush(dice: &mut Dice, agents: &[AgentNature], takes: Duration, kind: Kind) -> Rush {
    let slots: u32 = agents.iter().map(|agent| agent.policy.max_concurrent).sum();
    let from = dice.millis(15_000..60_000);
    let lasts = match kind {
        Kind::Ordinary | Kind::Restless | Kind::Crowded | Kind::SetBack => dice.millis(5_000..60_000),
        Kind::Overloaded => OVERLOADED_FOR,
    };
    Rush {
        during: from..from + lasts,
        every: (takes / (slots * OVERLOAD)).max(Duration::from_millis(20)),
    }
}
