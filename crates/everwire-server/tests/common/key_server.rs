//! A key server on loopback, which answers as a test tells it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key server.
pub struct KeyServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is answered, as it goes over the wire; empty is nothing at all.
    answer: Vec<u8>,
    /// Requests are taken, and answered only when this is false again.
    holds: bool,
    asked: usize,
}

impl KeyServer {
    /// One that has these keys.
    pub fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let server = Self { address, shared };
        server.has(keys);
        let shared = server.shared.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (shared, mut socket) = (shared.clone(), socket.unwrap());
                thread::spawn(move || {
                    let lines = BufReader::new(socket.try_clone().unwrap()).lines();
                    if lines.map_while(Result::ok).any(|line| line.is_empty()) {
                        let _ = socket.write_all(&shared.answer());
                    }
                });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// It has these keys from now on.
    pub fn has(&self, keys: &[Value]) {
        self.says(&json!({"keys": keys}).to_string());
    }

    /// It answers with this content.
    pub fn says(&self, content: &str) {
        let length = content.len();
        self.answers(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{content}"
        ));
    }

    /// It answers with these bytes.
    pub fn answers(&self, bytes: impl Into<Vec<u8>>) {
        self.lock().answer = bytes.into();
    }

    /// Whether requests are kept waiting.
    pub fn holds(&self, holds: bool) {
        self.lock().holds = holds;
        self.shared.changed.notify_all();
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Shared {
    fn answer(&self) -> Vec<u8> {
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        self.changed.notify_all();
        let limit = Duration::from_secs(60);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, limit, |state| state.holds)
            .unwrap();
        state.answer.clone()
    }
}

/// A JWK with these bytes, by which elliptic keys are told.
pub fn jwk(kid: &str, public: &[u8]) -> Value {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    match public.len() {
        32 => {
            json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": encode(public)})
        }
        _ => json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
                    "x": encode(&public[1..33]), "y": encode(&public[33..])}),
    }
}
