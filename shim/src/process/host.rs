//! What the host offers a shim, found out by using it. For `rekindle-shim doctor`.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rekindle::exit::ExitStatus;
use rekindle::id::Marker;
use rustix::process::{Pid, child_subreaper, getpid, set_child_subreaper};
use uuid::Uuid;

use super::cgroup::{Groups, NoGroups};
use super::oom::Kills;
use super::pidfd::Pidfd;
use super::proc;

/// Whether /proc tells of processes.
pub(crate) fn proc_tells() -> io::Result<()> {
    proc::stat(getpid()).map(|_stat| ())
}

/// Opens a descriptor of this process; its inode, where the kernel numbers processes by it.
pub(crate) fn pidfd() -> io::Result<Option<u64>> {
    Ok(Pidfd::open(getpid())?.inode())
}

/// Runs a process, and tells how it ended once it is reaped, by its descriptor alone.
pub(crate) fn exit_by_pidfd() -> io::Result<ExitStatus> {
    let mut child = Command::new("/proc/self/exe")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pidfd = Pidfd::open(Pid::from_child(&child));
    child.wait()?;
    Ok(pidfd?.exit_status()?.unwrap_or(ExitStatus::Unknown))
}

/// Makes this process a subreaper, and whether it is one then.
pub(crate) fn subreaper() -> io::Result<bool> {
    set_child_subreaper(Some(getpid()))?;
    Ok(child_subreaper()?.is_some())
}

/// Where lives get control groups.
#[derive(Debug)]
pub(crate) struct Grouping {
    /// Below this group.
    pub(crate) below: PathBuf,
    /// Whether the kernel kills a group in one go.
    pub(crate) can_kill: bool,
}

/// Makes a control group, as lives get it, and removes it.
pub(crate) fn grouping() -> Result<Grouping, NoGroups> {
    let groups = Groups::open(Marker::from_u128(Uuid::new_v4().as_u128()))?;
    Ok(Grouping {
        below: groups.below(),
        can_kill: groups.can_kill().unwrap_or(false),
    })
}

/// Where the kernel counts whom it has killed for want of memory.
pub(crate) fn oom_counter() -> Option<PathBuf> {
    Kills::from_here_on(None).map(|kills| kills.file().to_owned())
}

/// Sends itself a datagram through an abstract socket (unix(7)); the pid that the kernel says is the sender's.
pub(crate) fn sender_of_datagram() -> io::Result<Option<i32>> {
    let name = SocketAddr::from_abstract_name(format!("rekindle/{}", Uuid::new_v4()))?;
    let socket = UnixDatagram::bind_addr(&name)?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    socket.send_to_addr(b"READY=1", &name)?;
    let mut bytes = [0; 16];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!(nix::libc::ucred);
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    Ok(received.cmsgs()?.find_map(|message| {
        if let ControlMessageOwned::ScmCredentials(sender) = message {
            Some(sender.pid())
        } else {
            None
        }
    }))
}
