//! `everwire token`

mod explain;
mod signing;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow, bail};
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_server::{Config, auth::Authority};
use serde_json::{Map, Value, json};

use self::signing::Signing;
use crate::grant::Grants;

/// What a token is to say, and what it is signed with.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who it is for: the user's name.
    #[arg(long, value_name = "USER")]
    sub: Option<String>,

    #[command(flatten)]
    grants: Grants,

    /// For how long it is valid: a number and s, min, h or d.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = life)]
    life: Duration,

    /// What others are shown with the user's name, as JSON.
    #[arg(long, value_name = "JSON")]
    info: Option<String>,

    /// A server's configuration, whose key, issuer and audience are used.
    #[arg(long, value_name = "FILE", env = "EVERWIRE_CONFIG")]
    config: Option<PathBuf>,

    /// A file that holds the secret of HS256, as secret_file in a server's configuration.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// A file that holds the private key of EdDSA, ES256 or RS256 as PEM, whose public half the server has.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    private_key_file: Option<PathBuf>,

    /// The key's name in the server's configuration.
    #[arg(long)]
    kid: Option<String>,

    /// Which server it is for, if that is checked (tokens.audience).
    #[arg(long, value_name = "AUDIENCE")]
    aud: Option<String>,

    /// Who issued it, if that is checked (tokens.issuer).
    #[arg(long, value_name = "ISSUER")]
    iss: Option<String>,
}

/// `everwire token`
pub fn command() -> Command {
    Args::augment_args(Command::new("token"))
        .about("Make a token, or explain one")
        .long_about(
            "Make a token, which says who somebody is, what that may do and until when. An application makes them by \
             itself, with any library for JSON Web Tokens; this is for trying things out, and for scripts.",
        )
        .after_help(
            "Prints the token. Show it to a server as `Authorization: Bearer TOKEN`, or as ?token=TOKEN.\n\n\
             Examples:\n  \
             openssl rand -hex 32 > tokens.secret\n  \
             everwire token --secret-file tokens.secret --sub ada --can read,publish 'chat/*'\n  \
             everwire token --private-key-file tokens.key --kid 2026-11 --can read 'news/**' --for 15min\n  \
             everwire token --config everwire.toml --sub ada --can read,presence chat/lobby\n  \
             everwire token explain --config everwire.toml eyJhbGciOi…",
        )
        .args_conflicts_with_subcommands(true)
        .arg_required_else_help(true)
        .subcommand(explain::command())
}

/// Prints a token, or explains one.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    if let Some(("explain", matches)) = matches.subcommand() {
        return explain::run(matches);
    }
    let args = Args::from_arg_matches(matches)?;
    let token = made(&args, now_ms()?)?;
    writeln!(io::stdout(), "{token}").context("the token cannot be printed")
}

fn made(args: &Args, now_ms: u64) -> anyhow::Result<String> {
    let config = args.config.as_deref().map(configuration).transpose()?;
    let signing = match (&args.secret_file, &args.private_key_file, &config) {
        (Some(path), _, _) => Signing::by_secret(&read(path)?, args.kid.as_deref())?,
        (None, Some(path), _) => Signing::by_private_key(&read(path)?, args.kid.as_deref())
            .with_context(|| format!("the private key {}", path.display()))?,
        (None, None, Some(config)) => Signing::by_configuration(config, args.kid.as_deref())?,
        (None, None, None) => bail!(
            "what to sign with? Name a file: --secret-file, --private-key-file, or --config with a server's configuration"
        ),
    };
    let token = signing.sign(&claims(args, config.as_ref(), now_ms / 1000)?)?;
    if let Some(config) = &config {
        // Whoever names a server's configuration wants a token for that server.
        let judged = authority(config)?.judge(&token, now_ms);
        judged.map_err(|error| anyhow!("the server would not take this token: {error}"))?;
    }
    Ok(token)
}

fn claims(args: &Args, config: Option<&Config>, now_s: u64) -> anyhow::Result<Value> {
    let mut claims = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    };
    let of_config = |said: &Option<String>, configured: fn(&Config) -> &str| {
        let configured = config.map(configured).filter(|text| !text.is_empty());
        said.as_deref().or(configured).map(Value::from)
    };
    say("sub", args.sub.as_deref().map(Value::from));
    say("iss", of_config(&args.iss, |config| &config.tokens.issuer));
    say(
        "aud",
        of_config(&args.aud, |config| &config.tokens.audience),
    );
    say("iat", Some(json!(now_s)));
    say("exp", Some(json!(now_s + args.life.as_secs())));
    say(
        "channels",
        Some(serde_json::to_value(args.grants.parse()?)?),
    );
    if let Some(info) = &args.info {
        let info = serde_json::from_str(info).with_context(|| {
            format!("--info {info} is not JSON; write an object such as {{\"name\":\"Ada\"}}, or a text as '\"Ada\"'")
        })?;
        say("info", Some(info));
    }
    Ok(Value::Object(claims))
}

/// A server's configuration.
fn configuration(path: &Path) -> anyhow::Result<Config> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
    Config::from_toml(&text).with_context(|| format!("the configuration file {}", path.display()))
}

/// What a server with this configuration checks credentials with.
fn authority(config: &Config) -> anyhow::Result<Authority> {
    Ok(Authority::new(config, &mut |path| fs::read(path))?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("the file {} cannot be read", path.display()))
}

fn now_ms() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.context("the system's clock shows a time before 1970; set it")?;
    Ok(u64::try_from(now.as_millis())?)
}

fn life(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => 0,
    };
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
    {
        Some(seconds @ 1..=LIFE_S_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number and s, min, h or d, as in 15min, up to ten years".to_owned()),
    }
}

/// Longest life that a server can be set to take.
const LIFE_S_MAX: u64 = 10 * 365 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_790_000_000;

    /// A file in a folder of its own, for as long as the folder lives.
    fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn made_with(args: &[&str]) -> anyhow::Result<String> {
        let matches = command().try_get_matches_from([&["token"], args].concat())?;
        made(&Args::from_arg_matches(&matches)?, NOW_S * 1000)
    }

    fn told(token: &str) -> String {
        explain::told(token, NOW_S).unwrap()
    }

    #[test]
    fn a_token_says_what_was_asked_for_and_is_explained_so() {
        let folder = tempfile::tempdir().unwrap();
        let secret = file(
            &folder,
            "secret",
            "a secret of more than 32 bytes, just so\n",
        );
        let token = made_with(&[
            "--secret-file",
            &secret,
            "--kid",
            "a",
            "--sub",
            "ada",
            "--for",
            "15min",
            "--can",
            "read,publish",
            "chat/*",
            "--can",
            "presence",
            "chat/lobby",
            "--info",
            "{\"name\":\"Ada\"}",
        ]);
        let expected = "signed    HS256 with the key a\n\
            who       ada\n\
            info      {\"name\":\"Ada\"}\n\
            issued    2026-09-21T14:13:20Z, in 0 s\n\
            ends      2026-09-21T14:28:20Z, in 15 min\n\
            may       read, publish on chat/*\n\
            may       presence on chat/lobby\n";
        assert_eq!(told(&token.unwrap()), expected);
    }

    #[test]
    fn a_forged_token_does_nothing_to_the_terminal() {
        // {"alg":"x"} and {"sub":"\u001b[2Jada"}
        let told = told("eyJhbGciOiJ4In0.eyJzdWIiOiJcdTAwMWJbMkphZGEifQ.x");
        assert!(told.contains("who       \\u{1b}[2Jada\n"), "{told}");
    }

    #[test]
    fn a_token_for_a_servers_configuration_is_one_that_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let config = file(
            &folder,
            "everwire.toml",
            "tokens.issuer = \"shop\"\ntokens.audience = \"live\"\ntokens.life_s_max = 3600\n[[tokens.keys]]\nkid = \"app\"\n\
             alg = \"HS256\"\nsecret = \"a secret of more than 32 bytes, just so\"\n",
        );
        let token = made_with(&["--config", &config, "--can", "read", "**"]).unwrap();
        let told = told(&token);
        for expected in [
            "HS256 with the key app",
            "for       live",
            "from      shop",
            "read on **",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        let error = made_with(&["--config", &config, "--for", "2h"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("would not take this token") && error.contains("3600 s"),
            "{error}"
        );
    }

    #[test]
    fn a_private_key_signs_by_its_own_algorithm() {
        let folder = tempfile::tempdir().unwrap();
        // PKCS#8 as RFC 8410, section 7, has it: an example that everybody knows.
        let known = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let path = file(&folder, "ed25519.pem", known);
        let token = made_with(&["--private-key-file", &path, "--sub", "ada"]).unwrap();
        assert!(
            told(&token).starts_with("signed    EdDSA; the header names no key"),
            "{}",
            told(&token)
        );
    }

    #[test]
    fn a_mistake_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let short = file(&folder, "short", "secret\n");
        let public = file(&folder, "public", "-----BEGIN PUBLIC KEY-----\n");
        let old = file(&folder, "old", "-----BEGIN EC PRIVATE KEY-----\n");
        let good = file(&folder, "good", "a secret of more than 32 bytes, just so");
        let empty = file(&folder, "empty.toml", "");
        for (args, expected) in [
            (
                &["--sub", "ada"][..],
                "--secret-file, --private-key-file, or --config",
            ),
            (
                &["--secret-file", &short],
                "has 6 bytes, and servers ask for at least 32",
            ),
            (&["--secret-file", "/nowhere"], "/nowhere cannot be read"),
            (&["--private-key-file", &public], "is no private key as PEM"),
            (&["--private-key-file", &old], "openssl pkcs8 -topk8"),
            (&["--config", &empty], "has no secret to sign with"),
            (
                &["--secret-file", &good, "--can", "read", "a*"],
                "is no pattern",
            ),
            (
                &["--secret-file", &good, "--info", "Ada"],
                "is not JSON; write an object",
            ),
            (
                &["--secret-file", &good, "--for", "soon"],
                "write a number and s, min, h or d",
            ),
            (&["--secret-file", &good, "--for", "0h"], "write a number"),
        ] {
            let error = format!("{:#}", made_with(args).unwrap_err());
            assert!(error.contains(expected), "{args:?} gave {error}");
        }
        for (token, expected) in [
            ("ewk_shop_12", "this is an API key"),
            ("hello", "1 parts and not three"),
            ("a.b.c", "not base64url"),
            ("bm9wZQ.e30.x", "header is not JSON"),
            ("e30.W10.x", "claims is no JSON object"),
        ] {
            let error = explain::told(token, NOW_S).unwrap_err().to_string();
            assert!(error.contains(expected), "{token} gave {error}");
        }
    }
}
