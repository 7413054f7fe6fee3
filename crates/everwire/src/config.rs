//! The configuration: defaults, then the file, then the environment, then flags. All settings come from the
//! server's one typed tree, so a new one is a flag, a variable and a line of the sample file at once.

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource, value_parser};
use everwire_server::{
    Config,
    config::{Setting, settings, to_documented_toml},
};
use toml::{Table, Value};

/// `everwire config`
pub fn command() -> Command {
    with_settings(
        Command::new("config")
            .about("Print the effective configuration, each setting under its comment")
            .long_about(
                "Print the effective configuration as a TOML file, each setting under its comment. \
                 Without a file, variables and flags it is the sample file with all defaults:\n\n  \
                 everwire config > everwire.toml",
            ),
    )
}

/// Prints the effective configuration.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    print!("{}", to_documented_toml(&effective(matches)?));
    Ok(())
}

/// Adds the flags of all settings.
pub fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("EVERWIRE_CONFIG")
        .value_parser(value_parser!(PathBuf))
        .help("Read settings from a TOML file; `everwire config` prints one");
    command.arg(file).args(settings().iter().map(flag))
}

/// Reads the configuration from everywhere that it may come from.
pub fn effective(matches: &ArgMatches) -> anyhow::Result<Config> {
    let mut table = Table::new();
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        let text = fs::read_to_string(path)
            .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
        // Read whole first: the errors of this reading tell line and column.
        Config::from_toml(&text)
            .with_context(|| format!("the configuration file {}", path.display()))?;
        table = text.parse()?;
    }
    for setting in settings() {
        let said = match matches.value_source(&setting.path) {
            Some(ValueSource::CommandLine | ValueSource::EnvVariable) => said(matches, &setting),
            _ => continue,
        };
        let value =
            value(&setting, &said).with_context(|| format!("--{}", flag_name(&setting.path)))?;
        insert(&mut table, &setting.path, value);
    }
    Ok(Config::from_table(table)?)
}

fn flag(setting: &Setting) -> Arg {
    let help = format!(
        "{} [default: {}]",
        setting.doc.trim_end_matches('.'),
        shown(&setting.default)
    );
    let arg = Arg::new(setting.path.clone())
        .long(flag_name(&setting.path))
        .env(format!(
            "EVERWIRE_{}",
            setting.path.to_uppercase().replace('.', "__")
        ))
        .hide_env(true)
        .help(first_sentence(&setting.doc))
        .long_help(help);
    let in_section = setting.path.contains('.');
    let arg = arg.hide_short_help(in_section).next_line_help(in_section);
    match &setting.default {
        Value::Boolean(_) => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        Value::Array(_) => arg.value_delimiter(',').value_name("LIST"),
        Value::Integer(_) => arg.value_name("N").allow_negative_numbers(true),
        _ => arg.value_name(if setting.path == "listen" {
            "ADDRESS"
        } else {
            "VALUE"
        }),
    }
}

fn said(matches: &ArgMatches, setting: &Setting) -> Vec<String> {
    matches
        .get_many::<String>(&setting.path)
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

fn value(setting: &Setting, said: &[String]) -> anyhow::Result<Value> {
    let one = said.last().map_or("", String::as_str);
    Ok(match setting.default {
        Value::Boolean(_) => match one {
            "true" | "1" | "yes" => Value::Boolean(true),
            "false" | "0" | "no" | "" => Value::Boolean(false),
            other => bail!("is {other:?}; write true or false"),
        },
        Value::Integer(_) => Value::Integer(
            one.parse()
                .with_context(|| format!("is {one:?}; write a whole number"))?,
        ),
        Value::Array(_) => Value::Array(
            said.iter()
                .map(|item| Value::String(item.clone()))
                .collect(),
        ),
        _ => Value::String(one.to_owned()),
    })
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                insert(section, rest, value);
            }
        }
    }
}

fn flag_name(path: &str) -> String {
    path.replace('_', "-")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        other => other.to_string(),
    }
}

fn first_sentence(doc: &str) -> String {
    let end = doc.find(". ").unwrap_or(doc.len());
    doc[..end].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> anyhow::Result<Config> {
        let args = std::iter::once("config").chain(args.iter().copied());
        effective(&command().try_get_matches_from(args)?)
    }

    #[test]
    fn a_flag_overrides_the_default() {
        let config = read(&[
            "--listen",
            "127.0.0.1:9",
            "--limits.lines-max",
            "7",
            "--dev",
            "--http.origins=a://b,c://d",
        ]);
        let config = config.unwrap();
        assert_eq!(config.listen.port(), 9);
        assert_eq!(config.limits.lines_max, 7);
        assert!(config.dev);
        assert_eq!(config.http.origins, ["a://b", "c://d"]);
    }

    #[test]
    fn a_senseless_flag_is_refused_by_name() {
        for (args, expected) in [
            (&["--limits.lines-max", "many"][..], "--limits.lines-max"),
            (&["--dev", "--listen", "0.0.0.0:80"][..], "loopback"),
            (
                &["--config", "/nowhere/everwire.toml"][..],
                "/nowhere/everwire.toml cannot be read",
            ),
        ] {
            let error = format!("{:#}", read(args).unwrap_err());
            assert!(error.contains(expected), "{args:?} gave {error}");
        }
    }
}
