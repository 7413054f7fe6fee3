//! The documentation of settings at run time: the sample file, and the list from which flags and environment
//! variables are made.

use std::fmt::Write;

use toml::{Table, Value};

use super::tree::{Channels, Config, Echo, Http, Limits, Stop};

/// The comment of one field.
pub(super) struct SettingDoc {
    pub name: &'static str,
    /// The lines of its comment, each with the space that stood before it.
    pub doc: &'static [&'static str],
}

/// A struct whose fields' comments are known at run time.
pub(super) trait Documented {
    const DOCS: &'static [SettingDoc];
}

/// One setting: its path, its comment and its default.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Such as `limits.message_bytes_max`.
    pub path: String,
    /// Its comment, one sentence or more.
    pub doc: String,
    /// Its default.
    pub default: Value,
}

/// All settings that are a single value, in the order of the sample file.
pub fn settings() -> Vec<Setting> {
    let defaults =
        Table::try_from(Config::default()).expect("the default configuration can be written");
    let mut settings = Vec::new();
    for doc in Config::DOCS {
        match (section(doc.name), &defaults[doc.name]) {
            (Some(fields), Value::Table(section)) => {
                for field in fields {
                    settings.push(setting(
                        format!("{}.{}", doc.name, field.name),
                        field,
                        &section[field.name],
                    ));
                }
            }
            _ if doc.name == "rules" => {}
            (_, value) => settings.push(setting(doc.name.to_owned(), doc, value)),
        }
    }
    settings
}

/// A configuration as TOML, each setting under its comment.
pub fn to_documented_toml(config: &Config) -> String {
    let values = Table::try_from(config).expect("a configuration can be written");
    let mut out = String::new();
    for doc in Config::DOCS
        .iter()
        .filter(|doc| section(doc.name).is_none() && doc.name != "rules")
    {
        assignment(doc, &values[doc.name], &mut out);
    }
    for doc in Config::DOCS {
        if let (Some(fields), Value::Table(section)) = (section(doc.name), &values[doc.name]) {
            comment(doc, &mut out);
            let _ = writeln!(out, "[{}]\n", doc.name);
            for field in fields {
                assignment(field, &section[field.name], &mut out);
            }
        }
    }
    let rules = Config::DOCS
        .iter()
        .find(|doc| doc.name == "rules")
        .expect("rules are documented");
    comment(rules, &mut out);
    let _ = writeln!(
        out,
        "# [[rules]]\n# match = \"chat/**\"\n# anonymous = [\"read\"]\n# retain_entries = 100"
    );
    if let Value::Array(rules) = &values["rules"] {
        for rule in rules {
            let _ = write!(
                out,
                "\n[[rules]]\n{}",
                toml::to_string(rule).expect("a rule can be written")
            );
        }
    }
    out
}

fn section(name: &str) -> Option<&'static [SettingDoc]> {
    match name {
        "http" => Some(Http::DOCS),
        "limits" => Some(Limits::DOCS),
        "channels" => Some(Channels::DOCS),
        "stop" => Some(Stop::DOCS),
        "echo" => Some(Echo::DOCS),
        _ => None,
    }
}

fn setting(path: String, doc: &SettingDoc, default: &Value) -> Setting {
    Setting {
        path,
        doc: doc.doc.concat().trim().to_owned(),
        default: default.clone(),
    }
}

fn assignment(doc: &SettingDoc, value: &Value, out: &mut String) {
    comment(doc, out);
    let _ = writeln!(out, "{} = {value}\n", doc.name);
}

fn comment(doc: &SettingDoc, out: &mut String) {
    for line in doc.doc {
        let _ = writeln!(out, "#{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_is_the_default_configuration() {
        let text = to_documented_toml(&Config::default());
        assert_eq!(Config::from_toml(&text).unwrap(), Config::default());
    }

    #[test]
    fn a_configuration_written_with_its_comments_reads_back_as_itself() {
        let text = "threads = 3\n[limits]\nlines_max = 7\n[[rules]]\nmatch = \"a/**\"\nanonymous = [\"read\"]\n";
        let config = Config::from_toml(text).unwrap();
        assert_eq!(
            Config::from_toml(&to_documented_toml(&config)).unwrap(),
            config
        );
    }

    #[test]
    fn each_setting_is_listed_with_its_comment() {
        let settings = settings();
        assert!(
            settings
                .iter()
                .any(|setting| setting.path == "limits.message_bytes_max")
        );
        for setting in settings {
            assert!(setting.doc.len() > 10, "{} has no comment", setting.path);
        }
    }

    #[test]
    fn an_unknown_setting_and_a_senseless_one_are_refused_with_their_place() {
        for (text, expected) in [
            ("[limits]\nlines = 1\n", "unknown field `lines`"),
            (
                "listen = \"0.0.0.0:80\"\ndev = true\n",
                "works on loopback only",
            ),
            (
                "[channels]\nretain_entries = 0\n",
                "`channels.retain_entries` must be at least 1",
            ),
            ("[[rules]]\nmatch = \"a/**/b\"\n", "is no pattern"),
            (
                "[http]\norigins = [\"example.org\"]\n",
                "an origin is a scheme and a host",
            ),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }
}
