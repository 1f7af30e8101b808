//! The clients of a notify socket that users have. They may be missing, but in CI.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rekindle_shim_core::Notice;

use super::{Bench, LIMIT, read, turn};

/// A program in the directory that REKINDLE_E2E_TOOLS names, else on PATH.
pub(super) fn find(tool: &str) -> Option<PathBuf> {
    let found = candidates(tool).into_iter().find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{tool} is not installed: run `.ci/run prepare`"));
    }
    found
}

/// A python3 that has this module.
pub(super) fn python_with(module: &str) -> Option<PathBuf> {
    // Another test's tree would take these children for its own.
    let _turn = turn();
    let has_it = |python: &PathBuf| {
        let import = Command::new(python).arg("-c").arg(format!("import {module}")).output();
        import.is_ok_and(|import| import.status.success())
    };
    let found = candidates("python3")
        .into_iter()
        .filter(|file| file.is_file())
        .find(has_it);
    if found.is_none() {
        skip(&format!(
            "no python3 has {module}: run `.ci/run prepare`, and set REKINDLE_E2E_TOOLS=$PWD/target/ci/bin"
        ));
    }
    found
}

/// Whether this process may take on other users' ids.
pub(super) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("this test changes users, for which it must be root");
    }
    root
}

/// As an argument of a shell, in which it stays one word.
pub(super) fn word(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn candidates(tool: &str) -> Vec<PathBuf> {
    let named = std::env::var_os("REKINDLE_E2E_TOOLS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = named.into_iter().chain(std::env::split_paths(&path));
    dirs.map(|dir| dir.join(tool)).collect()
}

/// Says why a test is skipped, and fails it in CI, where nothing may be skipped.
#[track_caller]
fn skip(why: &str) {
    assert!(!is_ci(std::env::var_os("CI").as_deref()), "{why}");
    eprintln!("skipped: {why}");
}

/// Whether this value of `CI` says that the tests run there. Services write `true` or `1`, people `false` or `0`.
fn is_ci(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !["", "false", "0"].iter().any(|no| value == *no))
}

/// Waits for a client's word beside a file in which its shell tells how it ended.
fn told_by_a_client(bench: &mut Bench, script: &str) -> (Vec<Notice>, String) {
    let script = format!("{script}; echo $? > $D/ended; exec sleep 60");
    let child = bench.sh(&script);
    let start = Instant::now();
    let mut heard = Vec::new();
    while read(&bench.file("ended")).is_none() {
        assert!(start.elapsed() < LIMIT, "{script} does not end");
        let more = bench.within(Duration::from_millis(20), child.notices(&bench.tree));
        heard.extend(more.unwrap_or_default());
    }
    let ended = bench.told("ended");
    std::fs::remove_file(bench.file("ended")).expect("removed");
    // What was not waited for.
    heard.extend(
        bench
            .within(Duration::from_millis(200), child.notices(&bench.tree))
            .unwrap_or_default(),
    );
    bench.end(child);
    (heard, ended)
}

#[test]
fn systemd_notify_is_heard_and_not_held_up() {
    let Some(client) = find("systemd-notify") else {
        return;
    };
    let client = word(&client);
    let mut bench = Bench::new();
    // It waits for a barrier by default, for 5 s, and would fail.
    let start = Instant::now();
    let (heard, ended) = told_by_a_client(
        &mut bench,
        &format!("{client} --ready --status='up and running' WATCHDOG=1"),
    );
    assert_eq!((heard.len(), ended.as_str()), (3, "0\n"), "{heard:?}");
    for said in [Notice::Ready, Notice::Status("up and running".to_owned()), Notice::Ping] {
        assert!(heard.contains(&said), "{said:?} in {heard:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(3), "no barrier has timed out");
    // And it has no need to wait.
    let (heard, ended) = told_by_a_client(&mut bench, &format!("{client} --no-block --ready"));
    assert_eq!((heard.as_slice(), ended.as_str()), ([Notice::Ready].as_slice(), "0\n"));
}

#[test]
fn systemd_notify_names_its_parent() {
    let Some(client) = find("systemd-notify") else {
        return;
    };
    let mut bench = Bench::new();
    let script = format!("{} --ready --pid; echo $$ > $D/pid", word(&client));
    let (heard, _ended) = told_by_a_client(&mut bench, &script);
    let pid: u32 = bench.told("pid").trim().parse().expect("a pid");
    let mains: Vec<u32> = heard
        .iter()
        .filter_map(|notice| {
            if let Notice::Main(main) = notice {
                Some(main.pid)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(mains, [pid], "{heard:?}");
    assert!(heard.contains(&Notice::Ready));
    let (heard, ended) = told_by_a_client(&mut bench, &format!("{} MAINPID=1", word(&client)));
    assert_eq!((heard.as_slice(), ended.as_str()), ([].as_slice(), "0\n"), "refused");
}

#[test]
fn systemd_notify_of_another_user_is_heard() {
    let Some(client) = find("systemd-notify") else {
        return;
    };
    let Some(setpriv) = find("setpriv") else {
        return;
    };
    if !is_root() {
        return;
    }
    let mut bench = Bench::new();
    let script = format!(
        "{} --reuid=65534 --regid=65534 --clear-groups {} --ready",
        word(&setpriv),
        word(&client)
    );
    let (heard, ended) = told_by_a_client(&mut bench, &script);
    assert_eq!((heard.as_slice(), ended.as_str()), ([Notice::Ready].as_slice(), "0\n"));
}

#[test]
fn sdnotify_of_python_is_heard() {
    let Some(python) = python_with("sdnotify") else {
        return;
    };
    let mut bench = Bench::new();
    let script = "import sdnotify
n = sdnotify.SystemdNotifier(debug=True)
n.notify('READY=1')
n.notify('STATUS=Aufwärmen'.encode('utf-8').decode('latin-1'))
n.notify('WATCHDOG=1')
n.notify('STOPPING=1')";
    let (heard, ended) = told_by_a_client(&mut bench, &format!("{} -c \"{script}\"", word(&python)));
    assert_eq!(ended, "0\n");
    assert_eq!(
        heard,
        [
            Notice::Ready,
            Notice::Status("Aufwärmen".to_owned()),
            Notice::Ping,
            Notice::Stopping
        ]
    );
}
