//! How proxies in front say who is behind them.

use serde::{Deserialize, Serialize};

/// Whether proxies say it before a connection's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// No: connections begin with what the client sends.
    Off,
    /// Each connection from a trusted proxy begins with a PROXY header.
    Required,
}

/// In which fields proxies say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyFields {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}
