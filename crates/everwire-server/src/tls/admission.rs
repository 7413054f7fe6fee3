//! Admission: who may be served at all, by how a connection is secured. Every request, every line and every connection
//! over HTTP/2 is judged here, and judged anew when a reload changes the terms.
//!
//! ```text
//!            mode      off      only        both
//!  clear text          whole    refused     whole, but where a certificate is required: refused,
//!                                           or the challenges of http-01 and nothing else
//!  TLS                 whole, but where a certificate is required and none of the authorities' was shown: refused
//! ```

use everwire_wire::{Problem, ProblemKind};

use crate::{
    config::{Challenge, ClientAuth, TlsMode},
    scheme::Scheme,
};

/// How a connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Clear,
    /// Under TLS. Names the authorities that the client's certificate was checked with, if it has shown one.
    Tls(Option<Authorities>),
}

/// The authorities of clients, told from any others that a reload may put in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authorities(pub(super) [u8; 16]);

/// How far somebody is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As far as its rights reach.
    Whole,
    /// With the challenges that a certificate authority looks for, and nothing else.
    Challenges,
    /// Not at all.
    Refused(Refusal),
}

/// Why somebody is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ClearText,
    NoCertificate,
}

/// The terms of admission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub mode: TlsMode,
    pub client_auth: ClientAuth,
    /// Those whose certificates are good now.
    pub authorities: Option<Authorities>,
}

impl Door {
    /// Decides how far a connection is served; `challenge` is how a certificate authority makes sure of this server's
    /// names, if one does.
    pub fn admit(self, security: Security, challenge: Option<Challenge>) -> Admission {
        let is_required = self.client_auth == ClientAuth::Required;
        match (security, self.mode) {
            (Security::Clear, TlsMode::Only) => Admission::Refused(Refusal::ClearText),
            (Security::Clear, TlsMode::Off | TlsMode::Both) if !is_required => Admission::Whole,
            (Security::Clear, TlsMode::Off | TlsMode::Both) => match challenge {
                Some(Challenge::Http01) => Admission::Challenges,
                Some(Challenge::TlsAlpn01) | None => Admission::Refused(Refusal::ClearText),
            },
            (Security::Tls(_), _) if !is_required => Admission::Whole,
            (Security::Tls(vouched), _) => match vouched.is_some() && vouched == self.authorities {
                true => Admission::Whole,
                false => Admission::Refused(Refusal::NoCertificate),
            },
        }
    }
}

impl Admission {
    /// Refuses what is not served: everything but what a certificate authority looks for, or that too.
    pub fn permit(self, is_challenge: bool) -> Result<(), Refusal> {
        match self {
            Self::Whole => Ok(()),
            Self::Challenges if is_challenge => Ok(()),
            Self::Challenges => Err(Refusal::ClearText),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

impl Security {
    /// By which scheme requests are asked for.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::Clear => Scheme::Http,
            Self::Tls(_) => Scheme::Https,
        }
    }
}

impl Refusal {
    /// Tells a request's client.
    pub fn problem(self) -> Problem {
        Problem::new(ProblemKind::BadRequest, self.detail())
    }

    /// Tells the client of a line that is open, whose connection was admitted before.
    pub fn ends_line(self) -> Problem {
        Problem::new(ProblemKind::Unauthorized, self.detail())
    }

    fn detail(self) -> &'static str {
        match self {
            Self::ClearText => "only TLS is spoken on this port; ask by https:// or wss://",
            Self::NoCertificate => {
                "this server asks clients for a certificate, and this connection has shown none that is good now; \
                 connect anew with one"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mode, every demand for certificates, every way to connect, every challenge.
    #[test]
    fn who_may_connect_is_one_table() {
        use Admission::{Challenges, Refused, Whole};
        use Refusal::{ClearText, NoCertificate};
        let (now, before) = (Authorities([1; 16]), Authorities([2; 16]));
        let securities = [
            Security::Clear,
            Security::Tls(None),
            Security::Tls(Some(before)),
            Security::Tls(Some(now)),
        ];
        let challenges = [None, Some(Challenge::TlsAlpn01), Some(Challenge::Http01)];
        let certified = [Refused(NoCertificate), Refused(NoCertificate), Whole];
        for mode in [TlsMode::Off, TlsMode::Only, TlsMode::Both] {
            for client_auth in [ClientAuth::Off, ClientAuth::Optional, ClientAuth::Required] {
                for challenge in challenges {
                    let is_required = client_auth == ClientAuth::Required;
                    let clear = match (mode, is_required, challenge) {
                        (TlsMode::Only, _, _) => Refused(ClearText),
                        (_, false, _) => Whole,
                        (_, true, Some(Challenge::Http01)) => Challenges,
                        (_, true, _) => Refused(ClearText),
                    };
                    let tls = if is_required { certified } else { [Whole; 3] };
                    let expected = [clear, tls[0], tls[1], tls[2]];
                    let door = Door {
                        mode,
                        client_auth,
                        authorities: Some(now),
                    };
                    let found = securities.map(|security| door.admit(security, challenge));
                    assert_eq!(found, expected, "{mode:?}, {client_auth:?}, {challenge:?}");
                }
            }
        }
    }

    #[test]
    fn without_authorities_nobody_has_shown_a_certificate_of_theirs() {
        let door = Door {
            mode: TlsMode::Only,
            client_auth: ClientAuth::Required,
            authorities: None,
        };
        let refused = Admission::Refused(Refusal::NoCertificate);
        assert_eq!(door.admit(Security::Tls(None), None), refused);
    }
}
