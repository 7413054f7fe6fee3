//! Whether anybody still reads what is printed.

use std::io;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

/// Waits until nobody can read standard output any more, as after `head -1` has its line. A file is never so.
///
/// A write would tell it too, but on a quiet channel the next one may be a day away.
pub async fn closed() {
    let (sender, told) = oneshot::channel();
    let watch = move || {
        let output = io::stdout();
        // That the other end is gone is told without being asked for.
        let mut watched = [PollFd::new(&output, PollFlags::empty())];
        while let Err(Errno::INTR) = poll(&mut watched, None) {}
        let left = PollFlags::ERR | PollFlags::HUP;
        // Where polling fails, a write tells it.
        if watched[0].revents().intersects(left) {
            let _ = sender.send(());
        }
    };
    // A thread for it, which ends with the process: a pipe that is shared with other programs must not be made
    // non-blocking, as a runtime would ask.
    let is_watched = thread::Builder::new()
        .name("outlet".into())
        .spawn(watch)
        .is_ok();
    if !is_watched || told.await.is_err() {
        std::future::pending::<()>().await;
    }
}
