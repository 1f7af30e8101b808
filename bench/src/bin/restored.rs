//! A child that saves in its first life, and in every later one tells when it has read that.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use rekindle_bench::birth;
use rekindle_bench::clock::Moment;

/// Names the file in which it saves, and finds what was saved.
const STATE_FILE: &str = "REKINDLE_STATE_FILE";

/// What it saves.
const STATE: &str = r#"{"task_id":"restored","stage":"1"}"#;

fn main() -> ExitCode {
    match live() {
        Ok(()) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("restored: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn live() -> anyhow::Result<()> {
    let file = std::env::var(STATE_FILE).with_context(|| format!("{STATE_FILE} is not set: only a shim runs this"))?;
    let life = std::env::var("REKINDLE_INCARNATION").context("REKINDLE_INCARNATION is not set")?;
    if life == "1" {
        std::fs::write(format!("{file}.new"), STATE)?;
        std::fs::rename(format!("{file}.new"), &file)?;
    } else {
        let state = std::fs::read_to_string(&file).with_context(|| format!("life {life} was handed nothing"))?;
        ensure!(state.contains("restored"), "life {life} was handed {state:?}");
    }
    birth::announce(Moment::now())
}
