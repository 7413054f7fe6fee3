//! Bombs: contents of a megabyte or less, of which a gibibyte comes. They are unpacked up to the limit of contents and no
//! further, in memory that is counted, and hold up nobody.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress};

use crate::{
    common::{Peer, Response},
    victim::{Victim, problem},
};

const MIB: u64 = 1024 * 1024;

/// What one caller may have the server hold, what brotli's largest window and its tables take, for each of the two that are
/// unpacked at once, and as much again as memory is not given back to the last byte.
const HELD_BYTES_MAX: u64 = (32 + 2 * 20 + 32) * MIB;

const RATES: &str = "\n[limits]\nconnections_per_second_max = 0\nappends_per_second_max = 0\nreads_per_second_max = 0\n";

/// A gibibyte of zeros in gzip: a mebibyte, compressed once, a thousand times over. Nobody gets as far as the checksum.
fn gzip() -> Vec<u8> {
    let mut coder = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(64 * 1024);
    let zeros = vec![0; MIB as usize];
    coder
        .compress_vec(&zeros, &mut block, FlushCompress::Full)
        .expect("zeros can be compressed");
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head[..], &block.repeat(1024)].concat()
}

/// The same in brotli, with the largest window that there is. What is flushed ends with a byte, and from the second piece on
/// each says the same.
fn brotli() -> Vec<u8> {
    let mut coder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 24);
    let zeros = vec![0; MIB as usize];
    let mut ends = Vec::new();
    for _ in 0..3 {
        coder.write_all(&zeros).expect("memory takes it");
        coder.flush().expect("memory takes it");
        ends.push(coder.get_ref().len());
    }
    let coded = coder.get_ref();
    let (first, piece) = (&coded[..ends[1]], &coded[ends[1]..ends[2]]);
    [first, &piece.repeat(1022)].concat()
}

fn post(coding: &str, bomb: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Encoding: {coding}\r\n\
         Content-Length: {}\r\n\r\n",
        bomb.len()
    );
    [head.as_bytes(), bomb].concat()
}

/// Refused for its size, for which there is no more room, or because too much is under way.
fn is_refused(response: &Response) -> bool {
    matches!(
        (response.status, &*problem(&response.body)),
        (413, "too-large") | (429, "too-many") | (503, "overloaded")
    )
}

#[test]
fn pages_that_are_compressed_again_and_again_hold_up_nobody() {
    let victim = Victim::start(RATES);
    let entry = "hello, everybody in here; ".repeat(20_000);
    let published = victim
        .connect()
        .append("target", "text/plain", entry.as_bytes());
    assert_eq!(published.status, 204);
    for coding in ["gzip", "br", "br, gzip, identity;q=0"] {
        let before = victim.peak_bytes();
        let get = format!(
            "GET /channels/target HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n"
        );
        let mut peers: Vec<Peer> = (0..20).map(|_| victim.connect()).collect();
        for peer in &mut peers {
            peer.send(get.repeat(3));
        }
        for _ in 0..20 {
            victim.serves_others("pages in the press");
        }
        for peer in &mut peers {
            let response = peer.response();
            assert!(
                response.status == 200 || is_refused(&response),
                "{coding}: {}",
                response.head
            );
        }
        let more = victim.peak_bytes() - before;
        assert!(more < HELD_BYTES_MAX, "{coding}: {} MiB", more / MIB);
    }
    while victim.metric("everwire_in_flight_bytes") > 0 {}
}

#[test]
fn a_bomb_is_unpacked_up_to_its_limit_and_refused() {
    for (coding, bomb) in [("gzip", gzip()), ("br", brotli())] {
        let victim = Victim::start(RATES);
        victim.serves_others("its start");
        let before = victim.peak_bytes();
        let response = victim.ask(post(coding, &bomb));
        let refusal = (response.status, &*problem(&response.body));
        assert_eq!(refusal, (413, "too-large"), "{coding}: {}", response.text());
        assert_eq!(victim.metric("everwire_limits_met_total"), 1, "{coding}");
        let more = victim.peak_bytes() - before;
        assert!(more < HELD_BYTES_MAX, "{coding}: {} MiB", more / MIB);
        // Many at once, over connections of their own. Of a smaller content, since a debug build is slow at it.
        let victim = Victim::start(&format!("{RATES}content_bytes_max = 2_000_000\n"));
        victim.serves_others("its start");
        let before = victim.peak_bytes();
        let mut peers: Vec<Peer> = (0..20).map(|_| victim.connect()).collect();
        for peer in &mut peers {
            peer.send(post(coding, &bomb));
        }
        victim.serves_others("twenty bombs");
        for peer in &mut peers {
            let response = peer.response();
            assert!(is_refused(&response), "{coding}: {}", response.text());
        }
        let more = victim.peak_bytes() - before;
        assert!(more < HELD_BYTES_MAX, "{coding}: {} MiB", more / MIB);
        victim.serves_others("all of them");
        while victim.metric("everwire_in_flight_bytes") > 0 {}
        // What is small and honest still gets through.
        assert_eq!(
            victim.connect().append("target", "text/plain", b"x").status,
            204
        );
    }
}
