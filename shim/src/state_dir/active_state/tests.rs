use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rekindle::checkpoint::{BODY_MAX_BYTES, CheckpointDraft, ClosedBy};
use rekindle::execution::ExecutionId;
use rekindle::id::Incarnation;

use super::*;

fn files(dir: &Path) -> ActiveState {
    ActiveState::new(dir, AgentId::new("a").expect("valid"), Marker::from_u128(1))
}

fn held(number: u32, body: &[u8]) -> HeldCheckpoint {
    let id = CheckpointId::new(Incarnation::new(7), number);
    let checkpoint = Checkpoint {
        id,
        fields: CheckpointFields::new(CheckpointDraft {
            task_id: "e-1".into(),
            stage: "three of \"five\"".into(),
            memory_refs: vec!["mem://1".into()],
            values: [("step".to_owned(), "3\n".to_owned())].into(),
            ..CheckpointDraft::default()
        })
        .expect("valid"),
        body: CheckpointBody::new(body.to_vec()).expect("within the limit"),
        saved: Timestamp::from_unix_nanos(9),
    };
    HeldCheckpoint::new(Arc::new(checkpoint), CheckpointState::saved(id))
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("listed");
    let mut names: Vec<String> = names
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_written_comes_back_and_the_one_before_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = files(dir.path());
    assert_eq!(files.load(), None);
    for (number, body) in [
        (1, b"".to_vec()),
        (2, b"a line\nand \"another\"\n".to_vec()),
        (3, vec![0, 159, 146, 150]),
        (4, b"\x1b[31m".to_vec()),
        (5, vec![b'"'; BODY_MAX_BYTES]),
        (6, vec![0xff; BODY_MAX_BYTES]),
    ] {
        let written = held(number, &body);
        assert_eq!(files.write(&written), Ok(()));
        assert_eq!(files.load(), Some(written), "{number}");
    }
    assert_eq!(names(dir.path()), [NEWEST, PREVIOUS]);
    let previous = files.read(&dir.path().join(PREVIOUS)).expect("whole").expect("there");
    assert_eq!(previous.checkpoint.id.number, 5);
    for name in [NEWEST, PREVIOUS] {
        let mode = fs::metadata(dir.path().join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn how_it_stands_comes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut offered = held(1, b"");
    offered.standing = Standing::Closed(ClosedBy::Task);
    offered.flags = Flags::unclean([ExecutionId::new("e-1").expect("valid")]);
    offered.crashes = 2;
    files(dir.path()).write(&offered).expect("written");
    assert_eq!(files(dir.path()).load(), Some(offered));
}

#[test]
fn it_is_one_json_object_that_people_can_read() {
    let dir = tempfile::tempdir().expect("a folder");
    files(dir.path()).write(&held(3, b"so far\n")).expect("written");
    let text = fs::read(dir.path().join(NEWEST)).expect("there");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let field = |path: &str| json.pointer(path).cloned();
    assert_eq!(field("/version"), Some(1.into()));
    assert_eq!(field("/state/checkpoint"), Some("7.3".into()));
    assert_eq!(field("/state/body"), Some("so far\n".into()));
    assert_eq!(field("/state/fields/values/step"), Some("3\n".into()));
}

#[test]
fn one_that_is_torn_or_changed_anywhere_is_refused_and_the_one_before_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = files(dir.path());
    let (first, second) = (held(1, b"first"), held(2, b"second"));
    files.write(&first).expect("written");
    files.write(&second).expect("written");
    let newest = dir.path().join(NEWEST);
    let whole = fs::read(&newest).expect("there");
    for length in 0..whole.len() {
        let (kept, _) = whole.split_at(length);
        fs::write(&newest, kept).expect("written");
        assert_eq!(files.load().as_ref(), Some(&first), "cut off after {length}");
    }
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        if let Some(byte) = changed.get_mut(place) {
            *byte ^= 1;
        }
        fs::write(&newest, changed).expect("written");
        assert_eq!(files.load().as_ref(), Some(&first), "changed at {place}");
    }
    fs::write(&newest, [whole.as_slice(), &whole].concat()).expect("written");
    assert_eq!(files.load().as_ref(), Some(&first), "longer");
    fs::write(&newest, &whole).expect("written");
    assert_eq!(files.load().as_ref(), Some(&second));
    // Neither is.
    fs::write(&newest, "{}").expect("written");
    fs::write(dir.path().join(PREVIOUS), "").expect("written");
    assert_eq!(files.load(), None);
    // The next save is one as ever.
    files.write(&second).expect("written");
    assert_eq!(files.load(), Some(second));
}

#[test]
fn those_of_others_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let ours = files(dir.path());
    ours.write(&held(1, b"")).expect("written");
    let newest = dir.path().join(NEWEST);
    let read = |files: &ActiveState| files.read(&newest).map_err(|why| why.to_string());
    let agents = ActiveState {
        agent: AgentId::new("b").expect("valid"),
        ..ours.clone()
    };
    assert_eq!(read(&agents), Err("it is of agent a".into()));
    let directorys = ActiveState {
        marker: Marker::from_u128(2),
        ..ours.clone()
    };
    let error = read(&directorys).expect_err("refused");
    assert!(error.contains("another state directory"), "{error}");
    let text = fs::read_to_string(&newest).expect("there");
    for others in [agents, directorys] {
        assert_eq!(others.load(), None);
        assert_eq!(names(dir.path()), [DAMAGED]);
        fs::write(&newest, &text).expect("written");
    }
    fs::remove_file(dir.path().join(DAMAGED)).expect("removed");

    fs::write(&newest, text.replacen("\"version\":1", "\"version\":2", 1)).expect("written");
    assert_eq!(read(&ours), Err("it has format 2, and this shim reads 1".into()));
    fs::write(&newest, vec![b' '; 1024 * 1024 + 1]).expect("written");
    assert_eq!(read(&ours), Err("it has more than 1048576 bytes".into()));
    fs::remove_file(&newest).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &newest).expect("linked");
    assert_eq!(read(&ours), Err("it cannot be read".into()), "a link is not followed");
}

#[test]
fn what_is_whole_and_beyond_the_limits_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let ours = files(dir.path());
    let mut stored = serde_json::json!({
        "agent": "a", "marker": Marker::from_u128(1).to_string(), "checkpoint": "7.1", "saved": 9, "standing": "Open",
        "flags": {"unclean": false, "in_flight": []}, "crashes": 0, "fields": {"stage": "ok"}, "body": "b",
    });
    let newest = dir.path().join(NEWEST);
    let read = |stored: &serde_json::Value| {
        let state = serde_json::to_vec(stored).expect("JSON");
        let sum = checksum(VERSION.into(), &state);
        let state = String::from_utf8(state).expect("text");
        fs::write(
            &newest,
            format!("{{\"version\":1,\"checksum\":\"{sum:016x}\",\"state\":{state}}}\n"),
        )
        .expect("written");
        ours.read(&newest).map_err(|why| why.to_string())
    };
    assert!(read(&stored).is_ok_and(|held| held.is_some()));
    stored["fields"]["stage"] = "a\u{7}".into();
    let error = read(&stored).expect_err("a control character");
    assert!(error.contains("stage: must have no control characters"), "{error}");
    stored["fields"]["stage"] = "ok".into();
    stored["body"] = "b".repeat(BODY_MAX_BYTES + 1).into();
    let error = read(&stored).expect_err("too long");
    assert!(error.contains("body: has 262145 bytes"), "{error}");
    stored["body"] = "b".into();
    stored["checkpoint"] = "7.x".into();
    assert!(read(&stored).is_err());
}

#[test]
fn a_crash_on_the_way_leaves_the_newest_that_was_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = files(dir.path());
    files.write(&held(1, b"first")).expect("written");
    // Of a write that came to each of its steps, and no further.
    fs::write(dir.path().join(NEW), "{\"vers").expect("written");
    assert_eq!(files.load().map(|held| held.checkpoint.id.number), Some(1));
    fs::write(
        dir.path().join(NEW),
        files.encode(&held(2, b"second")).expect("encoded"),
    )
    .expect("written");
    fs::hard_link(dir.path().join(NEWEST), dir.path().join(NEW_PREVIOUS)).expect("linked");
    fs::rename(dir.path().join(NEW_PREVIOUS), dir.path().join(PREVIOUS)).expect("renamed");
    assert_eq!(files.load(), Some(held(2, b"second")), "it is whole, and the newest");
    assert!(!names(dir.path()).contains(&NEW.to_owned()), "it is in its place");
    fs::write(dir.path().join(NEW_PREVIOUS), "").expect("written");
    files.write(&held(3, b"third")).expect("nothing is in the way");
    assert_eq!(files.load().map(|held| held.checkpoint.id.number), Some(3));
    // An older one is what a place that failed has left.
    fs::write(
        dir.path().join(NEW),
        files.encode(&held(2, b"second")).expect("encoded"),
    )
    .expect("written");
    assert_eq!(files.load().map(|held| held.checkpoint.id.number), Some(3));
    // Without links there is no newest for a moment.
    fs::rename(dir.path().join(NEWEST), dir.path().join(PREVIOUS)).expect("renamed");
    fs::write(
        dir.path().join(NEW),
        files.encode(&held(4, b"fourth")).expect("encoded"),
    )
    .expect("written");
    assert_eq!(files.load().map(|held| held.checkpoint.id.number), Some(4));
}

#[test]
fn a_torn_newest_takes_no_good_one_s_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = files(dir.path());
    files.write(&held(1, b"first")).expect("written");
    files.write(&held(2, b"second")).expect("written");
    fs::write(dir.path().join(NEWEST), "torn").expect("written");
    assert_eq!(files.load(), Some(held(1, b"first")));
    assert_eq!(names(dir.path()), [DAMAGED, PREVIOUS]);
    files.write(&held(3, b"third")).expect("written");
    fs::write(dir.path().join(NEWEST), "torn as well").expect("written");
    assert_eq!(files.load(), Some(held(1, b"first")));
}

/// A disk of 512 KiB; `None` without the right to mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_what_there_is_and_takes_no_room() {
    let Some(disk) = SmallDisk::new() else {
        assert!(std::env::var_os("CI").is_none(), "needs the right to mount a tmpfs");
        eprintln!("skipped: needs the right to mount a tmpfs");
        return;
    };
    let dir = disk.0.path();
    let files = files(dir);
    let (small, large) = (held(1, b"small"), held(2, &[0xff; BODY_MAX_BYTES]));
    files.write(&small).expect("there is room");
    fs::write(dir.join("journal"), vec![0; 300 * 1024]).expect("there is room");
    let refused = files.write(&large).expect_err("there is no room");
    assert_eq!(refused.cause, WriteFault::Room);
    assert!(
        refused.message.contains("No space left on device"),
        "{}",
        refused.message
    );
    assert_eq!(files.load(), Some(small.clone()));
    assert_eq!(names(dir), [NEWEST, "journal"]);
    fs::write(dir.join("journal"), vec![0; 400 * 1024]).expect("the room is there again");
    let third = held(3, b"small again");
    files.write(&third).expect("this one fits");
    assert_eq!(files.load(), Some(third));
}

#[test]
fn a_directory_that_is_not_there_is_no_want_of_room() {
    let refused = files(Path::new("/nonexistent"))
        .write(&held(1, b""))
        .expect_err("nowhere");
    assert_eq!(refused.cause, WriteFault::Other);
}
