//! What goes wrong by itself.

use std::time::Duration;

use rekindle::id::Sequence;
use rekindle_server_core::input::Input;
use rekindle_shim_core::Input as ShimFact;

use super::World;
use super::server::Clock;
use crate::fault::Fault;
use crate::host::Up as HostUp;
use crate::queue::{Event, HostIx, Life, ShimIx, StreamIx};
use crate::stream::ClientEnd;

impl World {
    pub(super) fn strikes(&mut self) {
        if !self.is_rough() {
            return;
        }
        if let Some(fault) = self.dice.pick(&self.swarm.strikes).copied() {
            self.strike(fault);
        }
        let wait = self.dice.about(self.swarm.strike_every);
        self.after(wait, Event::Strikes);
    }

    fn strike(&mut self, fault: Fault) {
        let host = HostIx(self.dice.below(self.hosts.len()));
        let shim = ShimIx(self.dice.below(self.shims.len()));
        match fault {
            Fault::ShimKilled => {
                if self.shims[shim.0].running.is_some() {
                    self.fired(fault);
                    self.shim_dies(shim);
                }
            }
            Fault::ShimStopped => {
                if self.shims[shim.0].running.is_some() {
                    self.fired(fault);
                    self.stop_shim(shim);
                }
            }
            Fault::ShimUpgraded => {
                if self.shims[shim.0].running.is_some() {
                    self.shim_hears(shim, ShimFact::UpgradeRequested);
                }
            }
            Fault::ShimFrozen => self.freeze(shim),
            Fault::HostRebooted => self.reboot(host),
            Fault::HostSuspended => self.suspend(host),
            Fault::WallJumped => {
                self.fired(fault);
                self.hosts[host.0].wall.jump(&mut self.dice);
            }
            Fault::ServerWallJumped => {
                self.fired(fault);
                self.server.wall.jump(&mut self.dice);
                self.oracle.server_wall_jumped(self.now);
            }
            Fault::ServerKilled => {
                if self.server.running.is_some() {
                    self.fired(fault);
                    self.server_dies();
                }
            }
            Fault::ServerPaused | Fault::ServerSuspended => {
                self.fired(fault);
                let wait = self.dice.about(Duration::from_secs(20));
                let clock = if fault == Fault::ServerPaused {
                    Clock::GoesOn
                } else {
                    Clock::Stands
                };
                self.server_stands_still(wait, clock);
            }
            Fault::ConnectionDropped | Fault::HalfOpen => self.break_connection(shim, fault),
            Fault::Partitioned | Fault::PartitionedUp | Fault::PartitionedDown => self.partition(host, fault),
            Fault::PidReused => self.stranger_comes(host),
            Fault::EventsAged => self.age_events(),
            // These happen where something else does.
            Fault::ChildExits
            | Fault::ExitsAtOnce
            | Fault::ExecFails
            | Fault::IgnoresTerm
            | Fault::Forks
            | Fault::Setsid
            | Fault::Adopted
            | Fault::RecoversAlone
            | Fault::NotAdopted
            | Fault::NeverReady
            | Fault::Hangs
            | Fault::AnnouncesEnd
            | Fault::Unkillable
            | Fault::ShimDiedUnwritten
            | Fault::ShimDiedWritten
            | Fault::JournalSetBack
            | Fault::FlushFailed
            | Fault::FlushSlow
            | Fault::BatchLost
            | Fault::BatchKept
            | Fault::StoreSetBack
            | Fault::MessageDelayed
            | Fault::Reordered
            | Fault::HelloOutlived
            | Fault::RivalRefused
            | Fault::RivalAdmitted
            | Fault::Fenced
            | Fault::RequestRetried
            | Fault::CallAbandoned
            | Fault::CallExpired
            | Fault::ForcedRightly
            | Fault::ForcedWrongly
            | Fault::AgentDeleted
            | Fault::TaskExecFails
            | Fault::TaskFails
            | Fault::TaskHangs
            | Fault::TaskBlocks
            | Fault::TaskOutlivesKill
            | Fault::TaskLeavesBehind
            | Fault::AskWithdrawn
            | Fault::GiveFailed
            | Fault::WordRepeated
            | Fault::WordRefused
            | Fault::CreateRepeated
            | Fault::QueueFull
            | Fault::CancelAsked
            | Fault::CancelTooLate
            | Fault::Redriven
            | Fault::ExecutionsForgotten
            | Fault::NameUsedAgain
            | Fault::Overloaded
            | Fault::OverloadedAlone
            | Fault::SlotsTaken
            | Fault::SlotsAdded
            | Fault::NeverArrived
            | Fault::ShimGoneWithAccepted
            | Fault::ShimGoneWithRunning
            | Fault::ShimGoneWithFinished
            | Fault::WorkForgotten
            | Fault::ToldLate
            | Fault::GivenBack
            | Fault::Redelivered
            | Fault::Requeued
            | Fault::DeadLettered
            | Fault::TimedOut
            | Fault::NotStarted
            | Fault::CalledLost
            | Fault::LostReplaced
            | Fault::VerdictsHeld
            | Fault::SaveLost
            | Fault::SaveKept
            | Fault::StateDiskFull
            | Fault::StateDiskSlow
            | Fault::StateTorn
            | Fault::SaveLate
            | Fault::FileUnseen
            | Fault::SavedWhenAsked
            | Fault::NotSavedWhenAsked
            | Fault::SavedElsewhere
            | Fault::Poisoned
            | Fault::SetAside
            | Fault::BegunAnew
            | Fault::ClosedWithTask
            | Fault::ClosedByAgent
            | Fault::Confirmed
            | Fault::CheckpointRefused
            | Fault::CheckpointDeleted
            | Fault::WorkflowChanged
            | Fault::WorkflowDeleted
            | Fault::TriggersRushed
            | Fault::TriggerRefused
            | Fault::FiredAway
            | Fault::Missed
            | Fault::FireSkipped
            | Fault::FireExpired
            | Fault::Overlapped
            | Fault::FireMakesRoom
            | Fault::FireHeldUp
            | Fault::KeyRepeated
            | Fault::ChainEnded => {}
        }
    }

    fn freeze(&mut self, ix: ShimIx) {
        let wait = self.dice.about(Duration::from_secs(30));
        let until = self.now + wait;
        let life = self.shims[ix.0].life;
        let Some(running) = self.shims[ix.0]
            .running
            .as_mut()
            .filter(|running| running.frozen.is_none())
        else {
            return;
        };
        running.frozen = Some(until);
        self.fired(Fault::ShimFrozen);
        self.queue.push(until, Event::ShimThaws(ix, life));
        if let Some(stream) = self.stream_of_shim(ix) {
            self.heed(stream);
        }
    }

    fn reboot(&mut self, host: HostIx) {
        if self.hosts[host.0].up != HostUp::Runs {
            return;
        }
        self.fired(Fault::HostRebooted);
        for ix in self.shims_of(host) {
            if let Some(stream) = self.stream_of_shim(ix) {
                // A host that loses its power says nothing; one that shuts down does.
                if self.dice.chance(0.5) {
                    self.streams[stream.0].client = ClientEnd::Closed;
                    self.streams[stream.0].up.clear();
                    self.heed(stream);
                }
            }
            self.shim_is_gone(ix);
            if self.dice.chance(self.swarm.journal_set_back) {
                self.fired(Fault::JournalSetBack);
                if !self.shims[ix.0].journal.attempts.is_empty() {
                    self.fired(Fault::WorkForgotten);
                }
                self.files_are_excused(ix);
                self.oracle.counts_forgotten(&self.shims[ix.0]);
                let lost = 1 + self.dice.below(3);
                self.shims[ix.0].set_back(lost);
            }
            self.shims[ix.0].synced();
        }
        let here = &mut self.hosts[host.0];
        self.oracle.boots.ended(here.boot_id());
        here.up = HostUp::Down;
        here.processes.clear();
        here.had.clear();
        self.work_is_lost(host);
        self.files_are_lost(host);
        for ix in self.shims_of(host) {
            self.oracle.rebooted(&self.shims[ix.0], &self.server.disk, self.now);
        }
        let wait = self.dice.millis(5_000..90_000);
        self.after(wait, Event::HostBoots(host));
    }

    pub(super) fn host_boots(&mut self, host: HostIx) {
        self.hosts[host.0].boots(self.now);
        for ix in self.shims_of(host) {
            let wait = self.dice.millis(100..10_000);
            self.after(wait, Event::ShimStarts(ix));
        }
    }

    fn suspend(&mut self, host: HostIx) {
        if self.hosts[host.0].up != HostUp::Runs {
            return;
        }
        self.fired(Fault::HostSuspended);
        let wait = self.dice.about(Duration::from_secs(90));
        let until = self.now + wait;
        self.hosts[host.0].up = HostUp::Sleeps { since: self.now, until };
        let boot = self.hosts[host.0].boot;
        self.queue.push(until, Event::HostWakes(host, boot));
        self.heed_host(host);
    }

    pub(super) fn host_wakes(&mut self, host: HostIx, boot: Life) {
        if self.hosts[host.0].boot != boot {
            return;
        }
        self.hosts[host.0].wakes(self.now);
        for ix in self.shims_of(host) {
            self.shim_goes_on(ix);
        }
    }

    fn break_connection(&mut self, shim: ShimIx, fault: Fault) {
        let Some(ix) = self.stream_of_shim(shim) else { return };
        self.fired(fault);
        if fault == Fault::HalfOpen {
            // The server never hears of it, and what was on its way is gone.
            self.streams[ix.0].client = ClientEnd::Closed;
            self.streams[ix.0].up.clear();
            self.streams[ix.0].down.clear();
            self.heed(ix);
            return self.shim_finds_loss(shim, ix);
        }
        let kept = self.dice.below(self.streams[ix.0].up.len() + 1);
        self.streams[ix.0].up.truncate(kept);
        let life = self.shims[shim.0].life;
        if self.hindered(shim, life).is_some() {
            self.close_client(ix);
            return self.shim_finds_loss(shim, ix);
        }
        self.link_ends(ix, crate::stream::Fence::No);
    }

    fn shim_finds_loss(&mut self, shim: ShimIx, ix: StreamIx) {
        if let Some(running) = &mut self.shims[shim.0].running
            && running.stream == Some(ix)
        {
            running.stream = None;
        }
        self.shim_hears(shim, rekindle_shim_core::Input::LinkLost);
        self.dial_again(shim);
    }

    fn partition(&mut self, host: HostIx, fault: Fault) {
        self.fired(fault);
        let wait = self.dice.about(Duration::from_secs(40));
        let until = self.now + wait;
        let here = &mut self.hosts[host.0];
        if fault != Fault::PartitionedDown {
            here.deaf_up = here.deaf_up.max(until);
        }
        if fault != Fault::PartitionedUp {
            here.deaf_down = here.deaf_down.max(until);
        }
        self.queue.push(until, Event::NetworkHeals(host));
        self.heed_host(host);
        self.streams_cut(host, until);
    }

    pub(super) fn network_heals(&mut self, host: HostIx) {
        self.heed_host(host);
    }

    fn age_events(&mut self) {
        let Some((first, last)) = self.server.disk.events() else {
            return;
        };
        let standing = self.server.stands_still_until() > self.now;
        if last.get() <= first.get() || self.server.running.is_none() || standing {
            return;
        }
        self.fired(Fault::EventsAged);
        let span = usize::try_from(last.get() - first.get()).unwrap_or(usize::MAX);
        let through = Sequence::new(first.get() + self.dice.below(span) as u64);
        self.server_step(Input::EventsAged { through });
        self.server_turns();
    }
}
