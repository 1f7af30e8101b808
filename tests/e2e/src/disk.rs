//! A disk small enough to fill, or to break, which needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools;
use crate::world::World;

/// Ends a file system as a failed disk does (`FS_IOC_SHUTDOWN`, linux/fs.h), without writing what waits to be.
const SHUT_DOWN: &str = "\
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A file system of its own, unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk {
    mount_point: PathBuf,
}

impl Disk {
    /// Mounts one of this size in memory; `None` where that is not permitted, which is said.
    ///
    /// # Panics
    /// When it is not permitted in CI.
    pub fn mount(world: &World, mebibytes: u32) -> Option<Self> {
        let size = format!("size={mebibytes}m");
        Self::mounted(world, Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]))
    }

    /// Mounts one with ext4 in a file; `None` where that is not permitted, which is said.
    ///
    /// # Panics
    /// When it is not permitted in CI.
    pub fn mount_ext4(world: &World, mebibytes: u32) -> Option<Self> {
        let image = world.path("image");
        let made = run(Command::new("mkfs.ext4")
            .arg("-q")
            .arg(&image)
            .arg(format!("{mebibytes}M")));
        assert!(made, "mkfs.ext4 comes with Debian's e2fsprogs");
        Self::mounted(world, Command::new("mount").args(["-o", "loop"]).arg(&image))
    }

    fn mounted(world: &World, mount: &mut Command) -> Option<Self> {
        let mount_point = world.path("disk");
        fs::create_dir(&mount_point).expect("the world has one small disk");
        if !run(mount.arg(&mount_point)) {
            tools::skip("a file system of its own needs root: run the tests as root");
            return None;
        }
        Some(Self { mount_point })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Takes all the space that is left.
    pub fn fill(&self) {
        // dd ends with an error when the disk is full, which is what it is for.
        run(Command::new("dd")
            .args(["if=/dev/zero", "bs=4k", "status=none"])
            .arg(self.output()));
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// When the disk was not filled.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("a filled disk has its ballast");
    }

    /// Lets nobody write any more; nothing may be open for writing.
    ///
    /// # Panics
    /// When something is.
    pub fn make_read_only(&self) {
        let done = run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.mount_point));
        assert!(done, "a disk that nobody uses can be made read-only");
    }

    /// Lets it fail: whatever is written from here on is not, and an error says so.
    ///
    /// # Panics
    /// When its file system cannot do that.
    pub fn break_down(&self) {
        let broken = run(Command::new("python3").args(["-c", SHUT_DOWN]).arg(&self.mount_point));
        assert!(broken, "ext4 can be shut down");
    }

    /// Lets whoever writes to it wait in the kernel, where no signal reaches him (proc_pid_stat(5), state D), for as long as
    /// the answer lives.
    ///
    /// # Panics
    /// When its file system cannot do that.
    pub fn freeze(&self) -> Frozen<'_> {
        let frozen = run(Command::new("fsfreeze").arg("--freeze").arg(&self.mount_point));
        assert!(frozen, "ext4 can be frozen");
        Frozen(self)
    }

    fn ballast(&self) -> PathBuf {
        self.mount_point.join("ballast")
    }

    fn output(&self) -> String {
        format!("of={}", self.ballast().display())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.mount_point));
    }
}

/// A disk that nobody can write to. Its writers go on when this is dropped.
#[derive(Debug)]
pub struct Frozen<'d>(&'d Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0.mount_point));
    }
}

/// Whether the command succeeded. What it complains about is part of no test.
fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
