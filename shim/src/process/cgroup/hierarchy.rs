//! Where control groups are mounted, and which one this process is in.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// Which hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::process) enum Version {
    /// The only one of version 2.
    Two,
    /// The one of version 1 that controls memory.
    OneMemory,
}

/// A mounted hierarchy in which this process has its place. Hybrid hosts have it beside those of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::process) struct Hierarchy {
    /// Where it is mounted.
    mount: PathBuf,
    /// Which group the mount shows as its root, as /proc/PID/cgroup names it.
    root: PathBuf,
    /// This process's group, as /proc/self/cgroup names it.
    own: PathBuf,
}

impl Hierarchy {
    /// Finds it (cgroups(7), proc_pid_mountinfo(5)); `None` where there is none that shows this process's group.
    pub(in crate::process) fn find(version: Version) -> io::Result<Option<Self>> {
        let mounts = fs::read("/proc/self/mountinfo")?;
        let groups = fs::read("/proc/self/cgroup")?;
        Ok(parse_group(&groups, version).and_then(|own| Self::among(&mounts, version, &own)))
    }

    fn among(mounts: &[u8], version: Version, own: &Path) -> Option<Self> {
        mounts.split(|byte| *byte == b'\n').find_map(|line| {
            let (root, mount) = parse_mount(line, version)?;
            own.starts_with(&root).then(|| Self {
                mount,
                root,
                own: own.to_owned(),
            })
        })
    }

    /// Where it is mounted.
    pub(in crate::process) fn mount(&self) -> &Path {
        &self.mount
    }

    /// The directory of this process's group.
    pub(in crate::process) fn own(&self) -> PathBuf {
        let below = self.own.strip_prefix(&self.root).unwrap_or(&self.own);
        // Without the slash that an empty path would add.
        self.mount.join(below).components().collect()
    }

    /// How /proc/PID/cgroup names the group of a directory.
    pub(super) fn name_of(&self, dir: &Path) -> PathBuf {
        let below = dir.strip_prefix(&self.mount).unwrap_or(dir);
        self.root.join(below)
    }
}

/// The group of version 2 that a process is in; `None` when the kernel has none.
pub(in crate::process) fn group_of(pid: Pid) -> io::Result<Option<PathBuf>> {
    let groups = fs::read(format!("/proc/{pid}/cgroup", pid = pid.as_raw_pid()))?;
    Ok(parse_group(&groups, Version::Two))
}

/// Lines of `id:controllers:path`; version 2 has no controllers there.
fn parse_group(groups: &[u8], version: Version) -> Option<PathBuf> {
    groups.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match version {
            Version::Two => id == b"0" && controllers.is_empty(),
            Version::OneMemory => has_memory(controllers),
        };
        is_it.then(|| OsString::from_vec(path.to_vec()).into())
    })
}

fn has_memory(list: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item == b"memory")
}

/// Root and mount point, of a line that is about the hierarchy.
fn parse_mount(line: &[u8], version: Version) -> Option<(PathBuf, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let mount = unescape(fields.next()?);
    // The optional fields end with a hyphen.
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
    let is_it = match version {
        Version::Two => kind == b"cgroup2",
        Version::OneMemory => kind == b"cgroup" && has_memory(options),
    };
    is_it.then_some((root, mount))
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(octal);
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw
";

    #[test]
    fn version_2_is_found_among_others() {
        let groups = b"4:memory:/a\n1:name=systemd:/b\n0::/user.slice/a b\n";
        let own = parse_group(groups, Version::Two).expect("a group");
        assert_eq!(own, Path::new("/user.slice/a b"));
        let found = Hierarchy::among(HYBRID, Version::Two, &own).expect("a mount");
        assert_eq!(found.own(), Path::new("/sys/fs/cgroup/uni fied/user.slice/a b"));
        assert_eq!(found.name_of(&found.own()), own);
        assert_eq!(parse_group(b"4:memory:/a\n", Version::Two), None);
        let other = b"35 31 0:32 / /c rw - cgroup cgroup rw\n";
        assert_eq!(Hierarchy::among(other, Version::Two, &own), None);

        let own = parse_group(groups, Version::OneMemory).expect("a group");
        let memory = Hierarchy::among(HYBRID, Version::OneMemory, &own).expect("a mount");
        assert_eq!(memory.own(), Path::new("/sys/fs/cgroup/memory/a"));
    }

    #[test]
    fn a_mount_can_show_a_part() {
        let part = b"41 31 0:38 /box /cg rw - cgroup2 cgroup2 rw\n";
        let inside = Hierarchy::among(part, Version::Two, Path::new("/box/agent")).expect("a mount");
        assert_eq!(inside.own(), Path::new("/cg/agent"));
        assert_eq!(inside.name_of(Path::new("/cg/agent/x")), Path::new("/box/agent/x"));
        assert_eq!(Hierarchy::among(part, Version::Two, Path::new("/boxes")), None);
    }
}
