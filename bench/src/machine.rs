//! The machine that the figures are of.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::args::Part;
use crate::clock::Moment;
use crate::figures::Figures;
use crate::report::{Row, What};

/// Bytes of one durable write: a page, about what a small batch takes in a log.
const WRITE_BYTES: usize = 4096;

/// Where and when it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// UTC, RFC 3339.
    pub date: String,
    /// The processor's own name.
    pub processor: String,
    /// Processors that the bench may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// File system of the server's data.
    pub file_system: String,
    /// Processes that wanted to run in the minute before: over 1, the figures are too high.
    pub load: String,
    /// Commit of the working tree that was built, with `-dirty` where it differs; empty outside a repository.
    pub commit: String,
}

/// Describes this machine, for data in `dir`.
///
/// # Errors
/// /proc could not be read.
pub fn describe(dir: &Path) -> anyhow::Result<Machine> {
    let processors = read("/proc/cpuinfo")?;
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let memory = read("/proc/meminfo")?;
    let memory_kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    Ok(Machine {
        date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        processor: processor.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned()),
        cores: std::thread::available_parallelism()?.get(),
        memory_mib: memory_kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        file_system: file_system(&read("/proc/self/mountinfo")?, &fs::canonicalize(dir)?),
        load: read("/proc/loadavg")?
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
        commit: commit(),
    })
}

/// What all processors together have done since the machine began, in clock ticks (proc_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorTime {
    idle: u64,
    busy: u64,
    stolen: u64,
}

impl ProcessorTime {
    /// Up to the present.
    ///
    /// # Errors
    /// /proc could not be read.
    pub fn so_far() -> anyhow::Result<Self> {
        Self::parse(&read("/proc/stat")?).context("/proc/stat has no times")
    }

    fn parse(stat: &str) -> Option<Self> {
        let times = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let times: Vec<u64> = times.filter_map(|time| time.parse().ok()).collect();
        let [user, nice, system, idle, waiting, irq, softirq, stolen, ..] = times[..] else {
            return None;
        };
        Some(Self {
            idle: idle + waiting,
            busy: user + nice + system + irq + softirq,
            stolen,
        })
    }

    /// The share of the time since `earlier` in which processors ran something, or could not though they had something
    /// to run, in percent.
    pub fn wanted_percent_since(self, earlier: Self) -> f64 {
        let wanted = (self.busy + self.stolen).saturating_sub(earlier.busy + earlier.stolen) as f64;
        let all = wanted + self.idle.saturating_sub(earlier.idle) as f64;
        if all == 0.0 { 0.0 } else { wanted / all * 100.0 }
    }

    /// Of the time since `earlier` in which processors had something to run, the share that the host of this virtual
    /// machine gave to others, in percent.
    pub fn stolen_percent_since(self, earlier: Self) -> f64 {
        let stolen = self.stolen.saturating_sub(earlier.stolen) as f64;
        let wanted = self.busy.saturating_sub(earlier.busy) as f64 + stolen;
        if wanted == 0.0 { 0.0 } else { stolen / wanted * 100.0 }
    }
}

/// What one write costs until it is durable: append and fdatasync(2).
///
/// # Errors
/// The file could not be written.
pub fn durable_writes(dir: &Path, rounds: u16) -> anyhow::Result<Row> {
    let mut file = File::create(dir.join("durable-writes"))?;
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let begin = Moment::now();
        file.write_all(&[0x5a; WRITE_BYTES])?;
        file.sync_data()?;
        samples.push(Moment::now().since(begin));
    }
    let figures = Figures::of(&samples).context("no rounds were asked for")?;
    Ok(Row::new(Part::Disk, "write+fdatasync", What::Durable, figures))
}

/// How many such writes, one after the other, a second takes.
///
/// # Errors
/// The file could not be written.
pub fn durable_writes_per_second(dir: &Path, window: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(dir.join("durable-writes"))?;
    let began = Moment::now();
    let mut writes = 0.0;
    loop {
        file.write_all(&[0x5a; WRITE_BYTES])?;
        file.sync_data()?;
        writes += 1.0;
        let took = Moment::now().since(began);
        if took >= window {
            return Ok(writes / took.as_secs_f64());
        }
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// The type of the file system that holds `path`, by proc_pid_mountinfo(5): the innermost mount point, the last of
/// those that cover each other.
fn file_system(mountinfo: &str, path: &Path) -> String {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?);
        path.starts_with(&point)
            .then(|| (point.components().count(), rest.split(' ').next().unwrap_or_default()))
    });
    mounts
        .max_by_key(|(depth, _)| *depth)
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn commit() -> String {
    let described = Command::new("git")
        .args([
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .output();
    match described {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(_) | Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_took_is_told() {
        let times = |stat| ProcessorTime::parse(stat).expect("all times are there");
        let earlier = times("cpu  100 0 100 1000 0 0 0 50 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        let later = times("cpu  140 5 150 9000 9 3 2 150 0 0\n");
        assert_eq!(later.stolen_percent_since(earlier), 50.0);
        assert_eq!(earlier.stolen_percent_since(earlier), 0.0);
        let busy = times("cpu  150 0 150 1200 100 0 0 50 0 0\n");
        assert_eq!(busy.wanted_percent_since(earlier), 25.0);
        assert_eq!(ProcessorTime::parse("intr 1\n"), None);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:25 / /run rw - tmpfs tmpfs rw\n\
                      31 30 0:26 / /run/lock rw shared:5 - ramfs none rw\n";
        let of = |path| file_system(mounts, Path::new(path));
        assert_eq!(
            [of("/runner/x"), of("/run/x"), of("/run/lock")],
            ["ext4", "tmpfs", "ramfs"]
        );
    }
}
