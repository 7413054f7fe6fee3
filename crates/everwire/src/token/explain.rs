//! `everwire token explain`

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_server::config::Grant;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{authority, configuration, now_ms};
use crate::grant;

/// Which token to explain.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The token; read from standard input if it is not given, where no list of processes shows it.
    token: Option<String>,

    /// A server's configuration: tells whether that server takes the token now.
    #[arg(long, value_name = "FILE", env = "EVERWIRE_CONFIG")]
    config: Option<PathBuf>,
}

/// `everwire token explain`
pub fn command() -> Command {
    Args::augment_args(Command::new("explain"))
        .about("Tell what is in a token, and whether a server takes it")
        .after_help(
            "Examples:\n  \
             everwire token explain eyJhbGciOi…\n  \
             everwire token explain --config everwire.toml < token.txt",
        )
}

/// Explains a token. It fails if a server was named that does not take it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = Args::from_arg_matches(matches)?;
    let token = match args.token {
        Some(token) => token,
        None => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("the token cannot be read")?;
            text
        }
    };
    let now_ms = now_ms()?;
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let print = |text: &str| {
        (io::stdout().write_all(text.as_bytes())).context("the explanation cannot be printed")
    };
    print(&told(token, now_ms / 1000)?)?;
    let Some(path) = args.config else {
        return print(
            "\nWhether its signature is right was not looked at: name a server's --config for that.\n",
        );
    };
    let config = configuration(&path)?;
    match authority(&config)?.judge(token, now_ms) {
        Ok(_) => print(&format!("\nA server with {} takes it.\n", path.display())),
        Err(error) => bail!("a server with {} does not take it: {error}", path.display()),
    }
}

/// What a token says, whether or not it is true.
pub(super) fn told(token: &str, now_s: u64) -> anyhow::Result<String> {
    if token.starts_with("ewk_") {
        bail!(
            "this is an API key, not a token; what it grants stands in the server's configuration, under [[keys]]"
        );
    }
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, _] = parts[..] else {
        bail!(
            "this is no token: it has {} parts and not three, with dots between them; was it copied whole?",
            parts.len()
        );
    };
    let (header, claims) = (object("header", header)?, object("claims", claims)?);
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{name:<10}{}", harmless(text));
    };
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    line(
        "signed",
        &match header.get("kid") {
            Some(kid) => format!("{} with the key {}", text(&header["alg"]), text(kid)),
            None => format!("{}; the header names no key (kid)", text(&header["alg"])),
        },
    );
    line(
        "who",
        &claims
            .get("sub")
            .map_or("nobody in particular (no sub)".to_owned(), text),
    );
    for (name, claim) in [
        ("for", "aud"),
        ("from", "iss"),
        ("id", "jti"),
        ("info", "info"),
    ] {
        if let Some(value) = claims.get(claim) {
            line(name, &text(value));
        }
    }
    for (name, claim) in [("issued", "iat"), ("begins", "nbf"), ("ends", "exp")] {
        match claims.get(claim) {
            Some(at) => line(name, &moment(at, now_s)),
            None if claim == "exp" => line(
                name,
                "never (no exp), which servers refuse unless told otherwise",
            ),
            None => {}
        }
    }
    match serde_json::from_value::<Vec<Grant>>(claims.get("channels").cloned().unwrap_or_default())
    {
        Ok(grants) if grants.is_empty() => line("may", "what everybody may: it grants nothing"),
        Ok(grants) => grants
            .iter()
            .for_each(|each| line("may", &grant::shown(each))),
        Err(_) if claims.get("channels").is_none() => {
            line("may", "what everybody may: it grants nothing (no channels)");
        }
        Err(error) => line("may", &format!("`channels` is not valid: {error}")),
    }
    Ok(out)
}

/// Whoever made the token may not have wished well to the terminal on which it is explained.
fn harmless(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn object(name: &str, part: &str) -> anyhow::Result<Value> {
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .with_context(|| format!("the token's {name} is not base64url; was it copied whole?"))?;
    match serde_json::from_slice(&json) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => bail!("the token's {name} is no JSON object"),
        Err(error) => bail!("the token's {name} is not JSON: {error}"),
    }
}

/// A time as a person reads it: `2026-11-20T19:00:00Z, in 59 min`.
fn moment(value: &Value, now_s: u64) -> String {
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..LAST_S).contains(seconds));
    let Some(seconds) = seconds.map(|seconds| seconds as u64) else {
        return format!("{value}, which is no time in seconds since 1970");
    };
    let date = i64::try_from(seconds)
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let date = date
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default();
    match seconds.checked_sub(now_s) {
        Some(left) => format!("{date}, in {}", span(left)),
        None => format!("{date}, {} ago", span(now_s - seconds)),
    }
}

/// The end of the year 9999.
const LAST_S: f64 = 253_402_300_800.0;

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
