//! What a child and its descendants say, and who else is heard.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};

use rekindle::activity::{ActivityState, BlockedOn};
use rekindle_shim_core::Notice;
use rustix::process::{Pid, Signal};

use super::clients;
use super::*;

/// Python that says something to the shim, as any program can.
pub(super) const SAY: &str = "
import array, socket
def say(text, to=None, fds=()):
    to = to or os.environ['NOTIFY_SOCKET']
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect('\\0' + to[1:])
    s.sendmsg([text if isinstance(text, bytes) else text.encode()],
              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else [])
    s.close()
def tell(name, what=''):
    open(D + '/' + name + '~', 'w').write(f'{what}\\n')
    os.rename(D + '/' + name + '~', D + '/' + name)
def await_file(name):
    while not os.path.exists(D + '/' + name):
        time.sleep(0.001)
def child(what):
    pid = os.fork()
    if pid == 0:
        what()
        os._exit(0)
    return pid
";

/// The child's own word that it has said all.
const LAST: &str = "STATUS=that is all";

fn last() -> Notice {
    Notice::Status("that is all".to_owned())
}

fn status(text: &str) -> Notice {
    Notice::Status(text.to_owned())
}

impl Bench {
    /// Runs Python that can [`SAY`] something.
    pub(super) fn speaker(&mut self, script: &str) -> Child {
        self.python(&format!("{SAY}\n{script}"))
    }

    /// What is said next.
    #[track_caller]
    fn heard(&self, child: &Child) -> Vec<Notice> {
        self.within(LIMIT, child.notices(&self.tree))
            .expect("it says something")
    }

    /// All that is said, up to [`LAST`] alone.
    #[track_caller]
    fn heard_to_the_last(&self, child: &Child) -> Vec<Notice> {
        self.heard_to(child, &last())
    }

    #[track_caller]
    fn heard_to(&self, child: &Child, end: &Notice) -> Vec<Notice> {
        let mut all = Vec::new();
        while !all.contains(end) {
            all.extend(self.heard(child));
        }
        all.retain(|notice| notice != end);
        all
    }
}

#[test]
fn a_child_says_that_it_is_up_and_then_that_it_lives() {
    let mut bench = Bench::new();
    bench.watchdog = Some(Duration::from_millis(1500));
    let child = bench.speaker(
        "
tell('env', [os.environ.get(name) for name in ('WATCHDOG_USEC', 'WATCHDOG_PID')])
await_file('go')
say('READY=1\\nSTATUS=up')
await_file('on')
while True:
    say('WATCHDOG=1')
    time.sleep(0.01)",
    );
    assert_eq!(bench.told("env"), "['1500000', None]\n");
    assert!(
        bench
            .within(Duration::from_millis(50), child.notices(&bench.tree))
            .is_none(),
        "nothing is said"
    );
    std::fs::write(bench.file("go"), "").expect("written");
    assert_eq!(bench.heard(&child), [Notice::Ready, status("up")]);
    std::fs::write(bench.file("on"), "").expect("written");
    for _ in 0..5 {
        assert_eq!(bench.heard(&child), [Notice::Ping]);
    }
    bench.end(child);
}

#[test]
fn every_word_arrives() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
for word in ['RELOADING=1', 'WATCHDOG_USEC=2000000', 'EXTEND_TIMEOUT_USEC=5000000', 'X_REKINDLE_ACTIVITY=BLOCKED:user',
             'WATCHDOG=trigger', 'ERRNO=2', 'STOPPING=1', 'X_REKINDLE_ACTIVITY=NONE', 'READY=yes', 'STATUS=that is all']:
    say(word)
time.sleep(60)",
    );
    assert_eq!(
        bench.heard_to_the_last(&child),
        [
            Notice::WatchdogTimeout(Duration::from_secs(2)),
            Notice::Extend(Duration::from_secs(5)),
            Notice::Activity(ActivityState::Blocked(BlockedOn::User)),
            Notice::Stuck,
            Notice::Stopping,
        ]
    );
    bench.end(child);
}

#[test]
fn last_words_are_heard_after_death() {
    let mut bench = Bench::new();
    let child = bench.speaker("say('X_REKINDLE_ACTIVITY=BLOCKED:quota\\nSTOPPING=1')");
    bench.exited(&child);
    assert_eq!(
        bench.heard(&child),
        [
            Notice::Activity(ActivityState::Blocked(BlockedOn::Quota)),
            Notice::Stopping
        ]
    );
    bench.end(child);
}

#[test]
fn a_daemon_of_the_tree_is_heard() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
def daemon():
    os.setsid()
    def speaker():
        while os.getppid() != SHIM:
            time.sleep(0.001)
        say('READY=1')
        time.sleep(60)
    child(speaker)
SHIM = os.getppid()
os.waitpid(child(daemon), 0)
time.sleep(60)",
    );
    assert_eq!(bench.heard(&child), [Notice::Ready]);
    bench.end(child);
}

#[test]
fn who_died_at_once_is_heard() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
os.waitpid(child(lambda: say('READY=1')), 0)
tell('reaped')
time.sleep(60)",
    );
    bench.told("reaped");
    assert_eq!(bench.heard(&child), [Notice::Ready]);
    bench.end(child);
}

#[test]
fn who_died_as_another_user_is_not_heard_and_who_lives_is() {
    if !clients::is_root() {
        return;
    }
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
def as_nobody(then):
    os.setuid(65534)
    say('READY=1')
    then()
os.waitpid(child(lambda: as_nobody(lambda: None)), 0)
tell('reaped')
say('STATUS=that is all')
await_file('go')
child(lambda: as_nobody(lambda: time.sleep(60)))
time.sleep(60)",
    );
    bench.told("reaped");
    assert_eq!(bench.heard_to_the_last(&child), []);
    std::fs::write(bench.file("go"), "").expect("written");
    assert_eq!(bench.heard(&child), [Notice::Ready]);
    bench.end(child);
}

#[test]
fn a_stranger_is_not_heard() {
    let mut bench = Bench::new();
    // Both descend from this process, as from a shim; what was there before the child is not of its tree.
    let mut stranger = Command::new("python3")
        .arg("-c")
        .arg(format!(
            "import os, time\nD = {:?}\n{SAY}\nawait_file('name')\nsay('READY=1\\nWATCHDOG=1', \
             to=open(D + '/name').read().strip())\ntell('said')\ntime.sleep(60)",
            bench.dir.path().display().to_string()
        ))
        .stdin(Stdio::null())
        .spawn()
        .expect("python3 runs");
    bench.tree.exempt_all().expect("exempt");
    let child = bench.speaker(&format!(
        "tell('name', os.environ['NOTIFY_SOCKET'])\nawait_file('said')\nawait_file('go')\nsay('{LAST}')\ntime.sleep(60)"
    ));
    bench.told("said");
    // Nor is the shim itself one of its tree.
    let name = bench.told("name");
    let name = name.trim().trim_start_matches('@');
    let shim = UnixDatagram::unbound().expect("a socket");
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    shim.connect_addr(&address).expect("connected");
    shim.send(b"STOPPING=1").expect("sent");
    std::fs::write(bench.file("go"), "").expect("written");
    assert_eq!(bench.heard_to_the_last(&child), []);
    bench.end(child);
    stranger.kill().expect("it lives");
    stranger.wait().expect("reaped");
}

#[test]
fn the_main_process_is_of_the_tree_or_refused() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
dead = child(lambda: None)
os.waitpid(dead, 0)
for stranger in (1, os.getppid(), dead, 2 ** 22 + 1):
    say(f'MAINPID={stranger}')
say('STATUS=that is all')
await_file('go')
pid = child(lambda: time.sleep(60))
tell('main', pid)
say(f'MAINPID={pid}\\nREADY=1')
time.sleep(60)",
    );
    assert_eq!(bench.heard_to_the_last(&child), []);
    std::fs::write(bench.file("go"), "").expect("written");
    let heard = bench.heard(&child);
    let [Notice::Main(main), Notice::Ready] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    let pid: i32 = bench.told("main").trim().parse().expect("a pid");
    assert_eq!(main.pid, pid.unsigned_abs());
    let pid = Pid::from_raw(pid).expect("a pid");
    assert!(
        super::super::identity::find(main).expect("looked").is_some(),
        "it is found again by its whole identity"
    );
    let ticks = super::super::proc::stat(pid).expect("read").start_time_ticks;
    assert_eq!(main.start_time_ticks, ticks);
    let (one, other) = (main.start_time, child.process().start_time);
    let apart = one.saturating_since(other).max(other.saturating_since(one));
    assert!(apart < LIMIT, "both are as old as this test");
    bench.end(child);
}

#[test]
fn a_datagram_is_as_long_as_with_systemd() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
say(b'STOPPING=1\\nX=' + b'x' * (4097 - 13))
say(b'READY=1\\nX=' + b'x' * (4096 - 10))
say('STATUS=that is all')
time.sleep(60)",
    );
    assert_eq!(bench.heard_to_the_last(&child), [Notice::Ready]);
    bench.end(child);
}

#[test]
fn descriptors_that_come_along_are_closed() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
def closed(count):
    read, write = os.pipe()
    say('FDSTORE=1\\nBARRIER=1', fds=[write] * count)
    os.close(write)
    assert os.read(read, 1) == b''
closed(1)
closed(253)
for _ in range(100):
    say('WATCHDOG=1')
say('STATUS=that is all')
time.sleep(60)",
    );
    let pidfds = || {
        let open = std::fs::read_dir("/proc/self/fd").expect("listed").flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .filter(|target| target.to_string_lossy().contains("pidfd"))
            .count()
    };
    let before = pidfds();
    assert_eq!(bench.heard_to_the_last(&child).first(), Some(&Notice::Ping));
    assert_eq!(pidfds(), before);
    bench.end(child);
}

#[test]
fn a_child_of_another_user_reaches_its_shim() {
    if !clients::is_root() {
        return;
    }
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
os.setgid(65534)
os.setuid(65534)
say('READY=1')
os.waitpid(child(lambda: say('WATCHDOG=1')), 0)
say('STATUS=that is all')
time.sleep(60)",
    );
    assert_eq!(bench.heard_to_the_last(&child), [Notice::Ready, Notice::Ping]);
    bench.end(child);
}

#[test]
fn a_signal_reaches_the_process_that_was_named() {
    let mut bench = Bench::new();
    let child = bench.speaker(
        "
def main():
    signal.signal(signal.SIGUSR1, lambda *_: tell('signalled'))
    say(f'MAINPID={os.getpid()}')
    while True:
        time.sleep(1)
child(main)
time.sleep(60)",
    );
    let heard = bench.heard(&child);
    let [Notice::Main(main)] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    let pidfd = super::super::identity::find(main).expect("looked").expect("it lives");
    pidfd.signal(Signal::USR1).expect("signalled");
    bench.told("signalled");
    bench.end(child);
}
