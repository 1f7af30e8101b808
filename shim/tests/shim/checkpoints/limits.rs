//! What a shim does when there is no room.

use std::process::Command;

use super::*;
use crate::bench::{Shim, is_root, lives, skip, wait_for};

/// A file system with little room, for as long as this lives.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: &std::path::Path) -> Self {
        fs::create_dir_all(at).expect("made");
        let mut mount = Command::new("mount");
        let mounted = mount
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"])
            .arg(at)
            .status();
        assert!(mounted.expect("mount runs").success());
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_keeps_the_old_one_whole_and_agent_and_shim_go_on() {
    if !is_root() {
        return skip("a small file system needs root");
    }
    let mut bench = Bench::new();
    let _small = Small::mount(&bench.file("state"));
    let (shim, mut session, process) = bench.running(&[], TELLS);
    let mut client = Client::of(&bench);
    client.save(1, stage("old")).expect("saved");
    // All the room that there is, but for what the journal has already.
    let ballast = bench.file("state/ballast");
    let filled = fs::write(&ballast, vec![0; 4 << 20]).expect_err("it is full");
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    let large = wire::ActiveState {
        body: vec![1; 256 * 1024],
        ..stage("new")
    };
    for _ in 0..3 {
        let status = client.save(1, large.clone()).expect_err("no room");
        assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
        assert!(status.message().contains("what was saved before is kept"), "{status:?}");
    }
    let loaded = client.load(1).expect("open");
    assert_eq!((loaded.checkpoint.as_str(), loaded.state), ("1.1", Some(stage("old"))));
    assert!(lives(process.pid) && lives(shim.pid()));

    fs::remove_file(&ballast).expect("removed");
    client.save(1, large.clone()).expect("there is room again");
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    assert_eq!(bench.handed_stage(2).as_deref(), Some("new"));
}

#[test]
fn what_is_written_on_a_full_disk_is_saved_once_there_is_room() {
    if !is_root() {
        return skip("a small file system needs root");
    }
    let mut bench = Bench::new();
    let _small = Small::mount(&bench.file("state"));
    let script = format!(
        "{SAVES} case $REKINDLE_INCARNATION in 1)
            echo $REKINDLE_SOCKET > $D/socket; cp $D/large $REKINDLE_STATE_FILE.large
            save '{{\"stage\": \"old\"}}'
            while [ ! -e $D/go ]; do sleep 0.02; done
            mv $REKINDLE_STATE_FILE.large $REKINDLE_STATE_FILE; sleep 600;; esac; {TELLS}"
    );
    let large = StateFile {
        body: vec![b'x'; 256 * 1024],
        ..StateFile::default()
    };
    fs::write(bench.file("large"), large.print()).expect("written");
    let log = fs::File::create(bench.file("log")).expect("made");
    let _shim = Shim::of(bench.command(&[], &script).stderr(log).spawn().expect("runs"));
    let mut session = bench.server.welcome();
    session.run(1);
    let process = spawned(&mut session, 1);
    let mut client = Client::of(&bench);
    let mut is_saved = |id: &str| {
        let loaded = client.load(1).filter(|loaded| loaded.checkpoint == id);
        loaded.map(|loaded| loaded.state.expect("a state").body.len())
    };
    wait_for("the first save", || is_saved("1.1"));
    let ballast = bench.file("state/ballast");
    fs::write(&ballast, vec![0; 4 << 20]).expect_err("it is full");
    fs::write(bench.file("go"), "").expect("written");
    wait_for("its refusal", || {
        let log = fs::read_to_string(bench.file("log")).expect("a log");
        log.contains("what it has saved before is kept").then_some(())
    });
    assert_eq!(is_saved("1.1"), Some(0), "the old one is whole");
    fs::remove_file(&ballast).expect("removed");
    let length = wait_for("the save", || {
        let loaded = client.load(1).filter(|loaded| loaded.checkpoint != "1.1");
        loaded.map(|loaded| loaded.state.expect("a state").body.len())
    });
    assert_eq!(length, 256 * 1024);
    kill(&process, Signal::KILL);
    next_life(&mut session, 2);
    assert_eq!(bench.handed(2).expect("handed over").body.len(), 256 * 1024);
}

#[test]
fn what_is_too_long_is_refused_with_its_field() {
    let mut bench = Bench::new();
    let (_shim, _session, _) = bench.running(&[], TELLS);
    let mut client = Client::of(&bench);
    let status = client.save(1, stage(&"x".repeat(1025))).expect_err("refused");
    assert!(
        status.message().starts_with("state.stage: has 1025 bytes"),
        "{status:?}"
    );
    assert_eq!(client.load(1), None);
}
