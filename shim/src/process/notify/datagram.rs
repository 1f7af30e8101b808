//! One datagram of a notify socket, and who the kernel says has sent it (unix(7)).
//!
//! Descriptors that came along are closed at once: nothing is stored for anybody, and it is how
//! sd_notify_barrier(3) learns that all before it was read. rustix would not close an `SCM_PIDFD`, which it does not
//! know; nix drops the numbers of descriptors that were received when others found no room. So neither is used here.
#![expect(
    unsafe_code,
    reason = "control messages are raw memory, and descriptors in them raw numbers"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use rustix::process::{Pid, RawUid};

use crate::process::pidfd::Pidfd;

/// Longest datagram that is taken: what systemd takes (`NOTIFY_BUFFER_MAX`, which is `PIPE_BUF`).
pub(super) const DATAGRAM_MAX_BYTES: usize = 4096;

/// Most descriptors that come with one datagram (`SCM_MAX_FD`, unix(7)).
const DESCRIPTORS_MAX: usize = 253;

/// The control message that holds the sender's pidfd (linux/socket.h), from Linux 6.5 on.
const SCM_PIDFD: libc::c_int = 4;

/// Room for all that the kernel may attach: if something found none, a pidfd could be lost.
const CONTROL_BYTES: usize =
    space(size_of::<libc::ucred>()) + space(DESCRIPTORS_MAX * size_of::<RawFd>()) + space(size_of::<RawFd>());

/// Aligned as cmsg(3) wants it.
#[repr(C)]
struct Control {
    _align: [libc::cmsghdr; 0],
    bytes: [u8; CONTROL_BYTES],
}

/// What was received.
#[derive(Debug)]
pub(super) struct Datagram<'buffer> {
    /// `None` when it is longer than [`DATAGRAM_MAX_BYTES`].
    pub(super) bytes: Option<&'buffer [u8]>,
    pub(super) sender: Sender,
}

/// Who sent a datagram, checked by the kernel: only who may do as it likes to every process can name another than itself.
#[derive(Debug)]
pub(super) struct Sender {
    /// `None` outside of this pid namespace.
    pub(super) pid: Option<Pid>,
    /// Its real user id.
    pub(super) uid: RawUid,
    pub(super) process: Process,
}

/// What is known of a sender beyond its pid.
#[derive(Debug)]
pub(super) enum Process {
    /// This one it is, dead or alive.
    Held(Pidfd),
    /// It was dead and reaped before its datagram was read.
    Reaped,
    /// Nothing: the kernel is older than 6.5, or this process is out of descriptors.
    Unheld,
}

/// Has every datagram come with its sender's pidfd.
///
/// # Errors
/// Before Linux 6.5.
pub(super) fn pass_pidfd(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>();
    // SAFETY: the descriptor is open, and the pointer valid for `size` bytes, for as long as the call takes.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSPIDFD,
            (&raw const on).cast(),
            size as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes the next datagram; `WouldBlock` when there is none.
pub(super) fn receive<'buffer>(
    socket: BorrowedFd<'_>,
    buffer: &'buffer mut [u8; DATAGRAM_MAX_BYTES],
) -> io::Result<Datagram<'buffer>> {
    let mut control = Control {
        _align: [],
        bytes: [0; CONTROL_BYTES],
    };
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a zeroed msghdr is a valid one, with null pointers and lengths of zero.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control.bytes).cast();
    header.msg_controllen = CONTROL_BYTES;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the descriptor is open, and `header` describes memory that is valid and not used otherwise meanwhile.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let Ok(length) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    let sender = sender(&header);
    let bytes = if header.msg_flags & libc::MSG_TRUNC == 0 {
        buffer.get(..length)
    } else {
        None
    };
    Ok(Datagram { bytes, sender })
}

/// Reads what recvmsg(2) has just written, once: the descriptors in it are owned from here on.
fn sender(header: &libc::msghdr) -> Sender {
    let mut sender = Sender {
        pid: None,
        uid: RawUid::MAX,
        process: Process::Unheld,
    };
    // SAFETY: `header` describes a control buffer that lives, as the kernel has filled it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: null, or a message within that buffer, aligned as the buffer is.
    while let Some(message) = unsafe { next.as_ref() } {
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                // SAFETY: with SO_PASSCRED the kernel writes one ucred, for which there was room.
                let credentials: libc::ucred = unsafe { libc::CMSG_DATA(next).cast::<libc::ucred>().read_unaligned() };
                sender.pid = Pid::from_raw(credentials.pid);
                sender.uid = credentials.uid;
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => numbers(message).for_each(|number| drop(owned(number))),
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                sender.process = numbers(message).next().map_or(Process::Unheld, process);
            }
            _ => {}
        }
        // SAFETY: as with CMSG_FIRSTHDR; `next` is a message within the buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    sender
}

/// A descriptor, or why there is none, as a negative errno (pidfd_prepare() in the kernel's kernel/fork.c).
fn process(number: RawFd) -> Process {
    match number {
        0.. => Process::Held(owned(number).into()),
        _ if [libc::ESRCH, libc::EINVAL].contains(&number.saturating_neg()) => Process::Reaped,
        _ => Process::Unheld,
    }
}

/// The numbers that a control message holds.
fn numbers(message: &libc::cmsghdr) -> impl Iterator<Item = RawFd> {
    // SAFETY: arithmetic alone.
    let head = unsafe { libc::CMSG_LEN(0) } as usize;
    let count = message.cmsg_len.saturating_sub(head) / size_of::<RawFd>();
    // SAFETY: the kernel has set the message's length to what it wrote, within the buffer.
    let first: *const RawFd = unsafe { libc::CMSG_DATA(message) }.cast();
    // SAFETY: as above, for each number below the count.
    (0..count).map(move |index| unsafe { first.add(index).read_unaligned() })
}

fn owned(number: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just opened this descriptor for this process, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// What a control message with so many bytes takes.
const fn space(bytes: usize) -> usize {
    // SAFETY: arithmetic alone.
    unsafe { libc::CMSG_SPACE(bytes as libc::c_uint) as usize }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;
    use crate::process::tests::turn;

    fn socket() -> (UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(dir.path().join("socket")).expect("bound");
        setsockopt(&socket, sockopt::PassCred, &true).expect("set");
        pass_pidfd(socket.as_fd()).expect("this kernel has it");
        (socket, dir)
    }

    #[test]
    fn the_kernel_says_who_sent() {
        let (socket, dir) = socket();
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        let nothing = receive(socket.as_fd(), &mut buffer).expect_err("nothing is there");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(b"a", dir.path().join("socket")).expect("sent");
        let received = receive(socket.as_fd(), &mut buffer).expect("received");
        assert_eq!(received.bytes, Some(b"a".as_slice()));
        assert_eq!(received.sender.pid, Some(rustix::process::getpid()));
        assert_eq!(received.sender.uid, rustix::process::getuid().as_raw());
        assert!(matches!(received.sender.process, Process::Held(pidfd) if !pidfd.is_dead()));

        let long = [b'x'; DATAGRAM_MAX_BYTES + 1];
        sender.send_to(&long, dir.path().join("socket")).expect("sent");
        assert_eq!(receive(socket.as_fd(), &mut buffer).expect("received").bytes, None);
    }

    #[test]
    fn the_reaped_are_known_to_be_dead() {
        let _turn = turn();
        let (socket, dir) = socket();
        let script = "import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'a', sys.argv[1])";
        let mut sender = Command::new("python3")
            .args(["-c", script])
            .arg(dir.path().join("socket"))
            .spawn()
            .expect("python3 runs");
        assert!(sender.wait().expect("reaped").success());
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        let received = receive(socket.as_fd(), &mut buffer).expect("received").sender;
        assert_eq!(
            received.pid.map(|pid| pid.as_raw_pid().unsigned_abs()),
            Some(sender.id())
        );
        match received.process {
            Process::Held(pidfd) => assert!(pidfd.is_dead()),
            Process::Reaped => {}
            Process::Unheld => panic!("this kernel tells"),
        }
    }

    #[test]
    fn an_errno_is_no_descriptor() {
        assert!(matches!(process(-libc::ESRCH), Process::Reaped));
        assert!(matches!(process(-libc::EINVAL), Process::Reaped));
        assert!(matches!(process(-libc::EMFILE), Process::Unheld));
        assert!(matches!(process(i32::MIN), Process::Unheld));
    }
}
