//! Real children, and the files that they write.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use nix::libc::EXT4_SUPER_MAGIC;
use rustix::fs::{FallocateFlags, fallocate, statfs};
use tempfile::TempDir;

use super::files::Series;
use super::live::{Live, Progress};
use super::ring::Ring;
use super::*;
use crate::process::tests::{Bench, turn, wait_for};

/// Smallest that the shim takes.
const FILE_BYTES: u64 = 64 << 10;

/// A folder on the disk, where holes are mostly collapsed, and one in memory, where they stay.
fn folders() -> [TempDir; 2] {
    [
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir_in("/dev/shm").expect("a folder in memory"),
    ]
}

fn files(dir: &Path, old_files: u16) -> LogFiles {
    LogFiles {
        dir: dir.to_owned(),
        max_bytes: FILE_BYTES,
        old_files,
    }
}

fn series(dir: &Path, old_files: u16) -> Series {
    files(dir, old_files).series("stdout.log")
}

fn text(ring: &Ring) -> String {
    ring.text(&Redaction::default())
}

/// All old files and the live one, without what stands for holes.
fn whole(series: &Series) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in (1..=series.old_files).rev() {
        bytes.extend(std::fs::read(series.old(number)).unwrap_or_default());
    }
    bytes.extend(std::fs::read(&series.live).expect("the live one is there"));
    bytes.retain(|byte| *byte != 0);
    bytes
}

/// Numbered lines, each once and in order.
fn lines(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers
        .flat_map(|number| format!("{number:011}\n").into_bytes())
        .collect()
}

#[track_caller]
fn assert_lines(series: &Series, count: u64) {
    let bytes = whole(series);
    let wanted = lines(0..count);
    let differs = bytes.iter().zip(&wanted).position(|(is, wanted)| is != wanted);
    assert_eq!((differs, bytes.len()), (None, wanted.len()), "each line once");
}

/// Writes as fast as it can, and mostly pieces of lines, until it is told to stop; then tells how many lines there are.
/// It ends in any case before the files of this test would not do.
const WRITER: &str = "
import os, sys
stop, told = sys.argv[1:]
line = 0
while line < 8_000_000 and not os.path.exists(stop):
    os.write(1, b''.join(b'%011d\\n' % n for n in range(line, line + 331))[:-6])
    line += 331
    os.write(1, b'%05d\\n' % ((line - 1) % 100000))
open(told, 'w').write(str(line))
";

#[test]
fn a_flood_is_rotated_without_a_loss() {
    let _turn = turn();
    for dir in folders() {
        let series = series(dir.path(), 2000);
        let (stop, told) = (dir.path().join("stop"), dir.path().join("told"));
        let (mut live, way_in) = Live::begin(series.clone()).expect("a file");
        let mut child = Command::new("python3")
            .args(["-c", WRITER])
            .args([&stop, &told])
            .stdout(way_in)
            .spawn()
            .expect("python3 runs");
        while child.try_wait().expect("a child").is_none() {
            live.step();
            if series.old(100).exists() {
                std::fs::write(&stop, "").expect("written");
            }
        }
        assert!(stop.exists(), "rotated while the child wrote");
        while live.step() == Progress::More {}
        let count: u64 = std::fs::read_to_string(&told).expect("told").parse().expect("a number");
        assert_lines(&series, count);
        let left = std::fs::metadata(&series.live).expect("there");
        assert!(left.blocks() * 512 <= 2 * FILE_BYTES, "holes take no room");
        if statfs(dir.path()).expect("a folder").f_type == EXT4_SUPER_MAGIC {
            assert!(left.len() <= 2 * FILE_BYTES, "holes are collapsed");
        }
        assert!(text(&live.tail()).ends_with(&format!("{:011}\n", count - 1)));
    }
}

#[test]
fn a_shim_that_is_killed_in_a_rotation_loses_nothing() {
    const COUNT: u64 = 40_000;
    for dir in folders() {
        for killed_after in 0..5 {
            let dir = dir.path().join(killed_after.to_string());
            std::fs::create_dir(&dir).expect("made");
            let series = series(&dir, 100);
            let (live, mut way_in) = Live::begin(series.clone()).expect("a file");
            drop(live);
            for from in (0..COUNT).step_by(10_000) {
                way_in.write_all(&lines(from..from + 10_000)).expect("written");
                let mut live = Live::reopen(series.clone()).expect("a file");
                for _ in 0..killed_after {
                    live.step();
                }
                drop(live);
                assert_lines(&series, from + 10_000);
            }
            let mut live = Live::reopen(series.clone()).expect("a file");
            while live.step() == Progress::More {}
            assert_lines(&series, COUNT);
        }
    }
}

#[test]
fn a_copy_counts_once_the_hole_is_there() {
    for dir in folders() {
        let series = series(dir.path(), 5);
        let (_, mut way_in) = Live::begin(series.clone()).expect("a file");
        way_in.write_all(&lines(0..2000)).expect("written");
        let head = lines(0..2000).get(..8192).expect("longer").to_vec();
        let part = series.beside("part-8192");

        std::fs::write(&part, head.get(..5000).expect("longer")).expect("a copy that was cut off");
        drop(Live::reopen(series.clone()).expect("a file"));
        assert!(!part.exists());
        assert_lines(&series, 2000);

        std::fs::write(&part, &head).expect("a copy");
        let live = File::options().write(true).open(&series.live).expect("there");
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&live, punch, 0, 8192).expect("a hole");
        let mut live = Live::reopen(series.clone()).expect("a file");
        assert!(series.old(1).exists() && !part.exists());
        assert_lines(&series, 2000);
        while live.step() == Progress::More {}
        assert_lines(&series, 2000);
    }
}

#[test]
fn of_a_flood_beyond_all_files_the_newest_is_kept() {
    for dir in folders() {
        let series = series(dir.path(), 2);
        let (mut live, mut way_in) = Live::begin(series.clone()).expect("a file");
        way_in.write_all(&lines(0..100_000)).expect("written");
        while live.step() == Progress::More {}
        let kept = whole(&series);
        assert!(lines(0..100_000).ends_with(&kept));
        assert!(kept.len() as u64 > 2 * (FILE_BYTES - 16_384), "{}", kept.len());
        assert!(!series.old(3).exists());
    }
}

#[test]
fn a_life_has_its_own_last_lines() {
    for dir in folders() {
        let series = series(dir.path(), 5);
        let begin = || Live::begin(series.clone()).expect("a file");
        let (mut first, mut way_in) = begin();
        way_in.write_all(b"first\n").expect("written");
        assert_eq!(text(&first.tail()), "first\n");
        drop(first);

        let (mut second, mut way_in) = begin();
        assert_eq!(text(&second.tail()), "");
        way_in.write_all(b"second\n").expect("written");
        assert_eq!(text(&second.tail()), "second\n");
        drop(second);
        let mut adopted = Live::reopen(series.clone()).expect("a file");
        assert_eq!(text(&adopted.tail()), "second\n");

        // The life's beginning moves to the front with what is rotated before it.
        way_in.write_all(&lines(0..10_000)).expect("written");
        while adopted.step() == Progress::More {}
        let (mut third, mut way_in) = begin();
        way_in.write_all(&lines(0..6_000)).expect("written");
        way_in.write_all(b"third\n").expect("written");
        while third.step() == Progress::More {}
        assert!(text(&third.tail()).ends_with("00000005999\nthird\n"));
        drop(third);
        let (fourth, mut way_in) = begin();
        drop(fourth);
        way_in.write_all(b"fourth\n").expect("written");
        let mut adopted = Live::reopen(series.clone()).expect("a file");
        assert_eq!(text(&adopted.tail()), "fourth\n");
    }
}

#[test]
fn what_is_written_is_counted() {
    for dir in folders() {
        let series = series(dir.path(), 5);
        let (mut live, mut way_in) = Live::begin(series.clone()).expect("a file");
        let written = live.written();
        let mut total = 0;
        for round in 1..40 {
            let bytes = lines(0..round * 400);
            way_in.write_all(&bytes).expect("written");
            total += bytes.len() as u64;
            while live.step() == Progress::More {}
            assert_eq!(written.load(Ordering::Relaxed), total);
        }
        assert!(series.old(5).exists(), "rotated meanwhile");
    }
}

/// The last lines of stdout and stderr.
fn tails(output: Output) -> [String; 2] {
    let last = output.finish();
    [last.stdout_tail, last.stderr_tail]
}

#[test]
fn what_is_piped_is_counted() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut outputs = Outputs::new(console(), &Log::Off, Arc::default(), &mut Vec::new()).expect("outputs");
        let (output, ends) = outputs.open(Stdout::Lines).expect("pipes");
        let mut sh = Command::new("sh");
        sh.args(["-c", "printf 12345; printf 123 >&2"]);
        let ended = sh.stdout(ends.stdout).stderr(ends.stderr).status();
        assert!(ended.expect("sh runs").success());
        let counted = async {
            while output.written_bytes() < 8 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), counted)
            .await
            .expect("counted");
        assert_eq!(output.written_bytes(), 8);
        assert_eq!(tails(output), ["12345", "123"]);
    });
}

#[test]
fn a_child_may_truncate_its_file() {
    for dir in folders() {
        let series = series(dir.path(), 5);
        std::fs::write(&series.live, lines(0..3000)).expect("of an earlier life");
        let (mut live, mut way_in) = Live::begin(series.clone()).expect("a file");
        way_in.set_len(0).expect("truncated");
        while live.step() == Progress::More {}
        way_in.write_all(b"anew\n").expect("written");
        while live.step() == Progress::More {}
        assert_eq!(text(&live.tail()), "anew\n");
        assert_eq!(std::fs::read(&series.live).expect("there"), b"anew\n");
    }
}

#[test]
fn an_adopted_child_goes_on_in_its_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = Log::Files(files(&dir.path().join("logs"), 5), Sink::File);
    let mut bench = Bench::with(&log, Redaction::default());
    let child = bench.sh("echo out; echo err >&2; echo > $D/up; while [ ! -e $D/go ]; do sleep 0.01; done; echo more");
    bench.told("up");
    let fd = std::fs::read_link(format!("/proc/{}/fd/1", child.process().pid)).expect("a child");
    assert_eq!(fd, dir.path().join("logs/stdout.log"));

    let taken = Outputs::new(console(), &log, Arc::default(), &mut Vec::new());
    assert!(matches!(taken, Err(OutputsError::Files(LogFilesError::Locked(_)))));
    // From here on, as by the next shim.
    bench.output_to(&Log::Off);
    let next = wait_for("the directory", || {
        Outputs::new(console(), &log, Arc::default(), &mut Vec::new()).ok()
    });
    let adopted = next.reopen().expect("files");
    assert_eq!(adopted.written_bytes(), 0);
    std::fs::write(bench.file("go"), "").expect("written");
    bench.exited(&child);
    assert_eq!(tails(adopted), ["out\nmore\n", "err\n"]);
    bench.end(child);
}

#[test]
fn pipes_cannot_be_taken_up() {
    let outputs = Outputs::new(console(), &Log::Off, Arc::default(), &mut Vec::new()).expect("outputs");
    outputs.reopen().map(|_| ()).expect_err("refused");
}

#[test]
fn a_child_that_writes_its_files_itself_leaves_evidence() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = Log::Files(files(dir.path(), 5), Sink::File);
    let mut bench = Bench::with(&log, Redaction::default());
    for life in ["one", "two"] {
        let child = bench.sh(&format!("echo {life}; echo {life} >&2; exit 1"));
        bench.exited(&child);
        let remains = bench.end(child);
        let expected = format!("{life}\n");
        assert_eq!((remains.stdout_tail, remains.stderr_tail), (expected.clone(), expected));
    }
    let file = dir.path().join("stdout.log");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "one\ntwo\n");
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn a_child_outlives_its_directory() {
    for sink in [Sink::Pipe, Sink::File] {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::Files(files(&dir.path().join("logs"), 5), sink);
        let mut bench = Bench::with(&log, Redaction::default());
        std::fs::remove_dir(dir.path().join("logs")).expect("empty");
        let child = bench.sh("echo lost; exit 3");
        bench.exited(&child);
        let remains = bench.end(child);
        assert_eq!(remains.status, rekindle::exit::ExitStatus::Exited(3));
        let tail = if sink == Sink::Pipe { "lost\n" } else { "" };
        assert_eq!(remains.stdout_tail, tail);
    }
}

#[test]
fn a_full_disk_stops_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = Log::Files(files(dir.path(), 5), Sink::Pipe);
    let file = dir.path().join("stdout.log");
    std::os::unix::fs::symlink("/dev/full", &file).expect("linked");
    let mut bench = Bench::with(&log, Redaction::default());
    let child = bench.sh("head -c 3000000 /dev/zero; echo end; exit 3");
    bench.exited(&child);
    let remains = bench.end(child);
    assert_eq!(remains.status, rekindle::exit::ExitStatus::Exited(3));
    assert!(remains.stdout_tail.ends_with("end\n"));

    std::fs::remove_file(&file).expect("a link");
    let child = bench.sh("echo room again");
    bench.exited(&child);
    bench.end(child);
    bench.passed();
    assert_eq!(
        std::fs::read_to_string(&file).expect("made").lines().last(),
        Some("room again")
    );
}

#[test]
fn evidence_is_redacted_and_the_files_are_not() {
    for sink in [Sink::Pipe, Sink::File] {
        let dir = tempfile::tempdir().expect("a folder");
        let redaction = Redaction::new(vec!["sk-[a-z]+".parse().expect("valid")]).expect("one");
        let mut bench = Bench::with(&Log::Files(files(dir.path(), 5), sink), redaction);
        let child = bench.sh("echo key sk-abc; echo sk-def >&2");
        bench.exited(&child);
        let remains = bench.end(child);
        assert_eq!(remains.stdout_tail, "key [redacted]\n");
        assert_eq!(remains.stderr_tail, "[redacted]\n");
        bench.passed();
        let kept = std::fs::read_to_string(dir.path().join("stdout.log")).expect("there");
        assert_eq!(kept, "key sk-abc\n");
    }
}

#[test]
fn the_last_lines_are_kept_where_nothing_else_is() {
    let mut bench = Bench::with(&Log::Off, Redaction::default());
    let child = bench.sh("head -c 3000000 /dev/zero; echo end");
    bench.exited(&child);
    assert!(bench.end(child).stdout_tail.ends_with("end\n"));
    assert_eq!(bench.passed(), b"");
}

fn console() -> Console {
    Console::of(io::sink(), io::sink()).expect("a thread")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}
