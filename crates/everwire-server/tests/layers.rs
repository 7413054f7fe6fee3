//! The modules of the server stand in the layers that ARCHITECTURE.md draws, and each imports from lower ones alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Each module's layer by ARCHITECTURE.md, counted from the top.
fn drawn() -> BTreeMap<String, usize> {
    let page = fs::read_to_string(root().join("../../ARCHITECTURE.md")).unwrap();
    let (_, after) = (page.split_once("## Layers")).expect("the page has the section");
    let picture = after
        .split("```")
        .nth(1)
        .expect("the section has a picture");
    let layers = picture.lines().skip(1).map(|line| {
        let (names, _) = line.split_once("  ").unwrap_or((line, ""));
        names.split_whitespace().map(str::to_owned)
    });
    (layers.enumerate())
        .flat_map(|(layer, names)| names.map(move |name| (name, layer)))
        .collect()
}

/// The modules that each module imports from, with a file that does.
fn imported() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    visit(&root().join("src"), &mut |path, text| {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let first = inside.components().next().unwrap();
        let module = (first.as_os_str().to_str())
            .unwrap()
            .trim_end_matches(".rs");
        for other in imports(text) {
            if other != module && module != "lib" {
                let key = (module.to_owned(), other);
                found.insert(key, inside.display().to_string());
            }
        }
    });
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources but those of tests, which may look anywhere.
fn visit(folder: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let is_of_tests = matches!(stem, "tests" | "testing");
        if is_of_tests {
            continue;
        } else if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let (shipped, _) =
                (text.split_once("#[cfg(test)]\nmod tests {")).unwrap_or((&text, ""));
            each(&path, shipped);
        }
    }
}

/// The modules of this crate that a source names: `crate::a::b`, and each of `crate::{a, b::{c, d}}`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut names = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => names.extend(first_word(after)),
            Some(list) => {
                let mut depth = 1;
                let mut starts = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => starts = true,
                        c if starts && !c.is_whitespace() => {
                            names.extend(first_word(&list[at..]));
                            starts = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    // What the crate gives others by name is of the module that it stands in.
    names.retain(|name| name.starts_with(char::is_lowercase) && name != "session_id");
    names
}

fn first_word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn each_module_imports_from_lower_layers_alone() {
    let layers = drawn();
    let imported = imported();
    let modules: BTreeSet<_> = (imported.keys())
        .flat_map(|(module, other)| [module, other])
        .collect();
    let unknown: Vec<_> = (modules.iter())
        .filter(|module| !layers.contains_key(**module))
        .collect();
    assert!(
        unknown.is_empty(),
        "{unknown:?} stand in no layer of ARCHITECTURE.md"
    );
    let gone: Vec<_> = (layers.keys())
        .filter(|module| !modules.contains(module))
        .collect();
    assert!(
        gone.is_empty(),
        "{gone:?} are drawn in ARCHITECTURE.md and are not there"
    );
    let upward: Vec<_> = (imported.iter())
        .filter(|((module, other), _)| layers[other] <= layers[module])
        .map(|((module, other), file)| format!("{module} ─▶ {other} in {file}"))
        .collect();
    assert!(
        upward.is_empty(),
        "these imports do not point down; move what is shared to a lower layer, or have it passed in:\n{upward:#?}"
    );
}

#[test]
fn imports_are_found_however_they_are_written() {
    for (text, expected) in [
        ("use crate::hub::Hub;", &["hub"][..]),
        (
            "use crate::{hub::{self, Hub}, live, shard::tests::a};",
            &["hub", "live", "shard"],
        ),
        ("use crate::{\n    a::{b, c},\n    d,\n};", &["a", "d"]),
        (
            "fn f() -> crate::parts::Parts { crate::clock::unix_ms() }",
            &["clock", "parts"],
        ),
        ("// use crate::hub::Hub;", &[]),
        ("use crate::Server;", &[]),
    ] {
        let found: Vec<_> = imports(text).into_iter().collect();
        assert_eq!(found, expected, "{text}");
    }
}
