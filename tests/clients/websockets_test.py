"""The WebSocket wires as Python's `websockets` sees them, which checks every frame more strictly than most."""

import json
import pathlib
import ssl
import sys
import unittest
import urllib.request

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from server import Server  # noqa: E402

WAIT_SECONDS_MAX = 5


def setUpModule():
    global server
    server = unittest.enterModuleContext(Server())


class Channel:
    """A channel that no other test uses."""

    count = 0

    def __init__(self):
        Channel.count += 1
        self.name = f"python/{Channel.count}"
        self.url = f"http://{server.host}/channels/{self.name}"
        self.ws = f"ws://{server.host}/channels/{self.name}"

    def publish(self, body: bytes, content_type: str = "text/plain", **headers: str) -> str:
        """Appends one entry and gives the offset after it."""
        request = urllib.request.Request(self.url, body, {"content-type": content_type, **headers}, method="POST")
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS_MAX) as answer:
            return answer.headers["stream-next-offset"]


class UnderTls(unittest.TestCase):
    """Python's own TLS is OpenSSL, which fails on any record that it does not expect."""

    def test_messages_of_all_sizes_come_back_and_the_end_is_told(self):
        with Server('[tls]\nmode = "only"\n') as secure:
            trust = ssl.create_default_context(cafile=secure.certificate)
            with connect(f"wss://{secure.host}/echo", ssl=trust, max_size=None) as socket:
                for size in [0, 1, 16_383, 16_384, 16_385, 300_000]:
                    socket.send(bytes(size))
                    self.assertEqual(len(socket.recv(WAIT_SECONDS_MAX)), size)

    def test_versions_below_1_3_are_refused_where_that_is_set(self):
        with Server('[tls]\nmode = "only"\nmin_version = "1.3"\n') as secure:
            trust = ssl.create_default_context(cafile=secure.certificate)
            trust.maximum_version = ssl.TLSVersion.TLSv1_2
            with self.assertRaises(ssl.SSLError):
                connect(f"wss://{secure.host}/echo", ssl=trust)


class RawWire(unittest.TestCase):
    def test_text_and_binary_entries_keep_their_kind(self):
        for content_type, body, message in [
            ("text/plain", "héllo ✓".encode(), "héllo ✓"),
            ("application/json", b'{"n":1}', '{"n":1}'),
            ("application/octet-stream", bytes(range(256)), bytes(range(256))),
        ]:
            channel = Channel()
            with self.subTest(content_type), connect(channel.ws) as socket:
                channel.publish(body, content_type)
                self.assertEqual(socket.recv(timeout=WAIT_SECONDS_MAX), message)

    def test_compressed_and_plain_lines_read_the_same(self):
        channel = Channel()
        with connect(channel.ws) as compressed, connect(channel.ws, compression=None) as plain:
            self.assertIn("permessage-deflate", compressed.response.headers["Sec-WebSocket-Extensions"])
            self.assertNotIn("Sec-WebSocket-Extensions", plain.response.headers)
            for size in (0, 1, 125, 126, 65_535, 65_536, 200_000):
                # An entry of no bytes cannot be published over HTTP, so each has one more than its size says.
                text = "lorem ipsum "[: size % 12] + "lorem ipsum " * (size // 12) + "."
                channel.publish(text.encode())
                for socket in (compressed, plain):
                    self.assertEqual(socket.recv(timeout=WAIT_SECONDS_MAX), text, f"{size} bytes")

    def test_a_message_in_fragments_is_one_entry(self):
        channel = Channel()
        with connect(channel.ws) as speaker, connect(channel.ws) as listener:
            speaker.send(["in ", "three ", "frames"])
            self.assertEqual(listener.recv(timeout=WAIT_SECONDS_MAX), "in three frames")

    def test_pings_are_answered(self):
        with connect(Channel().ws) as socket:
            for payload in (b"", b"marco", bytes(125)):
                self.assertTrue(socket.ping(payload).wait(WAIT_SECONDS_MAX), payload)

    def test_the_closing_handshake_echoes_the_code(self):
        for code in (1000, 1001, 3000, 4000):
            with self.subTest(code), connect(Channel().ws) as socket:
                socket.close(code, "done")
                self.assertEqual(socket.protocol.close_rcvd.code, code)


class Session(unittest.TestCase):
    def connect(self, channel: Channel, query: str = ""):
        socket = self.enterContext(connect(channel.ws + query, subprotocols=["everwire.v1"]))
        self.assertEqual(socket.subprotocol, "everwire.v1")
        self.assertEqual(self.receive(socket)["ev"], "welcome")
        return socket

    def receive(self, socket) -> dict:
        return json.loads(socket.recv(timeout=WAIT_SECONDS_MAX))

    def test_entries_carry_the_offset_to_resume_from(self):
        channel = Channel()
        first = channel.publish(b'{"n":1}', "application/json")
        second = channel.publish(b'{"n":2}', "application/json")
        entry = self.receive(self.connect(channel, f"?offset={first}"))
        self.assertEqual((entry["ev"], entry["offset"], entry["data"]), ("entry", second, {"n": 2}))

    def test_a_published_message_is_acknowledged_and_heard(self):
        channel = Channel()
        socket = self.connect(channel)
        socket.send(json.dumps({"id": 1, "op": "publish", "channel": channel.name, "data": {"text": "hello"}}))
        messages = [self.receive(socket), self.receive(socket)]
        # Which of the two comes first is not promised.
        reply = next(message for message in messages if message.get("re") == 1)
        entry = next(message for message in messages if message.get("ev") == "entry")
        self.assertEqual(reply["ok"]["offset"], entry["offset"])
        self.assertEqual(entry["data"], {"text": "hello"})

    def test_a_message_that_is_no_object_closes_with_4400(self):
        socket = self.connect(Channel())
        socket.send("no json")
        with self.assertRaises(ConnectionClosed) as closed:
            self.receive(socket)
        self.assertEqual(closed.exception.rcvd.code, 4400)


if __name__ == "__main__":
    unittest.main()
