//! What happened, line by line: for people, and as one number that two runs are compared by.

use std::collections::VecDeque;

/// Lines that are kept for a failure's report.
const KEPT: usize = 60;

/// How much of a run is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracing {
    /// Nothing: the fastest.
    #[default]
    Off,
    /// Every line, as a hash; and the last of them.
    Hashed,
    /// Every line, printed.
    Printed,
}

#[derive(Debug)]
pub(crate) struct Trace {
    tracing: Tracing,
    hash: u64,
    last: VecDeque<String>,
}

impl Trace {
    pub(crate) const fn new(tracing: Tracing) -> Self {
        // The offset basis of FNV-1a.
        Self {
            tracing,
            hash: 0xcbf2_9ce4_8422_2325,
            last: VecDeque::new(),
        }
    }

    /// Adds a line. It is not even made where nobody reads it.
    pub(crate) fn note(&mut self, at: std::time::Duration, line: impl FnOnce() -> String) {
        if self.tracing == Tracing::Off {
            return;
        }
        let line = format!("{:>12.6} {}", at.as_secs_f64(), line());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.tracing == Tracing::Printed {
            println!("{line}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_last(self) -> Vec<String> {
        self.last.into()
    }
}
