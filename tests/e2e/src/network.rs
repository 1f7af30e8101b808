//! Hosts that have nothing in common but a wire: network namespaces of their own, which need root.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use uuid::Uuid;

use crate::host::Host;
use crate::shim::ShimBuilder;
use crate::tools;
use crate::world::World;

/// Most hosts of one world: the place of each is two bits of an address.
const HOSTS_MAX: u8 = 4;

/// A network of hosts, each in a network namespace of its own with a wire to ours. Removed when it is dropped.
#[derive(Debug)]
pub struct Network<'w> {
    world: &'w World,
    tag: String,
    /// The first three numbers of all its addresses.
    prefix: [u8; 3],
    hosts: u8,
}

/// A host in a network namespace, with a name, a machine id and a boot of its own.
#[derive(Debug)]
pub struct Remote<'w> {
    host: Host<'w>,
    /// Of its namespace, and of our end of its wire.
    name: String,
}

impl<'w> Network<'w> {
    /// A network with nobody in it; `None` where that is not permitted, which is said.
    ///
    /// # Panics
    /// When it is not permitted in CI.
    pub fn new(world: &'w World) -> Option<Self> {
        let [.., a, b, c] = *Uuid::new_v4().as_bytes();
        let tag = format!("e2e{a:02x}{b:02x}{c:02x}");
        // Every kernel has a veth; a dummy, some lack.
        let peer = format!("{tag}x");
        if !ip(["link", "add", &tag, "type", "veth", "peer", "name", &peer]) {
            tools::skip("a network namespace needs root and iproute2: run the tests as root");
            return None;
        }
        // Of the addresses that no network outside of a machine has (RFC 6598).
        let prefix = [100, 64 | (a & 0x3f), b];
        let network = Self {
            world,
            tag,
            prefix,
            hosts: 0,
        };
        must(["addr", "add", &format!("{}/32", network.ours()), "dev", &network.tag]);
        must(["link", "set", &network.tag, "up"]);
        Some(network)
    }

    /// Where a server listens that all hosts reach, with a port that the kernel chooses.
    pub fn any_port(&self) -> SocketAddr {
        SocketAddr::from((self.ours(), 0))
    }

    /// Another host.
    ///
    /// # Panics
    /// When there are too many, or the kernel gives no namespace.
    pub fn host(&mut self) -> Remote<'w> {
        let number = self.hosts;
        assert!(number < HOSTS_MAX, "a network has at most {HOSTS_MAX} hosts");
        self.hosts += 1;
        let name = format!("{}{number}", self.tag);
        let (here, there) = (self.address(number * 4 + 1), self.address(number * 4 + 2));
        must(["netns", "add", &name]);
        must([
            "link", "add", &name, "type", "veth", "peer", "name", "wire", "netns", &name,
        ]);
        must(["addr", "add", &format!("{here}/30"), "dev", &name]);
        must(["link", "set", &name, "up"]);
        must(["-n", &name, "addr", "add", &format!("{there}/30"), "dev", "wire"]);
        must(["-n", &name, "link", "set", "lo", "up"]);
        let remote = Remote {
            host: Host::named(self.world, &name),
            name,
        };
        remote.plug_in();
        must([
            "-n",
            &remote.name,
            "route",
            "replace",
            &self.ours().to_string(),
            "via",
            &here.to_string(),
        ]);
        remote
    }

    fn ours(&self) -> IpAddr {
        self.address(254)
    }

    fn address(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last).into()
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        for number in 0..self.hosts {
            let name = format!("{}{number}", self.tag);
            ip(["link", "del", &name]);
            ip(["netns", "del", &name]);
        }
        ip(["link", "del", &self.tag]);
    }
}

impl<'w> Remote<'w> {
    /// From here on it reaches nobody, and nobody it. Its connections are not told.
    pub fn unplug(&self) {
        must(["link", "set", &self.name, "down"]);
    }

    /// From here on it reaches the others again.
    ///
    /// # Panics
    /// When its wire is gone.
    pub fn plug_in(&self) {
        must(["-n", &self.name, "link", "set", "wire", "up"]);
        must(["link", "set", &self.name, "up"]);
    }

    /// A shim on it that is still to be started, in a state directory of its own.
    pub fn shim(&self, agent: &str) -> ShimBuilder<'w> {
        let namespace = format!("--net=/run/netns/{}", self.name);
        // A name of its own is no other's, as is that of a host.
        let named = format!("hostname {}; exec \"$@\"", self.name);
        let inside = [
            "nsenter", &namespace, "--", "unshare", "--uts", "--", "sh", "-c", &named, "sh",
        ];
        let state = format!("state-{agent}-{}", self.name);
        self.host.shim(agent).state(&state).inside(inside)
    }
}

/// Runs ip(8); whether it did what it was told.
fn ip<const N: usize>(arguments: [&str; N]) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn must<const N: usize>(arguments: [&str; N]) {
    assert!(ip(arguments), "`ip {}` fails", arguments.join(" "));
}
