//! A reader that takes its time costs others nothing, and loses nothing itself.

mod common;

use common::Site;

/// More lines than one slice of the walk has sends, so that entries come in the middle of a round.
#[test]
fn a_line_that_stops_reading_among_many_harms_nobody() {
    let site = Site::start();
    let mut slow: Vec<_> = (0..5).map(|_| site.connect_narrow()).collect();
    let mut readers = Vec::new();
    for index in 0..80 {
        if index % 16 == 15 {
            slow[index / 16].open_websocket("crowd", "", "");
        } else {
            readers.push(site.websocket("crowd", ""));
        }
    }
    const ROUNDS: usize = 400;
    let mut publisher = site.connect();
    let body = |n: usize| format!("{n:016}{}", "x".repeat(16 * 1024));
    let reading = std::thread::spawn(move || {
        for n in 0..ROUNDS {
            for reader in &mut readers {
                assert!(reader.text().starts_with(&format!("{n:016}")));
            }
        }
    });
    for n in 0..ROUNDS {
        publisher.send_append("crowd", "text/plain", body(n).as_bytes());
    }
    for _ in 0..ROUNDS {
        assert_eq!(publisher.response().status, 204);
    }
    reading.join().unwrap();
    for peer in &mut slow {
        for n in 0..ROUNDS {
            assert_eq!(peer.text(), body(n));
        }
    }
}
