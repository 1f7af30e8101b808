//! One host's boot and machine id, as its shims read them: a reboot that a test can have.

use std::fs;
use std::path::PathBuf;

use crate::shim::ShimBuilder;
use crate::world::World;

/// A host of its own in a world, where its shims are started in a directory of their own.
#[derive(Debug)]
pub struct Host<'w> {
    world: &'w World,
    /// What its files are told from those of others by; empty for the only one.
    suffix: String,
}

impl<'w> Host<'w> {
    /// The world's one host, in its first boot.
    ///
    /// # Panics
    /// When the world has one already.
    pub fn new(world: &'w World) -> Self {
        let host = Self::made(world, String::new(), "0123456789abcdef0123456789abcdef");
        fs::create_dir(world.path("home")).expect("writable");
        host
    }

    /// One of several hosts of a world, in its first boot.
    pub(crate) fn named(world: &'w World, name: &str) -> Self {
        Self::made(world, format!("-{name}"), &uuid::Uuid::new_v4().simple().to_string())
    }

    fn made(world: &'w World, suffix: String, machine_id: &str) -> Self {
        let host = Self { world, suffix };
        fs::write(host.file("machine-id"), format!("{machine_id}\n")).expect("writable");
        host.boots(1);
        host
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.path(format!("{name}{}", self.suffix))
    }

    /// From here on it is in the boot with this number. Who ran in the one before is to be ended first.
    ///
    /// # Panics
    /// When the world's directory takes no file.
    pub fn boots(&self, boot: u32) {
        let id = match self.suffix.as_str() {
            "" => format!("00000000-0000-4000-8000-{boot:012}\n"),
            // No two hosts are in one boot.
            _ => format!("{}\n", uuid::Uuid::new_v4()),
        };
        fs::write(self.file("boot-id"), id).expect("writable");
    }

    /// A shim on it that is still to be started.
    pub fn shim(&self, agent: &str) -> ShimBuilder<'w> {
        let file = |name: &str| self.file(name).display().to_string();
        let shim = self.world.shim(agent);
        let shim = shim
            .flag("--boot-id-file", &file("boot-id"))
            .flag("--machine-id-file", &file("machine-id"));
        match self.suffix.as_str() {
            "" => shim.directory("home"),
            _ => shim,
        }
    }
}
