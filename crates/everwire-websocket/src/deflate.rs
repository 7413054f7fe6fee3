//! permessage-deflate (RFC 7692): what was negotiated, compressor and decompressor.
//!
//! ```text
//!  offer ─▶ negotiation ─▶ Deflate ─┬─▶ Deflater    payload ─▶ DEFLATE, tail 00 00 ff ff cut off
//!                                   └─▶ Inflater    tail put back ─▶ payload, within a limit
//! ```
//!
//! A compressor's context costs 190–320 kB, a decompressor's about 42 kB, whatever the window. So the
//! server keeps none per connection: it always answers `server_no_context_takeover`, and by default
//! asks the client for `client_no_context_takeover`.

mod deflater;
mod inflater;
mod negotiation;

pub use deflater::{Deflater, Level};
pub use inflater::Scratch;
pub(crate) use inflater::{InflateError, Inflater};
pub use negotiation::{DeflateOffer, DeflatePolicy};
pub(crate) use negotiation::{EXTENSION_NAME, ParameterError};

use crate::Role;

/// The parameters of permessage-deflate that both sides agreed on (RFC 7692, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deflate {
    /// Whether the server's messages may refer to earlier ones.
    pub server_context_takeover: ContextTakeover,
    /// Whether the client's messages may refer to earlier ones.
    pub client_context_takeover: ContextTakeover,
    /// The window with which the server compresses.
    pub server_max_window_bits: WindowBits<9>,
    /// The window with which the client compresses. 8 is for inflating only: zlib has no raw window
    /// of 8 bits to compress with, so a client of ours that must keep to it sends no compression.
    pub client_max_window_bits: WindowBits<8>,
}

/// Whether the compression context outlives a message (RFC 7692, section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContextTakeover {
    /// `…_no_context_takeover`: each message stands alone.
    No,
    /// ContextTakeover takeover: each message may refer to those before it.
    Yes,
}

/// The base-two logarithm of an LZ77 window, `MIN` to 15: the window has 2 to that power bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits<const MIN: u8>(u8);

impl<const MIN: u8> WindowBits<MIN> {
    /// 15 bits, a window of 32 KiB; what holds where no parameter says otherwise.
    pub const MAX: Self = Self(15);

    /// `None` if `bits` is below `MIN` or above 15.
    pub const fn new(bits: u8) -> Option<Self> {
        if MIN <= bits && bits <= 15 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The number of bits.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl<const MIN: u8> Default for WindowBits<MIN> {
    fn default() -> Self {
        Self::MAX
    }
}

impl Default for Deflate {
    /// No parameter at all: windows of 32 KiB and context takeover on both sides.
    fn default() -> Self {
        Self {
            server_context_takeover: ContextTakeover::Yes,
            client_context_takeover: ContextTakeover::Yes,
            server_max_window_bits: WindowBits::MAX,
            client_max_window_bits: WindowBits::MAX,
        }
    }
}

impl Deflate {
    /// Whether what arrives at `role` may refer to earlier messages.
    pub fn inbound_takeover(&self, role: Role) -> ContextTakeover {
        match role {
            Role::Server => self.client_context_takeover,
            Role::Client => self.server_context_takeover,
        }
    }

    /// Whether what `role` sends may refer to earlier messages.
    pub fn outbound_takeover(&self, role: Role) -> ContextTakeover {
        match role {
            Role::Server => self.server_context_takeover,
            Role::Client => self.client_context_takeover,
        }
    }

    /// The window that `role` has to compress with; `None` if no compressor can keep to it, so that
    /// all messages go uncompressed (which RFC 7692, section 6, always allows).
    pub fn outbound_window(&self, role: Role) -> Option<WindowBits<9>> {
        match role {
            Role::Server => Some(self.server_max_window_bits),
            Role::Client => WindowBits::new(self.client_max_window_bits.bits()),
        }
    }
}

/// What a sync flush ends with; the sender cuts it off and the receiver puts it back
/// (RFC 7692, sections 7.2.1 and 7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
