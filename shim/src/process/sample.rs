//! What a tree has done so far, for who looks whether it does anything at all.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::time::Duration;

use rekindle_shim_core::Sample;
use rustix::process::{Pid, getpid};
use rustix::time::{ClockId, clock_gettime};

use super::proc::{self, Life};
use super::tree::Tree;

/// Most processes that are looked at, each for about 30 µs. A tree of more is taken to be at work.
const LOOKED_AT_MAX: usize = 2048;

impl Tree {
    /// What the tree has used by now, and who lives of it. Its CPU time is `group_cpu`, that of the tree's cgroup
    /// (`usage_usec` in cpu.stat), where it has one; else it is summed up over the living.
    pub(crate) fn sample(&self, output_bytes: u64, group_cpu: Option<Duration>) -> io::Result<Sample> {
        self.sample_of(proc::children(getpid())?, output_bytes, group_cpu)
    }

    /// The same of these and their descendants.
    pub(super) fn sample_of(
        &self,
        pids: Vec<Pid>,
        output_bytes: u64,
        group_cpu: Option<Duration>,
    ) -> io::Result<Sample> {
        let walk = self.walk(pids, LOOKED_AT_MAX);
        Ok(Sample {
            cpu: group_cpu.unwrap_or_else(|| proc::of_ticks(walk.cpu_ticks)),
            output_bytes,
            processes: walk.digest,
        })
    }

    /// Without descriptors, as no signal follows: a process that is missed, as it gets another parent meanwhile, only
    /// makes a sample that differs.
    fn walk(&self, mut open: Vec<Pid>, looked_at_max: usize) -> Walk {
        let mut walk = Walk::default();
        let mut seen = BTreeSet::new();
        while let Some(pid) = open.pop() {
            if !seen.insert(pid.as_raw_pid()) {
                continue;
            }
            if seen.len() > looked_at_max {
                walk.differ_from_all_others();
                break;
            }
            let Ok(stat) = proc::stat(pid) else {
                continue;
            };
            if stat.life == Life::Dead || self.is_exempt(pid) {
                continue;
            }
            walk.add(pid, stat);
            open.extend(proc::children(pid).unwrap_or_default());
        }
        walk
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Walk {
    cpu_ticks: u64,
    digest: u64,
}

impl Walk {
    fn add(&mut self, pid: Pid, stat: proc::Stat) {
        self.cpu_ticks = self.cpu_ticks.saturating_add(stat.cpu_ticks);
        self.mix((pid.as_raw_pid(), stat.start_time_ticks));
    }

    /// The sum of hashes is the same in any order.
    fn mix(&mut self, what: impl std::hash::Hash) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(what);
        self.digest = self.digest.wrapping_add(hash);
    }

    fn differ_from_all_others(&mut self) {
        let moment = clock_gettime(ClockId::Monotonic);
        self.mix((moment.tv_sec, moment.tv_nsec));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Child;
    use crate::process::tests::{Bench, wait_for};

    impl Bench {
        fn sampled(&self, child: &Child) -> Sample {
            // What was written is read meanwhile.
            self.within(Duration::from_millis(5), std::future::pending::<io::Result<()>>());
            child.sample(&self.tree).expect("sampled")
        }

        /// Waits until the tree does nothing.
        fn at_rest(&self, child: &Child) -> Sample {
            wait_for("a tree at rest", || {
                let sample = self.sampled(child);
                (self.sampled(child) == sample).then_some(sample)
            })
        }

        /// Waits until a sample differs from this one in a certain way.
        #[track_caller]
        fn differs(&self, child: &Child, what: impl Fn(Sample) -> bool) {
            wait_for("a sample that differs", || what(self.sampled(child)).then_some(()));
        }
    }

    #[test]
    fn who_rests_stays_the_same() {
        let mut bench = Bench::new();
        let child = bench.sh("echo > $D/up; sleep 60");
        bench.told("up");
        let rest = bench.at_rest(&child);
        assert_eq!(bench.sampled(&child), rest);
        let group_cpu = Duration::from_micros(7);
        let in_group = bench.tree.sample(rest.output_bytes, Some(group_cpu)).expect("sampled");
        assert_eq!(in_group, Sample { cpu: group_cpu, ..rest });
        bench.end(child);
    }

    #[test]
    fn work_shows() {
        let mut bench = Bench::new();
        let child = bench.sh("while [ ! -e $D/go ]; do sleep 0.01; done; while :; do :; done");
        let before = bench.sampled(&child);
        std::fs::write(bench.file("go"), "").expect("written");
        bench.differs(&child, |sample| sample.cpu > before.cpu + Duration::from_millis(100));
        bench.end(child);
    }

    #[test]
    fn work_of_who_was_waited_for_shows() {
        let mut bench = Bench::new();
        let child = bench.python(
            "
if os.fork() == 0:
    while time.process_time() < 0.3:
        pass
    os._exit(0)
os.wait()
open(D + '/up', 'w').write('\\n')
time.sleep(60)",
        );
        bench.told("up");
        assert!(bench.at_rest(&child).cpu >= Duration::from_millis(200));
        bench.end(child);
    }

    #[test]
    fn output_shows() {
        let mut bench = Bench::new();
        let child = bench.sh("while [ ! -e $D/go ]; do sleep 0.01; done; printf 123; printf 4567 >&2; sleep 60");
        assert_eq!(bench.sampled(&child).output_bytes, 0);
        std::fs::write(bench.file("go"), "").expect("written");
        bench.differs(&child, |sample| sample.output_bytes == 7);
        bench.end(child);
    }

    #[test]
    fn processes_that_come_and_go_show() {
        let mut bench = Bench::new();
        let child = bench.sh("while :; do sleep 0.02; done");
        let before = bench.sampled(&child);
        bench.differs(&child, |sample| sample.processes != before.processes);
        bench.end(child);
    }

    #[test]
    fn who_is_exempt_or_dead_does_not_show() {
        let mut bench = Bench::new();
        let child = bench.sh("sleep 0 & sleep 60 & echo > $D/up; exec sleep 60");
        bench.told("up");
        bench.at_rest(&child);
        let walk = |bench: &Bench, looked_at_max| {
            let children = proc::children(getpid()).expect("listed");
            bench.tree.walk(children, looked_at_max)
        };
        let all = walk(&bench, LOOKED_AT_MAX);
        assert_ne!(all.digest, 0);
        let before = walk(&bench, 1);
        assert_ne!(walk(&bench, 1), before, "too many to look at");
        bench.tree.exempt_all().expect("works");
        assert_eq!(walk(&bench, LOOKED_AT_MAX), Walk::default());
        bench.tree = Tree::default();
        bench.end(child);
    }
}
