//! Settings of the certificates that the server gets by itself, and the names that they are for.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{
    ConfigError,
    address::{Address, ClearText},
    document::{Documented, SettingDoc},
    tls::{ClientAuth, TlsMode},
    tree::{Tls, settings},
    url::Url,
};

settings! {
/// Certificates that the server gets and renews by itself, by ACME (RFC 8555).
pub struct Acme {
    /// The names that this server is reached by, such as `live.example.org`: one certificate covers all of them.
    /// Empty, the default, means that nobody is asked for any. An IP address can be written too, where the
    /// authority issues such certificates. Naming domains here means that you agree to the authority's terms.
    /// Takes a restart.
    pub domains: Vec<Domain> = Vec::new(),
    /// Addresses that the authority may write to, such as `admin@example.org`. Some authorities want one.
    /// Takes a restart.
    pub contact: Vec<String> = Vec::new(),
    /// The authority, by the address of its ACME directory. The default is Let's Encrypt; to try things out,
    /// write `https://acme-staging-v02.api.letsencrypt.org/directory`, which has generous limits and issues
    /// certificates that no browser believes. Its own certificate has to be from an authority that this system
    /// or `outbound.ca_file` knows. Takes a restart.
    pub directory: String = "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
    /// How the authority makes sure that the domains lead here: `tls-alpn-01`, which needs this server's TLS
    /// reachable at port 443 of each, or `http-01`, which needs its clear text reachable at port 80. Takes a restart.
    pub challenge: Challenge = Challenge::TlsAlpn01,
    /// The folder for the account's key and for certificates with their keys. Only the server needs to read it, and
    /// it has to outlive the process: authorities limit how often they issue anew. The default is where systemd and
    /// the container put it. Takes a restart.
    pub storage: PathBuf = PathBuf::from("/var/lib/everwire/acme"),
    /// The name of an external account, for authorities that ask for one (RFC 8555, section 7.3.4). Empty means none.
    /// Takes a restart.
    pub external_account_kid: String = String::new(),
    /// A file with that account's MAC key, in base64url as the authority gave it. Takes a restart.
    pub external_account_hmac_file: PathBuf = PathBuf::new(),
    /// Which of the authority's profiles to ask for, such as `shortlived`. Empty means the authority's default.
    /// Takes a restart.
    pub profile: String = String::new(),
}
}

/// How an authority makes sure that a name leads here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// By a TLS handshake of a protocol of its own (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a request in clear text (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

impl Challenge {
    /// Its name in RFC 8555.
    pub fn name(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }
}

/// A name that a certificate can be for, in lower case: a host name of ASCII labels, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Domain {
    /// A host name.
    Name(String),
    /// An IP address (RFC 8738).
    Address(IpAddr),
}

impl Domain {
    /// The name by which a validator asks for this one's certificate in a TLS handshake, where addresses have no
    /// place: they are written as for reverse lookups (RFC 8738, section 6).
    pub fn server_name(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            Self::Address(IpAddr::V6(address)) => format!("{}.ip6.arpa", nibbles(*address)),
        }
    }
}

fn nibbles(address: Ipv6Addr) -> String {
    let digits: Vec<String> = address
        .octets()
        .iter()
        .rev()
        .map(|octet| format!("{:x}.{:x}", octet & 15, octet >> 4))
        .collect();
    digits.join(".")
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Address(address));
        }
        let wrong = |problem: &str| Err(format!("`{text}` {problem}"));
        if text.starts_with("*.") {
            return wrong(
                "is a wildcard, which an authority only issues for changes in the DNS; name each domain",
            );
        }
        if text.contains("://") || text.contains('/') || text.contains(':') {
            return wrong("is no domain; write the host alone, such as `live.example.org`");
        }
        if !text.is_ascii() {
            return wrong("has letters beyond ASCII; write it in its `xn--` form");
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if text.len() > 253 || !text.contains('.') || !text.split('.').all(is_label) {
            return wrong(
                "is no domain that a certificate can be for; write it whole, such as `live.example.org`",
            );
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.to_string()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Acme {
    /// Whether certificates are asked for at all.
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Finds what makes no sense.
    pub(super) fn check(&self, tls: &Tls) -> Result<(), ConfigError> {
        let value =
            |setting: &'static str, problem: String| Err(ConfigError::value(setting, problem));
        if !self.is_on() {
            return Ok(());
        }
        if self.domains.len() > DOMAINS_MAX {
            return value(
                "acme.domains",
                format!(
                    "has {} names; authorities put at most {DOMAINS_MAX} into one certificate",
                    self.domains.len()
                ),
            );
        }
        let directory = Url::parse(&self.directory).ok();
        let is_https = directory.is_some_and(|url| Address::of(&url, ClearText::Nowhere).is_ok());
        if !is_https {
            return value(
                "acme.directory",
                format!(
                    "is `{}`; it has to be an `https://` address (RFC 8555, section 6.1)",
                    self.directory
                ),
            );
        }
        for contact in &self.contact {
            let is_address = contact
                .split_once('@')
                .is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
            if !is_address || contact.contains([' ', ',', '?', ':']) {
                return value(
                    "acme.contact",
                    format!("has `{contact}`; write an address such as `admin@example.org`"),
                );
            }
        }
        if self.storage.as_os_str().is_empty() {
            return value(
                "acme.storage",
                "is empty; certificates have to be kept in a folder, since authorities limit how often they issue"
                    .to_owned(),
            );
        }
        match (self.challenge, tls.mode, tls.client_auth) {
            (_, TlsMode::Off, _) => value(
                "acme.domains",
                "names domains, and tls.mode is off, so nobody would be shown their certificate; set tls.mode to `only`, \
                 or to `both`"
                    .to_owned(),
            ),
            (Challenge::Http01, TlsMode::Only, _) => value(
                "acme.challenge",
                "is `http-01`, which is asked in clear text, and tls.mode is `only`; set that to `both`, or take \
                 `tls-alpn-01`"
                    .to_owned(),
            ),
            (Challenge::TlsAlpn01, _, ClientAuth::Required) => value(
                "acme.challenge",
                "is `tls-alpn-01`, for which an authority connects without a certificate of its own, and \
                 tls.client_auth is `required`; take `http-01` with tls.mode `both`, where clear text is served challenges \
                 and nothing else, or set tls.client_auth to `optional`"
                    .to_owned(),
            ),
            _ => Ok(()),
        }?;
        let has_kid = !self.external_account_kid.is_empty();
        if has_kid == self.external_account_hmac_file.as_os_str().is_empty() {
            return value(
                "acme.external_account_kid",
                "and `acme.external_account_hmac_file` go together; set both, or neither"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Most names in one certificate, as Let's Encrypt has it.
const DOMAINS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn a_domain_is_a_whole_host_name_or_an_address() {
        for (text, expected) in [
            ("live.example.org", Ok("live.example.org")),
            ("Live.Example.ORG", Ok("live.example.org")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("192.0.2.1", Ok("192.0.2.1")),
            ("[2001:db8::1]", Ok("2001:db8::1")),
            ("*.example.org", Err("is a wildcard")),
            ("https://example.org", Err("write the host alone")),
            ("example.org:443", Err("write the host alone")),
            ("bücher.example", Err("xn--")),
            ("localhost", Err("write it whole")),
            ("", Err("write it whole")),
            ("example..org", Err("write it whole")),
            ("-a.example", Err("write it whole")),
            ("a_b.example", Err("write it whole")),
        ] {
            match (text.parse::<Domain>(), expected) {
                (Ok(domain), Ok(shown)) => assert_eq!(domain.to_string(), shown),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (read, _) => panic!("{text:?} gave {read:?}"),
            }
        }
    }

    /// RFC 8738, section 6, and RFC 3596, section 2.5.
    #[test]
    fn an_address_is_asked_for_as_in_a_reverse_lookup() {
        for (text, expected) in [
            ("live.example.org", "live.example.org"),
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            (
                "2001:db8::567:89ab",
                "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            assert_eq!(text.parse::<Domain>().unwrap().server_name(), expected);
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_with_what_to_write() {
        for (text, expected) in [
            ("domains = [\"*.example.org\"]", "wildcard"),
            (
                "domains = [\"a.example\"]\ndirectory = \"http://ca.example/\"",
                "`acme.directory` is `http://ca.example/`; it has to be an `https://` address",
            ),
            (
                "domains = [\"a.example\"]\ncontact = [\"mailto:a@b.example\"]",
                "`acme.contact` has `mailto:a@b.example`; write an address",
            ),
            (
                "domains = [\"a.example\"]\nstorage = \"\"",
                "`acme.storage` is empty",
            ),
            (
                "domains = [\"a.example\"]\nexternal_account_kid = \"k\"",
                "go together",
            ),
            ("challenge = \"dns-01\"", "is `dns-01`; write `tls-alpn-01`"),
            (
                "domains = [\"a.example\"]\n[tls]\nmode = \"off\"",
                "`acme.domains` names domains, and tls.mode is off",
            ),
            (
                "domains = [\"a.example\"]\nchallenge = \"http-01\"\n[tls]\nmode = \"only\"",
                "`acme.challenge` is `http-01`, which is asked in clear text",
            ),
            (
                "domains = [\"a.example\"]\n[tls]\nmode = \"only\"\nclient_auth = \"required\"\nclient_ca_file = \"x\"",
                "`acme.challenge` is `tls-alpn-01`, for which an authority connects without",
            ),
        ] {
            let tls = match text.contains("[tls]") {
                true => "",
                false => "[tls]\nmode = \"both\"\n",
            };
            let error = Config::from_toml(&format!("[acme]\n{text}\n{tls}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn no_more_names_than_go_into_one_certificate() {
        let names = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("\"n{n}.example\"")).collect();
            let names = names.join(",");
            Config::from_toml(&format!(
                "[acme]\ndomains = [{names}]\n[tls]\nmode = \"only\"\n"
            ))
        };
        assert!(names(DOMAINS_MAX).is_ok());
        let error = names(DOMAINS_MAX + 1).unwrap_err().to_string();
        assert!(error.contains("has 101 names"), "{error}");
    }
}
