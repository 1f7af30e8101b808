//! A way from shims to a server that can lose what the server says, as a server does that dies before it is sent.

use std::net::SocketAddr;

use tokio::io::{copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::server::Server;
use crate::world::World;

/// What becomes of what the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Told,
    Lost,
    /// Nothing is carried either way, and nobody is told that.
    Cut,
}

/// Carries connections to a server. Ended when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    words: watch::Sender<Words>,
    carrying: JoinHandle<()>,
}

impl Relay {
    /// Carries connections to this server, in all its lives.
    ///
    /// # Panics
    /// When the world's address has no free port.
    pub async fn start(world: &World, server: &Server<'_>) -> Self {
        let listener = TcpListener::bind(world.any_port()).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (words, told) = watch::channel(Words::Told);
        let carrying = tokio::spawn(accept(listener, server.address(), told));
        Self {
            address,
            words,
            carrying,
        }
    }

    /// What a shim is told.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on the connections that there are carry nothing that the server says. They hold until it ends them.
    pub fn lose_words(&self) {
        self.words.send_replace(Words::Lost);
    }

    /// From here on nothing comes through, in either direction, as where a switch has died. Connections hold until there is
    /// a way again, and then end.
    pub fn cut(&self) {
        self.words.send_replace(Words::Cut);
    }

    /// From here on connections carry everything again. One that has lost something before stays as it is.
    pub fn carry_words(&self) {
        self.words.send_replace(Words::Told);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, words: watch::Receiver<Words>) {
    while let Ok((shim, _)) = listener.accept().await {
        let mut words = words.clone();
        tokio::spawn(async move {
            let _relay_is_gone = words.wait_for(|words| *words != Words::Cut).await.is_err();
            // A server that is away refuses, and the shim's connection ends with this.
            if let Ok(there) = TcpStream::connect(server).await {
                carry(shim, there, words).await;
            }
        });
    }
}

/// Ends both connections as soon as one of them ends.
async fn carry(mut shim: TcpStream, mut server: TcpStream, mut words: watch::Receiver<Words>) {
    let (mut from_shim, mut to_shim) = shim.split();
    let (mut from_server, mut to_server) = server.split();
    let mut ways = words.clone();
    let cut = async {
        let _relay_is_gone = ways.wait_for(|words| *words == Words::Cut).await;
    };
    let lost = async {
        let _relay_is_gone = words.wait_for(|words| *words == Words::Lost).await;
    };
    let back = async {
        tokio::select! {
            biased;
            () = lost => {
                let _ended = copy(&mut from_server, &mut sink()).await;
            }
            _ended = copy(&mut from_server, &mut to_shim) => {}
        }
    };
    tokio::select! {
        biased;
        () = cut => {}
        _ended = copy(&mut from_shim, &mut to_server) => return,
        () = back => return,
    }
    let _relay_is_gone = ways.wait_for(|words| *words != Words::Cut).await.is_err();
}
