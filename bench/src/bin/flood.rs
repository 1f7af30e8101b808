//! A child that is told by SIGUSR1 to write as many MiB as its argument says, as fast as it can. Tells the bench when
//! it lives, when it began to write, and when all was written.

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use rekindle_bench::birth;
use rekindle_bench::clock::Moment;

/// What is written in one call: what a pipe holds (pipe(7)).
const BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of a line, its end included.
const LINE_BYTES: usize = 64;
/// Blocks of a MiB.
const BLOCKS_PER_MIB: u64 = 1024 * 1024 / BLOCK_BYTES as u64;

fn main() -> ExitCode {
    match flood() {
        Ok(()) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("flood: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn flood() -> anyhow::Result<()> {
    let mebibytes: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .context("give the number of MiB as the argument")?;
    let mut line = [b'x'; LINE_BYTES];
    line[LINE_BYTES - 1] = b'\n';
    let block = line.repeat(BLOCK_BYTES / LINE_BYTES);
    birth::wait_for_go(Moment::now())?;
    let socket = birth::socket()?;
    // Not by the standard library's stdout, which gathers lines.
    let mut out = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    let began = Moment::now();
    for _ in 0..mebibytes * BLOCKS_PER_MIB {
        out.write_all(&block).context("nobody takes what is written")?;
    }
    let ended = Moment::now();
    birth::tell(&socket, began)?;
    birth::tell(&socket, ended)
}
