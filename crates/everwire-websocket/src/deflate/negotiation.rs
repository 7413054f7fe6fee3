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

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self {
            client_context_takeover: ContextTakeover::No,
            server_max_window_bits: WindowBits::MAX,
        }
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
