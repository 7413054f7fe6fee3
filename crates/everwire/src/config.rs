//! The configuration: defaults, then the file, then the environment, then flags. All settings come from the
//! server's one typed tree, so a new one is a flag, a variable and a line of the sample file at once.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource, value_parser};
use everwire_server::{
    Config, ConfigError,
    config::{
        Setting, UnknownVariable, settings, to_documented_toml, to_markdown, unknown_variables,
    },
    reload::check,
};
use toml::{Table, Value};

use crate::memory::{self, Fitted};

/// `everwire config`
pub fn command() -> Command {
    let markdown = Arg::new("markdown")
        .long("markdown")
        .hide(true)
        .action(ArgAction::SetTrue)
        .help("Print docs/configuration.md instead: all settings and their defaults");
    let check = Arg::new("check")
        .long("check")
        .value_name("FILE")
        .conflicts_with("config")
        .value_parser(value_parser!(PathBuf))
        .help("Only tell whether a server would take this file, with the keys and certificates that it names");
    let command = Command::new("config")
        .about("Print the configuration in effect, each setting under its comment")
        .long_about(
            "Print the configuration in effect as a TOML file, each setting under its comment. \
             Without a file, variables and flags it is the sample file with all defaults:\n\n  \
             everwire config > everwire.toml",
        )
        .arg(markdown)
        .arg(check);
    with_settings(command)
}

/// Prints the effective configuration, or the manual's page about all settings.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let mut read = |path: &Path| fs::read(path);
    let text = if matches.get_flag("markdown") {
        to_markdown()
    } else {
        for problem in misspelt() {
            // That nobody reads it is no reason not to go on.
            let _ = writeln!(io::stderr(), "everwire: {problem}");
        }
        let config = effective_with(matches, &mut read)?;
        // As at start: what is printed is what a server would take, but for the secrets.
        check(config.clone(), &mut read).map_err(|error| placed(matches, error))?;
        match matches.get_one::<PathBuf>("check") {
            Some(file) => format!("{} is fine\n", file.display()),
            None => to_documented_toml(&config),
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough, as in `everwire config | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("the configuration cannot be printed"),
    }
}

/// Adds the flags of all settings.
pub fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("A TOML file to read settings from; `everwire config` prints a sample");
    let file = with_variable(file, "EVERWIRE_CONFIG".to_owned());
    command.arg(file).args(settings().iter().map(flag))
}

/// An argument that a variable may give too. One that is empty is not set: a template that fills in nothing says so.
fn with_variable(arg: Arg, name: String) -> Arg {
    match env::var_os(&name) {
        Some(value) if value.is_empty() => arg,
        _ => arg.env(name),
    }
}

/// What is to be told of variables that look like settings and are none.
pub fn misspelt() -> Vec<String> {
    let variables: Vec<_> = env::vars_os()
        .filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        })
        .collect();
    let pairs = variables.iter().map(|(name, value)| (&**name, &**value));
    let in_words = |UnknownVariable { name, meant }| match meant {
        Some(meant) => format!("the variable {name} sets nothing; did you mean {meant}?"),
        None => format!(
            "the variable {name} sets nothing; `everwire serve --help` lists all settings, whose variables are \
             EVERWIRE_SECTION__NAME"
        ),
    };
    unknown_variables(pairs).into_iter().map(in_words).collect()
}

/// Reads the configuration from everywhere that it may come from.
pub fn effective(matches: &ArgMatches) -> anyhow::Result<Config> {
    effective_with(matches, &mut |path| fs::read(path))
}

/// The same, where `read` gets the content of the file.
pub fn effective_with(
    matches: &ArgMatches,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> anyhow::Result<Config> {
    let mut table = Table::new();
    let mut in_file = None;
    if let Some(path) = file(matches) {
        let content = read(path)
            .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
        let text = String::from_utf8(content).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            anyhow!(
                "the configuration file {} is not UTF-8 from byte {at} on",
                path.display()
            )
        })?;
        // The errors of this reading tell line and column.
        Config::check_syntax(&text)
            .with_context(|| format!("the configuration file {}", path.display()))?;
        table = text.parse()?;
        in_file = Some((path, text));
    }
    let mut overridden = Vec::new();
    for setting in settings() {
        let source = match matches.value_source(&setting.path) {
            Some(ValueSource::CommandLine) => format!("--{}", setting.flag()),
            Some(ValueSource::EnvVariable) => setting.variable(),
            _ => continue,
        };
        let value = value(&setting, &said(matches, &setting))
            .map_err(|problem| anyhow!("{source} {problem}"))?;
        insert(&mut table, &setting.path, value);
        overridden.push(setting.path);
    }
    let mut config = Config::from_table(table.clone()).map_err(|error| {
        let is_overridden =
            (error.setting()).is_some_and(|setting| overridden.iter().any(|path| path == setting));
        match in_file {
            Some((path, text)) if !is_overridden => in_file_at(path, &text, error),
            // The parser writes the setting's name on a line of its own.
            _ => anyhow!(error.to_string().trim().replace('\n', " ")),
        }
    })?;
    // After what was set is judged: it makes no less sense where there is little memory.
    if let Some(limit) = memory::limit() {
        fit(&mut config, &table, limit);
    }
    Ok(config)
}

/// Puts values that fit into so much memory in the place of defaults, where `table` does not say what holds.
fn fit(config: &mut Config, table: &Table, limit: u64) {
    let said = table.get("limits");
    let fitting = memory::fitting(limit, config.threads_effective());
    for (setting, bytes) in fitting {
        if said.is_some_and(|limits| limits.get(setting.name()).is_some()) {
            continue;
        }
        let limits = &mut config.limits;
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        match setting {
            Fitted::LogBytes => limits.log_bytes_max = bytes,
            Fitted::InFlightBytes => limits.in_flight_bytes_max = size,
            Fitted::InFlightBytesPerCaller => limits.in_flight_bytes_per_caller_max = size,
            Fitted::KeptBytes => limits.kept_bytes_max = size,
        }
    }
}

/// An error about a setting of a file, which tells where in it that is written.
fn in_file_at(path: &Path, text: &str, error: ConfigError) -> anyhow::Error {
    let error = error.in_text(text);
    anyhow!(error).context(format!("the configuration file {}", path.display()))
}

/// An error about a setting, which tells where in the configuration file that is written.
pub fn placed(matches: &ArgMatches, error: ConfigError) -> anyhow::Error {
    let Some((path, text)) =
        file(matches).and_then(|path| Some((path, fs::read_to_string(path).ok()?)))
    else {
        return error.into();
    };
    in_file_at(path, &text, error)
}

/// The configuration file, if one is given.
fn file(matches: &ArgMatches) -> Option<&PathBuf> {
    let checked = matches.try_get_one::<PathBuf>("check").ok().flatten();
    checked.or_else(|| matches.get_one::<PathBuf>("config"))
}

fn flag(setting: &Setting) -> Arg {
    let help = format!(
        "{} [default: {}]",
        setting.doc.trim_end_matches('.'),
        shown(&setting.default)
    );
    let arg = Arg::new(setting.path.clone())
        .long(setting.flag())
        .hide_env(true)
        .help(first_sentence(&setting.doc))
        .long_help(help);
    let arg = with_variable(arg, setting.variable());
    // `-h` lists only what stands in no section. (`next_line_help` would bring the rest back.)
    let arg = arg.hide_short_help(setting.path.contains('.'));
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

/// A setting's value from what was said. An error continues a sentence that begins with the setting.
fn value(setting: &Setting, said: &[String]) -> Result<Value, String> {
    let one = said.last().map_or("", String::as_str);
    Ok(match setting.default {
        Value::Boolean(_) => match one {
            "true" | "1" | "yes" => Value::Boolean(true),
            "false" | "0" | "no" | "" => Value::Boolean(false),
            other => return Err(format!("is {other:?}; write true or false")),
        },
        Value::Integer(_) => Value::Integer(
            one.parse()
                .map_err(|_| format!("is {one:?}; write a whole number, below 2^63"))?,
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
        let matches = command().try_get_matches_from(args)?;
        effective(&matches)
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
        assert_eq!(config.listen.first().port(), 9);
        assert_eq!(config.limits.lines_max, 7);
        assert!(config.dev);
        assert_eq!(config.http.origins, ["a://b", "c://d"]);
    }

    #[test]
    fn a_file_is_judged_together_with_the_flags() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("everwire.toml");
        fs::write(&file, "[tls]\nmode = \"only\"\n\n[limits]\nlines_max = 5\n").unwrap();
        let file = file.to_str().unwrap();
        assert!(read(&["--config", file, "--dev"]).unwrap().dev);
        let error = format!("{:#}", read(&["--config", file]).unwrap_err());
        assert!(error.contains("tls.certificates"), "{error}");
        assert!(error.contains(file), "{error}");
        // What a flag says is not looked for in the file.
        let flag = ["--config", file, "--dev", "--limits.head-bytes-max", "1"];
        let error = format!("{:#}", read(&flag).unwrap_err());
        assert!(error.contains("limits.head_bytes_max"), "{error}");
        assert!(!error.contains(file), "{error}");
    }

    #[test]
    fn a_senseless_flag_is_refused_by_name() {
        for (args, expected) in [
            (
                &["--limits.lines-max", "many"][..],
                "--limits.lines-max is \"many\"; write a whole number",
            ),
            (&["--dev=perhaps"][..], "--dev is \"perhaps\"; write true"),
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
