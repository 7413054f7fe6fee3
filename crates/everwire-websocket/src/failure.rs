//! Why a connection is failed (RFC 6455, section 7.1.7), and what the peer is told.

use crate::CloseCode;

/// The peer broke the protocol or met a limit: the connection must be failed.
///
/// Send a Close frame with [`close_code`](Self::close_code) and [`reason`](Self::reason), then close
/// the transport without waiting for an answer.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// RSV1, RSV2 or RSV3 is set where no negotiated extension gives it a meaning (section 5.2).
    #[error("a reserved bit is set that no negotiated extension defines; send it as zero")]
    ReservedBit,
    /// RSV1 is set on a continuation or control frame (RFC 7692, section 6.1).
    #[error(
        "RSV1 is set on a continuation or control frame; set it only on the first frame of a message"
    )]
    CompressedBitMisplaced,
    /// An opcode without a meaning (section 5.2).
    #[error("opcode {0} is reserved; use 0-2 for data and 8-10 for control")]
    ReservedOpcode(u8),
    /// A client sent a frame that is not masked (section 5.1).
    #[error("a client's frame is not masked; mask every frame")]
    NotMasked,
    /// A server sent a masked frame (section 5.1).
    #[error("a server's frame is masked; send it unmasked")]
    Masked,
    /// A control frame without FIN (section 5.5).
    #[error("a control frame is fragmented; send it in one frame")]
    ControlFragmented,
    /// A control frame of more than 125 bytes (section 5.5).
    #[error("a control frame has more than 125 bytes of payload; shorten it")]
    ControlTooLong,
    /// The length is written in more bytes than it needs (section 5.2).
    #[error("the payload length is not in its shortest form; use the fewest bytes")]
    LengthNotMinimal,
    /// A 64-bit length with its top bit set (section 5.2).
    #[error("the payload length has its top bit set; it must fit in 63 bits")]
    LengthOverflow,
    /// A continuation frame while no message is unfinished (section 5.4).
    #[error("a continuation frame has no message to continue; start one with text or binary")]
    UnexpectedContinuation,
    /// A new message while another is unfinished (section 5.4).
    #[error("a message starts inside another; finish the first with continuation frames")]
    MessageInterleaved,
    /// A Close frame whose payload is a single byte (section 5.5.1).
    #[error("the close payload is one byte; send two bytes of code or nothing")]
    ClosePayloadOfOneByte,
    /// A close code that must not be on the wire (section 7.4).
    #[error("close code {0} must not be sent; use 1000 or one of 3000-4999")]
    CloseCodeForbidden(u16),
    /// A close reason that is not UTF-8 (section 5.5.1).
    #[error("the close reason is not UTF-8; encode it as UTF-8")]
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (section 8.1).
    #[error("a text message is not UTF-8; encode it as UTF-8 or send it as binary")]
    TextNotUtf8,
    /// A compressed message that is not DEFLATE data (RFC 7692, section 7.2.2).
    #[error("a compressed message is not DEFLATE data; check the compressor and its context")]
    DeflateInvalid,
    /// A message beyond [`Rules::message_bytes_max`](crate::Rules::message_bytes_max).
    #[error("a message is larger than {bytes_max} bytes; send smaller messages")]
    MessageTooBig {
        /// The limit that was met, in bytes after inflation.
        bytes_max: usize,
    },
}

impl Failure {
    /// The code for the Close frame (RFC 6455, section 7.4.1).
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBit
            | Self::CompressedBitMisplaced
            | Self::ReservedOpcode(_)
            | Self::NotMasked
            | Self::Masked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthOverflow
            | Self::UnexpectedContinuation
            | Self::MessageInterleaved
            | Self::ClosePayloadOfOneByte
            | Self::CloseCodeForbidden(_) => CloseCode::PROTOCOL_ERROR,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 | Self::DeflateInvalid => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::MessageTooBig { .. } => CloseCode::TOO_BIG,
        }
    }

    /// The reason for the Close frame: the error's message, never more than 123 bytes.
    pub fn reason(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_fits_into_a_close_frame() {
        let all = [
            Failure::ReservedBit,
            Failure::CompressedBitMisplaced,
            Failure::ReservedOpcode(15),
            Failure::NotMasked,
            Failure::Masked,
            Failure::ControlFragmented,
            Failure::ControlTooLong,
            Failure::LengthNotMinimal,
            Failure::LengthOverflow,
            Failure::UnexpectedContinuation,
            Failure::MessageInterleaved,
            Failure::ClosePayloadOfOneByte,
            Failure::CloseCodeForbidden(u16::MAX),
            Failure::CloseReasonNotUtf8,
            Failure::TextNotUtf8,
            Failure::DeflateInvalid,
            Failure::MessageTooBig {
                bytes_max: usize::MAX,
            },
        ];
        for failure in all {
            assert!(failure.reason().len() <= 123, "{failure:?}");
        }
    }
}
