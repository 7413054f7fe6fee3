//! A report inside a document: what stands between two comments is replaced, the rest is somebody's
//! prose.
//!
//! ```text
//!  # Benchmarks
//!  Prose that tells what the figures mean.
//!  <!-- figures -->
//!  …                        written by a run
//!  <!-- end of figures -->
//!  More prose.
//! ```

use std::fmt::Write as _;

use super::{Cell, Report, Table};

const START: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

/// A file has no place for figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the document has no `{START}` with an `{END}` after it, so there is no place for figures; \
     write both into it, each on a line"
)]
pub struct NoPlace;

impl Report {
    /// For a document: conditions and tables in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for (key, value) in &self.conditions {
            let _ = writeln!(out, "- {key}: {value}");
        }
        for table in &self.tables {
            let _ = write!(out, "\n### {}\n\n", table.title);
            table.write_markdown(&mut out);
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out
    }
}

impl Table {
    fn write_markdown(&self, out: &mut String) {
        // A column that nobody filled tells nothing.
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| self.rows.iter().any(|row| row[*at] != Cell::Missing))
            .collect();
        let heads = shown
            .iter()
            .map(|at| self.columns[*at].title.clone().into_owned());
        write_row(heads, out);
        let lines = shown.iter().map(|at| {
            let is_number = |row: &Vec<Cell>| !matches!(row[*at], Cell::Text(_) | Cell::Missing);
            let has_numbers = self.rows.iter().any(is_number);
            if has_numbers { "--:" } else { "---" }.to_owned()
        });
        write_row(lines, out);
        for row in &self.rows {
            write_row(shown.iter().map(|at| row[*at].aligned()), out);
        }
    }
}

fn write_row(cells: impl Iterator<Item = String>, out: &mut String) {
    out.push('|');
    for cell in cells {
        let _ = write!(out, " {cell} |");
    }
    out.push('\n');
}

/// Whether `document` has a place for figures.
pub fn has_place(document: &str) -> bool {
    place(document).is_ok()
}

/// `document` with `figures` in the place of those that it has.
///
/// # Errors
/// [`NoPlace`] if there is none.
pub fn replace_figures(document: &str, figures: &str) -> Result<String, NoPlace> {
    let (before, after) = place(document)?;
    Ok(format!("{before}{START}\n\n{figures}\n{END}{after}"))
}

fn place(document: &str) -> Result<(&str, &str), NoPlace> {
    let (before, rest) = document.split_once(START).ok_or(NoPlace)?;
    let (_, after) = rest.split_once(END).ok_or(NoPlace)?;
    Ok((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn a_document_gets_tables() {
        let expected = "- rounds: 3\n\n### Fan-out\n\n\
                        | wire | readers | of floor |\n\
                        | --- | --: | --: |\n\
                        | websocket | 10,000 | 0.14 |\n\
                        | ndjson | 1 | – |\n\
                        \nother: lost\n";
        assert_eq!(report().markdown(), expected);
    }

    #[test]
    fn a_column_that_nobody_filled_is_left_out() {
        let mut report = report();
        report.tables[0].rows.remove(0);
        assert!(report.markdown().contains("\n| wire | readers |\n"));
    }

    #[test]
    fn figures_are_replaced_and_prose_is_kept() {
        let document = format!("before\n{START}\nold\n{END}\nafter\n");
        let replaced = replace_figures(&document, "new\n").unwrap();
        assert_eq!(
            replaced,
            format!("before\n{START}\n\nnew\n\n{END}\nafter\n")
        );
        let again = replace_figures(&replaced, "new\n").unwrap();
        assert_eq!(again, replaced, "replaced again");
    }

    #[test]
    fn a_document_without_both_comments_is_not_touched() {
        let reversed = format!("{END}\n{START}\n");
        for document in ["", "prose", START, END, &reversed] {
            assert_eq!(replace_figures(document, "new"), Err(NoPlace), "{document}");
            assert!(!has_place(document), "{document}");
        }
    }
}
