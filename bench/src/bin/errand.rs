//! A program that is run for one message: tells when its `main` began, writes one line, and ends.

use std::io::Write as _;
use std::process::ExitCode;

use rekindle_bench::birth;
use rekindle_bench::clock::Moment;
use rekindle_bench::work::OUTPUT;

fn main() -> ExitCode {
    match run(Moment::now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("errand: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(born: Moment) -> anyhow::Result<()> {
    birth::tell(&birth::socket()?, born)?;
    Ok(std::io::stdout().write_all(OUTPUT.as_bytes())?)
}
