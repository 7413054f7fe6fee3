//! The sending half of a connection: what waits for the transport.

use bytes::BytesMut;

use super::ConnectionOptions;
use crate::frame::ControlKind;
use crate::{CloseCode, Deflater, MaskingKey, MessageKind, Rules, encode};

/// Gives a fresh, unpredictable masking key for each frame of a client.
pub type MaskingKeys = Box<dyn FnMut() -> MaskingKey + Send>;

/// The sending half.
pub(super) struct Outgoing {
    pub(super) bytes: BytesMut,
    /// A client's masking keys; a server masks nothing.
    keys: Option<MaskingKeys>,
    /// Made with the first message that is compressed, for it is the largest part of a connection.
    deflater: Option<Deflater>,
    /// The Ping to answer when there is room: "a Pong frame for only the most recently processed Ping
    /// frame" (section 5.5.3), so that a peer that sends and never reads costs no memory.
    owed: Option<Vec<u8>>,
    options: ConnectionOptions,
}

impl Outgoing {
    pub(super) fn new(keys: Option<MaskingKeys>, options: ConnectionOptions) -> Self {
        Self {
            bytes: BytesMut::new(),
            keys,
            deflater: None,
            owed: None,
            options,
        }
    }

    pub(super) fn message(&mut self, kind: MessageKind, payload: &[u8], rules: &Rules) {
        let key = self.key();
        match self.deflater(payload.len(), rules) {
            Some(mut deflater) => {
                encode::append_compressed(kind, payload, &mut deflater, key, &mut self.bytes);
                self.deflater = Some(deflater);
            }
            None => encode::append_message(kind, payload, key, &mut self.bytes),
        }
    }

    /// The compressor, if a message of this length is to be compressed.
    fn deflater(&mut self, payload_len: usize, rules: &Rules) -> Option<Deflater> {
        if payload_len < self.options.compress_bytes_min {
            return None;
        }
        let deflate = rules.deflate?;
        let window = deflate.outbound_window(rules.role)?;
        let takeover = deflate.outbound_takeover(rules.role);
        let deflater = self.deflater.take();
        Some(deflater.unwrap_or_else(|| Deflater::new(window, self.options.level, takeover)))
    }

    pub(super) fn control(&mut self, kind: ControlKind, payload: &[u8]) {
        let key = self.key();
        encode::append_control(kind, payload, key, &mut self.bytes);
    }

    pub(super) fn close(&mut self, close: Option<(CloseCode, &str)>) {
        let key = self.key();
        encode::append_close(close, key, &mut self.bytes);
    }

    pub(super) fn answer_ping(&mut self, payload: &[u8]) {
        self.owed = Some(payload.to_vec());
        self.answer_owed_ping();
    }

    pub(super) fn answer_owed_ping(&mut self) {
        if self.has_room()
            && let Some(payload) = self.owed.take()
        {
            self.control(ControlKind::Pong, &payload);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < self.options.outgoing_bytes_max
    }

    fn key(&mut self) -> Option<MaskingKey> {
        self.keys.as_mut().map(|keys| keys())
    }
}
