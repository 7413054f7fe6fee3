//! An output that is written by a thread of its own, behind a bounded queue.
//!
//! ```text
//!  any thread ─▶ push ─▶ queue ─▶ thread ─▶ stderr     full? the line is lost and counted
//! ```
//!
//! Whoever pushes never waits and never fails, whatever stands behind the output: a full disk, a pipe that nobody reads, a
//! reader that died. `tracing-appender` has such a queue, but bounds its lines and not their bytes, hides failed
//! writes, and prints with `println!` when it cannot end in time, which panics where stdout is closed.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use everwire_server::{Loss, LostLines};

/// An output behind its queue. Clones share it.
#[derive(Clone)]
pub struct Lossy(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Told when the queue is not empty any more.
    filled: Condvar,
    /// Told when all was written.
    written: Condvar,
    lost: Arc<LostLines>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The thread has taken a line and not written it yet.
    is_writing: bool,
}

/// Most lines that wait to be written.
pub const LINES_MAX: usize = 4096;

/// Most bytes of lines that wait to be written.
pub const BYTES_MAX: usize = 1024 * 1024;

/// After how long an output is tried again that takes nothing just now (a pipe that does not block its writer).
const PAUSE: Duration = Duration::from_millis(10);

impl Lossy {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn start(out: impl Write + Send + 'static, lost: Arc<LostLines>) -> io::Result<Self> {
        let this = Self(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            lost,
        }));
        let shared = this.0.clone();
        thread::Builder::new()
            .name("everwire-log".to_owned())
            .spawn(move || shared.write_to(out))?;
        Ok(this)
    }

    /// Has bytes written, which are one line or several, or loses them.
    pub fn push(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.lines.len() >= LINES_MAX || queue.bytes + line.len() > BYTES_MAX {
            return self.0.lost.add(Loss::Full);
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.into());
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits until all that was pushed is written, but no longer than this. False if something is left.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut queue = self.0.lock();
        while queue.is_writing || !queue.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.written.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut is_torn = false;
        loop {
            let line = self.next_line();
            // What was cut off must not run into the next line.
            let text: &[&[u8]] = match is_torn {
                true => &[b"\n", &line],
                false => &[&line],
            };
            let mut taken = 0;
            let outcome = text
                .iter()
                .try_for_each(|part| write_all(&mut out, part, &mut taken))
                .and_then(|()| out.flush());
            match outcome {
                Ok(()) => is_torn = false,
                Err(_) => {
                    is_torn |= taken > 0;
                    self.lost.add(Loss::Failed);
                }
            }
        }
    }

    /// The next line to write, once there is one.
    fn next_line(&self) -> Box<[u8]> {
        let mut queue = self.lock();
        queue.is_writing = false;
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.is_writing = true;
                return line;
            }
            self.written.notify_all();
            let waited = self.filled.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Writes all of this, and waits for an output that takes nothing just now: here nobody else is kept.
fn write_all(out: &mut impl Write, mut bytes: &[u8], taken: &mut usize) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                *taken += count;
                bytes = &bytes[count..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A queue takes what is written to it as one line for each call.
impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that waits for permission to write, one call at a time.
    struct Gated {
        may: mpsc::Receiver<io::Result<usize>>,
        said: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Ok(outcome) = self.may.recv() else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            let count = outcome?.min(bytes.len());
            self.said.lock().unwrap().extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Rig {
        log: Lossy,
        may: mpsc::Sender<io::Result<usize>>,
        said: Arc<Mutex<Vec<u8>>>,
        lost: Arc<LostLines>,
    }

    impl Rig {
        fn new() -> Self {
            let (may, is_allowed) = mpsc::channel();
            let (said, lost) = (
                Arc::<Mutex<Vec<u8>>>::default(),
                Arc::<LostLines>::default(),
            );
            let out = Gated {
                may: is_allowed,
                said: said.clone(),
            };
            let log = Lossy::start(out, lost.clone()).unwrap();
            Self {
                log,
                may,
                said,
                lost,
            }
        }

        fn allow(&self, outcomes: impl IntoIterator<Item = io::Result<usize>>) {
            for outcome in outcomes {
                self.may.send(outcome).unwrap();
            }
        }

        #[track_caller]
        fn said(&self, expected: &str) {
            assert!(self.log.flush(Duration::from_secs(60)));
            assert_eq!(
                String::from_utf8_lossy(&self.said.lock().unwrap()),
                expected
            );
        }
    }

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_the_last() {
        let rig = Rig::new();
        rig.log.push(b"one\n");
        rig.log.push(b"two\n");
        assert!(!rig.log.flush(Duration::ZERO), "nothing is written yet");
        rig.allow([Ok(100), Ok(100)]);
        rig.said("one\ntwo\n");
    }

    #[test]
    fn an_output_that_takes_nothing_costs_lines_and_holds_nobody_up() {
        let rig = Rig::new();
        for line in 0..3 * LINES_MAX {
            rig.log.push(format!("{line}\n").as_bytes());
        }
        let lost = rig.lost.count(Loss::Full) as usize;
        // One may have been taken out of the queue meanwhile.
        assert!(
            (2 * LINES_MAX - 1..=2 * LINES_MAX).contains(&lost),
            "{lost}"
        );
        assert!(!rig.log.flush(Duration::ZERO));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let rig = Rig::new();
        let line = vec![b'x'; BYTES_MAX / 4];
        for _ in 0..12 {
            rig.log.push(&line);
        }
        let lost = rig.lost.count(Loss::Full);
        assert!((7..=8).contains(&lost), "{lost}");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_does_not_run_into_the_next() {
        let broken = || Err(io::ErrorKind::StorageFull.into());
        let rig = Rig::new();
        for line in ["one\n", "two\n", "three\n"] {
            rig.log.push(line.as_bytes());
        }
        // Nothing of the first, a piece of the second, and all of the third after what ends that piece.
        rig.allow([broken(), Ok(2), broken(), Ok(1), Ok(100)]);
        rig.said("tw\nthree\n");
        assert_eq!(rig.lost.count(Loss::Failed), 2);
    }

    #[test]
    fn an_output_that_would_block_or_is_interrupted_is_tried_again() {
        let rig = Rig::new();
        rig.log.push(b"one\n");
        let again = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        rig.allow(again.map(|kind| Err(kind.into())));
        rig.allow([Ok(2), Ok(2)]);
        rig.said("one\n");
        assert_eq!(rig.lost.count(Loss::Failed), 0);
    }
}
