//! Agreeing on the parameters of permessage-deflate (RFC 7692, sections 5 and 7.1).
//!
//! ```text
//!  client ─ offer; offer; … ─▶ server     takes the first offer that it can honour
//!  client ◀─ one response ─── server      a response beyond the offer fails the connection
//! ```

use super::{ContextTakeover, Deflate, WindowBits};
use crate::handshake::field::{Extension, Parameter};

/// What a server grants of permessage-deflate.
///
/// It always answers `server_no_context_takeover`: a compression context of the server's for each
/// connection would cost 190–320 kB, and a broadcast could not be compressed once for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Whether a client's messages may refer to earlier ones, which makes them smaller and costs
    /// 42 kB for each connection that sends a compressed message. Default: no, the answer asks for
    /// `client_no_context_takeover`.
    pub client_context_takeover: ContextTakeover,
    /// Largest window with which the server compresses. Default: 15 bits.
    pub server_max_window_bits: WindowBits<9>,
}

impl DeflatePolicy {
    /// The default, as a constant: no context takeover, and the largest window.
    pub const STANDARD: Self = Self {
        client_context_takeover: ContextTakeover::No,
        server_max_window_bits: WindowBits::MAX,
    };
}

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// What a client offers of permessage-deflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateOffer {
    /// `No` asks that the server's messages stand alone, so that we keep no context. Default: yes.
    pub server_context_takeover: ContextTakeover,
    /// `No` tells that ours will stand alone. Default: yes.
    pub client_context_takeover: ContextTakeover,
    /// Largest window that the server may use. Default: 15 bits, which is not mentioned.
    pub server_max_window_bits: WindowBits<9>,
    /// Largest window that we will use. Default: 15 bits, with leave for the server to ask for less.
    pub client_max_window_bits: WindowBits<9>,
}

impl Default for DeflateOffer {
    fn default() -> Self {
        Self {
            server_context_takeover: ContextTakeover::Yes,
            client_context_takeover: ContextTakeover::Yes,
            server_max_window_bits: WindowBits::MAX,
            client_max_window_bits: WindowBits::MAX,
        }
    }
}

/// The name under which the extension is registered.
pub(crate) const EXTENSION_NAME: &str = "permessage-deflate";

/// Why an offer is declined, or a response fails the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterError {
    /// A name that RFC 7692 does not define.
    Unknown,
    /// A name for the second time.
    Repeated,
    /// A value where none may stand, none where one must, or one out of range.
    Value,
    /// More than the other side can honour or did offer.
    Excessive,
}

impl DeflatePolicy {
    /// The agreement on the first of the client's offers that can be honoured, with the text of the
    /// response.
    pub(crate) fn choose(&self, extensions: &[Extension<'_>]) -> Option<(Deflate, String)> {
        extensions
            .iter()
            .filter(|extension| extension.name == EXTENSION_NAME)
            .find_map(|offer| {
                self.accept(&Parameters::parse(&offer.parameters).ok()?)
                    .ok()
            })
    }

    fn accept(&self, offer: &Parameters) -> Result<(Deflate, String), ParameterError> {
        let server_max_window_bits = match offer.server_max_window_bits {
            None => self.server_max_window_bits,
            // zlib takes 8 for 9, and a peer that believed in 8 could not read the result.
            Some(bits) => WindowBits::new(bits.bits())
                .ok_or(ParameterError::Excessive)?
                .min(self.server_max_window_bits),
        };
        let deflate = Deflate {
            server_context_takeover: ContextTakeover::No,
            client_context_takeover: match offer.client_no_context_takeover {
                true => ContextTakeover::No,
                false => self.client_context_takeover,
            },
            server_max_window_bits,
            client_max_window_bits: match offer.client_max_window_bits {
                ClientWindow::At(bits) => bits,
                ClientWindow::Absent | ClientWindow::Any => WindowBits::MAX,
            },
        };
        let mut response = format!("{EXTENSION_NAME}; server_no_context_takeover");
        if deflate.client_context_takeover == ContextTakeover::No {
            response += "; client_no_context_takeover";
        }
        if offer.server_max_window_bits.is_some() || server_max_window_bits != WindowBits::MAX {
            response += &format!("; server_max_window_bits={}", server_max_window_bits.bits());
        }
        // Repeating the client's own window binds it; our decompressor can read every window.
        if let ClientWindow::At(bits) = offer.client_max_window_bits {
            response += &format!("; client_max_window_bits={}", bits.bits());
        }
        Ok((deflate, response))
    }
}

impl DeflateOffer {
    /// The offer as an element of `Sec-WebSocket-Extensions`.
    pub(crate) fn header(&self) -> String {
        let mut offer = EXTENSION_NAME.to_owned();
        if self.server_context_takeover == ContextTakeover::No {
            offer += "; server_no_context_takeover";
        }
        if self.client_context_takeover == ContextTakeover::No {
            offer += "; client_no_context_takeover";
        }
        if self.server_max_window_bits != WindowBits::MAX {
            offer += &format!(
                "; server_max_window_bits={}",
                self.server_max_window_bits.bits()
            );
        }
        offer += "; client_max_window_bits";
        if self.client_max_window_bits != WindowBits::MAX {
            offer += &format!("={}", self.client_max_window_bits.bits());
        }
        offer
    }

    /// Judges the server's response to this offer.
    pub(crate) fn check(&self, response: &Extension<'_>) -> Result<Deflate, ParameterError> {
        let response = Parameters::parse(&response.parameters)?;
        let server_max_window_bits = match response.server_max_window_bits {
            None if self.server_max_window_bits == WindowBits::MAX => WindowBits::MAX,
            // Section 7.1.2.1: a server that accepts the offer answers with its size or a smaller one.
            None => return Err(ParameterError::Excessive),
            Some(bits) if bits.bits() > self.server_max_window_bits.bits() => {
                return Err(ParameterError::Excessive);
            }
            // A window of 8 is read with one of 9.
            Some(bits) => WindowBits::new(bits.bits().max(9)).unwrap_or_default(),
        };
        if self.server_context_takeover == ContextTakeover::No
            && !response.server_no_context_takeover
        {
            return Err(ParameterError::Excessive);
        }
        let own = WindowBits::new(self.client_max_window_bits.bits()).unwrap_or_default();
        let client_max_window_bits = match response.client_max_window_bits {
            ClientWindow::Absent => own,
            ClientWindow::Any => return Err(ParameterError::Value),
            ClientWindow::At(bits) if bits > own => return Err(ParameterError::Excessive),
            ClientWindow::At(bits) => bits,
        };
        Ok(Deflate {
            server_context_takeover: takeover(!response.server_no_context_takeover),
            client_context_takeover: match response.client_no_context_takeover {
                true => ContextTakeover::No,
                false => self.client_context_takeover,
            },
            server_max_window_bits,
            client_max_window_bits,
        })
    }
}

/// The parameters of an offer or a response, each well-formed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits<8>>,
    client_max_window_bits: ClientWindow,
}

/// `client_max_window_bits`, which an offer may give without a value (section 7.1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClientWindow {
    #[default]
    Absent,
    Any,
    At(WindowBits<8>),
}

impl Parameters {
    fn parse(parameters: &[Parameter<'_>]) -> Result<Self, ParameterError> {
        let mut parsed = Self::default();
        for Parameter { name, value } in parameters {
            let value = value.as_deref();
            match *name {
                "server_no_context_takeover" => {
                    set_flag(&mut parsed.server_no_context_takeover, value)?;
                }
                "client_no_context_takeover" => {
                    set_flag(&mut parsed.client_no_context_takeover, value)?;
                }
                "server_max_window_bits" => {
                    let bits = window_bits(value.ok_or(ParameterError::Value)?)?;
                    if parsed.server_max_window_bits.replace(bits).is_some() {
                        return Err(ParameterError::Repeated);
                    }
                }
                "client_max_window_bits" => {
                    if parsed.client_max_window_bits != ClientWindow::Absent {
                        return Err(ParameterError::Repeated);
                    }
                    parsed.client_max_window_bits = match value {
                        None => ClientWindow::Any,
                        Some(value) => ClientWindow::At(window_bits(value)?),
                    };
                }
                _ => return Err(ParameterError::Unknown),
            }
        }
        Ok(parsed)
    }
}

fn set_flag(flag: &mut bool, value: Option<&str>) -> Result<(), ParameterError> {
    match (value, std::mem::replace(flag, true)) {
        (Some(_), _) => Err(ParameterError::Value),
        (None, true) => Err(ParameterError::Repeated),
        (None, false) => Ok(()),
    }
}

/// "A decimal integer value without leading zeroes between 8 to 15 inclusive" (section 7.1.2).
fn window_bits(value: &str) -> Result<WindowBits<8>, ParameterError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    let bits = if digits { value.parse().ok() } else { None };
    bits.and_then(WindowBits::new).ok_or(ParameterError::Value)
}

fn takeover(takes_over: bool) -> ContextTakeover {
    if takes_over {
        ContextTakeover::Yes
    } else {
        ContextTakeover::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::field;
    use http::header::SEC_WEBSOCKET_EXTENSIONS;
    use http::{HeaderMap, HeaderValue};

    fn with_extensions<T>(value: &str, read: impl FnOnce(&[Extension<'_>]) -> T) -> T {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_EXTENSIONS,
            HeaderValue::from_str(value).unwrap(),
        );
        read(&field::extensions(&headers, SEC_WEBSOCKET_EXTENSIONS).unwrap())
    }

    /// The response to an offer without the extension's name and the parameter that is always there.
    fn response(policy: &DeflatePolicy, offer: &str) -> Option<String> {
        let (_, response) = with_extensions(offer, |offers| policy.choose(offers))?;
        let rest = response.strip_prefix("permessage-deflate; server_no_context_takeover");
        Some(rest.expect("the server keeps no context").to_owned())
    }

    const TAKEOVER: DeflatePolicy = DeflatePolicy {
        client_context_takeover: ContextTakeover::Yes,
        server_max_window_bits: WindowBits::MAX,
    };

    /// RFC 7692, section 7.1.
    #[test]
    fn a_server_answers_the_first_offer_that_it_can_honour() {
        let rows = [
            ("permessage-deflate", Some("")),
            ("permessage-deflate; server_no_context_takeover", Some("")),
            (
                "permessage-deflate; client_no_context_takeover",
                Some("; client_no_context_takeover"),
            ),
            ("permessage-deflate; client_max_window_bits", Some("")),
            (
                "permessage-deflate; client_max_window_bits=10",
                Some("; client_max_window_bits=10"),
            ),
            (
                "permessage-deflate; client_max_window_bits=8",
                Some("; client_max_window_bits=8"),
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                Some("; server_max_window_bits=15"),
            ),
            (
                "permessage-deflate; server_max_window_bits=\"9\"",
                Some("; server_max_window_bits=9"),
            ),
            ("permessage-deflate; server_max_window_bits=8", None),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate",
                Some(""),
            ),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=7", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=010", None),
            ("permessage-deflate; server_max_window_bits=+10", None),
            ("permessage-deflate; server_max_window_bits=1e1", None),
            ("permessage-deflate; client_max_window_bits=0", None),
            ("permessage-deflate; client_max_window_bits=300", None),
            (
                "permessage-deflate; client_max_window_bits; client_max_window_bits",
                None,
            ),
            (
                "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9",
                None,
            ),
            (
                "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
                None,
            ),
            ("permessage-deflate; server_no_context_takeover=1", None),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                None,
            ),
            (
                "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
                None,
            ),
            ("permessage-deflate; strength=9", None),
            (
                "permessage-deflate; strength=9, x-other, permessage-deflate; client_max_window_bits=9",
                Some("; client_max_window_bits=9"),
            ),
            ("permessage-bzip2", None),
        ];
        for (offer, expected) in rows {
            assert_eq!(response(&TAKEOVER, offer).as_deref(), expected, "{offer}");
        }
    }

    #[test]
    fn by_default_a_client_is_asked_to_keep_no_context() {
        let answer = response(&DeflatePolicy::default(), "permessage-deflate");
        assert_eq!(answer.as_deref(), Some("; client_no_context_takeover"));
    }

    #[test]
    fn a_server_may_choose_a_smaller_window_than_offered() {
        let policy = DeflatePolicy {
            server_max_window_bits: WindowBits::new(11).unwrap(),
            ..TAKEOVER
        };
        for (offer, expected) in [
            ("permessage-deflate", "; server_max_window_bits=11"),
            (
                "permessage-deflate; server_max_window_bits=13",
                "; server_max_window_bits=11",
            ),
            (
                "permessage-deflate; server_max_window_bits=10",
                "; server_max_window_bits=10",
            ),
        ] {
            assert_eq!(
                response(&policy, offer).as_deref(),
                Some(expected),
                "{offer}"
            );
        }
    }

    #[test]
    fn an_offer_says_only_what_differs_from_the_standard() {
        assert_eq!(
            DeflateOffer::default().header(),
            "permessage-deflate; client_max_window_bits"
        );
        let offer = DeflateOffer {
            server_context_takeover: ContextTakeover::No,
            client_context_takeover: ContextTakeover::No,
            server_max_window_bits: WindowBits::new(12).unwrap(),
            client_max_window_bits: WindowBits::new(10).unwrap(),
        };
        let expected = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                        server_max_window_bits=12; client_max_window_bits=10";
        assert_eq!(offer.header(), expected);
    }

    /// Sections 5.1 and 7.1: a response that the offer does not allow fails the connection.
    #[test]
    fn a_client_holds_the_server_to_its_offer() {
        let modest = DeflateOffer {
            server_context_takeover: ContextTakeover::No,
            client_context_takeover: ContextTakeover::No,
            server_max_window_bits: WindowBits::new(12).unwrap(),
            client_max_window_bits: WindowBits::new(12).unwrap(),
        };
        let plain = DeflateOffer::default();
        let rows = [
            (plain, "", Ok((true, true, 15, 15))),
            (
                plain,
                "; server_no_context_takeover",
                Ok((false, true, 15, 15)),
            ),
            (
                plain,
                "; client_no_context_takeover",
                Ok((true, false, 15, 15)),
            ),
            (
                plain,
                "; server_max_window_bits=10",
                Ok((true, true, 10, 15)),
            ),
            (plain, "; server_max_window_bits=8", Ok((true, true, 9, 15))),
            (plain, "; client_max_window_bits=8", Ok((true, true, 15, 8))),
            (
                plain,
                "; client_max_window_bits",
                Err(ParameterError::Value),
            ),
            (
                plain,
                "; server_max_window_bits",
                Err(ParameterError::Value),
            ),
            (
                plain,
                "; server_max_window_bits=17",
                Err(ParameterError::Value),
            ),
            (
                plain,
                "; server_no_context_takeover; server_no_context_takeover",
                Err(ParameterError::Repeated),
            ),
            (plain, "; more", Err(ParameterError::Unknown)),
            (modest, "", Err(ParameterError::Excessive)),
            (
                modest,
                "; server_no_context_takeover; server_max_window_bits=12",
                Ok((false, false, 12, 12)),
            ),
            (
                modest,
                "; server_no_context_takeover; server_max_window_bits=9",
                Ok((false, false, 9, 12)),
            ),
            (
                modest,
                "; server_no_context_takeover; server_max_window_bits=13",
                Err(ParameterError::Excessive),
            ),
            (
                modest,
                "; server_max_window_bits=12",
                Err(ParameterError::Excessive),
            ),
            (
                modest,
                "; server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=13",
                Err(ParameterError::Excessive),
            ),
        ];
        for (offer, response, expected) in rows {
            let response = format!("{EXTENSION_NAME}{response}");
            let checked = with_extensions(&response, |chosen| offer.check(&chosen[0]));
            let checked = checked.map(|deflate| {
                (
                    deflate.server_context_takeover == ContextTakeover::Yes,
                    deflate.client_context_takeover == ContextTakeover::Yes,
                    deflate.server_max_window_bits.bits(),
                    deflate.client_max_window_bits.bits(),
                )
            });
            assert_eq!(checked, expected, "{response}");
        }
    }

    #[test]
    fn each_offer_of_ours_is_answered_to_our_liking() {
        for server_bits in 9..=15 {
            for client_bits in 9..=15 {
                for takes_over in [true, false] {
                    let offer = DeflateOffer {
                        server_context_takeover: takeover(takes_over),
                        client_context_takeover: takeover(takes_over),
                        server_max_window_bits: WindowBits::new(server_bits).unwrap(),
                        client_max_window_bits: WindowBits::new(client_bits).unwrap(),
                    };
                    let (server, response) =
                        with_extensions(&offer.header(), |offers| TAKEOVER.choose(offers)).unwrap();
                    let client = with_extensions(&response, |chosen| offer.check(&chosen[0]));
                    assert_eq!(client, Ok(server), "{offer:?}");
                }
            }
        }
    }
}
