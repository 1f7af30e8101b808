//! What the agent's notify socket takes, and from whom.

use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;

use rustix::process::Signal;

use crate::bench::{Bench, Shim, kill, spawned};

#[test]
fn a_stranger_is_named_in_the_log_and_only_once() {
    let mut bench = Bench::new();
    let mut command = bench.command(
        &["--log-format", "json"],
        "echo $NOTIFY_SOCKET > $D/name; while :; do sleep 0.01; done",
    );
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the shim runs");
    let stderr = child.stderr.take();
    let shim = Shim::of(child);
    let mut session = bench.server.welcome();
    session.run(1);
    let process = spawned(&mut session, 1);

    let name = bench.told("name");
    let name = name.strip_prefix('@').expect("abstract");
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let stranger = UnixDatagram::unbound().expect("a socket");
    stranger.connect_addr(&address).expect("somebody listens");
    // More than the kernel holds: each is read, or the next ones would not find room.
    for _ in 0..100 {
        stranger.send(b"READY=1\nSTOPPING=1").expect("sent");
    }
    // What is told after them is heard after them.
    kill(&process, Signal::KILL);
    let report = session.report();
    session.acknowledge(&report);
    shim.signal(Signal::TERM);
    let mut log = String::new();
    stderr.expect("a pipe").read_to_string(&mut log).expect("text");
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("not of the agent's tree"))
        .collect();
    let pid = format!("\"pid\":{}", std::process::id());
    assert!(matches!(told.as_slice(), [line] if line.contains(&pid)), "{log}");
    assert_eq!(shim.ended().code(), Some(0));
}
