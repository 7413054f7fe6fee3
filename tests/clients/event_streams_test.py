"""Event streams and ndjson as Python's clients read them: none makes a message of what is none, loses one, or sees one twice."""

import asyncio
import datetime
import json
import pathlib
import queue
import socket
import sys
import threading
import unittest
import urllib.request

import aiohttp
import httpx
import httpx_sse
import requests
import requests_sse
import sseclient
from aiohttp_sse_client2 import client as aiohttp_sse
from ld_eventsource import SSEClient
from ld_eventsource.config import ConnectStrategy, ErrorStrategy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from server import Server  # noqa: E402

WAIT_SECONDS_MAX = 10

# A reader that was cut off comes back at once, and what says nothing is sent a heartbeat every second.
CONFIG = "[http]\nretry_ms = 20\nheartbeat_ms = 1000\n"

# What a text becomes, as everybody should read it.
TEXTS = [
    ("common", "hello", "hello"),
    ("of other scripts", "héllo ✓ 🎉", "héllo ✓ 🎉"),
    ("lines", "one\ntwo", "one\ntwo"),
    ("lines as Windows ends them", "one\r\ntwo", "one\ntwo"),
    ("lines as old systems ended them", "one\rtwo", "one\ntwo"),
    ("an empty line within", "one\n\ntwo", "one\n\ntwo"),
    ("an empty line first", "\none", "\none"),
    ("an end of a line at the end", "one\n", "one\n"),
    ("spaces around", "  hello  ", "  hello  "),
    ("what looks like fields", "x\nid: 7\nevent: forged\ndata: y", "x\nid: 7\nevent: forged\ndata: y"),
    ("what others take for ends of lines", "a\u2028b\u2029c\u0085d\ve\ff", "a\u2028b\u2029c\u0085d\ve\ff"),
    ("long", "0123456789" * 20_000, "0123456789" * 20_000),
    ("nothing", "", ""),
]

# Two parsers take away the spaces before a value, and the ends of lines at the end: whatever a server writes, they see this.
STRIPPED = {"an end of a line at the end": "one", "spaces around": "hello  "}
WRONG = {"requests-sse": STRIPPED, "aiohttp-sse-client2": STRIPPED}


def with_sseclient_py(url: str, last: str):
    with requests.get(url, headers=fields(last), stream=True, timeout=WAIT_SECONDS_MAX) as answer:
        for event in sseclient.SSEClient(answer).events():
            yield event.event, event.data, event.id


def with_httpx_sse(url: str, last: str):
    with httpx.Client(timeout=WAIT_SECONDS_MAX) as client:
        with httpx_sse.connect_sse(client, "GET", url, headers=fields(last)) as source:
            for event in source.iter_sse():
                yield event.event, event.data, event.id


def with_requests_sse(url: str, last: str):
    with requests_sse.EventSource(url, headers=fields(last), timeout=WAIT_SECONDS_MAX) as source:
        for event in source:
            yield event.type, event.data, event.last_event_id


def with_launchdarkly(url: str, last: str):
    client = SSEClient(
        ConnectStrategy.http(url, headers=fields(last)),
        initial_retry_delay=0.02,
        error_strategy=ErrorStrategy.always_continue(),
    )
    with client:
        for event in client.events:
            yield event.event, event.data, event.last_event_id


def with_aiohttp_sse(url: str, last: str):
    """Its events come from a loop of its own, which is what it is for."""
    loop = asyncio.new_event_loop()

    async def opened():
        source = aiohttp_sse.EventSource(
            url, reconnection_time=datetime.timedelta(milliseconds=20), headers=fields(last)
        )
        await source.connect(5)
        return source

    try:
        source = loop.run_until_complete(opened())
        try:
            while True:
                event = loop.run_until_complete(source.__anext__())
                yield event.type or "message", event.data, event.last_event_id
        finally:
            loop.run_until_complete(source.__aexit__())
    except StopAsyncIteration:
        pass
    finally:
        loop.close()


READERS = {
    "sseclient-py": with_sseclient_py,
    "httpx-sse": with_httpx_sse,
    "requests-sse": with_requests_sse,
    "launchdarkly-eventsource": with_launchdarkly,
    "aiohttp-sse-client2": with_aiohttp_sse,
}


def fields(last: str) -> dict[str, str]:
    return {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}


def setUpModule():
    global server
    server = unittest.enterModuleContext(Server(CONFIG))


class Channel:
    """A channel that no other test uses."""

    count = 0

    def __init__(self):
        Channel.count += 1
        self.path = f"/channels/streams/{Channel.count}"
        self.url = f"http://{server.host}{self.path}"

    def publish(self, text: str, content_type: str = "text/plain") -> str:
        """Appends one entry and gives the offset after it."""
        request = urllib.request.Request(self.url, text.encode(), {"content-type": content_type}, method="POST")
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS_MAX) as answer:
            return answer.headers["stream-next-offset"]


class Reading:
    """A reader at work in a thread, which comes back from where it was until it has seen the last entry."""

    def __init__(self, read, url: str, last_data: str):
        self.events = []
        self.heard = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, args=(read, url, last_data), daemon=True)
        self.thread.start()

    def _run(self, read, url: str, last_data: str) -> None:
        last = ""
        while True:
            try:
                for kind, data, id in read(url, last):
                    last = id or last
                    self.events.append((kind, data, id))
                    self.heard.set()
                    if data == last_data:
                        return
            except (OSError, requests.RequestException, httpx.HTTPError, aiohttp.ClientError) as error:
                self.failure = error  # It was cut.

    def result(self) -> list:
        self.thread.join(WAIT_SECONDS_MAX)
        if self.thread.is_alive():
            raise AssertionError(f"the last entry does not come after {self.events[-3:]}, {self.failure!r}")
        return self.events


class Proxy:
    """A relay whose connections can be cut."""

    def __init__(self):
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        while self.sockets:
            shut(self.sockets.pop())

    def _accept(self) -> None:
        address, port = server.host.split(":")
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection((address, int(port)))
            self.sockets += [near, far]
            for source, sink in [(near, far), (far, near)]:
                threading.Thread(target=relay, args=(source, sink), daemon=True).start()


def relay(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65_536):
            sink.sendall(piece)
    except OSError:
        pass
    shut(sink)
    source.close()


def shut(side: socket.socket) -> None:
    try:
        side.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # The other side was first.


class EveryParser(unittest.TestCase):
    def read(self, url: str, last_data: str = "the last") -> dict[str, Reading]:
        return {name: Reading(read, url, last_data) for name, read in READERS.items()}

    def check(self, readings: dict[str, Reading], check) -> None:
        for name, reading in readings.items():
            with self.subTest(name):
                check(reading.result(), name)

    def test_sees_each_text_as_it_was_published_and_where_it_stands(self):
        channel = Channel()
        readings = self.read(f"{channel.url}?offset=-1")
        offsets = [channel.publish(text) for _, text, _ in TEXTS]
        channel.publish("the last")

        def check(seen, name):
            wrong = WRONG.get(name, {})
            expected = [("message", wrong.get(what, text), offset) for (what, _, text), offset in zip(TEXTS, offsets)]
            self.assertEqual(seen[:-1], expected)

        self.check(readings, check)

    def test_sees_json_on_one_line_whatever_is_in_it(self):
        channel = Channel()
        values = [{"n": 1}, {"ends": ["\u2028\u2029\u0085", "\n\r\v\f\x1c\x1d\x1e", ""]}, None, "the last"]
        readings = self.read(f"{channel.url}?offset=-1", '"the last"')
        for value in values:
            channel.publish(json.dumps(value, indent=2, ensure_ascii=False), "application/json")
        self.check(readings, lambda seen, _: self.assertEqual([json.loads(data) for _, data, _ in seen], values))

    def test_makes_no_message_of_heartbeats(self):
        channel = Channel()
        channel.publish("the first")
        readings = self.read(f"{channel.url}?offset=-1")
        for reading in readings.values():
            self.assertTrue(reading.heard.wait(WAIT_SECONDS_MAX))
        with urllib.request.urlopen(urllib.request.Request(channel.url, headers=fields(""))) as stream:
            for _ in range(2):
                while next(stream) != b":\n":
                    pass
        channel.publish("the last")
        self.check(readings, lambda seen, _: self.assertEqual([data for _, data, _ in seen], ["the first", "the last"]))

    def test_sees_heartbeats_that_were_asked_for_by_their_name(self):
        channel = Channel()
        first = channel.publish("the first")
        readings = self.read(f"{channel.url}?offset=-1&heartbeat=event")
        for reading in readings.values():
            self.assertTrue(reading.heard.wait(WAIT_SECONDS_MAX))
        with urllib.request.urlopen(urllib.request.Request(f"{channel.url}?heartbeat=event", headers=fields(""))) as stream:
            for _ in range(2):
                while next(stream) != b"event: heartbeat\n":
                    pass
        channel.publish("the last")

        def check(seen, _):
            beats = [event for event in seen if event[0] == "heartbeat"]
            self.assertEqual([data for kind, data, _ in seen if kind != "heartbeat"], ["the first", "the last"])
            self.assertTrue(beats)
            for _, data, id in beats:
                self.assertEqual(data, "{}")
                self.assertIn(id or first, [first])

        self.check(readings, check)

    def test_loses_nothing_and_doubles_nothing_when_it_is_cut(self):
        total = 90
        channel = Channel()
        proxy = Proxy()
        channel.publish("0")
        readings = self.read(f"{proxy.url}{channel.path}?offset=-1")
        for reading in readings.values():
            self.assertTrue(reading.heard.wait(WAIT_SECONDS_MAX))
        for n in range(1, total):
            channel.publish(str(n))
            if n % 30 == 15:
                proxy.cut()
        channel.publish("the last")
        expected = [str(n) for n in range(total)] + ["the last"]
        self.check(readings, lambda seen, _: self.assertEqual([data for _, data, _ in seen], expected))


class Ndjson(unittest.TestCase):
    def test_is_a_line_for_each_entry_however_python_divides_text(self):
        channel = Channel()
        texts = ["a\u2028b\u2029c\u0085d", "\v\f\x1c\x1d\x1e\r\n", "", "héllo ✓ 🎉"]
        ways = {
            "requests.iter_lines": lambda url: lines_of_requests(url),
            "httpx.iter_lines": lambda url: lines_of_httpx(url),
            "str.splitlines": lambda url: lines_by_splitlines(url),
        }
        for text in texts:
            channel.publish(text)
        url = f"{channel.url}?live=ndjson&offset=-1"
        found = {name: queue.Queue() for name in ways}
        for name, lines in ways.items():
            threading.Thread(target=put_all, args=(lines(url), found[name]), daemon=True).start()
        for name in ways:
            with self.subTest(name):
                self.assertEqual([found[name].get(timeout=WAIT_SECONDS_MAX)["data"] for _ in texts], texts)
                # Two heartbeats, and then another entry.
                self.assertEqual([found[name].get(timeout=WAIT_SECONDS_MAX) for _ in range(2)], [{}, {}])
        channel.publish("the last")
        for name in ways:
            with self.subTest(name):
                while (entry := found[name].get(timeout=WAIT_SECONDS_MAX)) == {}:
                    pass
                self.assertEqual(entry["data"], "the last")


def put_all(lines, found: queue.Queue) -> None:
    for line in lines:
        found.put(json.loads(line))


def lines_of_requests(url: str):
    with requests.get(url, stream=True, timeout=WAIT_SECONDS_MAX) as answer:
        answer.encoding = "utf-8"
        yield from answer.iter_lines(chunk_size=1, decode_unicode=True)


def lines_of_httpx(url: str):
    with httpx.stream("GET", url, timeout=WAIT_SECONDS_MAX) as answer:
        yield from answer.iter_lines()


def lines_by_splitlines(url: str):
    """As one reads who divides all that came by what Python takes for ends of lines."""
    with httpx.stream("GET", url, timeout=WAIT_SECONDS_MAX) as answer:
        rest = ""
        for piece in answer.iter_text():
            *lines, rest = (rest + piece + "\0").splitlines()
            rest = rest.removesuffix("\0")
            yield from lines


if __name__ == "__main__":
    unittest.main()
