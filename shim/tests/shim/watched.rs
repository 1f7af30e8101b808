//! What a message's process writes, told while it runs.

use rekindle::execution::{AttemptId, OUTPUT_MAX_BYTES, OUTPUT_PART_MAX_BYTES, OutputPart};
use rekindle::id::Incarnation;
use rekindle::report::ReportFact;
use rekindle::session::{Command, ShimMessage};

use crate::bench::{Bench, Shim};
use crate::fake::Session;
use crate::messages::{LONG, PER_MESSAGE, attempt, dispatch, ready};

/// As the server gives it.
const CREDIT: u32 = OUTPUT_MAX_BYTES as u32;

/// Writes what the test says: each file that comes in its folder, and ends after `end`.
const WRITER: &str = "for n in 1 2 3 4 5 6 7 8 9; do
    while ! [ -e $D/say-$n ] && ! [ -e $D/end ]; do sleep 0.01; done
    [ -e $D/say-$n ] || exit 0
    cat $D/say-$n
    echo > $D/said-$n
done";

/// An attempt that runs, and says what the test wants.
struct Writing {
    bench: Bench,
    _shim: Shim,
    session: Session,
    attempt: AttemptId,
    said: u32,
}

impl Writing {
    fn start(flags: &[&str]) -> Self {
        let mut bench = Bench::new();
        let flags = [&PER_MESSAGE[..], &["--log", "off"], flags].concat();
        let (shim, mut session) = ready(&mut bench, &flags, WRITER);
        dispatch(&session, "e-1", "", LONG);
        loop {
            let report = session.report();
            if matches!(report.fact, ReportFact::AttemptStarted(..)) {
                break;
            }
        }
        Self {
            bench,
            _shim: shim,
            session,
            attempt: attempt("e-1"),
            said: 0,
        }
    }

    fn says(&mut self, text: impl AsRef<[u8]>) {
        self.said += 1;
        let (draft, said) = (self.bench.file("draft"), format!("say-{}", self.said));
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, self.bench.file(&said)).expect("renamed");
    }

    /// Waits until its process has written what it was to say last. A pipe of it may be unread.
    fn is_written(&self) {
        self.bench.told(&format!("said-{}", self.said));
    }

    /// The same on the shim's next stream.
    fn connected_again(self) -> Self {
        let Self { mut bench, session, .. } = self;
        drop(session);
        let session = bench.server.welcome();
        Self { bench, session, ..self }
    }

    /// Waits until the shim has heard all that it was told.
    fn is_heard(&mut self) {
        self.session.command(Command::Signal {
            incarnation: Incarnation::new(1),
            signal: 10,
        });
        let heard = self.session.hear();
        assert!(matches!(heard, Some(ShimMessage::SignalResult(..))), "{heard:?}");
    }

    fn ends(&self) {
        std::fs::write(self.bench.file("end"), "").expect("written");
    }

    fn follow(&self, from: Option<u64>, credit: u32) {
        self.session.follow(&self.attempt, from, credit);
    }

    fn piece(&mut self) -> OutputPart {
        match self.session.hear() {
            Some(ShimMessage::Output(part)) => {
                assert_eq!(part.attempt, self.attempt);
                assert!((1..=OUTPUT_PART_MAX_BYTES).contains(&part.data.len()));
                part
            }
            other => panic!("a piece of output was expected, not {other:?}"),
        }
    }

    /// Pieces without a gap, until there are so many bytes.
    fn pieces(&mut self, offset: u64, bytes: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < bytes {
            let part = self.piece();
            assert_eq!(part.offset, offset + read.len() as u64);
            read.extend(part.data);
        }
        read
    }

    /// The result, and all that comes before it.
    fn result(&mut self) -> (Vec<OutputPart>, String) {
        let mut parts = Vec::new();
        loop {
            match self.session.hear() {
                Some(ShimMessage::Output(part)) => parts.push(part),
                Some(ShimMessage::Report(report)) => {
                    if let ReportFact::AttemptFinished(_, result) = report.fact {
                        return (parts, result.output.text.to_string());
                    }
                }
                other => panic!("a result was expected, not {other:?}"),
            }
        }
    }
}

#[test]
fn output_is_told_while_its_process_runs_and_all_of_it_before_the_end() {
    let mut writing = Writing::start(&[]);
    writing.follow(Some(0), CREDIT);
    writing.says("one\n");
    assert_eq!(writing.pieces(0, 4), b"one\n");
    writing.says("gr\u{fc}");
    assert_eq!(writing.pieces(4, 4), "gr\u{fc}".as_bytes());
    writing.says([b"two ".repeat(30_000).as_slice(), b"\xff end"].concat());
    writing.ends();
    let (parts, result) = writing.result();
    assert!(parts.len() < 20, "in long pieces");
    let mut told = Vec::new();
    for part in parts {
        assert_eq!(part.offset, 8 + told.len() as u64);
        told.extend(part.data);
    }
    assert_eq!(format!("one\ngr\u{fc}{}", String::from_utf8_lossy(&told)), result);
}

#[test]
fn nothing_is_told_that_is_not_asked_for() {
    let mut writing = Writing::start(&[]);
    writing.says("before\n");
    writing.follow(Some(3), CREDIT);
    assert_eq!(writing.pieces(3, 4), b"ore\n");
    writing.follow(None, 0);
    writing.says("unwatched\n");
    writing.is_written();
    writing.follow(Some(0), 9);
    assert_eq!(writing.pieces(0, 9), b"before\nun");
    writing.ends();
    let (parts, result) = writing.result();
    assert_eq!((parts, result.as_str()), (Vec::new(), "before\nunwatched\n"));
}

#[test]
fn credit_is_given_anew_and_a_newcomer_begins_at_the_beginning() {
    let mut writing = Writing::start(&[]);
    writing.says("0123456789");
    writing.follow(Some(0), 4);
    assert_eq!(writing.pieces(0, 4), b"0123");
    writing.follow(None, 3);
    assert_eq!(writing.pieces(4, 3), b"456");
    writing.follow(Some(0), CREDIT);
    assert_eq!(writing.pieces(0, 10), b"0123456789");
    writing.says("more");
    assert_eq!(writing.pieces(10, 4), b"more");
}

#[test]
fn who_asks_for_no_place_is_told_what_comes() {
    let mut writing = Writing::start(&[]);
    writing.says("before\n");
    writing.follow(Some(0), CREDIT);
    assert_eq!(writing.pieces(0, 7), b"before\n");
    writing.follow(None, 0);
    writing.follow(None, CREDIT);
    writing.is_heard();
    writing.says("after\n");
    assert_eq!(writing.pieces(7, 6), b"after\n");
}

#[test]
fn on_the_next_stream_nothing_is_told_until_it_is_asked_for() {
    let mut writing = Writing::start(&[]);
    writing.follow(Some(0), CREDIT);
    writing.says("one ");
    assert_eq!(writing.pieces(0, 4), b"one ");
    let mut writing = writing.connected_again();
    writing.says("two ");
    writing.is_written();
    writing.follow(Some(2), CREDIT);
    assert_eq!(writing.pieces(2, 6), b"e two ");
    let mut writing = writing.connected_again();
    writing.says("three");
    writing.ends();
    let (parts, result) = writing.result();
    assert_eq!((parts, result.as_str()), (Vec::new(), "one two three"));
}

#[test]
fn what_nobody_takes_is_a_gap_and_the_end_comes_all_the_same() {
    let mut writing = Writing::start(&[]);
    writing.says("first\n");
    writing.follow(Some(0), 6);
    assert_eq!(writing.pieces(0, 6), b"first\n");
    let flood = "x".repeat(4 * OUTPUT_MAX_BYTES);
    writing.says(&flood);
    writing.says("last\n");
    writing.ends();
    let (parts, result) = writing.result();
    assert_eq!(parts, Vec::new());
    assert!(result.ends_with("xlast\n") && result.len() == OUTPUT_MAX_BYTES);
}

#[test]
fn what_is_lost_is_told_by_the_next_offset() {
    let mut writing = Writing::start(&[]);
    writing.says("first\n");
    writing.follow(Some(0), 6);
    assert_eq!(writing.pieces(0, 6), b"first\n");
    let flood = 4 * OUTPUT_MAX_BYTES;
    writing.says("x".repeat(flood));
    writing.is_written();
    writing.follow(None, u32::MAX);
    let first = writing.piece();
    assert!(first.offset > 6 && first.data.starts_with(b"x"), "{}", first.offset);
    writing.says("last\n");
    let end = 6 + flood as u64 + 5;
    let rest = writing.pieces(first.end(), usize::try_from(end - first.end()).expect("small"));
    assert!(rest.len() < 2 * OUTPUT_MAX_BYTES && rest.ends_with(b"xlast\n"));
}

#[test]
fn a_secret_is_not_told_however_it_is_written() {
    let flags = ["--redact", "sk-[a-z]+", "--redact", "(?s)BEGIN.*?END"];
    let mut writing = Writing::start(&flags[..2]);
    writing.follow(Some(0), CREDIT);
    writing.says("key sk-ab");
    writing.says("cdef\n");
    assert_eq!(writing.pieces(0, 15), b"key [redacted]\n");
    writing.says("sk-gh");
    writing.ends();
    let (parts, result) = writing.result();
    let told: Vec<u8> = parts.into_iter().flat_map(|part| part.data).collect();
    assert_eq!(told, b"[redacted]");
    assert_eq!(result, "key [redacted]\n[redacted]");

    let mut writing = Writing::start(&flags);
    writing.follow(Some(0), CREDIT);
    writing.says("BEGIN\nsecret\n");
    writing.says(format!("END\n{}", ".".repeat(8192)));
    let told = writing.pieces(0, 4096);
    assert!(
        told.starts_with(b"[redacted]\n..."),
        "{}",
        String::from_utf8_lossy(&told)
    );
    writing.ends();
    assert!(writing.result().1.starts_with("[redacted]\n..."));
}

#[test]
fn a_flood_that_is_watched_holds_nothing_up() {
    let mut writing = Writing::start(&["--redact", "sk-[a-z]+", "--redact", "key\\s*=\\S*"]);
    writing.follow(Some(0), u32::MAX);
    writing.says("line\n".repeat(4 << 20));
    writing.ends();
    let (parts, result) = writing.result();
    let mut end = 0;
    for part in parts {
        assert!(part.offset >= end, "in order, and once");
        end = part.end();
    }
    assert!(end > 0 && end <= 5 * (4 << 20));
    assert_eq!(result.len(), OUTPUT_MAX_BYTES);
}
