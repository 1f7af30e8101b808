//! An agent that reads messages from its stdin, and answers on its stdout.

use rekindle::execution::{AttemptId, ExecutionId, Output};
use rekindle::exit::ExitStatus;
use rekindle::id::ExecutionUid;
use rekindle::policy::MAX_CONCURRENT_MAX;
use rekindle_shim_core::{About, Word};

use super::super::child::Answered;
use super::super::feed::NotFed;
use super::*;

impl Bench {
    /// An agent in Python that is fed; `D` is the test's folder.
    fn fed(&mut self, script: &str) -> Child {
        self.delivery = Delivery::Stdin;
        self.python(&format!("import json\n{script}"))
    }

    fn feed(&self, child: &Child, id: &str, message: &str) {
        let _inside = self.runtime.enter();
        // What cannot be written is what some tests are about.
        let _ = child.feed(&attempt(id), message, Duration::from_millis(1500));
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
        uid: ExecutionUid::from_u128(1),
        number: 2,
    }
}

fn done(id: &str, text: &str) -> Answered {
    let output = Output {
        text: text.into(),
        dropped: 0,
    };
    (About::Execution(attempt(id).execution), Word::Done { output })
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
    for (last, expected) in [
        ("\\n{\"id\": \"b\", \"result\"", vec![done("a", "late")]),
        (
            "\\n{\"id\": \"b\", \"result\": \"\"}",
            vec![done("a", "late"), done("b", "")],
        ),
    ] {
        let mut bench = Bench::new();
        let script = format!("print('{{\"id\": \"a\", \"result\": \"late\"}}{last}', end='')");
        let child = bench.fed(&script);
        // Nothing is read meanwhile, as nothing else runs here.
        wait_for("its end", || (!lives(&child.process().pid.to_string())).then_some(()));
        let (remains, answers) = bench.last_words(child);
        assert_eq!(answers, expected);
        assert_eq!(remains.status, ExitStatus::Exited(0));
    }
}

#[test]
fn the_last_answer_of_who_closes_its_stdout_needs_no_end_of_its_line() {
    let mut bench = Bench::new();
    let child = bench.fed("os.write(1, b'{\"id\": \"a\", \"result\": \"\"}'); os.close(1); time.sleep(60)");
    assert_eq!(bench.answers(&child, 1), [done("a", "")]);
    bench.end(child);
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
fn of_who_has_closed_its_stdin_it_is_told_what_it_does_not_have() {
    let mut bench = Bench::new();
    let child = bench.fed("os.close(0); open(D + '/up', 'w').write('\\n'); time.sleep(60)");
    bench.told("up");
    for id in ["a", "b", "c"] {
        bench.feed(&child, id, "hello");
    }
    for id in ["a", "b", "c"] {
        let unfed = bench.within(LIMIT, async { Ok(child.unfed().await) });
        assert_eq!(unfed.expect("in time"), (attempt(id), NotFed::Closed));
    }
    bench.end(child);
}

#[test]
fn who_closes_its_stdin_in_a_message_does_not_have_it() {
    let mut bench = Bench::new();
    let child = bench.fed("os.read(0, 5); os.close(0); open(D + '/up', 'w').write('\\n'); time.sleep(60)");
    bench.feed(&child, "a", &"x".repeat(rekindle::execution::MESSAGE_MAX_BYTES));
    let unfed = bench.within(LIMIT, async { Ok(child.unfed().await) });
    assert_eq!(unfed.expect("in time"), (attempt("a"), NotFed::Closed));
    bench.end(child);
}

#[test]
fn a_long_answer_holds_nobody_up_while_it_is_searched_for_secrets() {
    const PATTERNS: u32 = 8;
    let patterns = (0..PATTERNS).map(|n| format!("key-{n}[0-9]+").parse().expect("valid"));
    let mut bench = Bench::with(&Log::Inherit, Redaction::new(patterns.collect()).expect("few"));
    let child = bench.fed(
        "
print(json.dumps({'id': 'a', 'result': 'x' * 100000 + 'key-01'}), flush=True)
time.sleep(60)",
    );
    let turns = async {
        let (start, mut last) = (Instant::now(), Instant::now());
        let mut longest = Duration::ZERO;
        let answer = loop {
            tokio::select! {
                biased;
                answer = child.answer() => break answer,
                () = tokio::task::yield_now() => {
                    // A search begins once the answer is there, and whoever waits has its turn between two patterns.
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
            }
        };
        Ok((answer, longest, start.elapsed()))
    };
    let (answer, longest, took) = bench.within(LIMIT, turns).expect("in time");
    let (_, Word::Done { output }) = answer else {
        panic!("{answer:?}");
    };
    assert!(output.text.ends_with("xx[redacted]"));
    eprintln!("the longest turn took {longest:?} of {took:?}");
    assert!(longest < took / 3, "{longest:?} of {took:?}");
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
