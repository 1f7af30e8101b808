//! One host's boot and machine id, as its shims read them: a reboot that a test can have.

use std::fs;

use crate::shim::ShimBuilder;
use crate::world::World;

/// A host of its own in a world, where its shims are started in a directory of their own.
#[derive(Debug)]
pub struct Host<'w> {
    world: &'w World,
}

impl<'w> Host<'w> {
    /// The world's one host, in its first boot.
    ///
    /// # Panics
    /// When the world has one already.
    pub fn new(world: &'w World) -> Self {
        fs::write(world.path("machine-id"), "0123456789abcdef0123456789abcdef\n").expect("writable");
        fs::create_dir(world.path("home")).expect("writable");
        let host = Self { world };
        host.boots(1);
        host
    }

    /// From here on it is in the boot with this number. Who ran in the one before is to be ended first.
    ///
    /// # Panics
    /// When the world's directory takes no file.
    pub fn boots(&self, boot: u32) {
        let id = format!("00000000-0000-4000-8000-{boot:012}\n");
        fs::write(self.world.path("boot-id"), id).expect("writable");
    }

    /// A shim on it that is still to be started.
    pub fn shim(&self, agent: &str) -> ShimBuilder<'w> {
        let file = |name: &str| self.world.path(name).display().to_string();
        self.world
            .shim(agent)
            .flag("--boot-id-file", &file("boot-id"))
            .flag("--machine-id-file", &file("machine-id"))
            .directory("home")
    }
}
