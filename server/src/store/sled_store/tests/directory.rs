//! Data directories that are taken, not ours, or of no use.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::store::record::schema::{self, Schema};
use crate::store::sample::{agent, put_agent};

fn open_error(path: &Path) -> OpenError {
    match SledStore::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn says(error: &OpenError, path: &Path, words: &str) {
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn it_is_created_with_what_is_above_it_for_its_owner_alone() {
    let folder = SledFolder::default();
    let path = folder.data_dir().join("state").join("rekindle");
    drop(SledStore::open(&path).expect("opened"));
    for directory in [&path, &path.join("store"), path.parent().expect("it has one")] {
        let mode = fs::metadata(directory).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", directory.display());
    }
}

#[test]
fn a_relative_path_and_a_link_do() {
    let folder = SledFolder::default();
    fs::create_dir(folder.data_dir()).expect("created");
    let link = folder.0.path().join("link");
    symlink(folder.data_dir(), &link).expect("linked");
    drop(SledStore::open(&link).expect("opened"));
    assert!(folder.data_dir().join("lock").exists());
}

#[test]
fn a_second_server_is_refused() {
    let folder = SledFolder::default();
    let store = folder.open();
    let error = open_error(&folder.data_dir());
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    says(&error, &folder.data_dir(), "another rekindle-server");
    says(&error, &folder.data_dir(), &format!("process {}", std::process::id()));
    store.commit(&[put_agent(agent("a", 1))]).expect("the first goes on");
    drop(store);
    assert_eq!(
        folder.open().load().expect("loaded").agents.len(),
        1,
        "after it the next may"
    );
}

#[test]
fn other_formats_are_refused() {
    for (version, words) in [(0, "an older release wrote it"), (2, "a newer release wrote it")] {
        let folder = SledFolder::default();
        let store = folder.open();
        let other = schema::encode(Schema { version });
        plant(&store, schema::KEY, &other);
        drop(store);
        let Err(error) = open_result(&folder.data_dir()) else {
            panic!("format {version} was opened")
        };
        says(&error, &folder.data_dir(), words);
        says(&error, &folder.data_dir(), &format!("has format {version}"));
        says(&error, &folder.data_dir(), "reads format 1");
    }
}

#[test]
fn what_holds_something_else_is_refused_and_left_alone() {
    for foreign in ["main.c", "store/main.c", "store", ".git"] {
        let folder = SledFolder::default();
        let path = folder.data_dir().join(foreign);
        fs::create_dir_all(path.parent().expect("it has one")).expect("created");
        fs::write(&path, "int main;").expect("written");
        let error = open_error(&folder.data_dir());
        assert!(matches!(error, OpenError::Foreign { .. }), "{foreign}: {error:?}");
        says(&error, &folder.data_dir(), "--data-dir");
        let entries = fs::read_dir(folder.data_dir()).expect("listed").count();
        assert_eq!(entries, 1, "{foreign}: nothing was added");
    }
}

#[test]
fn a_first_open_that_was_cut_off_is_taken_up() {
    let folder = SledFolder::default();
    let path = folder.data_dir();
    fs::create_dir_all(path.join("store")).expect("created");
    fs::create_dir(path.join("lost+found")).expect("created");
    fs::write(path.join("lock"), "").expect("written");
    fs::write(path.join("newest-event"), "").expect("written");
    drop(SledStore::open(&path).expect("opened"));
}

#[test]
fn an_operators_file_beside_the_store_does_no_harm() {
    let folder = SledFolder::default();
    drop(folder.open());
    fs::write(folder.data_dir().join("README"), "ours").expect("written");
    drop(folder.open());
}

#[test]
fn a_file_is_no_directory() {
    let folder = SledFolder::default();
    fs::write(folder.data_dir(), "").expect("written");
    let error = open_error(&folder.data_dir());
    assert!(matches!(error, OpenError::NotADirectory { .. }), "{error:?}");
    says(&error, &folder.data_dir(), "is not a directory");
    let below = folder.data_dir().join("below");
    says(&open_error(&below), &below, "cannot");
}

#[test]
fn a_read_only_directory_is_refused() {
    let folder = SledFolder::default();
    fs::create_dir(folder.data_dir()).expect("created");
    let _mount = if rustix::process::geteuid().is_root() {
        // Permissions do not bind root; a file system does.
        Some(ReadOnlyMount::over(&folder.data_dir()))
    } else {
        fs::set_permissions(folder.data_dir(), fs::Permissions::from_mode(0o500)).expect("changed");
        None
    };
    let error = open_error(&folder.data_dir());
    says(&error, &folder.data_dir(), "must");
    let missing = folder.data_dir().join("missing");
    says(&open_error(&missing), &missing, "cannot create the directory");
}

struct ReadOnlyMount(PathBuf);

impl ReadOnlyMount {
    fn over(path: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"]).arg(path);
        assert!(mount.status().expect("mount(8) runs").success(), "root can mount");
        Self(path.to_owned())
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.expect("umount(8) runs").success(), "nothing is open there");
    }
}
