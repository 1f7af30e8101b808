//! The floor: a bare loop of fork, exec and wait. Its argument is the program to run.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let Some(program) = std::env::args_os().nth(1) else {
        eprintln!("respawn: give the program to run as the argument");
        return ExitCode::from(2);
    };
    loop {
        if let Err(error) = Command::new(&program).spawn().and_then(|mut child| child.wait()) {
            eprintln!("respawn: cannot run {}: {error}", program.display());
            return ExitCode::FAILURE;
        }
    }
}
