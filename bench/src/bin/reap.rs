//! A bare parent that does nothing but wait for its child, tell the bench's socket, its first argument, when waitid(2)
//! returned, and start the program, its second argument, again.

use std::process::{Command, ExitCode};

use anyhow::Context as _;
use rekindle_bench::birth;
use rekindle_bench::clock::Moment;

fn main() -> ExitCode {
    let (Some(socket), Some(program)) = (std::env::args().nth(1), std::env::args_os().nth(2)) else {
        eprintln!("reap: give a socket and the program to run as the arguments");
        return ExitCode::from(2);
    };
    loop {
        let waited = Command::new(&program)
            .spawn()
            .and_then(|mut child| child.wait())
            .map(|_status| Moment::now());
        let told = waited
            .context("cannot run the program")
            .and_then(|seen| birth::tell(&socket, seen));
        if let Err(error) = told {
            eprintln!("reap: {error:#}");
            return ExitCode::FAILURE;
        }
    }
}
