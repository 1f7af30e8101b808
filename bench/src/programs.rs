//! The programs that are measured: built by cargo, found beside the bench's own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::birth::is_program;

/// The profile of what is measured for its speed.
const FAST: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// The profile of the shim, of which every agent has one.
const SMALL: &str = if cfg!(debug_assertions) { "dev" } else { "shim" };

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `rekindle-server`.
    pub server: PathBuf,
    /// `rekindle-shim`.
    pub shim: PathBuf,
    /// The child that everybody supervises.
    pub child: PathBuf,
    /// The floor: fork, exec, wait.
    pub respawn: PathBuf,
    /// A bare parent that tells when its child ended.
    pub reap: PathBuf,
    /// A tree of processes that are hard to end.
    pub grove: PathBuf,
    /// A child that writes as fast as it can.
    pub flood: PathBuf,
    /// A program that is run for one message, and has little to do.
    pub errand: PathBuf,
    /// A child that reads what its last life has saved.
    pub restored: PathBuf,
}

impl Programs {
    /// Finds them, building them first if `build`.
    ///
    /// # Errors
    /// One could not be built, or is not there.
    pub fn find(build: bool) -> anyhow::Result<Self> {
        let bench = std::env::current_exe()?;
        let dir = bench.parent().context("the program lies in no folder")?;
        let target = dir.parent().context("the programs lie in no target folder")?;
        if build {
            // One at a time: cargo would give all of them the union of their dependencies' features otherwise, and
            // a shim with the server's features is not the shim that users run.
            for (package, profile) in [
                ("rekindle-bench", FAST),
                ("rekindle-server", FAST),
                ("rekindle-shim", SMALL),
            ] {
                cargo_build(package, profile, target)?;
            }
        }
        if cfg!(debug_assertions) {
            eprintln!("rekindle-bench: these are debug builds; run it with --release for figures that mean something");
        }
        let small = target.join(if SMALL == "dev" { "debug" } else { SMALL });
        let program = |dir: &Path, name: &str| -> anyhow::Result<PathBuf> {
            let path = dir.join(name);
            if !is_program(&path) {
                bail!("{} is not there; leave out --no-build", path.display());
            }
            // Pages of a file that is not written out yet count as dirty memory of who runs it.
            File::open(&path).and_then(|file| file.sync_all())?;
            Ok(path)
        };
        Ok(Self {
            server: program(dir, "rekindle-server")?,
            shim: program(&small, "rekindle-shim")?,
            child: program(dir, "first-instruction")?,
            respawn: program(dir, "respawn")?,
            reap: program(dir, "reap")?,
            grove: program(dir, "grove")?,
            flood: program(dir, "flood")?,
            errand: program(dir, "errand")?,
            restored: program(dir, "restored")?,
        })
    }
}

fn cargo_build(package: &str, profile: &str, target: &Path) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bins", "-p", package]);
    command
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    command.arg("--target-dir").arg(target).args(["--profile", profile]);
    let status = command
        .status()
        .context("cannot run cargo; give --no-build to measure what is built")?;
    if !status.success() {
        bail!("cannot build {package}; give --no-build to measure what is built");
    }
    Ok(())
}

/// The path of a program that is installed here.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
}
