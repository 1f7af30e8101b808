//! How shims end: killed, stopped, replaced by another program in their place.

use rekindle_shim_core::{ExitCode, Input as ShimFact, OnShimExit};

use super::super::World;
use crate::fault::Fault;
use crate::queue::{Event, HostIx, ShimIx};
use crate::shim::StopAsked;

impl World {
    /// SIGKILL, or the death of its host. The kernel closes its streams, and kills its child.
    pub(in crate::world) fn shim_dies(&mut self, ix: ShimIx) {
        self.shim_is_gone(ix);
        let wait = self.dice.millis(100..30_000);
        self.after(wait, Event::ShimStarts(ix));
    }

    /// The shim's program runs anew in its process, or cannot be run.
    pub(super) fn upgrade(&mut self, ix: ShimIx) {
        if self.misfortune(0.1) {
            self.asks_are_turned_away(ix);
            return self.shim_hears(ix, ShimFact::UpgradeFailed);
        }
        self.fired(Fault::ShimUpgraded);
        self.shim_leaves(ix);
        let wait = self.dice.millis(1..50);
        self.after(wait, Event::ShimStarts(ix));
    }

    pub(in crate::world) fn shim_is_gone(&mut self, ix: ShimIx) {
        let nature = &self.swarm.agents[self.shims[ix.0].nature];
        let keeps = nature.on_shim_exit == OnShimExit::Keep;
        if self.shim_leaves(ix) && !keeps {
            let boot = self.hosts[self.shims[ix.0].host.0].boot_id();
            self.oracle.shim_gone(&self.shims[ix.0], boot, self.now);
            self.orphan(ix);
        }
    }

    /// Ends a life of a shim, whose streams the kernel closes. Whether there was one.
    fn shim_leaves(&mut self, ix: ShimIx) -> bool {
        if self.shims[ix.0].running.is_none() {
            return false;
        }
        let stream = self.stream_of_shim(ix);
        if let Some(stream) = stream {
            self.close_client(stream);
        }
        self.work_is_cut(ix);
        self.saves_are_cut(ix);
        let shim = &mut self.shims[ix.0];
        shim.running = None;
        shim.life = shim.life.next();
        if let Some(stream) = stream {
            self.heed(stream);
        }
        true
    }

    pub(super) fn shim_exits(&mut self, ix: ShimIx, code: ExitCode) {
        if code == ExitCode::Done {
            self.judge_clean_exit(ix);
        }
        self.shim_is_gone(ix);
        let wait = self.dice.millis(1_000..60_000);
        self.after(wait, Event::ShimStarts(ix));
    }

    /// SIGTERM, from whoever stops services.
    pub(in crate::world) fn stop_shim(&mut self, ix: ShimIx) {
        if let Some(running) = &mut self.shims[ix.0].running {
            running.stop = StopAsked::Yes;
            self.shim_hears(ix, ShimFact::StopRequested);
        }
    }

    pub(in crate::world) fn shims_of(&self, host: HostIx) -> Vec<ShimIx> {
        (0..self.shims.len())
            .map(ShimIx)
            .filter(|ix| self.shims[ix.0].host == host)
            .collect()
    }
}
