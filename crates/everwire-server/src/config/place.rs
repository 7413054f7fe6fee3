//! Where in a file something stands, for errors: `line 3, column 5`, both from 1.

use toml::de::{DeTable, DeValue};

/// The place of a byte.
pub(super) fn place_at(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}")
}

/// The place of a setting by its path, such as `limits.lines_max` or `keys[1].sha256`: of its name, or of the innermost
/// table on the way to it if it is not written out. `None` if nothing on the way is there.
pub(super) fn place_of(text: &str, setting: &str) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let mut table = Some(document.get_ref());
    let mut found = None;
    for step in setting.split('.') {
        let (name, index) = match step.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some((key, value)) = table.and_then(|table| table.get_key_value(name)) else {
            break;
        };
        found = Some(key.span().start);
        let value = match (value.get_ref(), index) {
            (DeValue::Array(items), Some(index)) => {
                let item = items.get(index);
                found = item.map(|item| item.span().start).or(found);
                item.map(toml::Spanned::get_ref)
            }
            (value, _) => Some(value),
        };
        table = value.and_then(DeValue::as_table);
    }
    found.map(|byte| place_at(text, byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_where_it_is_written() {
        let text = "\
threads = 3
limits.lines_max = 7
keys = [
  { id = \"a\", sha256 = \"0\" },
  { id = \"b\", sha256 = \"é\", channels = [] },
]

[tokens]
leeway_s = 30

[[tokens.keys]]
alg = \"HS256\"

[[tokens.keys]]
  secret_file = \"x\"
";
        for (setting, expected) in [
            ("threads", Some("line 1, column 1")),
            ("limits.lines_max", Some("line 2, column 8")),
            ("keys[0].sha256", Some("line 4, column 15")),
            ("keys[1].channels", Some("line 5, column 29")),
            ("keys[1].other", Some("line 5, column 3")),
            ("tokens.leeway_s", Some("line 9, column 1")),
            ("tokens.audience", Some("line 8, column 2")),
            ("tokens.keys[1].secret_file", Some("line 15, column 3")),
            ("tokens.keys[0].secret", Some("line 11, column 1")),
            ("http.origins", None),
        ] {
            assert_eq!(place_of(text, setting).as_deref(), expected, "{setting}");
        }
    }

    #[test]
    fn what_is_no_toml_has_no_settings() {
        assert_eq!(place_of("threads = \n", "threads"), None);
    }
}
