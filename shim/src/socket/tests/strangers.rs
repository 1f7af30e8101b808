//! Other users. A user is a thread's (credentials(7)): one of this process stands for a stranger's.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::geteuid;
use rustix::thread::set_thread_res_uid;

use super::*;

/// What a client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const CHILD: u32 = 65_533;
const STRANGER: u32 = 65_534;

/// What a process of this user reads first on the socket; nothing where it is closed.
async fn first_read(user: u32, path: PathBuf) -> io::Result<Vec<u8>> {
    let user = Uid::from_raw(user);
    let client = move || {
        set_thread_res_uid(user, user, user)?;
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // One that is closed already cannot be written to either.
        let _ = stream.write_all(PREFACE);
        let mut read = vec![0; 9];
        match stream.read(&mut read) {
            Ok(length) => read.truncate(length),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => read.clear(),
            Err(error) => return Err(error),
        }
        Ok(read)
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread that ends with its user: it must not serve anybody else.
    std::thread::spawn(move || tell.send(client()));
    told.await.expect("the thread tells")
}

#[tokio::test]
async fn only_the_childs_user_the_shims_and_root_may_speak() {
    if !geteuid().is_root() {
        return skip("to be somebody else needs root");
    }
    let bench = Bench::with(Some(Uid::from_raw(CHILD)), Redaction::default());
    let path = bench.socket.path().to_owned();
    for user in [CHILD, Uid::ROOT.as_raw()] {
        let settings = first_read(user, path.clone()).await.expect("spoken to");
        assert_eq!(settings.len(), 9, "a frame's head");
    }
    let refused = first_read(STRANGER, path.clone()).await.expect_err("no way in");
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);

    // Whatever becomes of the file's mode, the kernel says who it is.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("root can");
    assert_eq!(
        first_read(STRANGER, path.clone()).await.expect("connected"),
        Vec::<u8>::new()
    );
    assert_eq!(first_read(CHILD, path).await.expect("spoken to").len(), 9);
}

#[tokio::test]
async fn where_children_are_of_the_shims_user_nobody_else_may_speak() {
    if !geteuid().is_root() {
        return skip("to be somebody else needs root");
    }
    let bench = Bench::new();
    let refused = first_read(CHILD, bench.socket.path().to_owned())
        .await
        .expect_err("no way in");
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
}
