//! Panics, told in the log: the hook of the standard library writes by itself, and would wait for a reader.
//!
//! Each place that panics has the pace of any other place that speaks. A fault that a peer can reach again and again is
//! told with its backtrace ten times a minute, and then as a number.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::PanicHookInfo,
    thread,
};

use super::paced::{Paced, TARGET};

/// What is to be called when a thread panics.
pub fn hook(paced: Paced) -> impl Fn(&PanicHookInfo<'_>) + Send + Sync + 'static {
    move |panic| {
        let place = panic.location().map(ToString::to_string);
        // To gather a backtrace takes milliseconds, and a lock that all threads share.
        if paced.admits_panic(place.as_deref().unwrap_or("a place that is not known")) {
            tell(panic, place.as_deref());
        }
    }
}

fn tell(panic: &PanicHookInfo<'_>, place: Option<&str>) {
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    // This line speaks for every place that panics, so its own is given no pace.
    tracing::error!(
        target: TARGET,
        thread = thread.name(),
        place,
        reason = panic.payload_as_str(),
        backtrace = backtrace.map(tracing::field::display),
        "a thread panicked: this is a fault of the server, please report it"
    );
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        panic,
        sync::{Arc, Mutex},
    };

    use everwire_server::{Loss, LostLines};
    use tracing_subscriber::{Layer, fmt, layer::SubscriberExt};

    use super::*;

    /// All that was logged.
    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_place_that_panics_again_and_again_is_told_as_any_other_place() {
        let lost = Arc::<LostLines>::default();
        let paced = Paced::start(lost.clone()).unwrap();
        let text = Text::default();
        let log = {
            let text = text.clone();
            let layer = fmt::layer()
                .with_ansi(false)
                .with_writer(move || text.clone());
            tracing_subscriber::registry().with(layer.with_filter(paced.clone()))
        };
        tracing::subscriber::with_default(log, || {
            let before = panic::take_hook();
            panic::set_hook(Box::new(hook(paced.clone())));
            for _ in 0..35 {
                let _ = panic::catch_unwind(|| panic!("often"));
            }
            let _ = panic::catch_unwind(|| panic!("once"));
            panic::set_hook(before);
            paced.tell_rest();
        });
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let told = |what: &str| text.matches(what).count();
        // As whole fields: there may be backtraces, in which any word may stand.
        assert_eq!(told("reason=\"often\""), 10, "{text}");
        assert_eq!(told("reason=\"once\""), 1, "another place is heard: {text}");
        assert_eq!(told("more=25 like=\"a thread panicked at "), 1, "{text}");
        assert!(text.contains("panics.rs:"), "the place is told: {text}");
        assert_eq!(lost.count(Loss::Paced), 25);
    }
}
