//! The binary as it is shipped, with somebody on it who must not notice that anybody else is attacked.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, Stdio},
    thread::JoinHandle,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Peer, Response,
    issuer::{ISSUERS, Issuer},
};

/// What every attacked server is configured with: everybody may use the bystander's square and the attacker's target,
/// and nothing else without a token.
const SETTINGS: &str = "\
listen = \"127.0.0.1:0\"
threads = 1

[[rules]]
match = \"square\"
anonymous = [\"read\", \"publish\"]

[[rules]]
match = \"target\"
anonymous = [\"read\", \"publish\"]
";

/// A server, ended when this is dropped.
pub struct Victim {
    pub address: SocketAddr,
    child: Child,
    log: Option<JoinHandle<String>>,
    bystander: RefCell<Bystander>,
    _folder: TempDir,
}

/// Reads the square from the beginning to the end of the test.
struct Bystander {
    stream: Peer,
    heard: u32,
}

impl Victim {
    /// A server with settings besides those that all have, as lines of its configuration.
    pub fn start(settings: &str) -> Self {
        Self::start_with(&[], settings)
    }

    /// The same, with flags.
    pub fn start_with(flags: &[&str], settings: &str) -> Self {
        Self::start_in(None, flags, settings)
    }

    /// The same, in so many bytes of memory (RLIMIT_DATA): for more there is no memory, as in a container.
    pub fn start_within(bytes: u64, settings: &str) -> Self {
        let limit = format!("ulimit -d {}", bytes / 1024);
        Self::start_in(Some(limit), &[], settings)
    }

    /// The same, with so many file descriptors: at first, and at most.
    pub fn start_with_descriptors((soft, hard): (u32, u32), settings: &str) -> Self {
        let limit = format!("ulimit -Sn {soft} && ulimit -Hn {hard}");
        Self::start_in(Some(limit), &[], settings)
    }

    /// The same, with little of everything: stderr on a full disk, 1,024 file descriptors, and 256 MiB of memory.
    pub fn start_poorly(settings: &str) -> Self {
        let limit = "exec 2>/dev/full && ulimit -Sn 1024 && ulimit -Hn 1024 && ulimit -d 262144";
        Self::start_in(Some(limit.to_owned()), &[], settings)
    }

    fn start_in(limit: Option<String>, flags: &[&str], settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("everwire.toml");
        let keys: String = ISSUERS.iter().map(key).collect();
        fs::write(&file, format!("{SETTINGS}{keys}{settings}")).expect("a file");
        let binary = env!("CARGO_BIN_EXE_everwire");
        let mut command = match limit {
            None => Command::new(binary),
            Some(limit) => {
                let mut shell = Command::new("sh");
                let limited = format!("{limit} && exec \"$0\" \"$@\"");
                shell.args(["-c", &limited, binary]);
                shell
            }
        };
        let mut child = command
            .args(["serve", "--config"])
            .arg(&file)
            .args(flags)
            .env("EVERWIRE_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let address = greeted(&mut child);
        let stderr = child.stderr.take().expect("it is piped");
        let mut stream = Peer::connect(address, None);
        stream.open_stream("square", "", "text/event-stream");
        assert_eq!(stream.event(), "retry: 2000\n");
        Self {
            address,
            child,
            log: Some(std::thread::spawn(|| read_all(stderr))),
            bystander: RefCell::new(Bystander { stream, heard: 0 }),
            _folder: folder,
        }
    }

    /// How many file descriptors it may have.
    pub fn descriptors(&self) -> u32 {
        let limits =
            fs::read_to_string(format!("/proc/{}/limits", self.child.id())).expect("a file");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let soft = line.and_then(|line| line.split_whitespace().nth(3));
        soft.and_then(|soft| soft.parse().ok()).expect("a number")
    }

    pub fn connect(&self) -> Peer {
        Peer::connect(self.address, None)
    }

    /// Sends bytes on a connection of their own, and reads one response.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut peer = self.connect();
        peer.send(request);
        peer.response()
    }

    /// Sends bytes on a connection of their own, and reads until the server ends it.
    pub fn all(&self, request: impl AsRef<[u8]>) -> String {
        let mut peer = self.connect();
        peer.send(request);
        peer.finish();
        String::from_utf8_lossy(&peer.rest()).into_owned()
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let response = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let of = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (series, _) = series.split_once('{').unwrap_or((series, ""));
            (series == name).then(|| value.parse::<u64>().ok())?
        };
        response.text().lines().filter_map(of).sum()
    }

    /// How often a limit was met.
    pub fn met(&self, limit: &str) -> u64 {
        let response = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let series = format!("everwire_limits_met_total{{limit=\"{limit}\"}} ");
        let of = |line: &str| line.strip_prefix(&series)?.parse().ok();
        response.text().lines().find_map(of).unwrap_or(0)
    }

    /// The most memory that the server has had, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        peak.expect("its peak").trim().parse::<u64>().expect("kB") * 1024
    }

    /// The server still serves those who do no harm.
    pub fn serves_others(&self, after: &str) {
        let mut bystander = self.bystander.borrow_mut();
        bystander.heard += 1;
        let text = format!("all is well {}", bystander.heard);
        let response = self
            .connect()
            .append("square", "text/plain", text.as_bytes());
        assert_eq!(response.status, 204, "after {after}: {}", response.text());
        let event = bystander.stream.event();
        assert!(event.contains(&text), "after {after}: {event:?}");
    }

    /// By how many bytes an attack raised the most memory that the server ever had (Linux).
    pub fn grows(&self, attack: impl FnOnce()) -> usize {
        let peak = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            let status = status.expect("what the kernel knows of it");
            let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = kib.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<usize>().ok());
            kib.expect("a number") * 1024
        };
        let before = peak();
        attack();
        peak() - before
    }

    /// Ends the server, and tells everything that it logged.
    pub fn log(mut self) -> String {
        self.end();
        let log = self.log.take().expect("the log is read once");
        log.join().expect("the log is text")
    }

    fn end(&mut self) {
        // It may have ended by itself, which is for the tests to see.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whoever attacks needs as many file descriptors as the server.
pub fn raise_own_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised");
}

/// The name of the problem that a response tells of; empty if it tells of none.
pub fn problem(content: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(content).unwrap_or_default();
    let kind = problem["type"].as_str().unwrap_or_default();
    kind.rsplit('/').next().unwrap_or_default().to_owned()
}

fn key(issuer: &Issuer) -> String {
    let (kid, algorithm) = (issuer.kid, issuer.algorithm.name());
    let what = match algorithm {
        "HS256" | "HS512" => "secret",
        _ => "public_key",
    };
    let shared = &issuer.shared;
    format!("\n[[tokens.keys]]\nkid = {kid:?}\nalg = {algorithm:?}\n{what} = {shared:?}\n")
}

/// Where the server says that it listens.
fn greeted(child: &mut Child) -> SocketAddr {
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut said = String::new();
    loop {
        let before = said.len();
        let count = stdout.read_line(&mut said).expect("text");
        assert!(count > 0, "the server ended after it said {said:?}");
        if let Some((_, rest)) = said[before..].split_once("http://") {
            let address: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
            return address.parse().expect("an address");
        }
    }
}

fn read_all(mut stderr: ChildStderr) -> String {
    let mut log = Vec::new();
    stderr.read_to_end(&mut log).expect("a log");
    String::from_utf8_lossy(&log).into_owned()
}
