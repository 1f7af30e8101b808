//! A table, for terminals and for documents.

use crate::args::Format;

/// A title, the names of the columns, and as many cells in each row.
#[derive(Debug, Clone)]
pub(super) struct Table<const COLUMNS: usize> {
    title: String,
    head: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// One without rows. The first column has no name: documents have the title there.
    pub(super) fn new(title: impl Into<String>, head: [&'static str; COLUMNS]) -> Self {
        Self {
            title: title.into(),
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row);
    }

    /// The whole table, an empty line before it.
    pub(super) fn show(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Markdown => self.markdown(),
        }
    }

    /// Columns as wide as their widest cell; those with numbers to the right.
    fn text(&self) -> String {
        let head = self.head.map(str::to_owned);
        let mut text = format!("\n{}\n", self.title);
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate() {
                let cells = self.rows.iter().map(|row| row[column].as_str());
                let width = cells
                    .clone()
                    .chain([self.head[column]])
                    .map(|cell| cell.chars().count())
                    .max();
                let width = width.unwrap_or_default();
                line += &if cells.clone().all(is_number) {
                    format!(" {cell:>width$} ")
                } else {
                    format!(" {cell:<width$} ")
                };
            }
            text += line.trim_end();
            text += "\n";
        }
        text
    }

    fn markdown(&self) -> String {
        let mut head = self.head;
        head[0] = &self.title;
        let mut text = format!("\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(COLUMNS));
        for row in &self.rows {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text
    }
}

/// Whether a cell is aligned as a number is: so is one that says that there is none.
fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.parse::<f64>().is_ok()
}
