//! TLS: how it is spoken, and which certificate is shown to whom.
//!
//! ```text
//!  settings, files ─▶ Acceptor ─▶ Connection ── of a socket in the front, then of a line in the shard
//!                       ├─▶ Certificates ◀── replaced while connections are open
//!                       └─▶ Admission      how far anybody is served, by how the connection is secured
//! ```

mod acceptor;
mod admission;
mod certificate;
mod certificates;
mod connection;
mod failure;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use acceptor::Acceptor;
pub(crate) use admission::{Admission, Refusal, Security};
pub(crate) use certificate::{Certificate, CertificateError};
pub(crate) use certificates::{ACME_PROTOCOL, Certificates, Source};
pub(crate) use connection::Connection;
pub(crate) use failure::HandshakeFailure;
