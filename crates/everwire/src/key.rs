//! `everwire key`

use std::io::{self, Write};

use anyhow::{Context, bail};
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_server::{
    auth::{GENERATED_BYTES, NewKey},
    config::Grant,
};

use crate::grant::Grants;

/// Which key to make.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The key's name: what uses it, such as shop. 1 to 32 characters of a-z, 0-9 and -.
    id: String,

    #[command(flatten)]
    grants: Grants,
}

/// `everwire key`
pub fn command() -> Command {
    Args::augment_args(Command::new("key"))
        .about("Make an API key, by which one of your servers shows who it is")
        .after_help(
            "Prints the key, once, and the lines for the server's configuration, which hold its SHA-256 and not the key. \
             The server takes it after a restart:\n\n  \
             curl -H 'Authorization: Bearer ewk_shop_…' -d '{\"id\":7}' https://live.example.org/channels/orders/7\n\n\
             To replace a key, make another one of the same name and list both until nobody uses the old one.\n\n\
             Example:\n  \
             everwire key shop --can publish 'orders/**'",
        )
}

/// Makes a key and prints it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = Args::from_arg_matches(matches)?;
    let mut random = [0; GENERATED_BYTES];
    getrandom::fill(&mut random).context("the system gives no random bytes for a key")?;
    let text = text(&args, random)?;
    io::stdout()
        .write_all(text.as_bytes())
        .context("the key cannot be printed")
}

fn text(args: &Args, random: [u8; GENERATED_BYTES]) -> anyhow::Result<String> {
    let grants = args.grants.parse()?;
    if grants.is_empty() {
        bail!("the key would grant nothing; add what it is for, as in --can publish 'orders/**'");
    }
    let NewKey { key, sha256 } = NewKey::new(&args.id, random)
        .map_err(|problem| anyhow::anyhow!("the key's name {problem}"))?;
    Ok(format!(
        "The key, for whoever is to use it. It is shown this once:\n\n  {key}\n\n\
         For the server's configuration:\n\n\
         [[keys]]\nid = \"{}\"\nsha256 = \"{sha256}\"\nchannels = [{}]\n",
        args.id,
        grants.iter().map(toml_of).collect::<Vec<_>>().join(", "),
    ))
}

fn toml_of(grant: &Grant) -> String {
    let can: Vec<_> = grant
        .can
        .iter()
        .map(|action| format!("{:?}", action.name()))
        .collect();
    let pattern = toml::Value::from(grant.pattern.as_str());
    format!("{{ match = {pattern}, can = [{}] }}", can.join(", "))
}

#[cfg(test)]
mod tests {
    use everwire_server::{Config, auth::Authority};

    use super::*;

    fn made(args: &[&str]) -> anyhow::Result<String> {
        let matches = command().try_get_matches_from([&["key"], args].concat())?;
        text(&Args::from_arg_matches(&matches)?, [7; GENERATED_BYTES])
    }

    #[test]
    fn the_lines_are_those_by_which_a_server_takes_the_key() {
        let text = made(&[
            "shop",
            "--can",
            "publish,read",
            "orders/**",
            "--can",
            "read",
            "a \"b\"/*",
        ])
        .unwrap();
        let (_, lines) = text.split_once("[[keys]]").unwrap();
        let config = Config::from_toml(&format!("[[keys]]{lines}")).unwrap();
        let authority = Authority::new(&config, &mut |_| unreachable!("no file is named")).unwrap();
        let key = text
            .lines()
            .find_map(|line| line.strip_prefix("  ewk_"))
            .unwrap();
        let caller = authority.judge(&format!("ewk_{key}"), 0).unwrap();
        assert_eq!(caller.as_known().unwrap().grants, config.keys[0].channels);
        assert_eq!(config.keys[0].channels.len(), 2);
    }

    #[test]
    fn a_mistake_is_told_with_what_to_do() {
        for (args, expected) in [
            (&["shop"][..], "--can publish"),
            (&["My_Shop", "--can", "read", "a"], "use 1 to 32 characters"),
            (
                &["shop", "--can", "fly", "a"],
                "--can fly 'a': unknown variant `fly`, expected one of `read`",
            ),
            (&["shop", "--can", "read", "a*"], "is no pattern"),
            (&["shop", "--can", "read"], "2 values required"),
            (&[], "<ID>"),
        ] {
            let error = format!("{:#}", made(args).unwrap_err());
            assert!(error.contains(expected), "{args:?} gave {error}");
        }
    }
}
