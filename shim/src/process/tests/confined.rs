//! Children that differ from the shim.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::super::{Account, Environment, Limit, NamePattern, Privileges};
use super::*;

/// What a program says that is run like this.
fn said(confinement: Confinement, path: &str, arguments: &[&str]) -> String {
    let mut bench = Bench::new();
    let child = bench.try_run(path, arguments, confinement).expect("it runs");
    bench.exited(&child);
    let remains = bench.end(child);
    assert_eq!(remains.stderr_tail, "");
    remains.stdout_tail
}

/// Why a program cannot be run like this. Nothing is left of it.
fn refusal(confinement: Confinement) -> String {
    let mut bench = Bench::new();
    let error = bench.try_run("/bin/true", &[], confinement).expect_err("cannot run");
    bench.tree.reap().expect("reaped");
    assert_eq!(
        super::super::proc::children(rustix::process::getpid()).expect("listed"),
        []
    );
    error.to_string()
}

fn names(texts: &[&str]) -> Vec<NamePattern> {
    texts.iter().map(|text| text.parse().expect("a name")).collect()
}

fn limits(texts: &[&str]) -> Vec<Limit> {
    texts.iter().map(|text| text.parse().expect("a limit")).collect()
}

#[test]
fn it_begins_in_its_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().canonicalize().expect("a path");
    let confinement = Confinement {
        directory: Some(dir.clone()),
        ..Confinement::default()
    };
    let told = said(confinement, "/bin/sh", &["-c", "echo $PWD; exec pwd -P"]);
    assert_eq!(told, format!("{0}\n{0}\n", dir.display()));

    let confinement = Confinement {
        directory: Some("/no/such/place".into()),
        ..Confinement::default()
    };
    assert_eq!(
        refusal(confinement),
        "cannot run /bin/true: cannot enter the directory /no/such/place: No such file or directory; check --directory, \
         and that who runs the program may enter it"
    );
}

#[test]
fn it_gets_the_variables_that_it_may_have() {
    let variables = |environment| {
        let confinement = Confinement {
            environment,
            ..Confinement::default()
        };
        let told = said(confinement, "/usr/bin/env", &[]);
        let names = told
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<String>>()
    };
    let mut expected = BTreeSet::from(
        [
            "NOTIFY_SOCKET",
            "REKINDLE_AGENT",
            "REKINDLE_INCARNATION",
            "REKINDLE_MARKER",
            "REKINDLE_SOCKET",
            "REKINDLE_STATE_FILE",
        ]
        .map(str::to_owned),
    );
    let none = variables(Environment::Clear { allow: Vec::new() });
    assert_eq!(none, expected);
    let few = variables(Environment::Clear {
        allow: names(&["PATH", "NO_SUCH_VARIABLE"]),
    });
    expected.insert("PATH".to_owned());
    assert_eq!(few, expected);

    let all = variables(Environment::default());
    assert!(few.is_subset(&all));
    let most = variables(Environment::Pass {
        deny: names(&["PAT*", "REKINDLE_*"]),
    });
    let denied: Vec<&String> = all.difference(&most).collect();
    assert!(
        denied.contains(&&"PATH".to_owned()) && denied.iter().all(|name| name.starts_with("PAT")),
        "{denied:?}"
    );
}

#[test]
fn it_keeps_to_its_limits() {
    let confinement = Confinement {
        limits: limits(&["nofile=63", "nofile=64:128", "core=0", "cpu=unlimited"]),
        ..Confinement::default()
    };
    let told = said(
        confinement,
        "/bin/sh",
        &["-c", "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -t"],
    );
    assert_eq!(told, "64\n128\n0\nunlimited\n");

    // More than the kernel lets anybody have (proc_sys_fs(5), nr_open).
    let confinement = Confinement {
        limits: limits(&["core=0", "nofile=1:unlimited"]),
        ..Confinement::default()
    };
    assert_eq!(
        refusal(confinement),
        "cannot run /bin/true: cannot set the limit nofile=1:unlimited: Operation not permitted; check --rlimit; only root \
         may raise a hard limit"
    );
}

#[test]
fn it_gains_no_privileges() {
    for (privileges, expected) in [(Privileges::ByFile, "0"), (Privileges::Fixed, "1")] {
        let confinement = Confinement {
            privileges,
            ..Confinement::default()
        };
        let told = said(confinement, "/bin/grep", &["NoNewPrivs", "/proc/self/status"]);
        assert_eq!(told, format!("NoNewPrivs:\t{expected}\n"));
    }
}

#[test]
fn it_runs_as_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        skip("another user needs root");
        return;
    }
    let run = |user, group, script: &str| {
        let confinement = Confinement {
            account: Account::find(user, group).expect("looked up"),
            directory: Some("/".into()),
            ..Confinement::default()
        };
        said(confinement, "/bin/sh", &["-c", script])
    };
    let ids = "id -u; id -g; id -G";
    assert_eq!(run(Some("54321"), Some("54322"), ids), "54321\n54322\n54322\n");
    assert_eq!(run(None, Some("54322"), ids), "0\n54322\n54322\n");
    let saved = "grep -E '^(Uid|Gid|CapEff)' /proc/self/status";
    assert_eq!(
        run(Some("54321"), Some("54322"), saved),
        "Uid:\t54321\t54321\t54321\t54321\nGid:\t54322\t54322\t54322\t54322\nCapEff:\t0000000000000000\n"
    );
    let entry = nix::unistd::User::from_name("nobody")
        .expect("looked up")
        .expect("every Linux has one");
    let told = run(Some("nobody"), None, "id -u; id -g; echo $HOME $USER $LOGNAME");
    assert_eq!(
        told,
        format!("{}\n{}\n{} nobody nobody\n", entry.uid, entry.gid, entry.dir.display())
    );
}

#[test]
fn a_directory_is_entered_by_the_right_of_who_works_there() {
    if !rustix::process::geteuid().is_root() {
        skip("another user needs root");
        return;
    }
    // For its owner alone.
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("changed");
    let confinement = Confinement {
        account: Account::find(Some("54321"), Some("54322")).expect("looked up"),
        directory: Some(dir.path().to_owned()),
        ..Confinement::default()
    };
    let refused = refusal(confinement);
    assert!(
        refused.contains("cannot enter the directory") && refused.contains("Permission denied"),
        "{refused}"
    );
}
