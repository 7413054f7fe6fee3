//! TLS: certificates, and who is shown which.
#![allow(
    dead_code,
    unused_imports,
    reason = "shown by the acceptor, which comes next"
)]

mod certificate;
mod certificates;
#[cfg(test)]
mod testing;

pub(crate) use certificate::{Certificate, CertificateError};
pub(crate) use certificates::{ACME_PROTOCOL, Certificates, Source};
