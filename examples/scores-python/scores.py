"""A scoreboard. This program knows the score, and Everwire tells everybody who watches.

    python3 scores.py        then open http://127.0.0.1:8000/, in as many windows as you like

It needs nothing but Python's standard library: to publish is one HTTP request.
"""

import argparse
import json
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHANNEL = "scores/final"
TEAMS = ["Badgers", "Otters"]
MINUTES = 90


def play(everwire, pace):
    """Plays a match; a goal falls every now and then."""
    score = {team: 0 for team in TEAMS}
    publish(everwire, {"minute": 0, "score": score, "said": "Kick-off."})
    for minute in range(1, MINUTES):
        time.sleep(pace)
        if random.random() < 0.06:
            team = random.choice(TEAMS)
            score[team] += 1
            publish(everwire, {"minute": minute, "score": score, "said": f"Goal for the {team}!"})
    publish(everwire, {"minute": MINUTES, "score": score, "said": "It is over."})


def publish(everwire, entry):
    """Publishes exactly once, however often it has to try: the server knows the key of a repeat."""
    request = urllib.request.Request(
        f"{everwire}/channels/{CHANNEL}",
        data=json.dumps(entry).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
    )
    for attempt in range(8):
        try:
            with urllib.request.urlopen(request, timeout=10):
                print(entry["minute"], entry["said"], flush=True)
                return
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500 and refusal.code != 429:
                raise SystemExit(f"Everwire refused the entry: {refusal.read().decode()}") from refusal
        except OSError:
            pass  # no answer: perhaps it was taken, perhaps not
        time.sleep(random.random() * 2**attempt / 10)
    raise SystemExit(f"nobody answers at {everwire}; start one with `everwire serve --dev`")


def page(everwire):
    """Serves the page, which reads from Everwire and never from here."""
    content = Path(__file__).with_name("index.html").read_text("utf-8")
    content = content.replace("{everwire}", everwire).encode()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    return Page


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--everwire", default="http://127.0.0.1:8080", help="where Everwire is")
    options.add_argument("--port", type=int, default=8000, help="where the page is served")
    options.add_argument("--pace", type=float, default=0.5, help="how many seconds a minute of the match takes")
    chosen = options.parse_args()

    server = ThreadingHTTPServer(("127.0.0.1", chosen.port), page(chosen.everwire))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"watch http://127.0.0.1:{server.server_port}/", flush=True)
    play(chosen.everwire, chosen.pace)
