//! The real binary as a process: started as a service manager does, told by signals, watched by what it says.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Only a process that fails is waited for so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `everwire serve`, killed when it is dropped.
pub struct Process {
    child: Child,
    log: Receiver<String>,
    pub address: SocketAddr,
    pub folder: TempDir,
}

impl Process {
    /// Starts one with this configuration file, on a free port.
    pub fn start(config: &str) -> Self {
        Self::start_as(config, |_| {})
    }

    /// The same where the command is changed before.
    pub fn start_as(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("everwire.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--threads",
                "2",
                "--config",
            ])
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut greeting = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = greeting
            .find_map(|line| {
                Some(
                    line.unwrap()
                        .split_once("http://")?
                        .1
                        .split_once(' ')?
                        .0
                        .parse()
                        .unwrap(),
                )
            })
            .expect("it tells where it listens");
        let (told, log) = mpsc::channel();
        // There is none where a test has put something else in its place.
        if let Some(stderr) = child.stderr.take() {
            let lines = BufReader::new(stderr).lines();
            thread::spawn(move || {
                lines
                    .map_while(Result::ok)
                    .try_for_each(|line| told.send(line))
            });
        }
        // What it says later is taken from it, so that it never waits for us.
        thread::spawn(move || greeting.for_each(drop));
        Self {
            child,
            log,
            address,
            folder,
        }
    }

    /// A file beside the configuration.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration file anew, in its place, as an editor does.
    pub fn write_config(&self, text: &str) {
        replace(&self.file("everwire.toml"), text);
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// The next line of its log that contains this.
    #[track_caller]
    pub fn logged(&self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("{part:?} was not logged, but\n{}", before.join("\n")),
            }
        }
    }

    /// Asks for one thing on a connection of its own: the status, and the rest as text.
    pub fn ask(&self, request: &str) -> (u16, String) {
        ask(self.address, request)
    }

    /// What it has counted, by the name and the labels of a metric; 0 if it has not.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.ask("GET /metrics");
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0)
    }

    /// Asks for a metric until it is at least this.
    #[track_caller]
    pub fn counts(&self, name: &str, at_least: u64) {
        let began = Instant::now();
        while self.metric(name) < at_least {
            assert!(
                began.elapsed() < PATIENCE,
                "{name} is {}",
                self.metric(name)
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// All lines of its log that were not looked at, up to its end.
    pub fn log_to_end(&mut self) -> Vec<String> {
        self.log.iter().collect()
    }

    /// Waits for its end: whether it ended well.
    pub fn ended(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

/// Has a command run by a shell that does this before.
pub fn after(command: &mut Command, shell: &str) {
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let program = command.get_program().to_owned();
    *command = Command::new("sh");
    command
        // The process that is asked for has the number of the shell that it replaces.
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts another file in a file's place.
pub fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, file).unwrap();
}

/// A request's answer, on a connection of its own.
pub fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    ask_on(TcpStream::connect(address).unwrap(), request)
}

/// The same on a connection that is there.
pub fn ask_on(mut peer: TcpStream, request: &str) -> (u16, String) {
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let (line, content) = request.split_once('\n').unwrap_or((request, ""));
    let length = content.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{content}"
    );
    peer.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}
