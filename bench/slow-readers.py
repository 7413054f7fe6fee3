#!/usr/bin/env python3
"""Hostile readers on a busy channel: what those cost the server who read nothing, and what a bystander feels.

    bench/slow-readers.py target/release/everwire [READERS] [ENTRIES]

Opens that many WebSockets and event streams (half of each) which never read, publishes entries of 4 KiB one after the
other, and prints by how much the server's user-space memory grew beyond its log, and how long an entry took to one who
reads. Ends with 1 if a reader costs more than the 4 KiB that it may hold, with 2 KiB for the allocator.

Each reader asks for segments of 536 bytes, as a path with a small MTU does: else the kernel would keep more than a
megabyte for each, and no reader would ever be slow.
"""

import re
import socket
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

ENTRY = b"x" * 4096
KEEP_BYTES_MAX = 6 * 1024
WEBSOCKET = (
    b"GET /channels/busy HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
EVENT_STREAM = b"GET /channels/busy HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
APPEND = b"POST /channels/busy HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(ENTRY)


class Server:
    """The server, until the end of the program."""

    def __init__(self, binary):
        # Nobody is cut before the end of the measurement.
        times = ["--limits.write-stall-ms", "600000", "--http.heartbeat-ms", "300000", "--presence.lease-ms", "600000"]
        command = [binary, "serve", "--dev", "--listen", "127.0.0.1:0", *times]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        greeting = (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in self.process.stdout)
        self.port = int(next(match for match in greeting if match)[1])
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port))

    def metric(self, name):
        text = urlopen(f"http://127.0.0.1:{self.port}/metrics").read().decode()
        return int(re.search(rf"^{name} (\d+)$", text, re.MULTILINE)[1])

    def memory_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024


def hostile(server, request):
    """A reader that never reads."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    peer.connect(("127.0.0.1", server.port))
    peer.sendall(request)
    return peer


def skip_head(file):
    while file.readline() != b"\r\n":
        pass


def main(binary, readers="10000", entries="400"):
    readers, entries = int(readers), int(entries)
    server = Server(binary)
    try:
        peers = [hostile(server, [WEBSOCKET, EVENT_STREAM][n % 2]) for n in range(readers)]
        bystander, publisher = server.connect(), server.connect()
        bystander.sendall(WEBSOCKET)
        heard, answered = bystander.makefile("rb"), publisher.makefile("rb")
        skip_head(heard)
        while server.metric("everwire_lines") <= readers:
            time.sleep(0.1)
        before = server.memory_bytes(), server.metric("everwire_log_bytes")
        latencies_ms = []
        for _ in range(entries):
            began = time.perf_counter()
            publisher.sendall(APPEND + ENTRY)
            assert heard.read(4)[0] == 0x81 and heard.read(len(ENTRY)) == ENTRY, "the bystander misses something"
            latencies_ms.append((time.perf_counter() - began) * 1000)
            skip_head(answered)
        memory, log = server.memory_bytes() - before[0], server.metric("everwire_log_bytes") - before[1]
        latencies_ms.sort()
        each = (memory - log) / readers
        print(f"{readers} readers, {server.metric('everwire_lines_behind_total')} times behind; {entries} entries")
        print(f"memory before {before[0] // 1024} kB, then {memory // 1024} kB more, of which the log is {log // 1024} kB")
        print(f"beyond the log {each:.0f} bytes for each reader")
        middle, late = latencies_ms[entries // 2], latencies_ms[entries * 99 // 100]
        print(f"an entry to the bystander: {middle:.2f} ms in the middle, {late:.2f} ms for one in a hundred")
        return int(each > KEEP_BYTES_MAX or len(peers) != readers)
    finally:
        server.process.terminate()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
