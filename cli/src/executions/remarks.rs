//! How far an agent says that it is with an execution, as it is told while that runs.

use rekindle::wire::v1;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    attempt: u32,
    /// Where the newest piece of it ended.
    end: u64,
}

impl Remarks {
    /// The lines of a piece; of one that comes again, as by another connection, only what was not read.
    pub(super) fn read(&mut self, chunk: &v1::OutputChunk) -> Vec<String> {
        if chunk.attempt != self.attempt {
            *self = Self {
                attempt: chunk.attempt,
                end: 0,
            };
        }
        let seen = usize::try_from(self.end.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let unread = chunk.data.get(seen..).unwrap_or_default();
        self.end = self.end.max(chunk.offset.saturating_add(chunk.data.len() as u64));
        let text = String::from_utf8_lossy(unread);
        text.lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read_once() {
        let chunk = |attempt, offset, data: &str| v1::OutputChunk {
            attempt,
            offset,
            data: data.into(),
            kind: v1::OutputKind::Progress.into(),
        };
        let mut remarks = Remarks::default();
        assert_eq!(remarks.read(&chunk(1, 0, "one\ntwo\n")), ["one", "two"]);
        assert_eq!(remarks.read(&chunk(1, 4, "two\nthree\n")), ["three"]);
        assert_eq!(remarks.read(&chunk(1, 0, "one\n")), [""; 0]);
        assert_eq!(remarks.read(&chunk(2, 0, "one\n")), ["one"]);
    }
}
