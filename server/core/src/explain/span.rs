//! How a duration is told.

use std::fmt;
use std::time::Duration;

/// A duration for people: two units at most, `41 s`, `2 min 5 s`, `3 h 20 min`.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            return write!(f, "{} ms", self.0.as_millis());
        }
        let seconds = self.0.as_secs();
        let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
        let first = units
            .iter()
            .position(|(_, size)| seconds >= *size)
            .unwrap_or(units.len() - 1);
        let (name, size) = units[first];
        write!(f, "{} {name}", seconds / size)?;
        match units.get(first + 1) {
            Some((name, small)) if seconds % size / small > 0 => write!(f, " {} {name}", seconds % size / small),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let shown = [
            0, 999, 1_000, 41_300, 60_000, 125_000, 3_600_000, 12_000_000, 90_000_000,
        ]
        .map(|millis| Span(Duration::from_millis(millis)).to_string());
        assert_eq!(
            shown,
            [
                "0 ms",
                "999 ms",
                "1 s",
                "41 s",
                "1 min",
                "2 min 5 s",
                "1 h",
                "3 h 20 min",
                "1 d 1 h"
            ]
        );
    }
}
