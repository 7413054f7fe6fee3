//! Authorities and what they issue, for tests.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use time::{Duration, OffsetDateTime};

/// 2026-11-20, the day on which what is issued here becomes valid, and a day before which it is not.
pub(crate) const NOW_MS: u64 = 1_795_132_800_000;

/// An authority that signs what it is asked for.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and so many days.
    pub fn issue(&self, names: &[&str], days: i64) -> Issued {
        self.issue_with(names, days, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The same with a key of another kind.
    pub fn issue_with(
        &self,
        names: &[&str],
        days: i64,
        kind: &'static SignatureAlgorithm,
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) =
            (now() - Duration::DAY, now() + Duration::days(days));
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// An authority below it, and its key.
    pub fn intermediate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = authority(name).signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (now() - Duration::DAY, now() + Duration::days(3650));
    params
}

fn now() -> OffsetDateTime {
    let seconds = i64::try_from(NOW_MS / 1000).unwrap();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}
