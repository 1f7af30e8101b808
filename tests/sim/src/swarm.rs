//! What kind of world a seed makes: which faults there are, how often, and by which policies the agents live.
//!
//! Each seed leaves some faults out altogether, as a world in which everything goes wrong at once never gets far
//! enough to show what only one of them breaks.

mod checkpoints;
mod work;
mod workflows;

use std::ops::Range;
use std::time::Duration;

use rekindle::execution::Delivery;
use rekindle::policy::{AgentPolicy, Backoff, PolicyFields, RebootPolicy, RestartPolicy, StopSignal};
use rekindle_server_core::machine;
use rekindle_shim_core::{OnShimExit, Readiness};

use crate::dice::Dice;
use crate::fault::Fault;

pub(crate) use checkpoints::{CheckpointNature, Means};
pub(crate) use work::{EXECUTIONS_MAX, Losses, WorkNature, some_queue, some_slots};
pub(crate) use workflows::WorkflowNature;

/// Shortest time of running after which an agent counts as stable: crashes come sooner, and later than it.
pub(crate) const STABLE_AFTER_MIN: Duration = Duration::from_secs(5);

/// Faults that strike by themselves, and not where something else happens.
const STRIKES: &[Fault] = &[
    Fault::ShimKilled,
    Fault::ShimStopped,
    Fault::ShimUpgraded,
    Fault::ShimFrozen,
    Fault::HostRebooted,
    Fault::HostSuspended,
    Fault::WallJumped,
    Fault::ServerWallJumped,
    Fault::ServerKilled,
    Fault::ServerPaused,
    Fault::ServerSuspended,
    Fault::ConnectionDropped,
    Fault::HalfOpen,
    Fault::Partitioned,
    Fault::PartitionedUp,
    Fault::PartitionedDown,
    Fault::PidReused,
    Fault::EventsAged,
];

/// One world's nature.
#[derive(Debug)]
pub(crate) struct Swarm {
    pub(crate) hosts: usize,
    pub(crate) agents: Vec<AgentNature>,
    /// Until then, everything goes wrong.
    pub(crate) rough_for: Duration,
    pub(crate) strikes: Vec<Fault>,
    pub(crate) strike_every: Duration,
    pub(crate) operate_every: Option<Duration>,
    pub(crate) children: Children,
    pub(crate) network: Network,
    pub(crate) disk: DiskNature,
    pub(crate) operators: OperatorNature,
    /// That a shim dies in a step.
    pub(crate) shim_dies_in_step: f64,
    /// That a reboot takes the newest lines of a journal.
    pub(crate) journal_set_back: f64,
    pub(crate) machine: machine::Policy,
    /// Linux before 6.9 has no inode of a pidfd.
    pub(crate) pidfs: bool,
    pub(crate) machine_ids: bool,
    /// `None` where nobody has work for anybody.
    pub(crate) work: Option<WorkNature>,
    /// `None` where no agent saves anything.
    pub(crate) checkpoints: Option<CheckpointNature>,
    /// `None` where there are no workflows.
    pub(crate) workflows: Option<WorkflowNature>,
}

/// One agent's nature.
#[derive(Debug)]
pub(crate) struct AgentNature {
    pub(crate) policy: AgentPolicy,
    pub(crate) fence_after: Option<Duration>,
    pub(crate) readiness: Readiness,
    pub(crate) on_shim_exit: OnShimExit,
    pub(crate) home: usize,
    /// Where a second shim for it runs.
    pub(crate) rival: Option<usize>,
}

/// What programs do. By default they behave.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub(crate) exec_fails: f64,
    pub(crate) exits_at_once: f64,
    /// How long a child lives that ends by itself; `None` when none does.
    pub(crate) lives_for: Option<Duration>,
    pub(crate) exits_cleanly: f64,
    pub(crate) ignores_term: f64,
    pub(crate) forks: f64,
    pub(crate) setsid: f64,
    pub(crate) unkillable: f64,
    /// That a child which has to say that it is ready does not.
    pub(crate) never_ready: f64,
    /// That a child hangs: it pings, writes and computes no more.
    pub(crate) hangs: f64,
    /// That a child says that it ends by itself.
    pub(crate) announces_end: f64,
}

/// What the network does.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) latency: Range<Duration>,
    pub(crate) delayed: f64,
    /// That what was said on a stream which its shim gave up arrives all the same, late.
    pub(crate) lingers: f64,
}

/// What the server's disk does.
#[derive(Debug)]
pub(crate) struct DiskNature {
    pub(crate) flush: Range<Duration>,
    pub(crate) slow: f64,
    pub(crate) fails: f64,
}

/// What operators do.
#[derive(Debug)]
pub(crate) struct OperatorNature {
    pub(crate) lie: f64,
    pub(crate) hang_up: f64,
    pub(crate) with_request_id: f64,
    pub(crate) delete: f64,
}

impl Swarm {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let hosts = 1 + dice.below(3);
        let rivals = dice.chance(0.4);
        let fences = if dice.chance(0.25) { 0.7 } else { 0.0 };
        let agents = (0..1 + dice.below(6))
            .map(|_| AgentNature::new(dice, hosts, fences, rivals))
            .collect::<Vec<_>>();
        let strikes: Vec<Fault> = STRIKES.iter().copied().filter(|_| dice.chance(0.5)).collect();
        let slow = if dice.chance(0.3) { 0.05 } else { 0.0 };
        let slower = Duration::from_millis(if dice.chance(0.2) { 200 } else { 5 });
        let mut swarm = Self {
            hosts,
            agents,
            rough_for: dice.millis(30_000..400_000),
            strikes,
            strike_every: dice.millis(1_000..40_000),
            operate_every: dice.chance(0.7).then(|| dice.millis(2_000..60_000)),
            children: Children::new(dice),
            network: Network {
                latency: Duration::from_micros(100)..slower,
                delayed: if dice.chance(0.3) { 0.02 } else { 0.0 },
                lingers: if dice.chance(0.3) { 0.3 } else { 0.0 },
            },
            disk: DiskNature {
                flush: Duration::from_micros(150)..slower,
                slow,
                fails: if dice.chance(0.2) { 0.01 } else { 0.0 },
            },
            operators: OperatorNature {
                lie: if dice.chance(0.1) { 0.3 } else { 0.0 },
                hang_up: if dice.chance(0.5) { 0.2 } else { 0.0 },
                with_request_id: 0.6,
                delete: if dice.chance(0.3) { 0.15 } else { 0.0 },
            },
            shim_dies_in_step: if dice.chance(0.3) { 0.01 } else { 0.0 },
            journal_set_back: if dice.chance(0.5) { 0.5 } else { 0.0 },
            machine: machine::Policy {
                adoption_window: dice.millis(15_000..60_000),
                agents_max: 64,
                ..machine::Policy::default()
            },
            pidfs: dice.chance(0.7),
            machine_ids: dice.chance(0.7),
            work: None,
            checkpoints: None,
            workflows: None,
        };
        swarm.freeze_no_fence();
        swarm
    }

    /// A shim that does not run cannot fence: another host's child may live beside its own for as long as it takes to
    /// wake up. No protocol cures that.
    fn freeze_no_fence(&mut self) {
        if self.agents.iter().any(|agent| agent.fence_after.is_some()) {
            self.strikes
                .retain(|fault| !matches!(fault, Fault::ShimFrozen | Fault::HostSuspended));
        }
    }

    /// Nothing goes wrong by itself: neither hosts nor shims, nor the server, its disk, the network, or programs.
    fn spare_all(&mut self) {
        self.strikes.clear();
        self.operate_every = None;
        self.children = Children::default();
        (self.network.delayed, self.network.lingers) = (0.0, 0.0);
        (self.disk.slow, self.disk.fails) = (0.0, 0.0);
        (self.shim_dies_in_step, self.journal_set_back) = (0.0, 0.0);
        for agent in &mut self.agents {
            (agent.rival, agent.fence_after) = (None, None);
        }
    }

    /// Gives the world some work, or none.
    pub(crate) fn draw_work(&mut self, dice: &mut Dice) {
        self.work = WorkNature::draw(dice, self);
        self.freeze_no_fence();
    }

    /// Gives the agents something to save, or nothing.
    pub(crate) fn draw_checkpoints(&mut self, dice: &mut Dice) {
        let checkpoints = CheckpointNature::draw(dice, self);
        self.checkpoints = checkpoints;
    }

    /// Gives the world some workflows, or none.
    pub(crate) fn draw_workflows(&mut self, dice: &mut Dice) {
        self.workflows = WorkflowNature::draw(dice, self);
    }

    /// How one of the agents takes its work.
    pub(crate) fn delivery(&self, nature: usize) -> Delivery {
        let work = self.work.as_ref();
        work.and_then(|work| work.deliveries.get(nature).copied())
            .unwrap_or_default()
    }
}

impl AgentNature {
    fn new(dice: &mut Dice, hosts: usize, fences: f64, rivals: bool) -> Self {
        let fence_after = dice.chance(fences).then(|| dice.millis(5_000..60_000));
        // A child that outlives its shim cannot be fenced by it: the shim refuses both at once.
        let keeps = fence_after.is_none() && dice.chance(0.3);
        Self {
            policy: policy(dice),
            fence_after,
            on_shim_exit: if keeps { OnShimExit::Keep } else { OnShimExit::Kill },
            readiness: if dice.chance(0.4) {
                Readiness::Notify
            } else {
                Readiness::Exec
            },
            home: dice.below(hosts),
            rival: (rivals && dice.chance(0.7)).then(|| dice.below(hosts)),
        }
    }
}

impl Children {
    fn new(dice: &mut Dice) -> Self {
        let mut some = |probability: f64| if dice.chance(0.5) { probability } else { 0.0 };
        let (exec_fails, exits_at_once, ignores_term) = (some(0.15), some(0.15), some(0.3));
        let (forks, setsid, unkillable) = (some(0.3), some(0.5), some(0.15));
        let (never_ready, hangs, announces_end) = (some(0.2), some(0.3), some(0.2));
        Self {
            exec_fails,
            exits_at_once,
            lives_for: dice.chance(0.7).then(|| dice.millis(5_000..200_000)),
            exits_cleanly: if dice.chance(0.5) { 0.3 } else { 0.0 },
            ignores_term,
            forks,
            setsid,
            unkillable,
            never_ready,
            hangs,
            announces_end,
        }
    }
}

/// A policy that is valid.
pub(crate) fn policy(dice: &mut Dice) -> AgentPolicy {
    let seconds = |dice: &mut Dice, from: u64, to: u64| dice.millis(from * 1000..to * 1000);
    let backoff = dice.chance(0.3).then(|| {
        let max = seconds(dice, 1, 120);
        Backoff::new(1.0 + f64::from(u8::from(dice.chance(0.5))), max, 0.3).expect("within its limits")
    });
    let fields = PolicyFields {
        heartbeat_timeout: seconds(dice, 5, 180),
        stop_grace: if dice.chance(0.2) {
            Duration::ZERO
        } else {
            seconds(dice, 0, 12)
        },
        stop_signal: if dice.chance(0.1) {
            StopSignal::Kill
        } else {
            StopSignal::Term
        },
        restart: match dice.below(6) {
            0 => RestartPolicy::Never,
            1 | 2 => RestartPolicy::Always,
            _ => RestartPolicy::OnFailure,
        },
        max_attempts: u32::try_from(dice.below(5)).expect("small"),
        cooldown: if dice.chance(0.2) {
            Duration::ZERO
        } else {
            seconds(dice, 0, 60)
        },
        backoff,
        stable_after: seconds(dice, STABLE_AFTER_MIN.as_secs(), 200),
        on_reboot: if dice.chance(0.7) {
            RebootPolicy::Start
        } else {
            RebootPolicy::Stay
        },
        start_timeout: seconds(dice, 1, 60),
        watchdog_timeout: dice.chance(0.4).then(|| seconds(dice, 1, 60)),
        stall_timeout: dice.chance(0.3).then(|| seconds(dice, 2, 120)),
        ..PolicyFields::default()
    };
    AgentPolicy::new(fields).expect("within its limits")
}
