//! From settings to a server that serves: open, recover, listen, wait, drain.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rekindle::wire::v1::shim_service_server::ShimServiceServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use crate::accept;
use crate::api;
use crate::clock::Clock;
use crate::config::Config;
use crate::driver::Driver;
use crate::http1::Http1;
use crate::retention;
use crate::shim_service::Shims;
use crate::store::{SledStore, Store};
use crate::webhook::Webhooks;

/// Time for answers under way, once the server is told to end. What they asked for is durable or was not accepted.
const DRAIN: Duration = Duration::from_secs(1);

/// Pings on idle connections, so that a peer that vanished without a word is noticed by TCP's side too. The lease
/// judges far earlier; this only frees the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Streams on one connection. A relay for many shims, or a proxy, may carry thousands; hyper's own default is 200.
const STREAMS_PER_CONNECTION: u32 = 4096;

/// Bytes under way on one connection. h2 ends a connection on which small frames pile up unread, by a budget that is
/// half of this: a megabyte lets a server that was stopped for seconds find its shims still there.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes under way on one stream: HTTP/2's default.
const STREAM_WINDOW: u32 = 65_535;

/// Largest message of a shim: an inventory with every report that it may hold, each with two tails.
const SHIM_MESSAGE_MAX_BYTES: usize = 1 << 20;

/// Serves until told to end, or until nothing more can be made durable.
///
/// # Errors
/// Why it could not start, or had to end.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    guard_exposure(config)?;
    let data_dir = config.data_dir()?;
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&data_dir)?);
    let records = store.load().context("cannot read the fleet's state")?;
    tracing::info!(agents = records.agents.len(), data_dir = %data_dir.display(), "the fleet's state is read");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let seed = u64::from_ne_bytes(
            uuid::Uuid::new_v4().as_bytes()[..8]
                .try_into()
                .expect("a UUID has 16 bytes"),
        );
        let (driver, handle) = Driver::new(config.policy(), seed, records, store, Clock::start())?;
        let mut driver = tokio::spawn(driver.run());
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; choose another address with --listen",
                config.listen
            )
        })?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "listening");
        if let Some(file) = &config.port_file {
            announce(file, address).with_context(|| format!("cannot write --port-file {}", file.display()))?;
        }
        let mut routes = api::routes(&handle).context("cannot read the API's own descriptors")?;
        let shims = ShimServiceServer::new(Shims::new(handle.clone(), config.heartbeat_interval))
            .max_decoding_message_size(SHIM_MESSAGE_MAX_BYTES);
        routes.add_service(shims);
        let webhooks = Webhooks::new(handle.clone());
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let http1 = Http1::new(webhooks.clone(), stopped.clone());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
            .initial_connection_window_size(Some(CONNECTION_WINDOW))
            .initial_stream_window_size(Some(STREAM_WINDOW))
            .add_routes(api::with_webhooks(routes, &webhooks))
            .serve_with_incoming_shutdown(accept::incoming(listener, http1.clone()), async move {
                // A sender that is dropped means the same.
                let _ = stopped.wait_for(|stop| *stop).await;
            });
        let mut serving = tokio::spawn(serving);
        tokio::spawn(retention::executions::run(handle.clone(), config.executions_limits()));
        tokio::spawn(retention::events::run(handle, config.events_max_age));
        tokio::select! {
            ended = &mut driver => Ok(ended.context("the driver panicked")??),
            served = &mut serving => {
                served.context("the server's task panicked")?.context("cannot serve any more")?;
                bail!("nothing listens any more");
            }
            asked = asked_to_end() => {
                tracing::info!(signal = asked?, "ending");
                // Who waits for an answer is told at once to come again, and health says that nothing is served.
                driver.abort();
                drop(stop);
                // Shims' streams have no end; they are cut when the others have had their time.
                let _ = tokio::time::timeout(DRAIN, async { tokio::join!(serving, http1.ended()) }).await;
                Ok(())
            }
        }
    });
    runtime.shutdown_background();
    result
}

/// Without credentials, everybody who reaches the port can stop and start agents.
fn guard_exposure(config: &Config) -> anyhow::Result<()> {
    if !config.listen.ip().is_loopback() && !config.insecure {
        bail!(
            "--listen {} is not a loopback address, and there are no credentials: everybody who reaches it could stop \
             agents; listen on loopback, or give --insecure to accept that",
            config.listen
        );
    }
    Ok(())
}

/// Writes the address so that a reader sees all of it or nothing.
fn announce(file: &Path, address: SocketAddr) -> std::io::Result<()> {
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = directory.join(format!(".port-{}", std::process::id()));
    let mut out = std::fs::File::create(&temporary)?;
    writeln!(out, "{address}")?;
    std::fs::rename(temporary, file)
}

async fn asked_to_end() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
