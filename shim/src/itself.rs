//! The shim's own program: by what path a newer one is found, for an upgrade in place.

use std::ffi::{OsStr, OsString};
use std::fs::metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How this process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Itself {
    /// Where the program is.
    pub(crate) path: PathBuf,
    /// With the program's name, as it was given.
    pub(crate) arguments: Vec<OsString>,
}

impl Itself {
    /// To be asked at the start, as long as the file is there.
    ///
    /// The path is the one that was called, with its symbolic links as they are: a link to the version in use is what an
    /// upgrade changes. Where that is not known, as `argv[0]` may be anything (execve(2)), it is the file's own.
    pub(crate) fn find(arguments: Vec<OsString>) -> io::Result<Self> {
        let name = arguments.first().map(OsString::as_os_str).unwrap_or_default();
        let search = std::env::var_os("PATH").unwrap_or_default();
        let own = Path::new("/proc/self/exe");
        let called = candidates(name, &search).find(|path| same_file(path, own));
        let path = match called {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?,
        };
        Ok(Self { path, arguments })
    }
}

/// Which files a shell takes a name for: the one of this path, or those of this name in the directories of `PATH`.
fn candidates(name: &OsStr, search: &OsStr) -> impl Iterator<Item = PathBuf> {
    let is_path = name.as_encoded_bytes().contains(&b'/');
    let path = is_path.then(|| PathBuf::from(name));
    let found: Vec<PathBuf> = if is_path {
        Vec::new()
    } else {
        std::env::split_paths(search).map(|dir| dir.join(name)).collect()
    };
    path.into_iter().chain(found)
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (metadata(one), metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Ok(_) | Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_was_called_is_kept_and_another_name_is_not_believed() {
        let dir = tempfile::tempdir().expect("a folder");
        let exe = std::env::current_exe().expect("known");
        let link = dir.path().join("current");
        std::os::unix::fs::symlink(&exe, &link).expect("linked");
        let find = |name: &OsStr| Itself::find(vec![name.to_owned()]).expect("found").path;
        assert_eq!(find(link.as_os_str()), link);
        assert_eq!(find("/bin/sh".as_ref()), exe);
        assert_eq!(find("no-such-name".as_ref()), exe);
        let searched: Vec<PathBuf> = candidates("current".as_ref(), dir.path().as_os_str()).collect();
        assert_eq!(searched, [link]);
    }
}
