//! What children say to their shims, and whether they do anything: readiness, pings, hangs.

use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::id::Incarnation;
use rekindle_shim_core::{Input as ShimFact, Notice, Readiness, Sample};

use super::World;
use crate::fault::Fault;
use crate::host::{Health, Process, Role, Up as HostUp};
use crate::queue::{Event, HostIx, ShimIx, Uid};

impl World {
    /// What a child is going to say, or to leave out.
    pub(super) fn plan_words(&mut self, ix: ShimIx, host: HostIx, uid: Uid) {
        if self.swarm.agents[self.shims[ix.0].nature].readiness == Readiness::Notify {
            if self.misfortune(self.swarm.children.never_ready) {
                self.fired(Fault::NeverReady);
            } else {
                let wait = self.dice.millis(1..900);
                self.after(wait, Event::Says(host, uid, Notice::Ready));
            }
        }
        if self.misfortune(self.swarm.children.hangs) {
            let wait = self.dice.millis(1..60_000);
            self.after(wait, Event::Hangs(host, uid));
        }
        if self.misfortune(self.swarm.children.announces_end) {
            let wait = self.dice.millis(1_000..60_000);
            self.after(wait, Event::Says(host, uid, Notice::Stopping));
        }
    }

    /// A child says something to its shim.
    pub(super) fn says(&mut self, host: HostIx, uid: Uid, notice: Notice) {
        if let HostUp::Sleeps { until, .. } = self.hosts[host.0].up {
            return self.queue.push(until, Event::Says(host, uid, notice));
        }
        let Some(&Process {
            owner: Some(owner),
            health: Health::Works,
            dying,
            ..
        }) = self.hosts[host.0].find(uid)
        else {
            return;
        };
        if let Some((_, ExitStatus::Signaled { signal: 9, .. })) = dying {
            // It hangs in the kernel until it is dead.
            return;
        }
        if notice == Notice::Stopping {
            self.fired(Fault::AnnouncesEnd);
            if !self.misfortune(0.3) {
                let wait = self.dice.millis(1..3_000);
                self.dies_after(host, uid, wait, ExitStatus::Exited(0));
            }
        }
        self.shim_hears(
            owner.shim,
            ShimFact::Notified {
                incarnation: owner.incarnation,
                notices: vec![notice],
            },
        );
    }

    pub(super) fn hangs(&mut self, host: HostIx, uid: Uid) {
        // An agent that nobody watches would hang for ever, and its queue with it.
        if self.swarm.work.is_some() && !self.is_rough() {
            return;
        }
        let Some(process) = self.hosts[host.0].find_mut(uid) else {
            return;
        };
        process.health = Health::Hangs;
        let Some(owner) = process.owner.filter(|owner| owner.role == Role::Child) else {
            return;
        };
        self.fired(Fault::Hangs);
        self.oracle.hangs(&self.shims[owner.shim.0].agent, owner.incarnation);
    }

    /// A child that works has pinged by the time that somebody looks, and its tree has moved.
    pub(super) fn probe(&mut self, ix: ShimIx, incarnation: Incarnation) {
        let host = self.shims[ix.0].host;
        let watched = self.shims[ix.0].running.as_ref().and_then(|running| running.watched);
        let child = watched.and_then(|watched| self.hosts[host.0].find(watched.child));
        let works = child.is_none_or(|child| child.health == Health::Works);
        let life = self.shims[ix.0].life;
        let at = self.now
            + self
                .dice
                .between(&(Duration::from_micros(20)..Duration::from_micros(300)));
        // What happens at one time happens in the order in which it was said.
        if works {
            let notices = vec![Notice::Ping];
            let ping = ShimFact::Notified { incarnation, notices };
            self.queue.push(at, Event::ShimLearns(ix, life, Box::new(ping)));
        }
        let cpu = if works { self.now } else { Duration::ZERO };
        let sample = Sample {
            cpu,
            ..Sample::default()
        };
        let probed = ShimFact::Probed { incarnation, sample };
        self.queue.push(at, Event::ShimLearns(ix, life, Box::new(probed)));
    }
}
