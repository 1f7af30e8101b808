//! What a host offers.

use std::process::Command;

use crate::bench::{cgroups_are_here, command, is_root, output, skip, wait_for};

/// The state that the doctor gives a thing, and its text.
pub(crate) fn line<'a>(table: &'a str, what: &str) -> (&'a str, &'a str) {
    let line = table.lines().find_map(|line| line.strip_prefix(what));
    let line = line.unwrap_or_else(|| panic!("{what} is not in\n{table}")).trim_start();
    let (state, text) = line.split_once(' ').expect("a state and a text");
    (state, text.trim_start())
}

#[test]
fn the_doctor_looks_for_everything() {
    let output = output(command().arg("doctor"));
    let table = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(output.stderr.is_empty());
    assert!(table.ends_with("\nThe shim can work here.\n"), "{table}");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    assert_eq!(line(&table, "kernel"), ("yes", release.as_str()));
    for what in [
        "/proc",
        "boot id",
        "pidfd_open",
        "child subreaper",
        "out of memory",
        "NOTIFY_SOCKET",
        "open files",
    ] {
        assert_eq!(line(&table, what).0, "yes", "{what} in\n{table}");
    }
    assert_eq!(line(&table, "root").0, if is_root() { "yes" } else { "no" });
}

#[test]
fn the_doctor_tries_cgroups_and_leaves_none() {
    if !cgroups_are_here() {
        return;
    }
    let table = output(command().arg("doctor")).stdout;
    let table = String::from_utf8(table).expect("text");
    let own = crate::groups::own().expect("cgroup v2 is here");
    let expected = format!("each life gets a group below {}, unless --cgroup off", own.display());
    assert_eq!(line(&table, "cgroup v2"), ("yes", expected.as_str()));
    assert_eq!(line(&table, "cgroup.kill").0, "yes");
    // Those of other tests' shims may be there for a moment.
    for probe in std::fs::read_dir(own).expect("listed").flatten() {
        if probe.file_name().to_string_lossy().ends_with(".probe") {
            wait_for("the end of a probe", || (!probe.path().exists()).then_some(()));
        }
    }
}

#[test]
fn without_proc_the_shim_cannot_work() {
    if !is_root() {
        skip("a mount of its own needs root");
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "/bin/sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" doctor"]);
    let output = output(unshare.arg(command().get_program()));
    let table = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert_eq!(line(&table, "/proc").0, "MISSING");
    assert!(table.ends_with("\nThe shim cannot work here.\n"), "{table}");
}
