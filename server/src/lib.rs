//! Rekindle's control plane: a driver around the pure core, a durable store, and the gRPC services.

pub mod accept;
pub mod api;
pub mod clock;
pub mod committer;
pub mod config;
pub mod driver;
pub mod handle;
pub mod http1;
pub mod lease;
pub mod output;
pub mod retention;
pub mod room;
pub mod serve;
pub mod shim_service;
pub mod snapshot;
mod status;
pub mod store;
pub mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

use rekindle::settings::{self, Invocation};

use crate::config::Config;

/// Runs the server with a command line, the program's name first. Returns when it has ended.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let loaded = match settings::load::<Config>(args) {
        Ok(Invocation::Run(loaded)) => loaded,
        Ok(Invocation::ShowConfig(table)) => {
            print!("{table}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return error.report(),
    };
    let config = loaded.settings;
    if let Err(error) = config.logging.init() {
        eprintln!("rekindle-server: {error}");
        return ExitCode::from(2);
    }
    match serve::serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the server ends");
            ExitCode::FAILURE
        }
    }
}
