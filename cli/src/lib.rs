//! `rekindle`: operates a fleet of agents over gRPC, and tries Rekindle out with `rekindle dev`.

mod agents;
mod args;
mod checkpoint;
mod connection;
mod dev;
mod events;
mod executions;
mod failure;
mod fleet;
mod follow;
mod input;
mod interrupts;
mod itself;
mod json;
mod output;
mod retry;
mod run;
mod stream;
mod time;
mod workflows;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command with the command line of this process. Returns when it is done.
pub fn main() -> ExitCode {
    // `rekindle dev` runs its server, shim and agent as further processes of this program.
    if let Some(code) = dev::child::run(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::standard(cli.output);
    match cli.command {
        Command::Agents(command) => agents::run(command, &Connection::open(&cli.server).await?, output).await,
        Command::Run(run) => run::run(run, cli.server, output).await,
        Command::Executions(command) => executions::run(command, cli.server, output).await,
        Command::Workflows(command) => workflows::run(command, &cli.server, output).await,
        Command::Checkpoint(checkpoint) => {
            checkpoint::run(checkpoint, &Connection::open(&cli.server).await?, output).await
        }
        Command::Events(events) => events::run(events, cli.server, output).await,
        Command::Fleet => fleet::run(&Connection::open(&cli.server).await?, output).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "rekindle", &mut std::io::stdout());
            Ok(())
        }
        Command::Dev(dev) => dev::run(dev, output).await,
        Command::Itself(command) => itself::run(command, output).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
