//! The documentation of settings at run time: the sample file, the manual's page, and the list from which
//! flags and environment variables are made.

use std::fmt::Write;

use toml::{Table, Value};

use super::acme::Acme;
use super::tree::{
    Channels, Config, Echo, Events, Health, Http, Limits, Logs, Metrics, Outbound, Presence,
    Reload, SessionLimits, Stop, Tls, Tokens,
};
use super::webhooks::Webhooks;

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

impl Setting {
    /// Its flag, such as `--limits.message-bytes-max`, without the dashes before it.
    pub fn flag(&self) -> String {
        self.path.replace('_', "-")
    }

    /// Its environment variable, such as `EVERWIRE_LIMITS__MESSAGE_BYTES_MAX`.
    pub fn variable(&self) -> String {
        format!("EVERWIRE_{}", self.path.to_uppercase().replace('.', "__"))
    }
}

/// All settings that are a single value, in the order of the sample file.
pub fn settings() -> Vec<Setting> {
    let defaults =
        Table::try_from(Config::default()).expect("the default configuration can be written");
    let mut settings = Vec::new();
    for doc in Config::DOCS {
        match (section(doc.name), &defaults[doc.name]) {
            (Some(fields), Value::Table(section)) => {
                for field in fields
                    .iter()
                    .filter(|field| !is_table_list(doc.name, field))
                {
                    settings.push(setting(
                        format!("{}.{}", doc.name, field.name),
                        field,
                        &section[field.name],
                    ));
                }
            }
            _ if is_table_list("", doc) => {}
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
        .filter(|doc| section(doc.name).is_none() && !is_table_list("", doc))
    {
        assignment(doc, &values[doc.name], &mut out);
    }
    for doc in Config::DOCS {
        if let (Some(fields), Value::Table(section)) = (section(doc.name), &values[doc.name]) {
            comment(doc, &mut out);
            let _ = writeln!(out, "[{}]\n", doc.name);
            for field in fields {
                match is_table_list(doc.name, field) {
                    true => tables(doc.name, field, &section[field.name], &mut out),
                    false => assignment(field, &section[field.name], &mut out),
                }
            }
        }
    }
    for doc in Config::DOCS.iter().filter(|doc| is_table_list("", doc)) {
        tables("", doc, &values[doc.name], &mut out);
    }
    out
}

/// All settings as the page of the manual, with their defaults.
pub fn to_markdown() -> String {
    let mut out = MARKDOWN_INTRODUCTION.to_owned();
    let mut heading = "";
    let settings = settings();
    for setting in &settings {
        let section = setting
            .path
            .split_once('.')
            .map_or("", |(section, _)| section);
        let doc = Config::DOCS.iter().find(|doc| doc.name == section);
        if let Some(doc) = doc.filter(|_| section != heading) {
            let _ = write!(out, "\n## `[{section}]`\n\n{}\n", paragraph(doc));
            heading = section;
        }
        let _ = write!(
            out,
            "\n### `{}`\n\n`{}` · `--{}` · `{}`\n\n{}\n",
            setting.path,
            setting.default,
            setting.flag(),
            setting.variable(),
            setting.doc
        );
    }
    let certificates = Tls::DOCS.iter().find(|doc| doc.name == "certificates");
    let certificates = certificates.map_or_else(String::new, paragraph);
    let _ = write!(
        out,
        "\n## `[[tls.certificates]]`\n\n{certificates}\n{MARKDOWN_CERTIFICATES}"
    );
    for (name, text) in [
        ("keys", MARKDOWN_TOKEN_KEYS),
        ("jwks", MARKDOWN_JWKS),
        ("revoked", MARKDOWN_REVOKED),
    ] {
        let doc = Tokens::DOCS.iter().find(|doc| doc.name == name);
        let about = doc.map_or_else(String::new, paragraph);
        let _ = write!(out, "\n## `[[tokens.{name}]]`\n\n{about}\n{text}");
    }
    let keys = paragraph(documented("keys"));
    let _ = write!(out, "\n## `[[keys]]`\n\n{keys}\n{MARKDOWN_API_KEYS}");
    let rules = documented("rules");
    let _ = write!(out, "\n## `[[rules]]`\n\n{}\n", paragraph(rules));
    out.push_str(MARKDOWN_RULES);
    for field in Channels::DOCS {
        let _ = writeln!(out, "- `{0}`, as `channels.{0}`", field.name);
    }
    out
}

const MARKDOWN_INTRODUCTION: &str = "\
<!-- Made by `everwire config --markdown > docs/configuration.md` from the comments of the settings. Change them there. -->

# Configuration

Every setting has a default that is safe on the open internet, so an empty configuration is a valid one: it listens on
loopback, and nobody may read or publish until somebody says so. Later sources override earlier ones:

```text
defaults  ◀─  file (--config FILE, or EVERWIRE_CONFIG)  ◀─  environment  ◀─  flags
```

`everwire config` prints what is in effect, as a file with each setting under its comment; given the same file,
environment and flags as `everwire serve` it shows what the server would use. Without any it prints the sample file:

```text
everwire config > everwire.toml
everwire serve --config everwire.toml --limits.lines-max 50000
```

A name that is not known, a value of the wrong type and a value that makes no sense are refused at start, with their
place; `everwire config --check FILE` tells without starting. A running server takes over a change of its files at once
([operations.md](operations.md#changing-the-configuration)), but for the few settings that take a restart.

A variable that is empty is not set. One that begins with `EVERWIRE_` and is no setting is told at start, with the one
that is probably meant, but for those that Kubernetes makes for a service of this name.

In variables and flags, lists are written with commas (`--channels.anonymous read,publish`), and a flag that is true or
false may be given alone (`--dev`) or with a value (`--dev=false`). Names that end in `_ms` are milliseconds, in `_s`
seconds, those with `bytes` are bytes. Keys, certificates and rules are written in the file only.

Under each setting stand its default, its flag and its environment variable.

## General
";

const MARKDOWN_CERTIFICATES: &str = "
```toml
[tls]
mode = \"only\"

[[tls.certificates]]
cert_file = \"/etc/everwire/live.example.org.pem\"
key_file = \"/etc/everwire/live.example.org.key\"
```

Both files are PEM. `cert_file` holds the server's own certificate first, then its issuer's, and so on; the root is
left out. `key_file` holds its private key (RSA, ECDSA or Ed25519) without a passphrase. The names that a certificate is
for are those in it, `*.example.org` among them; a name may have two certificates of different kinds.
";

const MARKDOWN_TOKEN_KEYS: &str = "
```toml
[[tokens.keys]]
kid = \"2026-11\"                  # named by the header of tokens
alg = \"EdDSA\"                    # HS256, HS512, RS256, PS256, ES256, ES384 or EdDSA; tokens that say another are refused
public_key_file = \"/etc/everwire/tokens.pem\"

[[tokens.keys]]
kid = \"app\"
alg = \"HS256\"
secret_file = \"/etc/everwire/tokens.secret\"
```

A key has:

- `kid`, its name, which tokens give in their header. A token that gives none is checked with the key that has none, or
  with the only key there is.
- `alg`, the one algorithm that it is used with.
- for `HS256` and `HS512`, `secret` or `secret_file`: a text of at least 32 or 64 bytes, taken as it is, whatever it encodes. A line break
  at a file's end does not count.
- for the others `public_key` or `public_key_file`: a public key as PEM (`-----BEGIN PUBLIC KEY-----`): RSA of 2048 bits
  or more, P-256 for `ES256`, P-384 for `ES384`, Ed25519.

Files are read at start and with each reload; a path that is not absolute is taken from where the server is started. Secrets are not
shown: `everwire config` prints `(not shown)` instead. To replace a key, list the new one beside the old one, issue tokens
with the new one, and remove the old one when the last of its tokens has ended.
";

const MARKDOWN_JWKS: &str = "
```toml
[[tokens.jwks]]
url = \"https://login.example.org/.well-known/jwks.json\"
issuer = \"https://login.example.org\"
```

A key server has:

- `url`, where its document is: `https`, or `http` on this machine. Redirects are not followed.
- `issuer`, which `iss` of a token has to be that is signed with one of these keys. Say it: without, `tokens.issuer` holds
  for all, and whoever has one of several key servers could issue tokens in the name of another.

The keys are fetched at start, when their time is over, and when a token is signed with one that is not known. The server
starts without them, too. What is used of a key: `kid`, and the one algorithm that `kty` and `crv` tell (RSA is for RS256, or PS256 if its `alg` says so,
P-256 for ES256, Ed25519 for EdDSA). Left out, with a line in the log, are keys for something else (`use`, `key_ops`, `alg`),
RSA keys of fewer than 2048 bits, and shared secrets and private keys, which are no secrets where they are published. A
document with two keys of the same `kid` is refused as a whole.
";

const MARKDOWN_REVOKED: &str = "
```toml
[[tokens.revoked]]
jti = \"7c0d\"                      # this token

[[tokens.revoked]]
sub = \"user-17\"                   # all of this user that were issued (`iat`) before
before = 1790000000
```

Say either `jti` or `sub` with `before`, in seconds since 1970; a token without `iat` was issued before. Remove an entry when
the last token that it concerns has ended. [Revocation](protocol.md#revocation) tells what becomes of open lines.
";

const MARKDOWN_API_KEYS: &str = "
```toml
[[keys]]
id = \"shop\"
sha256 = \"4f1c…\"                  # of the whole key, as `everwire key` prints it
channels = [{ match = \"orders/**\", can = [\"publish\", \"read\"] }]
```

Here and in tokens, `channels` is a list of grants: what may be done (`read`, `publish`, `manage`, `presence`) on the
channels that match a pattern, as in [rules](#rules). A grant adds to what everybody may do, it takes nothing away.

What concerns no channel is listed beside them, and for API keys alone: `can = [\"revoke\"]` lets a server
[take tokens back](protocol.md#revocation).
";

const MARKDOWN_RULES: &str = "
```toml
[channels]
anonymous = [\"read\"]              # everybody may read every channel …

[[rules]]
match = \"chat/**\"
anonymous = [\"read\", \"publish\"]   # … and publish to those below chat/
retain_entries = 100

[[rules]]
match = \"internal/**\"
anonymous = []                    # nobody reads these
```

A rule has `match`, a pattern over channel names: `*` is one segment, `**` as the last segment is one segment or more.
`chat/**` covers `chat/lobby` and `chat/lobby/old`, not `chat`. Rules are tried in the order of the file, so write the
narrower ones first. A list replaces that of `[channels]`, it does not add to it. Names whose first segment begins with
`$` are the server's own: a pattern covers them only if it writes that segment out (`$everwire/**`), a rule grants there
only what it says itself, and that can be `read` alone. Besides `match` a rule may have:

";

/// What is a list of tables: written in the file only, and after an example.
const TABLE_LISTS: [(&str, &str, &str); 6] = [
    (
        "tls",
        "certificates",
        "# [[tls.certificates]]\n# cert_file = \"/etc/everwire/live.example.org.pem\"\n# key_file = \"/etc/everwire/live.example.org.key\"\n",
    ),
    (
        "tokens",
        "keys",
        "# [[tokens.keys]]\n# kid = \"2026-11\"\n# alg = \"EdDSA\"\n# public_key_file = \"/etc/everwire/tokens.pem\"\n",
    ),
    (
        "tokens",
        "jwks",
        "# [[tokens.jwks]]\n# url = \"https://login.example.org/.well-known/jwks.json\"\n# issuer = \"https://login.example.org\"\n",
    ),
    (
        "tokens",
        "revoked",
        "# [[tokens.revoked]]\n# sub = \"user-17\"\n# before = 1790000000\n",
    ),
    (
        "",
        "keys",
        "# [[keys]]\n# id = \"shop\"\n# sha256 = \"…\"\n# channels = [{ match = \"orders/**\", can = [\"publish\"] }]\n",
    ),
    (
        "",
        "rules",
        "# [[rules]]\n# match = \"chat/**\"\n# anonymous = [\"read\"]\n# retain_entries = 100\n",
    ),
];

fn example(section: &str, doc: &SettingDoc) -> Option<&'static str> {
    let is_it = |list: &&(&str, &str, &str)| list.0 == section && list.1 == doc.name;
    TABLE_LISTS
        .iter()
        .find(is_it)
        .map(|(_, _, example)| *example)
}

fn is_table_list(section: &str, doc: &SettingDoc) -> bool {
    example(section, doc).is_some()
}

/// A list of tables under its comment and an example.
fn tables(section: &str, doc: &SettingDoc, value: &Value, out: &mut String) {
    comment(doc, out);
    out.push_str(example(section, doc).unwrap_or(""));
    let path = match section {
        "" => doc.name.to_owned(),
        section => format!("{section}.{}", doc.name),
    };
    for item in value.as_array().into_iter().flatten() {
        let _ = write!(out, "\n[[{path}]]\n{}", inline(item));
    }
    out.push('\n');
}

/// A table as one assignment a line, whatever its values are.
fn inline(table: &Value) -> String {
    let mut out = String::new();
    for (name, value) in table.as_table().into_iter().flatten() {
        let _ = writeln!(out, "{name} = {value}");
    }
    out
}

fn documented(name: &str) -> &'static SettingDoc {
    Config::DOCS
        .iter()
        .find(|doc| doc.name == name)
        .expect("every field of the configuration is documented")
}

fn section(name: &str) -> Option<&'static [SettingDoc]> {
    match name {
        "http" => Some(Http::DOCS),
        "limits" => Some(Limits::DOCS),
        "channels" => Some(Channels::DOCS),
        "tls" => Some(Tls::DOCS),
        "tokens" => Some(Tokens::DOCS),
        "webhooks" => Some(Webhooks::DOCS),
        "sessions" => Some(SessionLimits::DOCS),
        "presence" => Some(Presence::DOCS),
        "events" => Some(Events::DOCS),
        "acme" => Some(Acme::DOCS),
        "logs" => Some(Logs::DOCS),
        "metrics" => Some(Metrics::DOCS),
        "reload" => Some(Reload::DOCS),
        "health" => Some(Health::DOCS),
        "stop" => Some(Stop::DOCS),
        "echo" => Some(Echo::DOCS),
        "outbound" => Some(Outbound::DOCS),
        _ => None,
    }
}

fn setting(path: String, doc: &SettingDoc, default: &Value) -> Setting {
    Setting {
        path,
        doc: paragraph(doc),
        default: default.clone(),
    }
}

fn paragraph(doc: &SettingDoc) -> String {
    doc.doc.concat().trim().to_owned()
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
    fn a_rule_may_have_whatever_a_channel_has() {
        let channels = Table::try_from(Channels::default()).unwrap();
        let mut rule = channels.clone();
        rule.insert("match".to_owned(), Value::from("a/**"));
        let rules = Value::Array(vec![Value::Table(rule)]);
        let config = Config::from_table(Table::from_iter([("rules".to_owned(), rules)]));
        config.expect("what docs/configuration.md lists for a rule is taken");
    }

    #[test]
    fn the_manual_page_tells_every_setting() {
        let page = to_markdown();
        for setting in settings() {
            for part in [&setting.path, &setting.doc, &setting.variable()] {
                assert!(page.contains(part), "{}: {part:?} is missing", setting.path);
            }
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
            (
                "[presence]\nlease_ms = 49999\n",
                "`presence.lease_ms` is 49999; it must be at least 50000",
            ),
            (
                "[presence]\nretain_entries = 0\n",
                "`presence.retain_entries` must be at least 1",
            ),
            ("[[rules]]\nmatch = \"a/**/b\"\n", "is no pattern"),
            (
                "[http]\norigins = [\"example.org\"]\n",
                "an origin is a scheme, a host and perhaps a port",
            ),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }
}
