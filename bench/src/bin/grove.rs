//! A tree of processes that are hard to end: its argument is how many descendants it has.

use std::process::ExitCode;

use rekindle_bench::clock::Moment;
use rekindle_bench::grove;

fn main() -> ExitCode {
    match grove::live(Moment::now(), std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("grove: {error:#}");
            ExitCode::FAILURE
        }
    }
}
