//! Why a handshake failed, in few words that are counted: who scans the internet meets every port, and a line in the
//! log for each would hide what matters.

use rustls::Error;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HandshakeFailure {
    /// It took longer than `tls.handshake_ms`.
    TimeOut,
    /// The peer has gone.
    Closed,
    /// The peer speaks no TLS where nothing else is spoken.
    ClearText,
    /// The peer broke the protocol, refused ours, or we refused the peer.
    Tls(Error),
}

impl HandshakeFailure {
    /// What it is counted as.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TimeOut => "timeout",
            Self::Closed => "closed",
            Self::ClearText => "clear_text",
            Self::Tls(error) => match error {
                // Nearly always one that does not believe our certificate.
                Error::AlertReceived(_) => "refused_by_client",
                Error::NoCertificatesPresented => "no_client_certificate",
                Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
                    "bad_client_certificate"
                }
                // No version, cipher or protocol in common.
                Error::PeerIncompatible(_) | Error::NoApplicationProtocol => "nothing_in_common",
                // All that rustls has no name for: there is no certificate for the client.
                Error::General(_) => "no_certificate",
                _ => "malformed",
            },
        }
    }
}
