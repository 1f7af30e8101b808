//! What a child finds at its first instruction, and the ways to get there.
#![expect(unsafe_code, reason = "no crate here has seccomp(2)")]

use std::os::unix::fs::PermissionsExt;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use rekindle::exit::ExitStatus;
use rustix::io::Errno;

use super::super::Environment;
use super::*;

#[test]
fn a_script_without_interpreter_is_the_shells() {
    let mut bench = Bench::new();
    let script = bench.file("script");
    std::fs::write(&script, "echo $0 $1 $#").expect("written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("changed");
    let script = script.display().to_string();
    let child = bench.try_spawn(&script, &["first word", "b"]).expect("it runs");
    bench.exited(&child);
    assert_eq!(bench.end(child).stdout_tail, format!("{script} first word 2\n"));
}

#[test]
fn without_a_path_the_systems_is_searched() {
    let mut bench = Bench::new();
    let confinement = Confinement {
        environment: Environment::Clear { allow: Vec::new() },
        ..Confinement::default()
    };
    let child = bench
        .try_run("sh", &["-c", "exit 7"], confinement)
        .expect("it is found");
    bench.exited(&child);
    assert_eq!(bench.end(child).status, ExitStatus::Exited(7));
}

#[test]
fn a_name_that_is_a_folder_cannot_be_run() {
    let mut bench = Bench::new();
    let error = bench.try_spawn("/", &[]).expect_err("a folder").to_string();
    assert!(error.starts_with("cannot run /: Permission denied"), "{error}");
    let name = "n".repeat(4096);
    let error = bench.try_spawn(&name, &[]).expect_err("too long").to_string();
    assert!(
        error.ends_with("File name too long; check the command after `--`"),
        "{error}"
    );
    bench.tree.reap().expect("reaped");
}

#[test]
fn no_signal_is_held_back_or_ignored() {
    let mut bench = Bench::new();
    let held = SigSet::from_iter([Signal::SIGTERM, Signal::SIGUSR1]);
    held.thread_block().expect("blocked");
    let child = bench.try_spawn("grep", &["^Sig[BI]", "/proc/self/status"]);
    assert_eq!(
        SigSet::thread_get_mask().expect("told"),
        held,
        "that of the shim is its own"
    );
    held.thread_unblock().expect("unblocked");
    let child = child.expect("it runs");
    bench.exited(&child);
    // SIGPIPE is ignored here, as in every Rust program.
    let none = "0".repeat(16);
    assert_eq!(
        bench.end(child).stdout_tail,
        format!("SigBlk:\t{none}\nSigIgn:\t{none}\n")
    );
}

/// From here on the kernel answers this thread, and whom it forks, that there is no clone3(2): as before Linux 5.3, and
/// as sandboxes do.
fn without_clone3() {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: u16::try_from(code).expect("a code"),
        jt,
        jf,
        k,
    };
    let clone3 = u32::try_from(libc::SYS_clone3).expect("a number");
    let no_such_call = u32::try_from(libc::ENOSYS).expect("a number");
    let mut filter = [
        // `nr` of struct seccomp_data is its first word.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, clone3, 0, 1),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | no_such_call,
            0,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("short"),
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true).expect("set");
    // SAFETY: the program and its statements are valid for the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: without arguments it does nothing but fail.
    unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<libc::clone_args>(), 0) };
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(Errno::NOSYS.raw_os_error())
    );
}

#[test]
fn where_nobody_is_born_in_a_group_the_child_enters_its_own() {
    // The filter goes with its thread.
    let test = std::thread::spawn(|| {
        without_clone3();
        let Some(mut bench) = Bench::grouped() else { return };
        let child = bench.sh("(setsid sleep 60 & echo $! > $D/daemon); sleep 60");
        let daemon = bench.told("daemon");
        let group = child.group().expect("a life with a group");
        let dir = group.dir().to_owned();
        assert!(group.holds(child.pid()));
        bench.end(child);
        assert!(!lives(&daemon) && !dir.exists());

        let error = bench.try_spawn("/no/such/program", &[]).expect_err("cannot run");
        assert!(error.to_string().contains("No such file"), "{error}");
        bench.tree.reap().expect("reaped");
    });
    test.join().expect("passes");
}
