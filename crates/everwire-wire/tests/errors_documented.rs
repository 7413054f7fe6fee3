//! `docs/errors.md` and the table of problems say the same, in both directions.

use std::{fmt, fs, path::Path};

use everwire_wire::ProblemKind;

/// The documented table's header, by which it is found.
const HEADER: &str = "| problem | status | close code | retry | meaning | what to do |";

/// The columns of one row that a program can compare.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    status: String,
    close_code: String,
    retry: String,
}

impl Row {
    fn of(kind: ProblemKind) -> Self {
        Self {
            name: format!("`{}`", kind.name()),
            status: kind.status().to_string(),
            close_code: kind.close_code().as_u16().to_string(),
            retry: if kind.retry() { "yes" } else { "no" }.to_owned(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            status,
            close_code,
            retry,
        } = self;
        write!(f, "| {name} | {status} | {close_code} | {retry} | … |")
    }
}

#[test]
fn every_problem_is_documented_as_it_is_and_nothing_else_is() {
    let documented = rows();
    for ([name, status, close_code, retry, ..], kind) in documented.iter().zip(ProblemKind::ALL) {
        let documented = Row {
            name: name.clone(),
            status: status.clone(),
            close_code: close_code.clone(),
            retry: retry.clone(),
        };
        let expected = Row::of(*kind);
        assert_eq!(
            documented, expected,
            "docs/errors.md says\n  {documented}\nwhere the code has\n  {expected}\n"
        );
    }
    assert_eq!(
        documented.len(),
        ProblemKind::ALL.len(),
        "docs/errors.md has a row for each problem, in the order of the code, and no other"
    );
}

#[test]
fn a_person_is_told_what_each_problem_means_and_what_to_do() {
    for [name, _, _, _, meaning, advice] in rows() {
        for text in [meaning, advice] {
            assert!(
                text.len() > 15 && text.ends_with('.'),
                "{name}: {text:?} is no sentence"
            );
        }
    }
}

/// The cells of each row of the documented table.
fn rows() -> Vec<[String; 6]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let rows: Vec<_> = text
        .lines()
        .skip_while(|line| *line != HEADER)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    assert!(!rows.is_empty(), "docs/errors.md has no table\n{HEADER}");
    rows
}

fn cells(line: &str) -> [String; 6] {
    let cells: Vec<String> = line
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect();
    cells
        .try_into()
        .unwrap_or_else(|_| panic!("a row has six cells, and this one has not: {line}"))
}
