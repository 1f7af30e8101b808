//! The harness of the end-to-end tests: a [`World`] of its own for each test, with the real server and shims in it.
//!
//! Used by `tests/scenarios`, and by nothing else. Nothing here knows what is inside a server or a shim: it starts
//! them with the flags that users have, talks to them over gRPC, sends them signals, and reads /proc. A world owns
//! all that runs in it, by a tag in the environment that every descendant inherits, and ends it when it is dropped.

pub mod client;
pub mod disk;
pub mod envoy;
pub mod history;
pub mod host;
pub mod network;
pub mod process;
pub mod relay;
pub mod server;
pub mod shim;
pub mod stream;
pub mod tools;
pub mod wait;
pub mod work;
pub mod workflows;
pub mod world;

pub use client::Client;
pub use host::Host;
pub use network::Network;
pub use relay::Relay;
pub use server::Server;
pub use shim::{Life, Shim};
pub use wait::{LIMIT, eventually};
pub use world::World;
