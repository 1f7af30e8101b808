//! State files in a real directory, as a driver has them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rekindle::checkpoint::CheckpointDraft;
use rekindle::execution::{AttemptId, ExecutionId};
use rekindle::id::ExecutionUid;

use super::*;

/// Longest wait for what must be seen.
const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    dir: tempfile::TempDir,
    files: StateFiles,
    requests: u64,
}

fn life(number: u64) -> Owner {
    Owner {
        incarnation: Incarnation::new(number),
        message: None,
    }
}

fn message(number: u64, execution: &str) -> Owner {
    let execution = ExecutionId::new(execution).expect("valid");
    Owner {
        message: Some((execution, 1)),
        ..life(number)
    }
}

fn tree(number: u64) -> TreeId {
    TreeId::Life(Incarnation::new(number))
}

fn attempt(execution: &str) -> TreeId {
    TreeId::Attempt(AttemptId {
        execution: ExecutionId::new(execution).expect("valid"),
        uid: ExecutionUid::from_u128(1),
        number: 1,
    })
}

fn state(stage: &str) -> StateFile {
    StateFile {
        draft: CheckpointDraft {
            stage: stage.to_owned(),
            ..CheckpointDraft::default()
        },
        ..StateFile::default()
    }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let files = Self::open(&dir);
        let requests = 0;
        Self { dir, files, requests }
    }

    /// As a host does that has no instance left.
    fn without_inotify() -> Self {
        let mut bench = Self::new();
        bench.files.eyes = Eyes::Looking;
        bench
    }

    fn open(dir: &tempfile::TempDir) -> StateFiles {
        StateFiles::open(&dir.path().join("agent"), None)
    }

    /// The next shim.
    fn again(&mut self) {
        self.files = Self::open(&self.dir);
    }

    fn begin(&mut self, owner: Owner, handed: Option<&StateFile>) -> PathBuf {
        let (path, ready) = self.files.begin(owner, handed);
        ready.expect("ready");
        path
    }

    async fn news(&mut self) -> News {
        let news = tokio::time::timeout(LIMIT, self.files.news());
        news.await.expect("seen in time")
    }

    async fn nothing_is_news(&mut self) {
        // All that has happened is known to the kernel by now.
        let news = tokio::time::timeout(Duration::from_millis(50), self.files.news());
        let news = news.await;
        assert!(news.is_err(), "{news:?}");
    }

    /// As the driver does: the save is under way.
    fn saving(&mut self, save: Save) -> (RequestNumber, Owner, String) {
        self.requests += 1;
        let request = RequestNumber(self.requests);
        let (owner, state) = self.files.saving(save, request);
        (request, owner, state.draft.stage)
    }

    async fn saved(&mut self) -> (Owner, String) {
        let News::Written(save) = self.news().await else {
            panic!("it was read")
        };
        let (request, owner, stage) = self.saving(*save);
        self.files.answered(request, Ok(())).expect("its answer");
        (owner, stage)
    }
}

fn write(path: &Path, stage: &str) {
    fs::write(path, state(stage).print()).expect("written");
}

/// As careful programs do it.
fn replace(path: &Path, stage: &str) {
    let new = path.with_extension("new");
    write(&new, stage);
    fs::rename(new, path).expect("renamed");
}

#[tokio::test]
async fn what_is_written_or_renamed_is_saved() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    assert!(!path.exists());
    write(&path, "one");
    assert_eq!(bench.saved().await, (life(7), "one".to_owned()));
    replace(&path, "two");
    assert_eq!(bench.saved().await.1, "two");
    write(&path, "two");
    assert_eq!(bench.saved().await.1, "two", "said again is said");
    bench.nothing_is_news().await;
    assert!(bench.files.end(&tree(7)).is_empty());
    assert!(!path.exists(), "of no more use");
}

#[tokio::test]
async fn one_save_is_under_way_at_a_time_and_the_newest_is_not_lost() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    replace(&path, "1");
    let News::Written(save) = bench.news().await else {
        panic!("it was read")
    };
    let (request, ..) = bench.saving(*save);
    for stage in ["2", "3", "4"] {
        replace(&path, stage);
    }
    bench.nothing_is_news().await;
    assert_eq!(bench.files.answered(RequestNumber(99), Ok(())), None, "somebody else's");
    bench.files.answered(request, Ok(())).expect("its answer");
    assert_eq!(bench.saved().await.1, "4");
    bench.nothing_is_news().await;
}

#[tokio::test]
async fn what_stands_there_at_the_end_is_saved() {
    let mut bench = Bench::new();
    for end in [write, replace] {
        let path = bench.begin(life(7), Some(&state("handed")));
        replace(&path, "seen");
        let News::Written(save) = bench.news().await else {
            panic!("it was read")
        };
        let (first, ..) = bench.saving(*save);
        end(&path, "last");
        let told = bench.files.end(&tree(7));
        let [News::Written(save)] = <[News; 1]>::try_from(told).expect("one") else {
            panic!("it was read")
        };
        let (last, _, stage) = bench.saving(*save);
        assert_eq!(stage, "last");
        bench.files.answered(first, Ok(()));
        assert!(path.exists(), "not before it is saved");
        bench.files.answered(last, Ok(())).expect("its answer");
        assert!(!path.exists() && bench.files.files.is_empty());
    }
}

#[tokio::test]
async fn what_was_handed_over_is_there_and_its_reading_told_once() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), Some(&state("handed")));
    bench.nothing_is_news().await;
    assert_eq!(
        fs::metadata(&path).expect("is there").permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read(&path).expect("readable");
    assert_eq!(StateFile::parse(&text), Ok(state("handed")));
    assert!(matches!(bench.news().await, News::Read(owner) if owner == life(7)));
    fs::read(&path).expect("readable");
    bench.nothing_is_news().await;

    // Told at the latest when nothing lives any more.
    let path = bench.begin(life(8), Some(&state("handed")));
    fs::read(path).expect("readable");
    assert!(matches!(bench.files.end(&tree(8)).as_slice(), [News::Read(owner)] if *owner == life(8)));

    // Who replaces it has not read it, and what the shim reads itself is nobody's reading.
    let path = bench.begin(life(9), Some(&state("handed")));
    write(&path, "own");
    assert_eq!(bench.saved().await.1, "own");
    fs::read(path).expect("readable");
    bench.nothing_is_news().await;
}

#[tokio::test]
async fn what_was_handed_over_is_no_save_whoever_had_it_open() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), Some(&state("handed")));
    let touch = || drop(fs::OpenOptions::new().append(true).open(&path).expect("opened"));
    touch();
    bench.nothing_is_news().await;
    fs::read(&path).expect("readable");
    assert!(matches!(bench.news().await, News::Read(owner) if owner == life(7)));
    touch();
    bench.nothing_is_news().await;
    bench.again();
    assert!(bench.files.found(Incarnation::new(7)).is_empty());
    bench.files.adopt(Incarnation::new(7)).expect("watched");
    touch();
    bench.nothing_is_news().await;
    // What the agent says itself it may say as often as it likes, and that too.
    for stage in ["own", "handed", "handed"] {
        write(&path, stage);
        assert_eq!(bench.saved().await.1, stage);
    }
    touch();
    assert_eq!(bench.saved().await.1, "handed");

    // Who reads what he has opened so, has read it.
    for life_number in [8, 9] {
        let path = bench.begin(life(life_number), Some(&state("handed")));
        drop(fs::OpenOptions::new().append(true).open(&path).expect("opened"));
        fs::read(&path).expect("readable");
        let owner = life(life_number);
        match life_number {
            8 => assert!(matches!(bench.news().await, News::Read(of) if of == owner)),
            _ => assert!(matches!(bench.files.end(&tree(9)).as_slice(), [News::Read(of)] if *of == owner)),
        }
    }
    let path = bench.begin(life(10), Some(&state("handed")));
    drop(fs::OpenOptions::new().append(true).open(&path).expect("opened"));
    assert!(bench.files.end(&tree(10)).is_empty() && !path.exists());
}

#[tokio::test]
async fn broken_ones_are_not_taken_and_nothing_else_is_touched() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    for broken in ["{\"stage\": ", "[]", "{\"task\": 1}"] {
        fs::write(&path, broken).expect("written");
        bench.nothing_is_news().await;
        assert_eq!(
            fs::read_to_string(&path).expect("there"),
            broken,
            "whoever looks finds what he wrote"
        );
    }
    write(&path, "whole");
    assert_eq!(bench.saved().await.1, "whole");
    fs::write(&path, "{").expect("written");
    assert!(bench.files.end(&tree(7)).is_empty());
}

#[tokio::test]
async fn messages_have_files_of_their_own() {
    let mut bench = Bench::new();
    let (one, other) = (message(7, "e-1"), message(7, "e.2"));
    let first = bench.begin(one.clone(), Some(&state("handed")));
    let second = bench.begin(other.clone(), None);
    assert!(first.exists() && !second.exists());
    write(&second, "second");
    assert_eq!(bench.saved().await, (other.clone(), "second".to_owned()));
    assert!(bench.files.end(&attempt("e.2")).is_empty());
    assert!(first.exists());
    bench.begin(life(8), None);
    assert!(!first.exists(), "lives before are over");
    for owner in [life(3), one, other] {
        assert_eq!(Owner::of(&owner.name()), Some(owner));
    }
    for name in ["7.jsn", "7..json", "x.json", "7.e-1.json", "7.e-1.x.json", ".json"] {
        assert_eq!(Owner::of(name), None, "{name}");
    }
}

#[tokio::test]
async fn the_next_shim_finds_what_this_one_died_over() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), Some(&state("handed")));
    bench.again();
    assert!(
        bench.files.found(Incarnation::new(7)).is_empty(),
        "it has put that there itself"
    );
    bench.files.adopt(Incarnation::new(7)).expect("watched");
    fs::read(&path).expect("readable");
    assert!(matches!(bench.news().await, News::Read(_)));
    replace(&path, "own");
    assert_eq!(bench.saved().await.1, "own");

    bench.again();
    assert!(bench.files.found(Incarnation::new(7)).is_empty(), "it is saved");
    bench.again();
    replace(&path, "unsaved");
    let mut found = bench.files.found(Incarnation::new(7));
    let (request, owner, stage) = bench.saving(found.pop().expect("news"));
    assert_eq!((owner, stage.as_str(), found.len()), (life(7), "unsaved", 0));
    bench.again();
    assert_eq!(bench.files.found(Incarnation::new(7)).len(), 1, "not answered yet");
    bench.again();
    let mut found = bench.files.found(Incarnation::new(7));
    let save = found.pop().expect("news");
    bench.files.saving(save, request);
    bench.files.answered(request, Ok(())).expect("its answer");
    bench.again();
    assert!(bench.files.found(Incarnation::new(7)).is_empty());
    replace(&path, "while it was swept");
    assert!(matches!(bench.files.end_of_found().as_slice(), [News::Written(_)]));
    assert!(bench.files.found(Incarnation::new(6)).is_empty(), "no other life's");
}

#[tokio::test]
async fn what_an_adopted_child_begins_to_write_is_seen() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    bench.again();
    assert!(bench.files.found(Incarnation::new(7)).is_empty());
    bench.files.adopt(Incarnation::new(7)).expect("watched");
    write(&path, "own");
    assert_eq!(bench.saved().await.1, "own");
}

#[tokio::test]
async fn what_writers_have_left_goes_with_their_life_and_hides_nothing() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    write(&path, "own");
    let dir = path.parent().expect("a directory").to_owned();
    // More than are listed.
    for number in 0..2000 {
        fs::write(dir.join(format!("7.json.{number}.new")), "{").expect("written");
    }
    fs::write(dir.join("7"), "{").expect("written");
    bench.again();
    let found = bench.files.found(Incarnation::new(7));
    assert_eq!(found.len(), 1);
    for life_number in [8, 9] {
        bench.begin(life(life_number), None);
    }
    let left = fs::read_dir(&dir).expect("there").count();
    assert_eq!(left, 1, "no life's");
}

#[tokio::test(start_paused = true)]
async fn without_inotify_it_is_looked_at() {
    let mut bench = Bench::without_inotify();
    let path = bench.begin(life(7), Some(&state("handed")));
    let _ = tokio::time::timeout(Duration::from_secs(10), bench.files.news())
        .await
        .expect_err("nothing has happened");
    replace(&path, "one");
    assert_eq!(bench.saved().await.1, "one");
    replace(&path, "last");
    assert!(matches!(bench.files.end(&tree(7)).as_slice(), [News::Written(_)]));
}

#[tokio::test]
async fn a_directory_that_the_agent_took_away_is_made_again() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    fs::remove_dir_all(path.parent().expect("a directory")).expect("removed");
    let path = bench.begin(life(8), Some(&state("handed")));
    write(&path, "one");
    assert_eq!(bench.saved().await.1, "one");
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_has_no_room_for_is_tried_again() {
    let mut bench = Bench::new();
    let path = bench.begin(life(7), None);
    write(&path, "one");
    let full = Err(Refused::ThisTime("no room"));
    for _ in 0..3 {
        let News::Written(save) = bench.news().await else {
            panic!("it was read")
        };
        let (request, _, stage) = bench.saving(*save);
        assert_eq!(stage, "one");
        bench.files.answered(request, full).expect("its answer");
    }
    let before = Instant::now();
    assert_eq!(bench.saved().await.1, "one");
    assert!(before.elapsed() >= AGAIN, "at a pace");
    let idle = tokio::time::timeout(4 * AGAIN, bench.files.news());
    idle.await.expect_err("it is saved");
    write(&path, "not saved, ever");
    let News::Written(save) = bench.news().await else {
        panic!("it was read")
    };
    let (request, ..) = bench.saving(*save);
    bench
        .files
        .answered(request, Err(Refused::AsItIs("too long")))
        .expect("its answer");
    let idle = tokio::time::timeout(4 * AGAIN, bench.files.news());
    idle.await.expect_err("as it is it is refused again");
}

/// A tree ends whose file is to be saved.
fn ended(bench: &mut Bench, of: &TreeId) -> RequestNumber {
    let told = bench.files.end(of);
    let [News::Written(save)] = <[News; 1]>::try_from(told).expect("once more") else {
        panic!("it was read")
    };
    bench.saving(*save).0
}

#[tokio::test]
async fn what_the_disk_has_no_room_for_at_the_end_is_the_next_shims() {
    let mut bench = Bench::new();
    let full = Err(Refused::ThisTime("no room"));
    let path = bench.begin(life(7), None);
    write(&path, "one");
    let News::Written(save) = bench.news().await else {
        panic!("it was read")
    };
    let (request, ..) = bench.saving(*save);
    bench.files.answered(request, full).expect("its answer");
    let request = ended(&mut bench, &tree(7));
    bench.files.answered(request, full).expect("its answer");
    assert!(path.exists() && bench.files.files.is_empty());
    bench.again();
    let mut found = bench.files.found(Incarnation::new(7));
    assert_eq!(bench.saving(found.pop().expect("news")).2, "one");

    // Of those that the disk had no room for the newest stays, and none that is older than what is saved.
    let mut bench = Bench::new();
    let mut run = |name: &str, answer| {
        let path = bench.begin(message(7, name), None);
        write(&path, "of a message");
        let request = ended(&mut bench, &attempt(name));
        bench.files.answered(request, answer).expect("its answer");
        path
    };
    let (first, second) = (run("e-1", full), run("e-2", full));
    assert!(!first.exists() && second.exists());
    let third = run("e-3", Ok(()));
    assert!(!second.exists() && !third.exists());
}
