//! Whose word counts.

use rekindle::id::BootId;
use rekindle::process::ProcessIdentity;
use rustix::io::Errno;
use rustix::process::{Pid, RawUid, test_kill_process};

use super::datagram::{Process, Sender};
use crate::process::hunt::Hunt;
use crate::process::pidfd::Pidfd;
use crate::process::tree::Tree;
use crate::process::{identity, proc};

/// The user who may do as it likes to every process.
const ROOT: RawUid = 0;

/// Those who may speak for an agent.
#[derive(Debug, Clone, Copy)]
pub(in crate::process) struct Speakers<'tree> {
    /// The child.
    pub(in crate::process) leader: Pid,
    /// Its tree.
    pub(in crate::process) kin: Kin<'tree>,
    /// The boot that the tree lives in.
    pub(in crate::process) boot_id: BootId,
}

/// By what a process is known to be of the tree.
#[derive(Debug, Clone, Copy)]
pub(in crate::process) enum Kin<'tree> {
    /// It descends from this process, and the child is not reaped.
    Descent(&'tree Tree),
    /// An earlier shim has spawned the child.
    Marks(Hunt<'tree>),
}

impl Speakers<'_> {
    /// Whether a sender is of the tree; of one that cannot be asked any more, whether it may be.
    pub(super) fn admit(&self, sender: &Sender) -> bool {
        let Some(pid) = sender.pid else {
            return false;
        };
        match &sender.process {
            Process::Held(pidfd) => {
                let is_of_tree = self.kin.has(pid);
                // Asked last: as long as it lived, its pid meant nobody else.
                if pidfd.is_dead() {
                    self.trust(sender.uid)
                } else {
                    is_of_tree
                }
            }
            Process::Reaped => self.trust(sender.uid),
            Process::Unheld => self.kin.has(pid) || (is_free(pid) && self.trust(sender.uid)),
        }
    }

    /// Who has this pid; `None` when nobody of the tree lives by it.
    pub(super) fn identify(&self, pid: Pid) -> Option<ProcessIdentity> {
        // Without a descriptor or a line in /proc nobody can tell who it is.
        let pidfd = Pidfd::find(pid).ok()??;
        let process = identity::of_living(pid, &pidfd, self.boot_id).ok()?;
        // Asked in this order, as above.
        (self.kin.has(pid) && !pidfd.is_dead()).then_some(process)
    }

    /// The word of a dead process counts by its user.
    fn trust(&self, uid: RawUid) -> bool {
        uid == ROOT || (proc::real_uid(self.leader).is_ok_and(|own| own == uid) && self.kin.leader_keeps_its_pid())
    }
}

impl Kin<'_> {
    fn has(&self, pid: Pid) -> bool {
        match self {
            Self::Descent(tree) => tree.has(pid),
            Self::Marks(hunt) => hunt.has(pid),
        }
    }

    /// Asked last: if it does, what was read by its pid before was its own.
    fn leader_keeps_its_pid(&self) -> bool {
        match self {
            Self::Descent(_) => true,
            Self::Marks(hunt) => hunt.child_is_there().is_ok_and(|there| there),
        }
    }
}

/// Whether no process has this pid, not even a dead one.
fn is_free(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::{Bench, lives, wait_for};
    use crate::process::{Child, Force};

    const SOMEBODY: RawUid = 65_533;

    fn pid_of(text: &str) -> Pid {
        Pid::from_raw(text.trim().parse().expect("a pid")).expect("a pid")
    }

    fn speakers<'tree>(child: &Child, tree: &'tree Tree) -> Speakers<'tree> {
        Speakers {
            leader: child.pid(),
            kin: Kin::Descent(tree),
            boot_id: BootId::from_u128(9),
        }
    }

    fn sender(pid: Option<Pid>, uid: RawUid, process: Process) -> Sender {
        Sender { pid, uid, process }
    }

    #[test]
    fn without_a_pidfd_the_pid_must_do() {
        let mut bench = Bench::new();
        let child = bench.sh("sleep 60 & echo $! > $D/alive; sleep 0 & wait $!; echo $! > $D/dead; wait");
        let (alive, dead) = (pid_of(&bench.told("alive")), pid_of(&bench.told("dead")));
        wait_for("a free pid", || is_free(dead).then_some(()));
        let speakers = speakers(&child, &bench.tree);
        let own = rustix::process::getuid().as_raw();
        let admitted = |pid, uid| speakers.admit(&sender(Some(pid), uid, Process::Unheld));

        assert!(admitted(alive, SOMEBODY), "the living by their place in the tree");
        assert!(admitted(child.pid(), SOMEBODY));
        assert!(admitted(dead, own) && admitted(dead, ROOT), "the dead by their user");
        assert!(!admitted(dead, SOMEBODY));
        assert!(!admitted(Pid::INIT, ROOT), "strangers not at all");
        assert!(!admitted(rustix::process::getpid(), own));
        bench.end(child);
    }

    #[test]
    fn a_pidfd_says_who_is_dead() {
        let mut bench = Bench::new();
        let child = bench.sh("sleep 60 & echo $! > $D/alive; wait");
        let alive = pid_of(&bench.told("alive"));
        let held = || Process::Held(Pidfd::open(alive).expect("it lives"));
        let own = rustix::process::getuid().as_raw();
        let (of_living, of_other) = (held(), held());
        {
            let speakers = speakers(&child, &bench.tree);
            assert!(speakers.admit(&sender(Some(alive), SOMEBODY, of_living)));
            assert!(
                !speakers.admit(&sender(None, ROOT, held())),
                "from outside of the pid namespace"
            );
            assert!(speakers.identify(alive).is_some());
        }
        bench.gone(&child, Force::Kill);
        bench.tree.reap().expect("reaped");
        assert!(!lives(&alive.as_raw_pid().to_string()));
        let speakers = speakers(&child, &bench.tree);
        assert!(!speakers.admit(&sender(Some(alive), SOMEBODY, of_other)));
        // A pid that came to mean another one changes nothing: the descriptor does not.
        let stranger = Some(rustix::process::getpid());
        let reaped = |uid| speakers.admit(&sender(stranger, uid, Process::Reaped));
        assert!(reaped(own) && reaped(ROOT) && !reaped(SOMEBODY));
        assert_eq!(speakers.identify(alive), None);
        bench.bury(child);
    }
}
