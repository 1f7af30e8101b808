//! Envoy, which checks a server's health and routes only to what is healthy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Client;
use crate::process::Daemon;
use crate::tools;
use crate::world::World;

/// An Envoy that was started. Ended when it is dropped.
#[derive(Debug)]
pub struct Envoy<'w> {
    world: &'w World,
    _daemon: Daemon,
}

impl<'w> Envoy<'w> {
    /// Starts an Envoy with a pool for each health service name: each has the server at `server` as its only member,
    /// for as long as its name is healthy. `None` where Envoy is not installed, which is said.
    ///
    /// # Panics
    /// When it is not installed in CI.
    pub fn start(world: &'w World, server: SocketAddr, services: &[&str]) -> Option<Self> {
        let envoy = tools::find("envoy")?;
        let pools = || services.iter().enumerate();
        let bootstrap = json!({
            "static_resources": {
                "listeners": pools().map(|(pool, _)| listener(&world.path(socket(pool)), pool)).collect::<Vec<_>>(),
                "clusters": pools().map(|(pool, service)| cluster(server, service, pool)).collect::<Vec<_>>(),
            }
        });
        let config = world.path("envoy.json");
        fs::write(&config, bootstrap.to_string()).expect("the world's directory takes a file");
        let mut command = world.command(envoy);
        command.args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
            "--config-path",
        ]);
        command.arg(config);
        Some(Self {
            world,
            _daemon: Daemon::start(command, &world.path("envoy.log")),
        })
    }

    /// A client that goes through the pool of the service with this place in the list.
    pub fn client(&self, pool: usize) -> Client {
        Client::new(&format!("unix://{}", self.world.path(socket(pool)).display()))
    }
}

/// A socket in the world's directory: no port to find out.
fn socket(pool: usize) -> String {
    format!("envoy-{pool}.sock")
}

fn listener(socket: &Path, pool: usize) -> Value {
    let cluster = cluster_name(pool);
    json!({
        "name": cluster,
        "address": {"pipe": {"path": socket}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": cluster,
                "codec_type": "HTTP2",
                "route_config": {"virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    },
                }],
            },
        }]}],
    })
}

fn cluster(server: SocketAddr, service: &str, pool: usize) -> Value {
    let cluster = cluster_name(pool);
    json!({
        "name": cluster,
        "type": "STATIC",
        "connect_timeout": "1s",
        // Without this, Envoy routes to unhealthy members when most are unhealthy.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": server.ip().to_string(), "port_value": server.port()},
        }}}]}]},
        "health_checks": [{
            "timeout": "5s",
            "interval": "0.05s",
            "no_traffic_interval": "0.05s",
            "no_traffic_healthy_interval": "0.05s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "grpc_health_check": {"service_name": service},
        }],
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
    })
}

fn cluster_name(pool: usize) -> String {
    format!("pool-{pool}")
}
