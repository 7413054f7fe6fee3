//! How a rival comes to run, or is found running.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};

use super::{
    Rival,
    description::{Origin, Running as Found, Start},
    template::{StartPlace, Template},
};
use crate::{
    cores::Cores,
    dialect::Dialect,
    interrupt::Interrupt,
    subject::{Output, Process, Running},
};

impl Rival {
    /// Starts it on its core and waits until it listens, or finds it running.
    ///
    /// # Errors
    /// If it cannot be started or found, ends, or does not listen within some seconds; the message
    /// quotes what it said.
    pub fn start(self: &Arc<Self>, cores: Cores, interrupt: &Interrupt) -> Result<Running> {
        match &self.description.origin {
            Origin::Start(start) => self.start_anew(start, cores, interrupt),
            Origin::Running(found) => self.find(found),
        }
    }

    /// Its name, and what it says about its version if the description asks.
    ///
    /// # Errors
    /// If the command cannot be run.
    pub fn version(&self) -> Result<String> {
        let Some(words) = &self.description.version else {
            return Ok(self.name().to_owned());
        };
        let output = Command::new(self.program(&words.program))
            .args(&words.arguments)
            .current_dir(&self.folder)
            .output()
            .with_context(|| format!("cannot run {} for its version", words.program))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = said.lines().next().unwrap_or_default().trim();
        Ok(format!("{}: {version}", self.name()))
    }

    /// A program in the description's folder if a path is given, else one that is installed.
    fn program(&self, name: &str) -> PathBuf {
        if name.contains('/') {
            self.folder.join(name)
        } else {
            PathBuf::from(name)
        }
    }

    fn start_anew(
        self: &Arc<Self>,
        start: &Start,
        cores: Cores,
        interrupt: &Interrupt,
    ) -> Result<Running> {
        let scratch = tempfile::Builder::new()
            .prefix("everwire-bench-")
            .tempdir()
            .context("cannot create a scratch folder")?;
        let address = free_address().context("cannot find a free port")?;
        let fill = |template: &Template<StartPlace>| {
            template.fill(|place| match place {
                StartPlace::Port => address.port().to_string(),
                StartPlace::Dir => scratch.path().display().to_string(),
                StartPlace::Core => cores.server().to_string(),
            })
        };
        for (name, content) in &start.files {
            let path = scratch.path().join(name.as_str());
            fs::write(&path, fill(content))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut command = Command::new(self.program(&fill(&start.command.program)));
        command
            .args(start.command.arguments.iter().map(fill))
            .current_dir(&self.folder);
        let output = Output::of(&mut command)?;
        let process = Process::group(&mut command, cores, scratch)?;
        drop(command); // and with it our ends of the pipe, which else would never end

        let mut running = Running::new(process, output).at(address, self.dialect(String::new()));
        match &start.ready {
            Some(ready) => {
                let awaited = format!("no line with `{ready}` came");
                running.wait_until(interrupt, &awaited, |line| {
                    line?.contains(ready).then_some(())
                })?;
            }
            None => {
                let awaited = "it did not accept a connection";
                running.wait_until(interrupt, awaited, |_| TcpStream::connect(address).ok())?;
            }
        }
        Ok(running)
    }

    fn find(self: &Arc<Self>, found: &Found) -> Result<Running> {
        static LIVES: AtomicUsize = AtomicUsize::new(0);
        let Found { address, pid_file } = found;
        let pid = read_pid(&self.folder.join(pid_file))?;
        let process = Process::Foreign { pid };
        process.cpu_time()?;
        TcpStream::connect(address)
            .with_context(|| format!("it does not accept a connection at {address}"))?;
        // It may still have what an earlier measurement published.
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let dialect = self.dialect(format!("-{}-{life}", process::id()));
        Ok(Running::new(process, Output::unheard()).at(*address, dialect))
    }

    fn dialect(self: &Arc<Self>, channel_suffix: String) -> Dialect {
        Dialect::Rival {
            rival: Arc::clone(self),
            channel_suffix,
        }
    }
}

/// An address that nobody listens on. Another program might take it before the rival does, which
/// then fails to start and says so.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn read_pid(path: &Path) -> Result<u32> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {shown}; does the server run?"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{shown} holds no process id"))
}
