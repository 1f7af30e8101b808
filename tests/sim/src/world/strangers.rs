//! Other people's processes, which get the pids that agents had.

use std::time::Duration;

use rekindle::exit::ExitStatus;
use rekindle::process::ProcessIdentity;

use super::World;
use crate::fault::Fault;
use crate::host::{GivenUp, Health, Manners, Process};
use crate::queue::{HostIx, Uid};

impl World {
    /// Somebody else's program gets a pid that was an agent's.
    pub(super) fn stranger_comes(&mut self, host: HostIx) {
        let had: Vec<u32> = self.hosts[host.0]
            .had
            .keys()
            .copied()
            .filter(|pid| !self.hosts[host.0].processes.contains_key(pid))
            .collect();
        if let Some(pid) = self.dice.pick(&had).copied() {
            self.stranger_gets(host, pid);
        }
    }

    pub(super) fn stranger_gets(&mut self, host: HostIx, pid: u32) {
        let uid = Uid(self.next_uid);
        self.next_uid += 1;
        let here = &mut self.hosts[host.0];
        here.had.insert(pid, uid);
        let identity = ProcessIdentity {
            boot_id: here.boot_id(),
            pid,
            pidfd_inode: self.swarm.pidfs.then_some(uid.0),
            start_time_ticks: 0,
            start_time: here.wall.wall(self.now),
        };
        let process = Process {
            uid,
            identity,
            owner: None,
            manners: Manners::EndsSoon,
            health: Health::Works,
            hangs_for: Duration::ZERO,
            dying: None,
            given_up: GivenUp::No,
        };
        here.processes.insert(pid, process);
        self.fired(Fault::PidReused);
        let wait = self.dice.millis(1_000..60_000);
        self.dies_after(host, uid, wait, ExitStatus::Exited(0));
    }
}
