//! The operator's application, as webhooks ask it: on loopback, well or badly.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use aws_lc_rs::hmac;
use everwire_server::config::Config;
use serde_json::Value;

use super::peer::PATIENCE;

/// What questions are signed with.
pub const SECRET: &str = "a secret that only both of them know";

/// How the application answers one question.
pub enum Answer {
    Json(Value),
    Status(u16),
    /// Whatever bytes, after which the connection ends.
    Raw(Vec<u8>),
    /// Nothing, until the server has gone.
    Silence,
}

impl From<Value> for Answer {
    fn from(answer: Value) -> Self {
        Self::Json(answer)
    }
}

/// An application, and what it was asked.
#[derive(Clone)]
pub struct Application {
    pub address: SocketAddr,
    asked: Arc<(Mutex<Vec<Value>>, Condvar)>,
    badly_signed: Arc<AtomicUsize>,
}

impl Application {
    /// Answers every question by this.
    pub fn start<A: Into<Answer>>(answer: impl Fn(&Value) -> A + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let application = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            badly_signed: Arc::default(),
        };
        let (served, answer) = (application.clone(), Arc::new(answer));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (served, answer) = (served.clone(), answer.clone());
                thread::spawn(move || served.serve(&socket.unwrap(), &*answer));
            }
        });
        application
    }

    /// Has a server ask it about everything.
    pub fn decides(&self, config: &mut Config) {
        config.dev = false;
        config.webhooks.url = format!("http://{}/everwire", self.address);
        config.webhooks.secret = SECRET.into();
        let decided = "channels.decide = [\"read\", \"publish\", \"manage\", \"presence\"]\nwebhooks.url = \"https://x/\"";
        config.channels.decide = Config::from_toml(decided).unwrap().channels.decide;
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Value> {
        assert_eq!(
            self.badly_signed.load(Ordering::Relaxed),
            0,
            "each is signed"
        );
        self.asked.0.lock().unwrap().clone()
    }

    /// Waits until it was asked so often.
    pub fn until_asked(&self, count: usize) -> Vec<Value> {
        let (asked, more) = &*self.asked;
        let asked = asked.lock().unwrap();
        let (asked, late) = more
            .wait_timeout_while(asked, PATIENCE, |asked| asked.len() < count)
            .unwrap();
        assert!(
            !late.timed_out(),
            "asked {} times, not {count}",
            asked.len()
        );
        asked.clone()
    }

    fn serve<A: Into<Answer>>(&self, socket: &TcpStream, answer: &dyn Fn(&Value) -> A) {
        let mut reader = BufReader::new(socket);
        let mut writer = socket;
        while let Some((head, content)) = read_request(&mut reader) {
            if !is_signed(&head, &content) {
                self.badly_signed.fetch_add(1, Ordering::Relaxed);
            }
            let question: Value = serde_json::from_slice(&content).unwrap();
            let (asked, more) = &*self.asked;
            asked.lock().unwrap().push(question.clone());
            more.notify_all();
            let response = match answer(&question).into() {
                Answer::Json(answer) => response(200, &answer.to_string()),
                Answer::Status(status) => response(status, ""),
                Answer::Raw(bytes) => {
                    let _ = writer.write_all(&bytes);
                    return;
                }
                Answer::Silence => {
                    let _ = reader.read(&mut [0]);
                    return;
                }
            };
            if writer.write_all(response.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn response(status: u16, content: &str) -> String {
    let length = content.len();
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nLocation: /elsewhere\r\n\r\n{content}"
    )
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    assert!(head.starts_with("POST /everwire HTTP/1.1\r\n"), "{head}");
    let length = field(&head, "content-length")?.parse().ok()?;
    let mut content = vec![0; length];
    reader.read_exact(&mut content).ok()?;
    Some((head, content))
}

fn is_signed(head: &str, content: &[u8]) -> bool {
    let signature = field(head, "everwire-signature").unwrap_or_default();
    let Some((time, tag)) = signature.split_once(",hs256=") else {
        return false;
    };
    let time = time.strip_prefix("t=").unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = [time.as_bytes(), b".", content].concat();
    let expected = hmac::sign(&key, &signed);
    let expected: Vec<_> = expected
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    tag == expected.concat()
}

fn field(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.to_owned())
}

/// What a test opens to let an application's answers out, one by one or all.
#[derive(Clone, Default)]
pub struct Door(Arc<(Mutex<usize>, Condvar)>);

impl Door {
    /// Waits until one may pass.
    pub fn pass(&self) {
        let (open, more) = &*self.0;
        let open = open.lock().unwrap();
        let (mut open, _) = more
            .wait_timeout_while(open, PATIENCE, |open| *open == 0)
            .unwrap();
        *open = open.saturating_sub(1);
    }

    /// Lets so many pass.
    pub fn open(&self, count: usize) {
        let (open, more) = &*self.0;
        *open.lock().unwrap() += count;
        more.notify_all();
    }
}
