//! The WebSocket: one text message is one message of the session (RFC 6455, subprotocol `everwire.v1`).

use bytes::Bytes;
use http::Request;

use super::{Happened, Opening, Told, first_request, read};
use crate::LineWire;
use crate::decode::ProblemDecoder;
use crate::decode::session::Message;
use crate::http::NoResponse;
use crate::line::ending::Ending;

/// A WebSocket, from its handshake on.
#[derive(Debug, Default)]
pub(crate) struct WebSocketWire {
    is_welcomed: bool,
    /// The answer to a handshake that was refused.
    refused: Option<ProblemDecoder>,
}

impl WebSocketWire {
    pub fn open(opening: &Opening) -> (Self, Request<Bytes>) {
        (Self::default(), first_request(opening))
    }

    pub fn handle(&mut self, happened: Happened) -> Vec<Told> {
        match happened {
            Happened::Text(text) => match read(&text, self.is_welcomed) {
                Ok(message) => {
                    self.is_welcomed |= matches!(message, Message::Welcome(_));
                    vec![Told::Heard, Told::Message(message)]
                }
                Err(error) => vec![Told::Ended(error.into())],
            },
            Happened::Alive => vec![Told::Heard],
            Happened::Ended(Ending::Closed { code: TOO_BIG, .. }) => {
                vec![Told::Ended(Ending::Oversized)]
            }
            Happened::Ended(ending) => vec![Told::Ended(ending)],
            Happened::Head {
                status,
                headers,
                at,
                ..
            } => {
                self.refused = Some(ProblemDecoder::new(status, &headers, at));
                vec![]
            }
            Happened::Piece { bytes, .. } => {
                if let Some(refused) = &mut self.refused {
                    refused.decode(&bytes);
                }
                vec![]
            }
            // What came of a refusal is enough.
            Happened::End { .. } | Happened::Broken { .. } => match self.refused.take() {
                Some(refused) => vec![Told::Ended(Ending::Refused {
                    refusal: refused.finish(),
                    wire: LineWire::WebSocket,
                })],
                None => vec![],
            },
            Happened::Failed { error, .. } => vec![Told::Ended(match error {
                NoResponse::Unreachable(error) => Ending::Unreachable(error),
                NoResponse::Lost(error) => Ending::NoResponse {
                    error,
                    wire: LineWire::WebSocket,
                },
            })],
        }
    }
}

/// The close code of a message that is too big (RFC 6455, section 7.4.1).
const TOO_BIG: u16 = 1009;
