//! Processes that are run for messages, several side by side.

use std::time::Instant;

use rekindle::execution::{AttemptId, ExecutionId, OUTPUT_MAX_BYTES, Output};
use rekindle::exit::ExitStatus;
use rekindle::id::ExecutionUid;
use rustix::process::Signal;

use super::*;

/// Most messages that an agent of these tests works on at a time.
const MANY: u32 = 8;

impl Bench {
    /// Runs a program for a message.
    fn try_attempt(&mut self, number: u32, path: &str, arguments: &[&str], message: &str) -> Result<Child, SpawnError> {
        let attempt = AttemptId {
            execution: ExecutionId::new("e-1").expect("valid"),
            uid: ExecutionUid::from_u128(1),
            number,
        };
        let purpose = Purpose::Attempt {
            attempt,
            message: message.into(),
        };
        self.try_give_birth(path, arguments, Confinement::default(), purpose)
    }

    /// Runs Python for a message; `D` is the test's folder, and `N` the attempt's number.
    fn attempt(&mut self, number: u32, script: &str) -> Child {
        let script = format!(
            "import os, signal, sys, time\nD = {:?}\nN = {number}\n{HELP}\n{script}",
            self.dir.path().display().to_string()
        );
        self.try_attempt(number, "python3", &["-c", &script], "a message")
            .expect("python3 runs")
    }

    /// Runs the same for as many messages as there may be.
    fn attempts(&mut self, script: &str) -> Vec<Child> {
        (1..=MANY).map(|number| self.attempt(number, script)).collect()
    }

    fn alive(&self, child: &Child) -> bool {
        lives(&child.process().pid.to_string())
    }

    /// Runs a program to its end.
    fn ended(&self, child: Child) -> Remains {
        self.exited(&child);
        self.end_of(child)
    }

    /// As [`Bench::end`], beside others.
    fn end_of(&self, child: Child) -> Remains {
        self.gone(&child, Force::Kill);
        let remains = self.buried(child);
        self.tree.reap().expect("reaped");
        remains
    }
}

const HELP: &str = "
def tell(name, what=''):
    with open(D + '/.' + name, 'w') as file:
        file.write(f'{what}\\n')
    os.rename(D + '/.' + name, D + '/' + name)

def daemon(then):
    # In the child: the daemon, whose parent is gone.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            then()
        os._exit(0)
    os.wait()

def linger(name):
    tell(name, os.getpid())
    time.sleep(60)
    os._exit(0)
";

#[test]
fn the_message_is_stdin() {
    let mut bench = Bench::new();
    let message = "line 1\nline 2 with a NUL: \0\nno end";
    let child = bench.try_attempt(1, "cat", &[], message).expect("it runs");
    let remains = bench.ended(child);
    let output = Output {
        text: message.into(),
        dropped: 0,
    };
    assert_eq!((remains.status, remains.output), (ExitStatus::Exited(0), output));
}

#[test]
fn a_program_that_does_not_read_holds_nobody_up() {
    let mut bench = Bench::new();
    let message = "x".repeat(rekindle::execution::MESSAGE_MAX_BYTES);
    let child = bench.try_attempt(1, "true", &[], &message).expect("it runs");
    assert_eq!(bench.ended(child).status, ExitStatus::Exited(0));
}

#[test]
fn the_message_is_an_argument_where_one_has_a_place() {
    let mut bench = Bench::new();
    let script = "printf '%s|' \"$@\"; cat";
    let words = ["-c", script, "sh", "-p={message}", "{message}"];
    let child = bench
        .try_attempt(1, "/bin/sh", &words, "do $HOME 'it'")
        .expect("it runs");
    assert_eq!(&*bench.ended(child).output.text, "-p=do $HOME 'it'|do $HOME 'it'|");

    let error = bench
        .try_attempt(2, "echo", &["{message}"], "a\0b")
        .expect_err("no argument can have it");
    assert_eq!(
        error.to_string(),
        "cannot run echo: the message has a NUL byte, which no argument can have; leave {message} out of the command, and \
         it comes on stdin"
    );
    let error = bench
        .try_attempt(3, "echo", &["{message}"], &"x".repeat(256 * 1024))
        .expect_err("too long");
    assert!(
        error.to_string().contains("leave {message} out of the command"),
        "{error}"
    );
}

#[test]
fn a_life_takes_a_place_as_it_is() {
    let mut bench = Bench::new();
    let child = bench.try_spawn("echo", &["{message}"]).expect("it runs");
    bench.exited(&child);
    let remains = bench.end(child);
    assert_eq!(
        (remains.stdout_tail.as_str(), &*remains.output.text),
        ("{message}\n", "")
    );
}

#[test]
fn what_an_attempt_finds() {
    let mut bench = Bench::new();
    let child = bench.attempt(
        7,
        "
names = ['REKINDLE_AGENT', 'REKINDLE_INCARNATION', 'REKINDLE_MARKER', 'REKINDLE_EXECUTION', 'REKINDLE_ATTEMPT']
print(*[os.environ.get(name) for name in names], 'NOTIFY_SOCKET' in os.environ, os.getpgid(0) == os.getpid())",
    );
    let remains = bench.ended(child);
    let expected = format!("planner-1 3 {} e-1 7 False True\n", birth().marker);
    assert_eq!(&*remains.output.text, expected, "{}", remains.stderr_tail);
}

#[test]
fn a_program_that_is_not_there_leaves_nothing() {
    let mut bench = Bench::new();
    let beside = bench.attempt(1, "time.sleep(60)");
    let error = bench
        .try_attempt(2, "/no/such/program", &[], "hi")
        .expect_err("it is not there");
    assert!(
        error
            .to_string()
            .starts_with("cannot run /no/such/program: No such file"),
        "{error}"
    );
    assert!(bench.alive(&beside));
    bench.end(beside);
}

#[test]
fn noise_on_stderr_harms_nothing() {
    let mut bench = Bench::new();
    let child = bench.attempt(1, "for _ in range(2048):\n    sys.stderr.write('e' * 99 + '\\n')");
    let remains = bench.ended(child);
    assert_eq!(remains.status, ExitStatus::Exited(0));
    assert_eq!(remains.output, Output::default());
    assert!(remains.stderr_tail.ends_with(&format!("{}\n", "e".repeat(99))));
}

#[test]
fn of_a_long_output_the_end_is_kept() {
    let mut bench = Bench::new();
    let child = bench.attempt(1, "[print(f'{n:09}') for n in range(100_000)]");
    let remains = bench.ended(child);
    let Output { text, dropped } = remains.output;
    assert_eq!(
        (text.len(), dropped),
        (OUTPUT_MAX_BYTES, 1_000_000 - OUTPUT_MAX_BYTES as u64)
    );
    assert!(text.ends_with("000099998\n000099999\n"));
    assert!(remains.stdout_tail.ends_with("000099999\n"));
    let passed = bench.passed();
    assert_eq!(passed.len(), 1_000_000, "and all of it goes where the log says");
}

#[test]
fn an_output_is_redacted_and_text() {
    let redaction = Redaction::new(vec!["sk-[a-z]+".parse().expect("valid")]).expect("one");
    let mut bench = Bench::with(&Log::Off, redaction);
    let child = bench.attempt(1, "sys.stdout.buffer.write(b'key sk-abc, \\xff and \\x1b[0m')");
    let Output { text, dropped } = bench.ended(child).output;
    assert_eq!((&*text, dropped), ("key [redacted], \u{fffd} and \u{1b}[0m", 0));
}

#[test]
fn a_daemon_goes_with_its_tree_and_its_neighbour_stays() {
    let mut bench = Bench::new();
    let script = "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
daemon(lambda: linger(f'daemon-{N}'))
linger(f'leader-{N}')";
    let (ends, stays) = (bench.attempt(1, script), bench.attempt(2, script));
    let daemons = ["daemon-1", "daemon-2"].map(|name| bench.told(name));
    bench.told("leader-1");
    bench.told("leader-2");
    ends.signal_tree(&bench.tree, Signal::TERM).expect("signalled");
    assert!(
        bench.within(Duration::from_millis(200), ends.exited()).is_none(),
        "it ignores TERM"
    );
    let survivors = ends.survivors(&bench.tree).expect("named");
    let mut named: Vec<String> = survivors.iter().map(|one| one.pid.to_string()).collect();
    named.sort();
    let [daemon, others] = &daemons;
    let mut expected = vec![daemon.trim().to_owned(), ends.process().pid.to_string()];
    expected.sort();
    assert_eq!(named, expected);

    let start = Instant::now();
    bench.end_of(ends);
    assert!(start.elapsed() < AT_ONCE);
    assert!(!lives(daemon));
    assert!(bench.alive(&stays) && lives(others));
    bench.end(stays);
    assert!(!lives(others));
}

#[test]
fn each_of_many_ends_alone() {
    let mut bench = Bench::new();
    let mut children = bench.attempts(
        "
daemon(lambda: linger(f'daemon-{N}'))
linger(f'leader-{N}')",
    );
    let daemons: Vec<String> = (1..=MANY)
        .map(|number| bench.told(&format!("daemon-{number}")))
        .collect();
    for (gone, daemon) in daemons.iter().enumerate() {
        assert!(lives(daemon));
        bench.end_of(children.remove(0));
        assert!(!lives(daemon));
        let others = daemons.iter().skip(gone + 1);
        assert!(
            others
                .zip(&children)
                .all(|(daemon, child)| lives(daemon) && bench.alive(child))
        );
    }
}

#[test]
fn many_end_at_once() {
    let mut bench = Bench::new();
    let children = bench.attempts(
        "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
daemon(lambda: linger(f'daemon-{N}'))
linger(f'leader-{N}')",
    );
    let daemons: Vec<String> = (1..=MANY)
        .map(|number| bench.told(&format!("daemon-{number}")))
        .collect();
    let start = Instant::now();
    for child in &children {
        child.signal_tree(&bench.tree, Signal::KILL).expect("signalled");
    }
    for child in children {
        bench.end_of(child);
    }
    assert!(start.elapsed() < 2 * AT_ONCE);
    assert!(daemons.iter().all(|daemon| !lives(daemon)));
}

#[test]
fn who_was_seen_once_is_known_without_any_trace() {
    let mut bench = Bench::new();
    let stays = bench.attempt(2, "linger('stays')");
    // It has no environment, no parent, and a group and session of its own, once its parent is dead.
    let child = bench.attempt(
        1,
        "
if os.fork() == 0:
    os.setsid()
    os.execve('/bin/sh', ['sh', '-c', f'trap \"\" USR1; echo $$ > {D}/.t; mv {D}/.t {D}/traceless; exec sleep 60'], {})
linger('leader')",
    );
    let traceless = bench.told("traceless");
    bench.told("leader");
    child.signal_tree(&bench.tree, Signal::USR1).expect("signalled");
    bench.exited(&child);
    assert!(lives(&traceless), "it ignores what ended its parent");
    bench.end_of(child);
    assert!(!lives(&traceless));
    assert!(bench.alive(&stays));
    bench.end(stays);
}

const TRACELESS: &str = "
daemon(lambda: os.execve('/bin/sh', ['sh', '-c', f'echo $$ > {D}/.t; mv {D}/.t {D}/traceless; exec sleep 60'], {}))
linger(f'leader-{N}')";

#[test]
fn an_orphan_without_a_trace_is_nobodys_until_one_is_alone() {
    let mut bench = Bench::new();
    let (first, last) = (bench.attempt(1, TRACELESS), bench.attempt(2, "linger('other')"));
    let traceless = bench.told("traceless");
    bench.end_of(first);
    assert!(lives(&traceless), "nobody is signalled who is not surely of the tree");
    assert!(bench.alive(&last));
    bench.end(last);
    assert!(!lives(&traceless), "the last one takes it along");
}

#[test]
fn an_orphan_without_a_trace_is_known_by_its_own_child() {
    let mut bench = Bench::new();
    let stays = bench.attempt(2, "linger('stays')");
    // The parent wipes its environment after it has forked a child, which keeps it.
    let child = bench.attempt(
        1,
        "
def branch():
    if os.fork() == 0:
        os.setsid()
        linger('twig')
    while not os.path.exists(D + '/twig'):
        time.sleep(0.001)
    os.execve('/bin/sh', ['sh', '-c', f'echo $$ > {D}/.t; mv {D}/.t {D}/branch; sleep 60; exit'], {})
daemon(branch)
linger('leader')",
    );
    let [branch, twig] = ["branch", "twig"].map(|name| bench.told(name));
    bench.end_of(child);
    assert!(!lives(&branch) && !lives(&twig));
    assert!(bench.alive(&stays));
    bench.end(stays);
}

#[test]
fn a_storm_of_forks_is_ended_beside_others() {
    let mut bench = Bench::new();
    let stays = bench.attempts("linger(f'stays-{N}')");
    let child = bench.attempt(
        MANY + 1,
        "
def breed():
    while True:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(0.0005)
if os.fork() == 0:
    os.setsid()
    breed()
time.sleep(0.3)
tell('up')
breed()",
    );
    bench.told("up");
    let start = Instant::now();
    bench.end_of(child);
    assert!(start.elapsed() < Duration::from_secs(2), "within the kill proof");
    assert!(stays.iter().all(|child| bench.alive(child)));
    for child in stays {
        bench.end_of(child);
    }
}

#[test]
fn who_is_forked_while_others_are_killed_is_found_without_any_trace() {
    let mut bench = Bench::new();
    let stays = bench.attempt(2, "linger('stays')");
    // Told by its argument alone.
    let seconds = format!("60.{}", std::process::id());
    let child = bench.attempt(
        1,
        &format!(
            "
def breed():
    while True:
        if os.fork() == 0:
            os.setsid()
            os.execve('/bin/sleep', ['sleep', '{seconds}'], {{}})
        time.sleep(0.004)
if os.fork() == 0:
    breed()
time.sleep(0.2)
linger('up')"
        ),
    );
    bench.told("up");
    bench.end_of(child);
    let cmdline = |pid: rustix::process::Pid| std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_pid()));
    let pids = super::super::proc::pids().expect("listed").into_iter();
    let left = pids.filter(|pid| cmdline(*pid).is_ok_and(|words| words.contains(&seconds)));
    assert_eq!(left.count(), 0);
    assert!(bench.alive(&stays));
    bench.end(stays);
}

#[test]
fn leaders_are_reaped_by_their_burial_alone() {
    let mut bench = Bench::new();
    let children = bench.attempts("sys.exit(N)");
    for child in &children {
        bench.exited(child);
    }
    bench.tree.reap().expect("reaped");
    let codes: Vec<ExitStatus> = children.into_iter().map(|child| bench.end_of(child).status).collect();
    let expected: Vec<ExitStatus> = (1..=i32::try_from(MANY).expect("few"))
        .map(ExitStatus::Exited)
        .collect();
    assert_eq!(codes, expected);
}

#[test]
fn each_has_a_group_of_its_own() {
    let Some(mut bench) = Bench::grouped() else { return };
    let (first, last) = (bench.attempt(1, TRACELESS), bench.attempt(2, "linger('other')"));
    let traceless = bench.told("traceless");
    let dirs = [&first, &last].map(|child| child.group().expect("one each").dir().to_owned());
    assert_ne!(dirs[0], dirs[1]);
    bench.end_of(first);
    assert!(!lives(&traceless), "told by its group");
    assert!(bench.alive(&last));
    bench.end(last);
    assert!(dirs.iter().all(|dir| !dir.exists()));
}
