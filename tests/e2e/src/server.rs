//! The server under test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;

use crate::client::Client;
use crate::process::Daemon;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// A server that is still to be started.
#[derive(Debug, Clone)]
pub struct ServerBuilder<'w> {
    world: &'w World,
    data: PathBuf,
    flags: Vec<String>,
    listen: SocketAddr,
}

impl<'w> ServerBuilder<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            data: world.path("data"),
            flags: Vec::new(),
            listen: world.any_port(),
        }
    }

    /// Adds a flag with its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Keeps its data in another directory than the world's usual one.
    #[must_use]
    pub fn data(mut self, dir: PathBuf) -> Self {
        self.data = dir;
        self
    }

    /// Listens elsewhere than at the world's own address, which is a loopback one.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self.flags.push("--insecure".to_owned());
        self
    }

    /// Starts it, and waits until it listens.
    pub async fn start(self) -> Server<'w> {
        let listen = self.listen;
        let mut server = Server {
            daemon: self.spawn(listen),
            address: listen,
            launch: self,
        };
        server.address = server.listens().await;
        server
    }

    /// Starts it where it is expected to end by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn fails(self) -> (ExitStatus, String) {
        let mut daemon = self.spawn(self.listen);
        let status = daemon.end().await;
        (status, self.log())
    }

    fn spawn(&self, listen: SocketAddr) -> Daemon {
        // A port of a former life must not be taken for this one's.
        let _none_yet = fs::remove_file(self.port_file());
        let mut command = self.world.command(tools::under_test("server-under-test"));
        command.args(["--listen", &listen.to_string(), "--log-format", "json"]);
        path_flag(&mut command, "--data-dir", &self.data);
        path_flag(&mut command, "--port-file", &self.port_file());
        command.args(&self.flags);
        Daemon::start(command, &self.world.path("server.log"))
    }

    fn port_file(&self) -> PathBuf {
        self.world.path("server.port")
    }

    fn backup(&self) -> PathBuf {
        self.data.with_extension("backup")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.path("server.log")).unwrap_or_default()
    }
}

/// A server that was started. Ended when it is dropped.
#[derive(Debug)]
pub struct Server<'w> {
    launch: ServerBuilder<'w>,
    daemon: Daemon,
    address: SocketAddr,
}

impl Server<'_> {
    /// Where it listens, in all its lives.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client is told.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that connects again after each restart of the server.
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.daemon.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.daemon.signal(Signal::CONT);
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.daemon.signal(Signal::TERM);
        self.daemon.end().await
    }

    /// Starts it again after its end, on the same data and the same port.
    pub async fn start_again(&mut self) {
        self.daemon.kill();
        self.daemon = self.launch.spawn(self.address);
        let address = self.listens().await;
        assert_eq!(address, self.address, "a restarted server listens where it did");
    }

    /// Ends it, has its data copied, and starts it again.
    ///
    /// # Panics
    /// When the data cannot be copied.
    pub async fn back_up(&mut self) {
        self.terminate().await;
        copy(&self.launch.data, &self.launch.backup());
        self.start_again().await;
    }

    /// Kills it, puts the copy in the place of its data, and starts it again.
    ///
    /// # Panics
    /// When there is no copy.
    pub async fn set_back(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.launch.data).expect("a server that was started has data");
        copy(&self.launch.backup(), &self.launch.data);
        self.start_again().await;
    }

    /// Waits until it ends by itself.
    pub async fn end(&mut self) -> ExitStatus {
        self.daemon.end().await
    }

    /// All that it has written to its log.
    pub fn log(&self) -> String {
        self.launch.log()
    }

    async fn listens(&mut self) -> SocketAddr {
        let port_file = self.launch.port_file();
        let daemon = &mut self.daemon;
        eventually("the server's port file", async || {
            if let Some(status) = daemon.ended() {
                panic!("the server ended before it listened: {status}");
            }
            fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        })
        .await
    }
}

/// As an operator does it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "{from:?} can be copied to {to:?}"
    );
}

fn path_flag(command: &mut Command, name: &str, path: &Path) {
    command.arg(name).arg(path);
}
