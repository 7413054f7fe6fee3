//! Plays the transcripts of `testdata/websocket`; its `README.md` describes their format.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use everwire_websocket::{
    CloseCode, Connection, ConnectionEvent, ConnectionOptions, ContextTakeover, Deflate,
};

/// A line of a transcript.
#[derive(Clone, Debug)]
enum Step {
    Close(CloseCode, String),
    Timeout,
    FromPeer(Vec<u8>),
    PeerEof,
    ToPeer(Vec<u8>),
    Eof,
}

struct Transcript {
    client: bool,
    options: ConnectionOptions,
    steps: Vec<(usize, Step)>,
}

impl Transcript {
    fn parse(text: &str) -> Self {
        let mut transcript = Self {
            client: false,
            options: ConnectionOptions::default(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (content, _remark) = rest.split_once("  ").unwrap_or((rest, ""));
            let words: Vec<&str> = content.split_whitespace().collect();
            let step = match (mark, &words[..]) {
                ("" | "#", _) => continue,
                ("=", setting) => {
                    transcript.set(setting);
                    continue;
                }
                ("!", ["close", code, reason @ ..]) => {
                    let code = code.parse().ok().and_then(CloseCode::from_wire);
                    Step::Close(code.expect("a close code"), reason.join(" "))
                }
                ("!", ["timeout"]) => Step::Timeout,
                ("<", ["EOF"]) => Step::PeerEof,
                (">", ["EOF"]) => Step::Eof,
                ("<", bytes) => Step::FromPeer(unhex(bytes)),
                (">", bytes) => Step::ToPeer(unhex(bytes)),
                _ => panic!("line {} is no step: {line}", index + 1),
            };
            transcript.steps.push((index + 1, step));
        }
        transcript
    }

    fn set(&mut self, setting: &[&str]) {
        match setting {
            ["client"] => self.client = true,
            ["deflate"] => {
                self.options.deflate = Some(Deflate {
                    server_context_takeover: ContextTakeover::No,
                    client_context_takeover: ContextTakeover::No,
                    ..Deflate::default()
                });
                self.options.compress_bytes_min = 0;
            }
            ["message_bytes_max", bytes] => {
                self.options.message_bytes_max = bytes.parse().expect("a number of bytes");
            }
            _ => panic!("{setting:?} is no setting"),
        }
    }

    /// Plays it, with the peer's bytes in pieces of the size given.
    fn play(&self, name: &str, piece_bytes: usize) {
        let mut now = Instant::now();
        let mut connection = match self.client {
            true => Connection::client(self.options, Box::new(|| [0; 4]), now),
            false => Connection::server(self.options, now),
        };
        let mut unsaid = BytesMut::new();
        for (line, step) in &self.steps {
            let at = format!("{name}:{line}, the peer's bytes in pieces of {piece_bytes}");
            match step {
                Step::ToPeer(_) | Step::Eof => {}
                _ => assert_eq!(hex(&unsaid), "", "{at}: sent, but not in the transcript"),
            }
            match step {
                Step::Close(code, reason) => connection.close(Some((*code, reason)), now),
                Step::Timeout => {
                    now += Duration::from_secs(60);
                    connection.handle_timeout(now);
                }
                Step::FromPeer(bytes) => {
                    for piece in bytes.chunks(piece_bytes) {
                        connection.handle_bytes(&mut BytesMut::from(piece), now);
                        echo(&mut connection);
                    }
                }
                Step::PeerEof => {
                    connection.handle_eof();
                    echo(&mut connection);
                }
                Step::ToPeer(bytes) => {
                    let len = bytes.len().min(unsaid.len());
                    assert_eq!(hex(&unsaid.split_to(len)), hex(bytes), "{at}");
                }
                Step::Eof => assert!(connection.is_closed(), "{at}: the transport stays open"),
            }
            unsaid.extend_from_slice(connection.outgoing());
            connection.advance_outgoing(connection.outgoing().len());
        }
        assert_eq!(
            hex(&unsaid),
            "",
            "{name}: sent at the end, but not in the transcript"
        );
        let ends = self.steps.iter().any(|(_, step)| matches!(step, Step::Eof));
        assert_eq!(
            connection.is_closed(),
            ends,
            "{name}: the end of the transport"
        );
    }
}

fn echo(connection: &mut Connection) {
    while let Some(event) = connection.poll_event() {
        if let ConnectionEvent::Message(kind, payload) = event {
            connection
                .send(kind, &payload)
                .expect("messages come while the connection is open");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x} "))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn unhex(words: &[&str]) -> Vec<u8> {
    let byte = |word: &&str| u8::from_str_radix(word, 16).expect("a byte in hexadecimal");
    words.iter().map(byte).collect()
}

#[test]
fn every_transcript_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/websocket");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of transcripts") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path
                .file_name()
                .expect("a file")
                .to_string_lossy()
                .into_owned();
            let text = std::fs::read_to_string(&path).expect("a transcript");
            let transcript = Transcript::parse(&text);
            transcript.play(&name, usize::MAX);
            transcript.play(&name, 1);
            count += 1;
        }
    }
    assert!(count > 0, "no transcript in {}", folder.display());
}
