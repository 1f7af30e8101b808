//! What the agent writes, line by line.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::child::Child;

/// Longest piece of a line that is shown as one: far more than a terminal is wide.
const LINE_MAX_BYTES: usize = 4096;
/// Lines between a reader and the terminal. When they are full, the agent waits: a flood slows it down, and its
/// memory stays its own.
const LINES_MAX: usize = 64;

/// The lines that an agent writes to stdout and stderr.
#[derive(Debug)]
pub(super) struct AgentOutput(mpsc::Receiver<String>);

impl AgentOutput {
    /// Begins to read what the shim passes on.
    pub(super) fn read(shim: &mut Child) -> Self {
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        if let Some((stdout, stderr)) = shim.take_output() {
            tokio::spawn(read(stdout, sender.clone()));
            tokio::spawn(read(stderr, sender));
        }
        Self(receiver)
    }

    /// Waits for the next line; `None` once both streams are closed. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }
}

/// Reads to the end. Lines that nobody wants any more are read all the same, so that the writer can end.
async fn read(mut stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut pending = Vec::new();
    let mut chunk = [0; LINE_MAX_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        pending.extend_from_slice(&chunk[..length]);
        for line in split(&mut pending) {
            let _nobody_wants_it = lines.send(line).await;
        }
    }
    if !pending.is_empty() {
        let _nobody_wants_it = lines.send(text(&pending)).await;
    }
}

/// Takes the whole lines, and what is too long to wait for its end.
fn split(pending: &mut Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
        lines.push(text(&pending[..end]));
        pending.drain(..=end);
    }
    if pending.len() >= LINE_MAX_BYTES {
        lines.push(text(pending));
        pending.clear();
    }
    lines
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_bounded() {
        let mut pending = b"one\r\ntwo\nthr".to_vec();
        assert_eq!(split(&mut pending), ["one", "two"]);
        assert_eq!(pending, b"thr");
        let mut pending = vec![b'x'; LINE_MAX_BYTES];
        assert_eq!(split(&mut pending).len(), 1);
        assert!(pending.is_empty());
    }
}
