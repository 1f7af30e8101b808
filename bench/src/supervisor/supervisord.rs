//! `supervisord`, asked by XML-RPC on its Unix socket, as `supervisorctl restart` does: stop, then start.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::{GRACE, Launch, Supervisor};
use crate::birth::Birth;
use crate::clock::Moment;
use crate::daemon::Daemon;

/// Python starts within a second or two.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Longest wait for an answer: the grace, and the second for which supervisord sleeps at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// `supervisord` with one program.
pub(super) struct Supervisord {
    socket: PathBuf,
    _supervisord: Daemon,
    /// Where the socket is: paths of sockets are short (unix(7)), the bench's folder need not be.
    _socket_dir: TempDir,
}

impl Supervisord {
    pub(super) fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let socket_dir = tempfile::tempdir()?;
        let socket = socket_dir.path().join("socket");
        let config = launch.dir.join("supervisord.conf");
        fs::write(&config, configuration(&launch.programs.child, launch.dir, &socket))?;
        let mut command = launch.births.command("supervisord");
        command.arg("--nodaemon").arg("--configuration").arg(&config);
        let mut supervisord = Daemon::start(command, &launch.dir.join("log"))?;
        supervisord.wait_for("supervisord's socket", START_LIMIT, || {
            UnixStream::connect(&socket).ok()
        })?;
        Ok(Self {
            socket,
            _supervisord: supervisord,
            _socket_dir: socket_dir,
        })
    }

    fn call(&self, method: &str, wait: bool) -> anyhow::Result<()> {
        let body = format!(
            "<?xml version='1.0'?><methodCall><methodName>supervisor.{method}</methodName><params>\
             <param><value><string>child</string></value></param>\
             <param><value><boolean>{}</boolean></value></param></params></methodCall>",
            u8::from(wait)
        );
        let mut stream = UnixStream::connect(&self.socket).context("supervisord does not listen")?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(
            stream,
            "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .with_context(|| format!("supervisord did not answer {method}"))?;
        if !answer.contains("<boolean>1</boolean>") {
            bail!("supervisord refused {method}: {answer}");
        }
        Ok(())
    }
}

impl Supervisor for Supervisord {
    fn restart(&mut self, _child: &Birth) -> anyhow::Result<Option<Moment>> {
        self.call("stopProcess", true)?;
        self.call("startProcess", false)?;
        Ok(Some(Moment::now()))
    }
}

/// `startsecs = 0`: a child counts as started once it is spawned, as with everybody else.
fn configuration(child: &Path, dir: &Path, socket: &Path) -> String {
    format!(
        "[supervisord]\nlogfile = {dir}/supervisord.log\npidfile = {dir}/supervisord.pid\n\
         [unix_http_server]\nfile = {socket}\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [program:child]\ncommand = {child}\nautorestart = true\nstartsecs = 0\nstopwaitsecs = {grace}\n\
         stdout_logfile = NONE\nstderr_logfile = NONE\n",
        dir = dir.display(),
        socket = socket.display(),
        child = child.display(),
        grace = GRACE.as_secs(),
    )
}
