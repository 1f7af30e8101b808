//! A disk that runs full: the commit fails, the process ends, and what was acknowledged is there when there is room.

use std::process::Command;

use super::workload::{self, Line};
use super::*;

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI must run this test, as root");
        eprintln!("skipped: a small file system can only be mounted by root");
        return;
    }
    // Records of different sizes fill the disk at different points of sled's work.
    for (filler_bytes, size) in [
        (200, "18m"),
        (3_000, "20m"),
        (20_000, "25m"),
        (60_000, "30m"),
        (90_000, "26m"),
    ] {
        let folder = SledFolder::default();
        let disk = SmallDisk::under(folder.0.path(), size);
        let (mut child, lines) = workload::start(&folder.data_dir(), filler_bytes);
        let mut acknowledged = 0;
        let failure = loop {
            match lines
                .recv_timeout(LIMIT)
                .expect("the disk runs full, and the process says so")
            {
                Line::Acknowledged(number) => acknowledged = number,
                Line::Failed(error) => break error,
            }
        };
        assert!(failure.contains(&folder.data_dir().display().to_string()), "{failure}");
        assert!(failure.contains("make room"), "{failure}");
        assert!(
            child.wait().expect("it is ours").success(),
            "the process ends by itself"
        );
        assert!(acknowledged > 0, "{size} has room for a batch");
        disk.grow("256m");
        let newest = workload::check(&open_again(&folder.data_dir()), acknowledged);
        assert!(
            newest <= acknowledged + 1,
            "only the failed batch may be there beside the acknowledged ones"
        );
    }
}

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(path: &Path, size: &str) -> Self {
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size}"))
            .arg("tmpfs")
            .arg(path));
        Self(path.to_owned())
    }

    fn grow(&self, size: &str) {
        run(Command::new("mount")
            .arg("-o")
            .arg(format!("remount,size={size}"))
            .arg(&self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a failed check is what the test reports.
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("util-linux is installed");
    assert!(status.success(), "{command:?}: {status}");
}
