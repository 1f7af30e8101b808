//! What a shim does when there is no room.

use std::process::Command;

use super::*;
use crate::bench::{is_root, lives, skip};

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
