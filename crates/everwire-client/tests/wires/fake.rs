//! A small server of one channel, written from the protocol alone, that cuts its connections on order.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use everwire_client::ChannelUrl;
use everwire_websocket::handshake::accept_key;
use everwire_websocket::{CloseCode, MessageKind, encode_close, encode_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The server; dropped, it is gone with all its connections.
pub struct Fake {
    pub url: ChannelUrl,
    channel: Arc<Channel>,
    _tasks: JoinSet<()>,
}

struct Channel {
    log: watch::Sender<Log>,
    /// After how many bytes each of the next connections is cut.
    cuts: Mutex<VecDeque<usize>>,
    /// What the next requests are answered instead.
    answers: Mutex<VecDeque<&'static str>>,
    /// The request targets that were asked for.
    targets: Mutex<Vec<String>>,
}

/// The channel's log: JSON values, with offsets `a0000`, `a0001` …
#[derive(Clone, Default)]
struct Log {
    entries: Vec<String>,
    /// How many of them are gone.
    trimmed: usize,
    closed: bool,
    keys: HashMap<String, usize>,
}

impl Fake {
    /// A server whose channel holds these JSON values.
    pub async fn start<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let log = Log {
            entries: entries.into_iter().map(str::to_owned).collect(),
            ..Log::default()
        };
        let channel = Arc::new(Channel {
            log: watch::Sender::new(log),
            cuts: Mutex::default(),
            answers: Mutex::default(),
            targets: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/channels/test", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, channel.clone()));
        Self {
            url: url.parse().unwrap(),
            channel,
            _tasks: tasks,
        }
    }

    pub fn publish(&self, entry: &str) {
        self.channel
            .log
            .send_modify(|log| log.entries.push(entry.to_owned()));
    }

    pub fn close(&self) {
        self.channel.log.send_modify(|log| log.closed = true);
    }

    /// Removes the oldest entries, up to this many in all.
    pub fn trim(&self, trimmed: usize) {
        self.channel.log.send_modify(|log| log.trimmed = trimmed);
    }

    /// Cuts the next connections after so many bytes each.
    pub fn cut(&self, after_bytes: impl IntoIterator<Item = usize>) {
        self.channel.cuts.lock().unwrap().extend(after_bytes);
    }

    /// Answers the next request with these bytes.
    pub fn answer(&self, bytes: &'static str) {
        self.channel.answers.lock().unwrap().push_back(bytes);
    }

    /// Whether no cut is left over.
    pub fn has_cut_all(&self) -> bool {
        self.channel.cuts.lock().unwrap().is_empty()
    }

    pub fn entries(&self) -> Vec<String> {
        self.channel.log.borrow().entries.clone()
    }

    pub fn targets(&self) -> Vec<String> {
        self.channel.targets.lock().unwrap().clone()
    }
}

pub fn offset(number: usize) -> String {
    format!("a{number:04}")
}

async fn accept(listener: TcpListener, channel: Arc<Channel>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let left = channel.cuts.lock().unwrap().pop_front();
        let mut connection = Connection {
            socket,
            left,
            inbound: Vec::new(),
            channel: channel.clone(),
        };
        connections.spawn(async move { while connection.serve().await.is_ok() {} });
    }
}

struct Connection {
    socket: TcpStream,
    /// How many bytes may still be written.
    left: Option<usize>,
    inbound: Vec<u8>,
    channel: Arc<Channel>,
}

struct Request {
    head: String,
    target: String,
}

impl Connection {
    /// Answers one request; an error when the connection is over.
    async fn serve(&mut self) -> io::Result<()> {
        let request = self.request().await?;
        self.channel
            .targets
            .lock()
            .unwrap()
            .push(request.target.clone());
        let answer = self.channel.answers.lock().unwrap().pop_front();
        if let Some(answer) = answer {
            self.write(answer).await?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if request.head.starts_with("POST ") {
            return self.append(&request).await;
        }
        let log = self.channel.log.borrow().clone();
        let from = match request.parameter("offset").unwrap_or("-1") {
            "-1" => log.trimmed,
            "now" => log.entries.len(),
            offset => offset[1..].parse().unwrap(),
        };
        let accept = request.field("accept").unwrap_or("");
        if request.field("upgrade").is_some() {
            self.websocket(&request, from).await
        } else if accept == "text/event-stream" {
            self.event_stream(from).await
        } else if accept == "application/x-ndjson" {
            self.ndjson(from).await
        } else {
            self.page(&request, from).await
        }
    }

    async fn websocket(&mut self, request: &Request, mut from: usize) -> io::Result<()> {
        let accept = accept_key(request.field("sec-websocket-key").unwrap());
        self.write(&format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: everwire.v1\r\n\r\n"
        ))
        .await?;
        let oldest = self.channel.log.borrow().trimmed.max(from);
        self.message(&format!(
            r#"{{"ev":"welcome","channel":"test","offset":"{}"}}"#,
            offset(oldest)
        ))
        .await?;
        loop {
            let log = self.news(from).await;
            if from < log.trimmed {
                from = log.trimmed;
                let Gap { oldest, newest } = log.gap();
                self.message(&format!(
                    r#"{{"ev":"gap","channel":"test","oldest":"{oldest}","newest":"{newest}"}}"#
                ))
                .await?;
            }
            for entry in &log.entries[from..] {
                from += 1;
                let offset = offset(from);
                self.message(&format!(
                    r#"{{"ev":"entry","channel":"test","offset":"{offset}","time":{from},"data":{entry}}}"#
                ))
                .await?;
            }
            if log.closed {
                self.message(&format!(
                    r#"{{"ev":"closed","channel":"test","offset":"{}"}}"#,
                    offset(from)
                ))
                .await?;
                let mut close = BytesMut::new();
                encode_close(Some((CloseCode::NORMAL, "")), &mut close);
                return self.write_bytes(&close).await;
            }
        }
    }

    async fn event_stream(&mut self, mut from: usize) -> io::Result<()> {
        {
            let log = self.channel.log.borrow().clone();
            if log.closed && from == log.entries.len() {
                return self.write("HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
        self.stream_head("text/event-stream").await?;
        self.chunk("retry: 0\n").await?;
        loop {
            let log = self.news(from).await;
            if from < log.trimmed {
                from = log.trimmed;
                let Gap { oldest, newest } = log.gap();
                self.chunk(&format!(
                    "id: {oldest}\nevent: gap\ndata: {{\"oldest\":\"{oldest}\",\"newest\":\"{newest}\"}}\n\n"
                ))
                .await?;
            }
            for entry in &log.entries[from..] {
                from += 1;
                self.chunk(&format!("id: {}\ndata: {entry}\n\n", offset(from)))
                    .await?;
            }
            if log.closed {
                let offset = offset(from);
                self.chunk(&format!(
                    "id: {offset}\nevent: closed\ndata: {{\"offset\":\"{offset}\"}}\n\n"
                ))
                .await?;
                return self.write("0\r\n\r\n").await;
            }
            self.chunk(":\n").await?;
        }
    }

    async fn ndjson(&mut self, mut from: usize) -> io::Result<()> {
        self.stream_head("application/x-ndjson").await?;
        loop {
            let log = self.news(from).await;
            if from < log.trimmed {
                from = log.trimmed;
                let Gap { oldest, newest } = log.gap();
                self.chunk(&format!(
                    "{{\"gap\":{{\"oldest\":\"{oldest}\",\"newest\":\"{newest}\"}}}}\n"
                ))
                .await?;
            }
            for entry in &log.entries[from..] {
                from += 1;
                let offset = offset(from);
                self.chunk(&format!(
                    "{{\"offset\":\"{offset}\",\"time\":{from},\"data\":{entry}}}\n"
                ))
                .await?;
            }
            if log.closed {
                self.chunk(&format!(
                    "{{\"closed\":true,\"offset\":\"{}\"}}\n",
                    offset(from)
                ))
                .await?;
                return self.write("0\r\n\r\n").await;
            }
            self.chunk("{}\n").await?;
        }
    }

    /// Catch-up and long poll, at most two entries a page.
    async fn page(&mut self, request: &Request, from: usize) -> io::Result<()> {
        let log = match request.parameter("live") {
            Some(_) => self.news(from).await,
            None => self.channel.log.borrow().clone(),
        };
        if from < log.trimmed {
            let Gap { oldest, newest } = log.gap();
            let body = format!(r#"{{"title":"gap","oldest":"{oldest}","newest":"{newest}"}}"#);
            let length = body.len();
            return self
                .write(&format!(
                    "HTTP/1.1 410 Gone\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\r\n{body}"
                ))
                .await;
        }
        let to = log.entries.len().min(from + 2);
        let body = format!("[{}]", log.entries[from..to].join(","));
        let mut head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nstream-next-offset: {}\r\n\
             stream-cursor: 7\r\n",
            body.len(),
            offset(to)
        );
        if to == log.entries.len() {
            head.push_str("stream-up-to-date: true\r\n");
            head.push_str(if log.closed {
                "stream-closed: true\r\n"
            } else {
                ""
            });
        }
        self.write(&format!("{head}\r\n{body}")).await
    }

    async fn append(&mut self, request: &Request) -> io::Result<()> {
        let length: usize = request.field("content-length").unwrap().parse().unwrap();
        while self.inbound.len() < length {
            self.read().await?;
        }
        let body = String::from_utf8(self.inbound.drain(..length).collect()).unwrap();
        let key = request.field("idempotency-key").unwrap().to_owned();
        let mut number = 0;
        self.channel.log.send_modify(|log| {
            number = *log.keys.entry(key).or_insert_with(|| {
                log.entries.push(body);
                log.entries.len()
            });
        });
        self.write(&format!(
            "HTTP/1.1 204 No Content\r\nstream-next-offset: {}\r\n\r\n",
            offset(number)
        ))
        .await
    }

    /// The log, as soon as it has something for who has read up to `from`.
    async fn news(&self, from: usize) -> Log {
        let mut log = self.channel.log.subscribe();
        log.wait_for(|log| log.entries.len() > from || log.trimmed > from || log.closed)
            .await
            .unwrap()
            .clone()
    }

    async fn request(&mut self) -> io::Result<Request> {
        loop {
            if let Some(end) = self
                .inbound
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.inbound.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                return Ok(Request { head, target });
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.inbound).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn stream_head(&mut self, content_type: &str) -> io::Result<()> {
        self.write(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\neverwire-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await
    }

    async fn chunk(&mut self, text: &str) -> io::Result<()> {
        let mut chunk = String::new();
        write!(chunk, "{:x}\r\n{text}\r\n", text.len()).unwrap();
        self.write(&chunk).await
    }

    async fn message(&mut self, text: &str) -> io::Result<()> {
        let mut frame = BytesMut::new();
        encode_message(MessageKind::Text, text.as_bytes(), &mut frame);
        self.write_bytes(&frame).await
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        self.write_bytes(text.as_bytes()).await
    }

    async fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.left {
            Some(left) if left < bytes.len() => {
                self.socket.write_all(&bytes[..left]).await?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => {
                self.left = self.left.map(|left| left - bytes.len());
                self.socket.write_all(bytes).await
            }
        }
    }
}

struct Gap {
    oldest: String,
    newest: String,
}

impl Log {
    fn gap(&self) -> Gap {
        Gap {
            oldest: offset(self.trimmed),
            newest: offset(self.entries.len()),
        }
    }
}

impl Request {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}
