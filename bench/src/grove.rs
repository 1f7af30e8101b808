//! A tree of processes that are hard to end, as `bin/grove.rs` runs it.
//!
//! Of its descendants a third have sessions of their own, a quarter have lost their parents (they were forked twice),
//! and a fifth do not hear SIGTERM; the shares overlap. Where the environment has it, nobody hears it. All of them announce themselves, and end with the bench.

use std::process::Command;

use anyhow::{Context as _, bail};
use rustix::process::setsid;

use crate::birth;
use crate::clock::Moment;

/// One descendant in so many leads a session, and so a process group, of its own.
const OWN_SESSION: u16 = 3;
/// One in so many has lost its parent.
const ORPHAN: u16 = 4;
/// One in so many is deaf to SIGTERM.
const DEAF: u16 = 5;

/// The argument before the number of descendants that makes all of them polite children in one process group.
pub const TOGETHER: &str = "together";

/// The argument by which a descendant knows itself; its number follows.
const MEMBER: &str = "member";
/// The same for one whose parent has only to end.
const ORPHANED: &str = "orphaned";
/// The same for one that is not hard to end.
const POLITE: &str = "polite";

/// Lives as these arguments say, for as long as the bench does.
///
/// # Errors
/// A process could not be started, or there is no bench.
pub fn live(born: Moment, arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let arguments: Vec<String> = arguments.collect();
    birth::take_on_manners()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [descendants] => grow_all(MEMBER, descendants)?,
        [TOGETHER, descendants] => grow_all(POLITE, descendants)?,
        [POLITE, _] => {}
        [MEMBER, index] if is_one_in(ORPHAN, number(index)?) => return grow(ORPHANED, number(index)?),
        [MEMBER | ORPHANED, index] => branch_off(number(index)?)?,
        _ => bail!("give the number of descendants as the argument"),
    }
    birth::tell(&birth::socket()?, born)?;
    birth::outlast_bench()
}

fn grow_all(word: &str, descendants: &str) -> anyhow::Result<()> {
    (0..number(descendants)?).try_for_each(|index| grow(word, index))
}

fn grow(word: &str, index: u16) -> anyhow::Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([word, &index.to_string()])
        .spawn()
        .context("cannot start a descendant")?;
    if word == MEMBER && is_one_in(ORPHAN, index) {
        // The one between ends at once, and is to be no zombie that counts as a descendant.
        child.wait()?;
    }
    Ok(())
}

fn branch_off(index: u16) -> anyhow::Result<()> {
    if is_one_in(OWN_SESSION, index) {
        setsid().context("cannot have a session of its own")?;
    }
    if is_one_in(DEAF, index) {
        birth::be_deaf()?;
    }
    Ok(())
}

fn is_one_in(share: u16, index: u16) -> bool {
    index.is_multiple_of(share)
}

fn number(text: &str) -> anyhow::Result<u16> {
    text.parse()
        .with_context(|| format!("{text:?} is no number of processes"))
}
