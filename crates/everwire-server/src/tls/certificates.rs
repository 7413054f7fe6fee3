//! The certificates that the server shows, and which of them to whom.
//!
//! ```text
//!  files, ACME ── replace ──▶ ┌──────────────┐
//!                             │ exact names  │
//!  ClientHello ── resolve ──▶ │ wildcards    │──▶ the first that fits, else the first of all
//!                             │ challenges   │
//!                             └──────────────┘
//! ```
//!
//! A handshake takes one snapshot. Replacing certificates touches no connection that is open.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::certificate::Certificate;

/// The protocol by which an ACME server asks for a challenge (RFC 8737, section 3).
pub(crate) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Certificates by the names that they are for. Empty at first; handshakes fail until there are some.
#[derive(Default)]
pub(crate) struct Certificates {
    shown: ArcSwap<Shown>,
    challenges: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

/// Where certificates come from. Each source replaces its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Files that the configuration names. They come before the others.
    Files,
    /// Issued to this server.
    Acme,
}

/// One snapshot.
#[derive(Clone, Default)]
struct Shown {
    files: Vec<Certificate>,
    acme: Vec<Certificate>,
    /// By a name, or by what follows `*.` in one.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// Shows these from now on in place of those that came from the same source. Their order is that of preference,
    /// and the first is shown to whoever asks for no name or for one that none is for.
    pub fn replace(&self, source: Source, certificates: &[Certificate]) {
        self.shown.rcu(|shown| match source {
            Source::Files => Shown::new(certificates.to_vec(), shown.acme.clone()),
            Source::Acme => Shown::new(shown.files.clone(), certificates.to_vec()),
        });
    }

    /// When the first of them ends, in Unix milliseconds.
    pub fn ends_ms(&self) -> Option<u64> {
        self.shown.load().all().map(Certificate::ends_ms).min()
    }

    /// Answers the challenge for a name from now on (RFC 8737). Who asks by that protocol is shown nothing else.
    pub fn begin_challenge(&self, name: &str, key: &Arc<CertifiedKey>) {
        self.challenges.rcu(|challenges| {
            let mut challenges = HashMap::clone(challenges);
            challenges.insert(name.to_ascii_lowercase(), key.clone());
            challenges
        });
    }

    /// Answers it no longer.
    pub fn end_challenge(&self, name: &str) {
        self.challenges.rcu(|challenges| {
            let mut challenges = HashMap::clone(challenges);
            challenges.remove(&name.to_ascii_lowercase());
            challenges
        });
    }

    /// What is shown to who asks for a name and can check these signatures.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        let named = name.and_then(|name| shown.named(&name.to_ascii_lowercase(), schemes));
        named.or_else(|| {
            let all = shown.all().map(Certificate::key);
            fitting(all.clone(), schemes).or_else(|| all.clone().next().cloned())
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() == Some(ACME_PROTOCOL) && protocols.next().is_none() {
            let challenges = self.challenges.load();
            return challenges.get(&name?.to_ascii_lowercase()).cloned();
        }
        self.choose(name, hello.signature_schemes())
    }
}

/// Without keys.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.shown.load();
        f.debug_list().entries(shown.all()).finish()
    }
}

impl Shown {
    fn new(files: Vec<Certificate>, acme: Vec<Certificate>) -> Self {
        let mut shown = Self {
            files,
            acme,
            ..Self::default()
        };
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for certificate in shown.all() {
            for name in certificate.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                let keys: &mut Vec<_> = names.entry(name.to_owned()).or_default();
                keys.push(certificate.key().clone());
            }
        }
        (shown.exact, shown.wildcard) = (exact, wildcard);
        shown
    }

    fn all(&self) -> impl Iterator<Item = &Certificate> + Clone {
        self.files.iter().chain(&self.acme)
    }

    /// The first that is for a name, which stands for one label only where it is `*` (RFC 9525, section 6.3).
    fn named(&self, name: &str, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let exact = self.exact.get(name);
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
        let keys = exact.into_iter().chain(wildcard).flatten();
        fitting(keys.clone(), schemes).or_else(|| keys.clone().next().cloned())
    }
}

/// The first whose signatures can be checked, so that a site may have a certificate for old clients beside a small one.
fn fitting<'k>(
    mut keys: impl Iterator<Item = &'k Arc<CertifiedKey>>,
    schemes: &[SignatureScheme],
) -> Option<Arc<CertifiedKey>> {
    keys.find(|key| key.key.choose_scheme(schemes).is_some())
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;
    use crate::tls::testing::{Authority, Issued, NOW_MS};

    fn read(issued: &Issued) -> Certificate {
        let (chain, key) = (issued.chain.as_bytes(), issued.key.as_bytes());
        Certificate::from_pem(chain, key, &default_provider(), NOW_MS).unwrap()
    }

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

    /// The place of what is chosen among those that were given.
    fn chosen(
        certificates: &[Certificate],
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<usize> {
        let all = Certificates::default();
        all.replace(Source::Files, certificates);
        let chosen = all.choose(name, schemes)?;
        certificates
            .iter()
            .position(|one| Arc::ptr_eq(one.key(), &chosen))
    }

    #[test]
    fn who_asks_for_a_name_is_shown_the_certificate_for_it() {
        let authority = Authority::new("root");
        let certificates = [
            authority.issue(&["default.example"], 90),
            authority.issue(&["*.example.org", "example.org"], 90),
            authority.issue(&["live.example.org"], 90),
        ]
        .map(|issued| read(&issued));
        for (name, expected) in [
            (None, 0),
            (Some("default.example"), 0),
            (Some("example.org"), 1),
            (Some("www.example.org"), 1),
            (Some("WWW.EXAMPLE.ORG"), 1),
            (Some("live.example.org"), 2),
            // A wildcard stands for one label, and not for none.
            (Some("a.www.example.org"), 0),
            (Some("www.example.net"), 0),
            (Some("org"), 0),
            (Some("*.example.org"), 1),
        ] {
            assert_eq!(
                chosen(&certificates, name, ECDSA),
                Some(expected),
                "{name:?}"
            );
        }
        assert_eq!(chosen(&[], Some("example.org"), ECDSA), None);
    }

    #[test]
    fn of_two_for_a_name_the_first_is_shown_that_the_client_can_check() {
        let authority = Authority::new("root");
        let ed25519 = authority.issue_with(&["example.org"], 90, &rcgen::PKCS_ED25519);
        let certificates =
            [ed25519, authority.issue(&["example.org"], 90)].map(|issued| read(&issued));
        let both = [SignatureScheme::ED25519, ECDSA[0]];
        for name in [None, Some("example.org")] {
            assert_eq!(chosen(&certificates, name, &both), Some(0), "{name:?}");
            assert_eq!(chosen(&certificates, name, ECDSA), Some(1), "{name:?}");
            // The handshake fails with that one, and tells why.
            assert_eq!(chosen(&certificates, name, &[]), Some(0), "{name:?}");
        }
    }

    #[test]
    fn each_source_replaces_its_own() {
        let authority = Authority::new("root");
        let [one, other, third] =
            [30, 20, 10].map(|days| read(&authority.issue(&["example.org"], days)));
        let all = Certificates::default();
        assert_eq!(all.ends_ms(), None);
        let shown = |all: &Certificates| all.choose(Some("example.org"), ECDSA).unwrap();
        all.replace(Source::Acme, slice::from_ref(&one));
        assert!(Arc::ptr_eq(&shown(&all), one.key()));
        all.replace(Source::Files, slice::from_ref(&other));
        assert!(Arc::ptr_eq(&shown(&all), other.key()));
        all.replace(Source::Acme, slice::from_ref(&third));
        assert!(Arc::ptr_eq(&shown(&all), other.key()));
        assert_eq!(all.ends_ms(), Some(third.ends_ms()));
        all.replace(Source::Files, &[]);
        assert!(Arc::ptr_eq(&shown(&all), third.key()));
    }
}
