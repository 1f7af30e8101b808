//! What a person sees who waits for an execution: the agent's output on stdout, and everything else on stderr, of which
//! the last line tells how the execution stands.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;
use crate::output::{cut, printable};

/// Back to the first column, and everything after it gone (ECMA-48, CR and EL).
const CLEAR_LINE: &str = "\r\x1b[K";

/// Where a stream of this process goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    /// To a terminal, which what is written could command.
    Terminal,
    /// To a program or a file.
    Pipe,
}

impl Destination {
    fn of(stream: &impl IsTerminal) -> Self {
        if stream.is_terminal() {
            Self::Terminal
        } else {
            Self::Pipe
        }
    }
}

/// Standard output and standard error, on one terminal or apart.
#[derive(Debug)]
pub(super) struct Screen {
    stdout: Destination,
    stderr: Destination,
    /// Where the output stands, which a terminal shows and a pipe does not.
    column: Column,
    line: Line,
    /// Why stdout cannot be written. What the execution comes to is told all the same.
    broken: Option<io::Error>,
}

/// Where the next character of the output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    First,
    Later,
}

/// Whether the last line of the terminal tells how the execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Drawn,
    Absent,
}

impl Screen {
    pub(super) fn standard() -> Self {
        Self {
            stdout: Destination::of(&io::stdout()),
            stderr: Destination::of(&io::stderr()),
            column: Column::First,
            line: Line::Absent,
            broken: None,
        }
    }

    /// Whether anybody sees a line that is drawn again and again.
    pub(super) fn is_watched(&self) -> bool {
        self.stderr == Destination::Terminal
    }

    /// Prints more of the agent's output.
    pub(super) fn output(&mut self, text: &str) {
        if text.is_empty() || self.broken.is_some() {
            return;
        }
        self.clear();
        let written = match self.stdout {
            Destination::Pipe => write(text),
            Destination::Terminal => write(&escaped(text)),
        };
        self.broken = written.err();
        self.column = if text.ends_with('\n') {
            Column::First
        } else {
            Column::Later
        };
    }

    /// Tells something beside the output.
    pub(super) fn note(&mut self, text: &str) {
        self.clear();
        self.end_line();
        eprintln!("{}", printable(text));
    }

    /// Draws how the execution stands, instead of what was drawn before. Output that has not ended its line is left alone.
    pub(super) fn draw(&mut self, text: &str) {
        if !self.is_watched() {
            return;
        }
        self.clear();
        let covers = self.stdout == Destination::Terminal && self.column == Column::Later;
        if text.is_empty() || covers {
            return;
        }
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let text = printable(text);
        // A line that fills the terminal would go on in the next one, and stay.
        let shown = if columns == 0 { text } else { cut(&text, columns - 1) };
        eprint!("{shown}");
        self.line = Line::Drawn;
    }

    /// Takes away what was drawn, ends the output's last line on a terminal, and says whether all of it was written.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.clear();
        self.end_line();
        self.broken.map_or(Ok(()), |error| Err(Failure::Output(error)))
    }

    fn clear(&mut self) {
        if self.line == Line::Drawn {
            eprint!("{CLEAR_LINE}");
            self.line = Line::Absent;
        }
    }

    /// What follows begins a line of its own, where it is seen below the output.
    fn end_line(&mut self) {
        if self.stdout == Destination::Terminal && self.column == Column::Later && self.broken.is_none() {
            self.broken = write("\n").err();
            self.column = Column::First;
        }
    }
}

/// Prints a whole output: as it is for a program, and for a terminal so that it cannot command it.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut screen = Screen::standard();
    screen.output(text);
    screen.end()
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// With its lines as they are, and all else that could move a cursor escaped.
fn escaped(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_keeps_its_lines_and_nothing_else() {
        assert_eq!(escaped("one\ntwo\n"), "one\ntwo\n");
        assert_eq!(escaped("\x1b]0;title\x07\r\n\ta"), "\\u{1b}]0;title\\u{7}\\r\n    a");
    }
}
