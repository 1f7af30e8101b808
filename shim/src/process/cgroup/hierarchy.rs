//! Where cgroup v2 is mounted, and which group this process is in.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

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
    pub(in crate::process) fn find() -> io::Result<Option<Self>> {
        let mounts = fs::read("/proc/self/mountinfo")?;
        let Some(own) = group_of("self")? else {
            return Ok(None);
        };
        Ok(Self::among(&mounts, &own))
    }

    fn among(mounts: &[u8], own: &Path) -> Option<Self> {
        mounts.split(|byte| *byte == b'\n').find_map(|line| {
            let (root, mount) = parse_mount(line)?;
            own.starts_with(&root).then(|| Self {
                mount,
                root,
                own: own.to_owned(),
            })
        })
    }

    /// Where it is mounted.
    pub(super) fn mount(&self) -> &Path {
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

/// The group that a process is in, by its pid or `self`; `None` when the kernel has no cgroup v2.
pub(super) fn group_of(process: &str) -> io::Result<Option<PathBuf>> {
    let groups = fs::read(format!("/proc/{process}/cgroup"))?;
    Ok(parse_group(&groups))
}

fn parse_group(groups: &[u8]) -> Option<PathBuf> {
    let mut lines = groups.split(|byte| *byte == b'\n');
    let path = lines.find_map(|line| line.strip_prefix(b"0::"))?;
    Some(OsString::from_vec(path.to_vec()).into())
}

/// Root and mount point, of a line that is about cgroup v2.
fn parse_mount(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let mount = unescape(fields.next()?);
    // The optional fields end with a hyphen.
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    (kind == b"cgroup2").then_some((root, mount))
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
        let own = parse_group(groups).expect("a group");
        assert_eq!(own, Path::new("/user.slice/a b"));
        let found = Hierarchy::among(HYBRID, &own).expect("a mount");
        assert_eq!(found.own(), Path::new("/sys/fs/cgroup/uni fied/user.slice/a b"));
        assert_eq!(found.name_of(&found.own()), own);
        assert_eq!(parse_group(b"4:memory:/a\n"), None);
        assert_eq!(Hierarchy::among(b"35 31 0:32 / /c rw - cgroup cgroup rw\n", &own), None);
    }

    #[test]
    fn a_mount_can_show_a_part() {
        let part = b"41 31 0:38 /box /cg rw - cgroup2 cgroup2 rw\n";
        let inside = Hierarchy::among(part, Path::new("/box/agent")).expect("a mount");
        assert_eq!(inside.own(), Path::new("/cg/agent"));
        assert_eq!(inside.name_of(Path::new("/cg/agent/x")), Path::new("/box/agent/x"));
        assert_eq!(Hierarchy::among(part, Path::new("/boxes")), None);
    }
}
