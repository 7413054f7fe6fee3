//! A network between a client and the server that breaks when it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes bytes on, both ways; dropped, it is gone with all its connections.
pub struct Proxy {
    pub address: SocketAddr,
    /// Counts the cuts: each change cuts all connections.
    cuts: watch::Sender<u64>,
    /// After how many bytes from the server each further connection is cut; 0: never.
    cut_after: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy to this server.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = watch::Sender::new(0);
        let cut_after = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            listener,
            server,
            cuts.subscribe(),
            cut_after.clone(),
        ));
        Self {
            address,
            cuts,
            cut_after,
            _tasks: tasks,
        }
    }

    /// Cuts all connections that are open.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts each connection that is opened from now on after so many bytes from the server; 0: none.
    pub fn cut_after(&self, bytes: usize) {
        self.cut_after.store(bytes, Ordering::Relaxed);
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    cuts: watch::Receiver<u64>,
    cut_after: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let mut cuts = cuts.clone();
        cuts.mark_unchanged();
        let left = match cut_after.load(Ordering::Relaxed) {
            0 => usize::MAX,
            bytes => bytes,
        };
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pass(from_client, to_server, usize::MAX) => {}
                () = pass(from_server, to_client, left) => {}
                _ = cuts.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut left: usize) {
    let mut bytes = [0; 4096];
    while left > 0 {
        let Ok(read @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        let passes = read.min(left);
        left -= passes;
        if to.write_all(&bytes[..passes]).await.is_err() {
            return;
        }
    }
}
