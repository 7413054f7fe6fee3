//! The manual says what the program does: its generated page is fresh, what it names exists, and whatever an
//! operator meets is in it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use everwire_server::{Cost, config::settings, costs};

#[test]
fn the_configuration_page_is_what_the_binary_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_everwire"))
        .args(["config", "--markdown"])
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed == read("docs/configuration.md"),
        "docs/configuration.md is stale; run\n\n  cargo run -- config --markdown > docs/configuration.md\n"
    );
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let source = include_str!("../../everwire-server/src/metrics.rs");
    let registered: BTreeSet<_> = source
        .split("&mut registry,")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).expect("a metric's name follows"))
        .collect();
    assert!(registered.contains("lines"), "the names were not found");
    let page = read("docs/operations.md");
    let documented: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `everwire_")?.split(['`', '{']).next())
        .map(|name| name.strip_suffix("_total").unwrap_or(name))
        .collect();
    assert_eq!(
        registered, documented,
        "metrics.rs on the left, the table of docs/operations.md on the right"
    );
}

#[test]
fn every_setting_that_the_manual_names_exists() {
    let settings: BTreeSet<_> = settings().into_iter().map(|setting| setting.path).collect();
    let sections: BTreeSet<_> = settings
        .iter()
        .filter_map(|path| Some(path.split_once('.')?.0))
        .collect();
    let is_name = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        // Every second piece stands between two backticks.
        for quoted in text.split('`').skip(1).step_by(2) {
            match quoted.split_once('.') {
                Some((section, rest)) if sections.contains(section) && is_name(rest) => {
                    assert!(settings.contains(quoted), "{page} names `{quoted}`");
                    seen += 1;
                }
                Some(_) | None => {}
            }
        }
    }
    assert!(seen > 50, "only {seen} names of settings were found");
}

/// Each row of its tables: a limit, its default, its outcome, and the tests that meet it.
#[test]
fn every_limit_is_told_and_met_by_a_test_that_exists() {
    let page = read("docs/limits.md");
    for setting in settings() {
        if setting.path.starts_with("limits.") && setting.path != "limits.long_poll_ms_max" {
            let named = format!("`{}`", setting.path);
            assert!(
                page.contains(&named),
                "docs/limits.md has no row for {named}"
            );
        }
    }
    let mut sources = String::new();
    for krate in ["everwire", "everwire-server"] {
        for folder in ["src", "tests"] {
            gather(
                &root().join("crates").join(krate).join(folder),
                &mut sources,
            );
        }
    }
    let rows = tables(&page, "limit");
    assert!(rows.len() > 70, "only {} rows were found", rows.len());
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names = tests.split('`').skip(1).step_by(2);
        let names: Vec<_> = names.filter_map(|path| path.rsplit("::").next()).collect();
        assert!(
            !names.is_empty(),
            "no test meets the limit of this row:\n{row}"
        );
        for name in names {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "there is no test {name}"
            );
        }
    }
}

/// What can be asked for, with its cost: the tables of the code and those of the manual have the same rows.
#[test]
fn every_request_and_command_is_told_with_what_it_costs() {
    let page = read("docs/limits.md");
    for (header, rows) in costs() {
        let expected: Vec<_> = (rows.iter())
            .map(|(asked, cost)| format!("| {asked} | {} |", cost.name()))
            .collect();
        assert_eq!(
            tables(&page, header),
            expected,
            "the tables of docs/limits.md that begin with `{header}` on the left, the code on the right"
        );
    }
    let told = tables(&page, "cost");
    assert_eq!(told.len(), Cost::ALL.len(), "{told:#?}");
    for (row, cost) in told.iter().zip(Cost::ALL) {
        let name = format!("| {} | ", cost.name());
        assert!(row.starts_with(&name), "{row} tells of {name}");
        let (_, rates) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let named: Vec<_> = rates.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, cost.settings(), "{row}");
    }
}

/// The rows of all tables of a page whose first column is called this.
fn tables<'p>(page: &'p str, first: &str) -> Vec<&'p str> {
    let header = format!("| {first} |");
    let mut rows = Vec::new();
    for table in page.split("\n\n") {
        let mut lines = table.lines();
        if lines.next().is_some_and(|line| line.starts_with(&header)) {
            rows.extend(lines.skip(1)); // the rule below the header
        }
    }
    rows
}

/// The text of all sources below a folder.
fn gather(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_link_of_the_manual_leads_somewhere() {
    for page in pages() {
        for target in links(&read(&page)) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(&page).parent().unwrap();
            let linked = match file {
                "" => PathBuf::from(&page),
                file => folder.join(file),
            };
            let linked = root().join(linked);
            assert!(
                linked.is_file(),
                "{page} links to {target}, which is no file"
            );
            assert!(
                anchor.is_empty() || anchors(&fs::read_to_string(linked).unwrap()).contains(anchor),
                "{page} links to {target}, and there is no such heading"
            );
        }
    }
}

#[test]
fn every_threat_names_tests_that_exist_and_every_attack_is_named() {
    let tests = tests();
    let text = read("SECURITY.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: BTreeSet<_> = quoted.filter(|quoted| quoted.contains("::")).collect();
    for name in &named {
        assert!(tests.contains(*name), "SECURITY.md names {name}");
    }
    for test in tests.iter().filter(|test| test.starts_with("attacks::")) {
        assert!(
            named.contains(test.as_str()),
            "SECURITY.md leaves out {test}"
        );
    }
}

/// The tests of whole servers, each with the file that it is in: `sessions::a_session_…`, `attacks::names::a_path_…`.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for (folder, prefix) in [
        ("crates/everwire/tests", ""),
        ("crates/everwire/tests/attacks", "attacks::"),
        ("crates/everwire/tests/operation", ""),
        ("crates/everwire-server/tests", ""),
    ] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let (Some(stem), Ok(text)) = (path.file_stem(), fs::read_to_string(&path)) else {
                continue; // a folder
            };
            let stem = stem.to_str().unwrap();
            let marked = text.split("#[test]\n").skip(1);
            let names = marked.filter_map(|test| test.split_once("fn ")?.1.split_once('('));
            tests.extend(names.map(|(name, _)| format!("{prefix}{stem}::{name}")));
        }
    }
    tests
}

/// The targets of all links.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// The anchors of all headings, as a forge makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Every page of the manual, from the project's root.
fn pages() -> Vec<String> {
    let mut pages: Vec<_> = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ]
    .map(str::to_owned)
    .into();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
