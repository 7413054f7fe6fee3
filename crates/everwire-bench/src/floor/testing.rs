//! A floor on a thread of its own, for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::*;

/// Stops when it is dropped.
pub struct Running {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A floor on a free loopback port.
pub fn start() -> Running {
    start_joining(1)
}

/// One that joins so many entries in each send.
pub fn start_joining(joined: usize) -> Running {
    let mut floor = Floor::bind(SocketAddr::from(([127, 0, 0, 1], 0)), joined).unwrap();
    let address = floor.local_address().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        while !told.load(Ordering::Relaxed) {
            floor.turn(Some(Duration::from_millis(10)))?;
        }
        Ok(())
    });
    Running {
        address,
        stop,
        thread: Some(thread),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap().unwrap();
        }
    }
}
