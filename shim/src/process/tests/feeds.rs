//! An agent that reads messages from its stdin, and answers on its stdout.

use rekindle::execution::{AttemptId, ExecutionId, Output};
use rekindle::exit::ExitStatus;
use rekindle::policy::MAX_CONCURRENT_MAX;
use rekindle_shim_core::Word;

use super::super::child::Answered;
use super::*;

impl Bench {
    /// An agent in Python that is fed; `D` is the test's folder.
    fn fed(&mut self, script: &str) -> Child {
        self.delivery = Delivery::Stdin;
        self.python(&format!("import json\n{script}"))
    }

    fn feed(&self, child: &Child, id: &str, message: &str) {
        let _inside = self.runtime.enter();
        child.feed(&attempt(id), message, Duration::from_millis(1500));
    }

    /// The next answers, so many of them.
    fn answers(&self, child: &Child, count: usize) -> Vec<Answered> {
        let all = async {
            let mut answers = Vec::new();
            while answers.len() < count {
                answers.push(child.answer().await);
            }
            Ok(answers)
        };
        self.within(LIMIT, all).expect("answers")
    }
}

fn attempt(id: &str) -> AttemptId {
    AttemptId {
        execution: ExecutionId::new(id).expect("valid"),
        number: 2,
    }
}

fn done(id: &str, text: &str) -> Answered {
    let output = Output {
        text: text.into(),
        dropped: 0,
    };
    (attempt(id).execution, Word::Done { output })
}

const ECHO: &str = "
for line in sys.stdin:
    asked = json.loads(line)
    print('at work')
    answer = {'id': asked['id'], 'result': json.dumps([asked[key] for key in ('attempt', 'message', 'timeout_ms')])}
    print(json.dumps(answer), flush=True)
print('no more')";

#[test]
fn a_message_is_a_line_and_so_is_its_answer() {
    let mut bench = Bench::new();
    let child = bench.fed(ECHO);
    bench.feed(&child, "a", "two\nlines, \u{e9}");
    assert_eq!(
        bench.answers(&child, 1),
        [done("a", "[2, \"two\\nlines, \\u00e9\", 1500]")]
    );
    bench.feed(&child, "b", "");
    bench.feed(&child, "c", "\"{}\\");
    let expected = [done("b", "[2, \"\", 1500]"), done("c", "[2, \"\\\"{}\\\\\", 1500]")];
    assert_eq!(bench.answers(&child, 2), expected);
    let remains = bench.end(child);
    assert!(
        remains.stdout_tail.starts_with("at work\n{\"id\": \"a\""),
        "{}",
        remains.stdout_tail
    );
    assert_eq!(remains.output, Output::default());
}

#[test]
fn long_messages_arrive_whole() {
    let mut bench = Bench::new();
    let child = bench.fed(
        "
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({'id': asked['id'], 'result': len(asked['message'])}), flush=True)",
    );
    let long = "\u{1}".repeat(rekindle::execution::MESSAGE_MAX_BYTES);
    for id in ["a", "b", "c"] {
        bench.feed(&child, id, &long);
    }
    let length = long.len().to_string();
    let expected = ["a", "b", "c"].map(|id| done(id, &length));
    assert_eq!(bench.answers(&child, 3), expected);
    bench.end(child);
}

#[test]
fn last_answers_are_heard_after_death() {
    let mut bench = Bench::new();
    let child = bench.fed("print('{\"id\": \"a\", \"result\": \"late\"}\\n{\"id\": \"b\", \"result\"', end='')");
    // Nothing is read meanwhile, as nothing else runs here.
    wait_for("its end", || (!lives(&child.process().pid.to_string())).then_some(()));
    assert_eq!(child.last_answers(), [done("a", "late")]);
    assert_eq!(child.last_answers(), []);
    assert_eq!(bench.end(child).status, ExitStatus::Exited(0));
}

#[test]
fn who_does_not_read_holds_nobody_up() {
    let mut bench = Bench::new();
    let child = bench.fed("open(D + '/up', 'w').write('\\n'); time.sleep(60)");
    bench.told("up");
    let long = "x".repeat(rekindle::execution::MESSAGE_MAX_BYTES);
    for _ in 0..3 * MAX_CONCURRENT_MAX {
        bench.feed(&child, "a", &long);
    }
    assert!(bench.within(Duration::from_millis(50), child.exited()).is_none());
    assert_eq!(bench.end(child).stdout_tail, "");
}

#[test]
fn who_has_closed_its_stdin_is_given_nothing() {
    let mut bench = Bench::new();
    let child = bench.fed("os.close(0); open(D + '/up', 'w').write('\\n'); time.sleep(60)");
    bench.told("up");
    for _ in 0..3 {
        bench.feed(&child, "a", "hello");
        assert!(bench.within(Duration::from_millis(20), child.exited()).is_none());
    }
    bench.end(child);
}

#[test]
fn who_answers_without_end_has_to_wait() {
    let mut bench = Bench::new();
    let child = bench.fed(
        "
for n in range(5000):
    print(json.dumps({'id': 'a', 'result': 'x' * 1000}))
    open(D + '/said', 'w').write(f'{n}\\n')
print(json.dumps({'id': 'b', 'result': ''}), flush=True)
time.sleep(60)",
    );
    // Nobody hears it: it stands still once the pipe is full, and what waits here.
    let mut said = 0;
    loop {
        bench.within(
            Duration::from_millis(200),
            std::future::pending::<std::io::Result<()>>(),
        );
        let now: u32 = bench.told("said").trim().parse().expect("a number");
        if now == said {
            break;
        }
        said = now;
    }
    assert!(said < 500, "{said}");
    let answers = bench.answers(&child, 5001);
    assert_eq!(answers.last(), Some(&done("b", "")));
    bench.end(child);
}

#[test]
fn who_is_forgotten_is_read_on() {
    let mut bench = Bench::new();
    let child = bench.fed(
        "
for n in range(2000):
    print(json.dumps({'id': 'a', 'result': 'x' * 1000}))
sys.stdout.flush()
open(D + '/through', 'w').write('\\n')
time.sleep(60)",
    );
    let pid = child.process().pid.to_string();
    let root = Tree::default();
    drop(child);
    let start = std::time::Instant::now();
    while !bench.file("through").exists() {
        assert!(start.elapsed() < LIMIT);
        bench.within(Duration::from_millis(5), std::future::pending::<std::io::Result<()>>());
    }
    let leader = rustix::process::Pid::from_raw(pid.parse().expect("a pid")).expect("a pid");
    let of = super::super::tree::Root::new(birth().tree(), leader, None, Vec::new());
    bench.within(LIMIT, root.gone(&of, Force::Kill)).expect("ends");
    root.reap().expect("reaped");
}
