//! Where the socket is: a path that fits into `sun_path`, which children can reach, and others cannot.
//!
//! Children of the shim's own user find it in the directory `socket` of the state directory. Where that path is too long,
//! or children run as another user, who has no way into the state directory, `socket` is a symbolic link to a directory
//! elsewhere, of a random name. The link stays when the shim ends, so that the next one takes the same name again: a
//! child that outlived the shim knows no other.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::process::{Uid, geteuid};
use uuid::Uuid;

use super::SocketError;

/// Longest path of a socket, without the NUL behind it: `sun_path` has 108 bytes (unix(7)).
pub(super) const PATH_MAX_BYTES: usize = 107;

/// In the state directory.
const DIRECTORY: &str = "socket";

/// In its directory.
const FILE: &str = "agent";

/// Of the directory, where children run as another user: nobody can list it, and who goes through finds a socket that
/// has an owner and a mode of its own.
const PASSABLE: u32 = 0o711;

/// Of the directory, where children run as the shim's user.
const PRIVATE: u32 = 0o700;

/// Of the socket: who may write to it may connect (unix(7)).
const CONNECTABLE: u32 = 0o600;

/// Directories that may hold the socket's where the state directory cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bases {
    /// The user's own (XDG Base Directory Specification), where there is one. Others have no way into it.
    pub(super) runtime: Option<PathBuf>,
    /// Everybody's.
    pub(super) temporary: PathBuf,
}

impl Bases {
    pub(super) fn of_this_host() -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self {
            runtime: runtime.filter(|dir| dir.is_absolute()),
            temporary: "/tmp".into(),
        }
    }

    /// Those that children can go through, the best first.
    fn for_child_of(&self, other: Option<Uid>) -> impl Iterator<Item = &Path> {
        let runtime = self.runtime.as_deref().filter(|_| other.is_none());
        runtime.into_iter().chain([self.temporary.as_path()])
    }
}

/// A place for one socket, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    socket: PathBuf,
    /// Its directory, where that is outside of the state directory.
    outside: Option<PathBuf>,
    /// Whom it is for, where that is not the shim's user.
    other: Option<Uid>,
}

impl Place {
    /// Finds a place, and makes its directory.
    pub(super) fn find(state_dir: &Path, bases: &Bases, other: Option<Uid>) -> Result<Self, SocketError> {
        let home = state_dir.join(DIRECTORY);
        let failed = |source| SocketError::Directory {
            path: state_dir.to_owned(),
            source,
        };
        let home = std::path::absolute(home).map_err(failed)?;
        let inside = home.join(FILE);
        if other.is_none() && fits(&inside) {
            forget_link(&home).map_err(failed)?;
            make_or_take(&home, PRIVATE).map_err(failed)?;
            return Ok(Self {
                socket: inside,
                outside: None,
                other,
            });
        }
        let outside = match Self::of_link(&home, bases, other) {
            Some(outside) => outside,
            None => Self::anew(&home, bases, other)?,
        };
        Ok(Self {
            socket: outside.join(FILE),
            outside: Some(outside),
            other,
        })
    }

    /// The directory of an earlier shim, if the link names one that would be made today, and nobody else has its name.
    fn of_link(home: &Path, bases: &Bases, other: Option<Uid>) -> Option<PathBuf> {
        let outside = fs::read_link(home).ok()?;
        let is_of_base = bases.for_child_of(other).any(|base| outside.parent() == Some(base));
        let usable = is_of_base && fits(&outside.join(FILE)) && make_or_take(&outside, mode(other)).is_ok();
        usable.then_some(outside)
    }

    fn anew(home: &Path, bases: &Bases, other: Option<Uid>) -> Result<PathBuf, SocketError> {
        let mut last = SocketError::TooLong(home.join(FILE));
        for base in bases.for_child_of(other) {
            let outside = base.join(format!("rekindle-{}", Uuid::new_v4().simple()));
            if !fits(&outside.join(FILE)) {
                continue;
            }
            match make(&outside, mode(other)).and_then(|()| link(home, &outside)) {
                Ok(()) => return Ok(outside),
                Err(source) => {
                    last = SocketError::Directory {
                        path: base.to_owned(),
                        source,
                    };
                }
            }
        }
        Err(last)
    }

    /// Absolute.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Listens there, in place of what a dead shim has left.
    pub(super) fn bind(&self) -> io::Result<UnixListener> {
        remove_file(&self.socket)?;
        let listener = UnixListener::bind(&self.socket)?;
        fs::set_permissions(&self.socket, Permissions::from_mode(CONNECTABLE))?;
        if let Some(other) = self.other {
            // The directory is the shim's, so that nobody can have put something else there.
            chown(&self.socket, Some(other.as_raw()), None)?;
        }
        Ok(listener)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next shim.
        let _ = remove_file(&self.socket);
        if let Some(outside) = &self.outside {
            let _ = fs::remove_dir(outside);
        }
    }
}

/// Clients take it from an environment, and make a URI of it: it must be text as well.
fn fits(socket: &Path) -> bool {
    socket.to_str().is_some_and(|path| path.len() <= PATH_MAX_BYTES)
}

const fn mode(other: Option<Uid>) -> u32 {
    match other {
        Some(_) => PASSABLE,
        None => PRIVATE,
    }
}

/// Makes a directory that was not there.
fn make(dir: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(PRIVATE).create(dir)?;
    // By name, and not subject to the umask: nobody else can remove or rename a directory of the shim's.
    fs::set_permissions(dir, Permissions::from_mode(mode))
}

/// As [`make`]; one that is there is taken where it is the shim's own.
fn make_or_take(dir: &Path, mode: u32) -> io::Result<()> {
    match make(dir, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something else has its name",
        ));
    }
    fs::set_permissions(dir, Permissions::from_mode(mode))
}

/// Notes where the directory is.
fn link(home: &Path, outside: &Path) -> io::Result<()> {
    forget_link(home)?;
    match fs::symlink_metadata(home) {
        // Of a shim whose path was shorter, or whose child was of the same user.
        Ok(_directory) => {
            remove_file(&home.join(FILE))?;
            fs::remove_dir(home)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(outside, home)
}

fn forget_link(home: &Path) -> io::Result<()> {
    match fs::read_link(home) {
        Ok(_) => fs::remove_file(home),
        // It is no link, or not there.
        Err(_) => Ok(()),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            for name in ["state", "runtime", "temporary"] {
                fs::create_dir(dir.path().join(name)).expect("made");
            }
            Self { dir }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn bases(&self) -> Bases {
            Bases {
                runtime: Some(self.path("runtime")),
                temporary: self.path("temporary"),
            }
        }

        /// A state directory whose socket would not fit.
        fn deep(&self) -> PathBuf {
            let deep = self.path("state").join("d".repeat(PATH_MAX_BYTES));
            fs::create_dir_all(&deep).expect("made");
            deep
        }
    }

    fn mode_of(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("is there").mode() & 0o777
    }

    #[test]
    fn a_short_path_is_in_the_state_directory() {
        let bench = Bench::new();
        let place = Place::find(&bench.path("state"), &bench.bases(), None).expect("found");
        assert_eq!(place.socket(), bench.path("state/socket/agent"));
        let listener = place.bind().expect("bound");
        assert_eq!(
            (mode_of(&bench.path("state/socket")), mode_of(place.socket())),
            (0o700, 0o600)
        );
        UnixStream::connect(place.socket()).expect("connected");
        drop(listener);
        assert!(UnixStream::connect(place.socket()).is_err());
        place.bind().expect("in place of what is left");
        let path = place.socket().to_owned();
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_long_path_is_elsewhere_and_the_same_again() {
        let bench = Bench::new();
        let deep = bench.deep();
        let place = Place::find(&deep, &bench.bases(), None).expect("found");
        let socket = place.socket().to_owned();
        assert!(socket.starts_with(bench.path("runtime")) && socket.as_os_str().len() <= PATH_MAX_BYTES);
        place.bind().expect("bound");
        assert_eq!(mode_of(socket.parent().expect("a directory")), 0o700);
        drop(place);
        assert_eq!(fs::read_dir(bench.path("runtime")).expect("read").count(), 0);
        let again = Place::find(&deep, &bench.bases(), None).expect("found");
        assert_eq!(again.socket(), socket);
        // As if that shim had been killed.
        std::mem::forget(again);
        let again = Place::find(&deep, &bench.bases(), None).expect("found");
        assert_eq!(again.socket(), socket);
    }

    #[test]
    fn a_name_that_something_else_took_is_given_up() {
        let bench = Bench::new();
        let deep = bench.deep();
        let place = Place::find(&deep, &bench.bases(), None).expect("found");
        let taken = place.socket().parent().expect("a directory").to_owned();
        drop(place);
        symlink(bench.path("temporary"), &taken).expect("made");
        let other = Place::find(&deep, &bench.bases(), None).expect("found");
        assert!(!other.socket().starts_with(&taken));
        assert_eq!(fs::read_dir(bench.path("temporary")).expect("read").count(), 0);
    }

    #[test]
    fn other_users_reach_it_where_everybody_goes() {
        if !geteuid().is_root() {
            return super::super::tests::skip("another user's socket needs root");
        }
        let bench = Bench::new();
        let somebody = Uid::from_raw(65_533);
        let own = Place::find(&bench.path("state"), &bench.bases(), None).expect("found");
        drop(own);
        let place = Place::find(&bench.path("state"), &bench.bases(), Some(somebody)).expect("found");
        place.bind().expect("bound");
        let socket = place.socket();
        assert!(socket.starts_with(bench.path("temporary")));
        let owner = fs::metadata(socket).expect("is there").uid();
        assert_eq!((owner, mode_of(socket)), (somebody.as_raw(), 0o600));
        assert_eq!(mode_of(socket.parent().expect("a directory")), 0o711);
        drop(place);
        let own = Place::find(&bench.path("state"), &bench.bases(), None).expect("found");
        assert_eq!(own.socket(), bench.path("state/socket/agent"));
    }

    #[test]
    fn where_nothing_fits_the_state_directory_is_named() {
        let bench = Bench::new();
        let deep = bench.deep();
        let bases = Bases {
            runtime: None,
            temporary: deep.clone(),
        };
        let error = Place::find(&deep, &bases, None).expect_err("none fits").to_string();
        assert!(
            error.contains("at most 107 bytes") && error.contains("--state-dir"),
            "{error}"
        );
        let bases = Bases {
            runtime: None,
            temporary: bench.path("missing"),
        };
        let error = Place::find(&deep, &bases, None).expect_err("not there").to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
