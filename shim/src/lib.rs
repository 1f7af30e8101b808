//! The shim: runs beside one agent process, spawns it, watches it, tells the server, and ends it when told.
//!
//! `rekindle-shim-core` decides; this crate gives it facts and carries its orders out. One thread does all of it but
//! the writing of output, because a child dies with the thread that spawned it.

mod clock;
mod config;
mod doctor;
mod driver;
mod itself;
mod link;
mod lock;
mod process;
mod redaction;
mod refusal;
mod socket;
mod state_dir;
mod state_file;

use std::ffi::OsString;
use std::process::ExitCode;

use rekindle::settings::{self, Invocation};

use config::Config;
use doctor::Task;
use driver::Driver;
use itself::Itself;
use process::{Console, Handover};

/// Wrong flags or values, as clap has it too.
const USAGE: u8 = 2;

/// Runs a shim with a command line, the program's name first. Returns when it has ended.
///
/// Takes the process over: its children, its signals and its output. To be called on the main thread, while there is
/// no other.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let handed = Handover::receive();
    let args: Vec<OsString> = args.into_iter().collect();
    let loaded = match settings::load_with_tasks::<Config, Task>(args.iter().cloned()) {
        Ok(Invocation::Run(loaded)) => loaded,
        Ok(Invocation::Task(Task::Doctor)) => return doctor::run(),
        Ok(Invocation::ShowConfig(table)) => {
            print!("{table}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return error.report(),
    };
    let config = loaded.settings;
    let console = match Console::of_this_process() {
        Ok(console) => console,
        Err(error) => {
            eprintln!("rekindle-shim: cannot start the thread that writes the log: {error}");
            return ExitCode::FAILURE;
        }
    };
    let log = console.log();
    if let Err(error) = config.logging.init_to(move || log.clone()) {
        eprintln!("rekindle-shim: {}", chain(&error));
        return ExitCode::from(USAGE);
    }
    let plan = match config.plan() {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("rekindle-shim: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let handed = handed.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot go on with what the shim's program before has left; the agent's process is ended");
        None
    });
    match Driver::start(plan, console, Itself::find(args), handed) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = chain(&error), "the shim ends");
            ExitCode::FAILURE
        }
    }
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
