//! Standard output: plain lines, aligned tables and colour for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde_json::Value as Json;

use crate::args::Format;
use crate::failure::Failure;

/// How a text stands out on a terminal (ECMA-48, select graphic rendition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Not at all.
    Plain,
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Broken.
    Bad,
    /// Less important than the rest.
    Dim,
    /// A heading.
    Strong,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Strong => "1",
        }
    }
}

/// A text and its style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text that stands out. What could move a terminal's cursor is shown escaped.
    pub(crate) fn styled(text: &str, style: Style) -> Self {
        Self {
            text: printable(text),
            style,
        }
    }

    /// The text, without its style.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text.as_ref(), Style::Plain)
    }
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    colour: bool,
    /// Columns of the terminal; none elsewhere.
    width: Option<usize>,
}

impl Output {
    /// Standard output, in the format that was asked for. Colour is for terminals, without `NO_COLOR`.
    pub(crate) fn standard(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        Self {
            format,
            colour: terminal && wanted,
            width: size
                .map(|size| usize::from(size.ws_col))
                .filter(|&columns| terminal && columns > 0),
        }
    }

    /// Whether answers are for programs.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a text as it is, for the program that asked for it, and the end of a line.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        self.raw(text)
    }

    /// Prints an answer for programs, as one object over several lines.
    pub(crate) fn json(self, value: &Json) -> Result<(), Failure> {
        self.raw(&format!("{value:#}"))
    }

    /// Prints one of many answers for programs, on one line.
    pub(crate) fn json_line(self, value: &Json) -> Result<(), Failure> {
        self.raw(&value.to_string())
    }

    /// Prints a line of cells.
    pub(crate) fn line(self, cells: &[Cell]) -> Result<(), Failure> {
        self.raw(&self.render(cells))
    }

    /// Prints rows under a heading, each column as wide as its widest cell. On a terminal the last column is cut at
    /// the terminal's edge.
    pub(crate) fn table<const N: usize>(self, heading: [&str; N], rows: &[[Cell; N]]) -> Result<(), Failure> {
        let heading = heading.map(|title| Cell::styled(title, Style::Strong));
        let all = || std::iter::once(&heading).chain(rows);
        let widths: [usize; N] =
            std::array::from_fn(|column| all().map(|row| columns(&row[column].text)).max().unwrap_or_default());
        for row in all() {
            self.raw(&self.row(row, &widths))?;
        }
        Ok(())
    }

    fn row(self, row: &[Cell], widths: &[usize]) -> String {
        let mut line = String::new();
        let mut used = 0;
        for (index, (cell, &width)) in row.iter().zip(widths).enumerate() {
            let last = index + 1 == row.len();
            let room = self.width.map(|total| total.saturating_sub(used)).filter(|_| last);
            let text = room.map_or_else(|| cell.text.clone(), |room| cut(&cell.text, room));
            let padding = if last { 0 } else { width - columns(&text) + 2 };
            used += width + 2;
            line.push_str(&self.paint(&text, cell.style));
            line.push_str(&" ".repeat(padding));
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn render(self, cells: &[Cell]) -> String {
        cells.iter().map(|cell| self.paint(&cell.text, cell.style)).collect()
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.colour && style != Style::Plain && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    fn raw(self, line: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}").map_err(Failure::Output)?;
        stdout.flush().map_err(Failure::Output)
    }
}

/// The text with control characters escaped, so that what an agent wrote cannot command a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => "    ".to_owned(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect()
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

/// The text, cut to so many columns.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(colour: bool, width: Option<usize>) -> Output {
        Output {
            format: Format::Table,
            colour,
            width,
        }
    }

    #[test]
    fn columns_align_and_the_last_is_cut() {
        let row: [Cell; 3] = ["a".into(), "".into(), "long message".into()];
        assert_eq!(output(false, None).row(&row, &[4, 2, 5]), "a         long message");
        assert_eq!(output(false, Some(16)).row(&row, &[4, 2, 5]), "a         long …");
        let row: [Cell; 2] = ["a".into(), "".into()];
        assert_eq!(output(false, None).row(&row, &[4, 2]), "a");
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let row = [Cell::styled("RUNNING", Style::Good), "x".into()];
        assert_eq!(output(true, None).row(&row, &[8, 1]), "\x1b[32mRUNNING\x1b[0m   x");
    }

    #[test]
    fn terminals_are_not_commanded() {
        assert_eq!(Cell::from("\x1b[2Jx\ty").text, "\\u{1b}[2Jx    y");
    }
}
