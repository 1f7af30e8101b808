//! The world: everything that is, and the order in which it happens.
//!
//! One queue of events drives it. Each event is handled by the part of the world that it concerns; what follows from
//! it is put back into the queue. Nothing reads a clock, and nothing is random but by the seed.

mod checkpoints;
mod children;
mod effects;
mod leases;
mod network;
mod operator;
mod peace;
mod server;
mod setback;
mod shims;
mod strangers;
mod strikes;
mod watches;
mod witness;
mod work;
mod workflows;

use std::collections::BTreeMap;
use std::time::Duration;

use rekindle::execution::AttemptId;
use rekindle::id::{AgentId, Marker};
use rekindle_shim_core::Journal;

use crate::dice::Dice;
use crate::fault::{Counts, Fault};
use crate::host::Host;
use crate::mind::Mind;
use crate::mutation::Mutation;
use crate::oracle::Oracle;
use crate::queue::{Event, HostIx, Queue, ShimIx, Uid};
use crate::run::{Extent, Options};
use crate::shim::Shim;
use crate::stream::Stream;
use crate::swarm::Swarm;
use crate::task::{Hand, Task};
use crate::trace::Trace;

pub(crate) use operator::Order;
pub(crate) use server::Server;

/// Most events of one run. A run has some thousand; one that has this many goes round in circles.
const EVENTS_MAX: u64 = 400_000;

/// Sets the stream that work is drawn from apart from the world's own.
const WORK_STREAM: u64 = 0x776f_726b;

/// The same, of what agents save, and of workflows.
const CHECKPOINT_STREAM: u64 = 0x7361_7665;
const WORKFLOW_STREAM: u64 = 0x666c_6f77;

/// Whether things go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Rough,
    Calm,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) dice: Dice,
    /// Decides what becomes of what shims write for their agents.
    state_dice: Dice,
    pub(crate) swarm: Swarm,
    pub(crate) mutation: Mutation,
    pub(crate) queue: Queue,
    pub(crate) server: Server,
    pub(crate) hosts: Vec<Host>,
    pub(crate) shims: Vec<Shim>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) orders: Vec<Order>,
    /// Every attempt that truly began.
    pub(crate) tasks: Vec<Task>,
    /// When a shim wrote down that an attempt begins.
    pub(crate) given: BTreeMap<(ShimIx, AttemptId), Duration>,
    /// Of the agents that take their work themselves.
    pub(crate) hands: Vec<Hand>,
    /// What the processes of agents that save have in mind.
    minds: BTreeMap<Uid, Mind>,
    pub(crate) oracle: Oracle,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
    pub(crate) weather: Weather,
    calm_since: Duration,
    next_uid: u64,
    next_request: u64,
    next_token: u64,
    /// Executions that were asked for.
    created: usize,
    events: u64,
    over: Over,
}

/// Whether the run has reached its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    No,
    Yes,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options, trace: Trace) -> Self {
        let Options { mutation, extent, .. } = options;
        let mut dice = Dice::new(seed);
        let mut swarm = Swarm::new(&mut dice);
        if extent >= Extent::Work {
            swarm.draw_work(&mut Dice::new(seed ^ WORK_STREAM));
        }
        if extent >= Extent::All {
            swarm.draw_checkpoints(&mut Dice::new(seed ^ CHECKPOINT_STREAM));
            swarm.draw_workflows(&mut Dice::new(seed ^ WORKFLOW_STREAM));
        }
        let hosts: Vec<Host> = (0..swarm.hosts)
            .map(|number| Host::new(number, swarm.machine_ids))
            .collect();
        let mut shims = Vec::new();
        for (nature, agent) in swarm.agents.iter().enumerate() {
            for host in [Some(agent.home), agent.rival].into_iter().flatten() {
                let id = AgentId::new(&format!("agent-{nature}")).expect("valid");
                let marker = Marker::from_u128(1000 + shims.len() as u128);
                let journal = Journal::new(id.clone(), marker, hosts[host].boot_id());
                shims.push(Shim::new(id, nature, HostIx(host), marker, journal));
            }
        }
        let server = Server::new(dice.number());
        let mut world = Self {
            now: Duration::ZERO,
            dice,
            state_dice: Dice::new(seed ^ CHECKPOINT_STREAM.rotate_left(32)),
            swarm,
            mutation,
            queue: Queue::default(),
            server,
            hosts,
            shims,
            streams: Vec::new(),
            orders: Vec::new(),
            tasks: Vec::new(),
            given: BTreeMap::new(),
            hands: Vec::new(),
            minds: BTreeMap::new(),
            oracle: Oracle::default(),
            counts: Counts::default(),
            trace,
            weather: Weather::Rough,
            calm_since: Duration::MAX,
            next_uid: 1,
            next_request: 1,
            next_token: 0,
            created: 0,
            events: 0,
            over: Over::No,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let swarm = format!("{:?}", self.swarm);
        self.trace.note(self.now, || swarm);
        self.queue.push(Duration::ZERO, Event::ServerStarts);
        for ix in 0..self.shims.len() {
            let at = self.dice.millis(0..20_000);
            self.queue.push(at, Event::ShimStarts(ShimIx(ix)));
        }
        self.queue.push(self.swarm.strike_every, Event::Strikes);
        if let Some(every) = self.swarm.operate_every {
            self.queue.push(every, Event::Operates);
        }
        self.begin_work();
        self.begin_workflows();
        self.queue.push(self.swarm.rough_for, Event::Calms);
    }

    /// Runs to the end, or to the first invariant that does not hold.
    pub(crate) fn run(&mut self) {
        while self.over == Over::No && self.oracle.broken.is_none() {
            let Some((at, event)) = self.queue.pop() else { return };
            self.now = at;
            self.events += 1;
            if self.events > EVENTS_MAX {
                return self
                    .oracle
                    .stuck(format!("{EVENTS_MAX} events, and no end: the newest is {event:?}"));
            }
            self.happen(event);
        }
    }

    /// Events that have happened.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Dial(shim, life) => self.dial(shim, life),
            Event::ReachesServer(stream) => self.reaches_server(stream),
            Event::ReachesShim(stream) => self.reaches_shim(stream),
            Event::GivesUp(stream) => self.gives_up(stream),
            Event::WelcomeLate(stream) => self.welcome_late(stream),
            Event::InventoryLate(stream) => self.inventory_late(stream),
            Event::LeaseScan(stream) => self.lease_scan(stream),
            Event::ServerStarts => self.server_starts(),
            Event::ServerTimer(life) => self.server_timer(life),
            Event::Flushed(life) => self.flushed(life),
            Event::Copies => self.copies(),
            Event::SetsBack => self.sets_back(),
            Event::ServerResumes(life) => self.server_resumes(life),
            Event::ShimStarts(shim) => self.shim_starts(shim),
            Event::ShimTimer(shim, life) => self.shim_timer(shim, life),
            Event::ShimLearns(shim, life, fact) => self.shim_learns(shim, life, fact),
            Event::ShimThaws(shim, life) => self.shim_thaws(shim, life),
            Event::SweepEnds(shim, life) => self.sweep_ends(shim, life),
            Event::Spawns(shim, life, incarnation) => self.spawns(shim, life, incarnation),
            Event::SpawnsTask(shim, life, task) => self.spawns_task(shim, life, task),
            Event::Moves(hand) => self.hand_moves(hand),
            Event::HangsUp(hand, request) => self.hangs_up(hand, request),
            Event::Answers(task) => self.answers(task),
            Event::Blocks(task, blocked) => self.blocks(task, blocked),
            Event::TaskDue(task) => self.task_due(task),
            Event::Dies(host, uid, status) => self.dies(host, uid, status),
            Event::Forks(host, uid) => self.forks(host, uid),
            Event::Says(host, uid, notice) => self.says(host, uid, notice),
            Event::Hangs(host, uid) => self.hangs(host, uid),
            Event::HostBoots(host) => self.host_boots(host),
            Event::HostWakes(host, boot) => self.host_wakes(host, boot),
            Event::NetworkHeals(host) => self.network_heals(host),
            Event::Strikes => self.strikes(),
            Event::Operates => self.operates(),
            Event::Employs => self.employs(),
            Event::Rushes => self.rushes(),
            Event::Thinks(uid, thought) => self.has_thought(uid, thought),
            Event::FileNoticed(uid) => self.file_noticed(uid),
            Event::CheckpointWritten(shim, life) => self.checkpoint_written(shim, life),
            Event::CommandEnds(shim, life, incarnation) => self.command_ends(shim, life, incarnation),
            Event::Meddles => self.meddles(),
            Event::OrderArrives(order) => self.order_arrives(order),
            Event::OrderExpires(order, call) => self.order_expires(order, call),
            Event::Calms => self.calms(),
            Event::Probes => self.probes(),
        }
    }

    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.queue.push(self.now + wait, event);
    }

    pub(crate) fn fired(&mut self, fault: Fault) {
        self.counts.add(fault);
        self.trace.note(self.now, || format!("-- {fault}"));
    }

    pub(crate) fn is_rough(&self) -> bool {
        self.weather == Weather::Rough
    }

    /// Something of this probability happens, as long as things go wrong.
    pub(crate) fn misfortune(&mut self, probability: f64) -> bool {
        self.is_rough() && self.dice.chance(probability)
    }
}
