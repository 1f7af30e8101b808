//! The child of every supervisor that is measured: tells when its `main` began, and then sleeps until it is killed.

use std::process::ExitCode;

use rekindle_bench::birth;
use rekindle_bench::clock::Moment;

fn main() -> ExitCode {
    let born = Moment::now();
    match birth::announce(born) {
        Ok(()) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("first-instruction: {error:#}");
            ExitCode::FAILURE
        }
    }
}
