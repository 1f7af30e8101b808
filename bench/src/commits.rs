//! How often a server makes something durable: its calls of fdatasync(2), one for each commit, as the kernel counts them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::programs::installed;

/// What counts: perf-stat(1), for which a user needs CAP_PERFMON and a kernel with its trace points.
const PERF: &str = "perf";

/// The trace point, which every thread of the process is watched for.
const EVENT: &str = "syscalls:sys_enter_fdatasync";

/// A count that goes on.
#[derive(Debug)]
pub struct Count {
    perf: Child,
    file: PathBuf,
}

impl Count {
    /// Counts from its return on. `None`, which is said, where nobody here can count.
    ///
    /// # Errors
    /// The count could not be started.
    pub fn start(pid: u32, dir: &Path) -> anyhow::Result<Option<Self>> {
        let Some(perf) = installed(PERF) else {
            eprintln!("commits are not counted: {PERF} is not installed");
            return Ok(None);
        };
        let file = dir.join("commits");
        let mut perf = Command::new(perf)
            .args(["stat", "--field-separator", ",", "--event", EVENT])
            .args(["--pid", &pid.to_string(), "--output"])
            .arg(&file)
            // perf counts from before the start of a command until its end: this one ends with its input.
            .args(["--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run perf")?;
        let (Some(to), Some(from)) = (&mut perf.stdin, &mut perf.stdout) else {
            bail!("perf has no pipes");
        };
        // Its answer shows that the command has begun, and with it the count.
        let mut echo = [0];
        if to.write_all(b".").and_then(|()| from.read_exact(&mut echo)).is_err() {
            eprintln!("commits are not counted: perf cannot count {EVENT} here");
            perf.wait()?;
            return Ok(None);
        }
        Ok(Some(Self { perf, file }))
    }

    /// Ends it, and tells how many there were.
    ///
    /// # Errors
    /// perf failed.
    pub fn end(mut self) -> anyhow::Result<u64> {
        drop(self.perf.stdin.take());
        let status = self.perf.wait()?;
        let text = fs::read_to_string(&self.file).with_context(|| format!("perf ended with {status}"))?;
        parse(&text).with_context(|| format!("perf ended with {status}, and wrote {text:?}"))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // Where it has ended, there is nothing to do.
        let _ended = self.perf.kill();
        let _reaped = self.perf.wait();
    }
}

/// The count in a line of perf-stat(1)'s table with separators, in which comments begin with `#`.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_count() {
        let text = "# started on Mon Nov 23 13:00:00 2026\n\n412,,syscalls:sys_enter_fdatasync,20815,100.00,,\n";
        assert_eq!(parse(text), Some(412));
        assert_eq!(parse("<not counted>,,syscalls:sys_enter_fdatasync,0,100.00,,\n"), None);
    }
}
