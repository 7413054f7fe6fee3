//! `everwire key`

use std::io::{self, Write};

use anyhow::{Context, bail};
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use everwire_server::{
    auth::{GENERATED_BYTES, NewKey},
    config::Grant,
    webhook::{KeyPair, SEED_BYTES},
};

use crate::grant::Grants;

/// Which key to make.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The key's name: what uses it, such as shop. 1 to 32 characters of a-z, 0-9 and -.
    #[arg(required_unless_present = "webhook")]
    id: Option<String>,

    #[command(flatten)]
    grants: Grants,

    /// Make a pair of keys instead, with which this server signs what it asks your application.
    #[arg(long, conflicts_with_all = ["id", "can"])]
    webhook: bool,
}

/// `everwire key`
pub fn command() -> Command {
    Args::augment_args(Command::new("key"))
        .about("Make an API key, by which one of your servers shows who it is, or the keys of the webhook")
        .after_help(
            "Prints the key, once, and the lines for the server's configuration, which hold its SHA-256 and not the key. \
             The server takes it after a restart:\n\n  \
             curl -H 'Authorization: Bearer ewk_shop_…' -d '{\"id\":7}' https://live.example.org/channels/orders/7\n\n\
             To replace a key, make another one of the same name and list both until nobody uses the old one.\n\n\
             Examples:\n  \
             everwire key shop --can publish 'orders/**'\n  \
             everwire key --webhook",
        )
}

/// Makes a key and prints it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let args = Args::from_arg_matches(matches)?;
    let no_bytes = "the system gives no random bytes for a key";
    let text = match &args.id {
        Some(id) => {
            let mut random = [0; GENERATED_BYTES];
            getrandom::fill(&mut random).context(no_bytes)?;
            text(id, &args.grants, random)?
        }
        None => {
            let mut random = [0; SEED_BYTES];
            getrandom::fill(&mut random).context(no_bytes)?;
            webhook_text(random)?
        }
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("the key cannot be printed")
}

fn text(id: &str, grants: &Grants, random: [u8; GENERATED_BYTES]) -> anyhow::Result<String> {
    let grants = grants.parse()?;
    if grants.is_empty() {
        bail!("the key would grant nothing; add what it is for, as in --can publish 'orders/**'");
    }
    let NewKey { key, sha256 } =
        NewKey::new(id, random).map_err(|problem| anyhow::anyhow!("the key's name {problem}"))?;
    Ok(format!(
        "The key, for whoever is to use it. It is shown this once:\n\n  {key}\n\n\
         For the server's configuration:\n\n\
         [[keys]]\nid = \"{id}\"\nsha256 = \"{sha256}\"\nchannels = [{}]\n",
        grants.iter().map(toml_of).collect::<Vec<_>>().join(", "),
    ))
}

fn webhook_text(random: [u8; SEED_BYTES]) -> anyhow::Result<String> {
    let KeyPair { private, public } =
        KeyPair::new(random).map_err(|_| anyhow::anyhow!("the keys cannot be made; try again"))?;
    Ok(format!(
        "The private key, for a file that only this server can read. It is shown this once:\n\n{private}\n\
         The public key, for your application, which checks Everwire-Signature with it:\n\n{public}\n\
         For the server's configuration:\n\n\
         [webhooks]\nurl = \"https://app.example.org/everwire\"\nprivate_key_file = \"/etc/everwire/webhook.pem\"\n"
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
        let args = Args::from_arg_matches(&matches)?;
        match &args.id {
            Some(id) => text(id, &args.grants, [7; GENERATED_BYTES]),
            None => webhook_text([7; SEED_BYTES]),
        }
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
    fn the_keys_of_the_webhook_are_those_that_a_server_takes() {
        let text = made(&["--webhook"]).unwrap();
        let from = |mark: &str| &text[text.find(mark).unwrap()..];
        let private = from("-----BEGIN PRIVATE KEY-----");
        assert!(from("-----BEGIN PUBLIC KEY-----").contains("[webhooks]"));
        let config = Config::from_toml(from("[webhooks]")).unwrap();
        assert_eq!(
            config.webhooks.private_key_file.to_str(),
            Some("/etc/everwire/webhook.pem")
        );
        assert!(jsonwebtoken::EncodingKey::from_ed_pem(private.as_bytes()).is_ok());
        assert!(made(&["shop", "--webhook"]).is_err());
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
