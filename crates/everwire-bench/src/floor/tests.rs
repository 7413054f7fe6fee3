//! The floor, driven over sockets.

use std::net::TcpStream;

use super::*;
use crate::wire::{self, Wire};

fn reader(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .write_all(&Wire::WebSocket.request(address, "a"))
        .unwrap();
    expect(&mut socket, Framing::WebSocket.head());
    socket
}

fn expect(socket: &mut TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    socket.read_exact(&mut received).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&received),
        String::from_utf8_lossy(expected)
    );
}

#[test]
fn what_one_sends_all_readers_get() {
    let floor = testing::start();
    let mut readers: Vec<_> = (0..4).map(|_| reader(floor.address())).collect();
    readers[0].write_all(b"\x81\x82\x01\x02\x01\x02ik").unwrap();
    for socket in &mut readers {
        expect(socket, b"\x81\x02hi");
    }
    // One says Close, one only goes away; the places of the others change.
    readers[0].write_all(b"\x88\x80....").unwrap();
    assert_eq!(readers[0].read(&mut [0; 1]).unwrap(), 0);
    readers.remove(0);
    readers.remove(0);
    readers[0].write_all(b"\x81\x81\0\0\0\0x").unwrap();
    for socket in &mut readers {
        expect(socket, b"\x81\x01x");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let floor = testing::start();
    let mut reader = reader(floor.address());
    let mut publisher = TcpStream::connect(floor.address()).unwrap();
    let head = wire::publish_head(floor.address(), "a", 3);
    let create = wire::create_request(floor.address(), "a");
    let requests = [&create[..], &head, b"one", &head, b"two"].concat();
    // Byte by byte, so that requests arrive in parts.
    for byte in requests {
        publisher.write_all(&[byte]).unwrap();
    }
    let answers = [Request::Other, Request::Post(b""), Request::Post(b"")].map(Request::answer);
    expect(&mut publisher, &answers.concat());
    expect(&mut reader, b"\x81\x03one\x81\x03two");
}

#[test]
fn each_channel_has_its_own_readers() {
    let floor = testing::start();
    let open = |channel: &str| {
        let mut socket = TcpStream::connect(floor.address()).unwrap();
        let request = Wire::WebSocket.request(floor.address(), channel);
        socket.write_all(&request).unwrap();
        expect(&mut socket, Framing::WebSocket.head());
        socket
    };
    let (mut a, mut b) = (open("a"), open("b"));
    a.write_all(b"\x81\x81\0\0\0\0x").unwrap();
    expect(&mut a, b"\x81\x01x");
    b.write_all(b"\x81\x81\0\0\0\0y").unwrap();
    expect(&mut b, b"\x81\x01y");
}

#[test]
fn an_echo_larger_than_a_socket_comes_back_whole() {
    let floor = testing::start();
    let mut socket = TcpStream::connect(floor.address()).unwrap();
    socket
        .write_all(&wire::echo_request(floor.address()))
        .unwrap();
    expect(&mut socket, Framing::WebSocket.head());
    let mut writer = socket.try_clone().unwrap();
    // More than the buffers of both sockets hold, so that it cannot be sent in one call.
    let payload: Vec<u8> = (0..16 * 1024 * 1024_u32).map(|at| at as u8).collect();
    let sent = payload.clone();
    let writing = std::thread::spawn(move || {
        writer
            .write_all(b"\x82\xff\0\0\0\0\x01\0\0\0\0\0\0\0")
            .unwrap();
        writer.write_all(&sent).unwrap();
    });
    writing.join().unwrap();
    expect(&mut socket, b"\x81\x7f\0\0\0\0\x01\0\0\0");
    let mut received = vec![0; payload.len()];
    socket.read_exact(&mut received).unwrap();
    assert!(received == payload);
}
