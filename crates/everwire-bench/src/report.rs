//! The figures of a run, for a person, for a pipe and for a program.
//!
//! ```text
//!           ┌─▶ aligned      a terminal: titles, columns, thousands
//!  Report ──┼─▶ plain        a pipe: one line of key=value for each row
//!           └─▶ json         a file: tables of rows of keys
//! ```

pub mod markdown;

use std::{borrow::Cow, fmt::Write as _};

use serde_json::{Map, Value, json};

/// All tables of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What the figures hold for: machine, settings. Pairs of key and value.
    pub conditions: Vec<(&'static str, String)>,
    /// The tables in the order they are shown.
    pub tables: Vec<Table>,
    /// What has to be said besides, each on a line.
    pub notes: Vec<String>,
}

/// Rows that have the same columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The name of the table in plain lines and JSON.
    pub key: &'static str,
    /// The title for a person.
    pub title: String,
    /// The columns from left to right.
    pub columns: Vec<Column>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name in plain lines and JSON, with the unit.
    pub key: Cow<'static, str>,
    /// The title for a person.
    pub title: Cow<'static, str>,
}

impl Column {
    /// A column.
    pub fn new(key: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
        }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A name.
    Text(Cow<'static, str>),
    /// A whole number.
    Count(u64),
    /// A measured number, shown with so many decimals.
    Figure {
        /// The number.
        value: f64,
        /// Digits after the point.
        decimals: usize,
    },
    /// Not measured.
    Missing,
}

impl Report {
    /// For a person at a terminal.
    pub fn aligned(&self) -> String {
        let mut out = String::new();
        for (key, value) in &self.conditions {
            let _ = writeln!(out, "{key}: {value}");
        }
        for table in &self.tables {
            let _ = write!(out, "\n{}\n", table.title);
            table.write_aligned(&mut out);
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out
    }

    /// For a pipe: one line a row, each value with its key.
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for (key, value) in &self.conditions {
            let _ = writeln!(out, "# {key}: {value}");
        }
        for table in &self.tables {
            for row in &table.rows {
                out.push_str(table.key);
                for (column, cell) in table.columns.iter().zip(row) {
                    if *cell != Cell::Missing {
                        let _ = write!(out, " {}={}", column.key, cell.plain());
                    }
                }
                out.push('\n');
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "# {note}");
        }
        out
    }

    /// For a program: `{"conditions": {…}, "<table>": [{…}, …], "notes": […]}`, with figures in
    /// full.
    pub fn json(&self) -> String {
        let conditions: Map<String, Value> = self
            .conditions
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let mut report = Map::from_iter([("conditions".to_owned(), Value::Object(conditions))]);
        for table in &self.tables {
            let rows = table.rows.iter().map(|row| {
                let cells = table.columns.iter().zip(row);
                cells
                    .map(|(column, cell)| (column.key.clone().into_owned(), cell.json()))
                    .collect::<Map<_, _>>()
            });
            report.insert(table.key.to_owned(), rows.map(Value::Object).collect());
        }
        report.insert("notes".to_owned(), json!(self.notes));
        format!("{:#}\n", Value::Object(report))
    }
}

impl Table {
    fn write_aligned(&self, out: &mut String) {
        let heads = self
            .columns
            .iter()
            .map(|column| column.title.clone().into_owned())
            .collect();
        let mut lines: Vec<Vec<String>> = vec![heads];
        lines.extend(
            self.rows
                .iter()
                .map(|row| row.iter().map(Cell::aligned).collect()),
        );
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        // Names stand left, numbers right, and so do their heads.
        let is_text: Vec<bool> = (0..self.columns.len())
            .map(|column| {
                self.rows
                    .iter()
                    .all(|row| matches!(row[column], Cell::Text(_) | Cell::Missing))
            })
            .collect();
        for line in lines {
            let mut shown = String::new();
            for ((cell, width), is_text) in line.iter().zip(&widths).zip(&is_text) {
                let _ = match is_text {
                    true => write!(shown, "  {cell:<width$}"),
                    false => write!(shown, "  {cell:>width$}"),
                };
            }
            out.push_str(shown.trim_end());
            out.push('\n');
        }
    }
}

impl Cell {
    /// A figure with `decimals`, or [`Cell::Missing`].
    pub fn figure(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Missing, |value| Self::Figure { value, decimals })
    }

    /// A name.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Text(text.into())
    }

    fn aligned(&self) -> String {
        match self {
            Self::Text(text) => text.clone().into_owned(),
            Self::Count(count) => thousands(&count.to_string()),
            Self::Figure { value, decimals } => thousands(&format!("{value:.decimals$}")),
            Self::Missing => "–".to_owned(),
        }
    }

    fn plain(&self) -> String {
        match self {
            Self::Text(text) if text.contains(' ') => format!("{text:?}"),
            Self::Text(text) => text.clone().into_owned(),
            Self::Count(count) => count.to_string(),
            Self::Figure { value, decimals } => format!("{value:.decimals$}"),
            Self::Missing => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Count(count) => json!(count),
            Self::Figure { value, .. } => json!(value),
            Self::Missing => Value::Null,
        }
    }
}

/// Commas between the thousands of a decimal number.
fn thousands(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
    let mut out = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn report() -> Report {
        let columns = vec![
            Column::new("wire", "wire"),
            Column::new("readers", "readers"),
            Column::new("ratio", "of floor"),
        ];
        let rows = vec![
            vec![
                Cell::text("websocket"),
                Cell::Count(10_000),
                Cell::figure(Some(0.136_4), 2),
            ],
            vec![Cell::text("ndjson"), Cell::Count(1), Cell::figure(None, 2)],
        ];
        let title = "Fan-out".to_owned();
        let tables = vec![Table {
            key: "fanout",
            title,
            columns,
            rows,
        }];
        Report {
            conditions: vec![("rounds", "3".to_owned())],
            tables,
            notes: vec!["other: lost".to_owned()],
        }
    }

    #[test]
    fn a_person_sees_aligned_columns() {
        let expected = "rounds: 3\n\nFan-out\n\
                        \x20 wire       readers  of floor\n\
                        \x20 websocket   10,000      0.14\n\
                        \x20 ndjson           1         –\n\
                        \nother: lost\n";
        assert_eq!(report().aligned(), expected);
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_row() {
        let expected = "# rounds: 3\n\
                        fanout wire=websocket readers=10000 ratio=0.14\n\
                        fanout wire=ndjson readers=1\n\
                        # other: lost\n";
        assert_eq!(report().plain(), expected);
    }

    #[test]
    fn a_program_gets_figures_in_full() {
        let value: Value = serde_json::from_str(&report().json()).unwrap();
        let expected = json!({
            "conditions": {"rounds": "3"},
            "fanout": [
                {"wire": "websocket", "readers": 10_000, "ratio": 0.136_4},
                {"wire": "ndjson", "readers": 1, "ratio": null},
            ],
            "notes": ["other: lost"],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn thousands_are_divided() {
        for (number, expected) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("1234567.25", "1,234,567.25"),
            ("-1000.5", "-1,000.5"),
            ("-100", "-100"),
        ] {
            assert_eq!(thousands(number), expected);
        }
    }
}
