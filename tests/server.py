"""Starts the real server on a free loopback port, for the outside tests written in Python."""

import os
import pathlib
import re
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 10


class Server:
    """`with Server() as server:` runs the server; `server.host` is its `address:port`."""

    def __init__(self, config: str = "", log: pathlib.Path | None = None):
        self.config = config
        self.log = log
        self.lines: list[str] = []
        self.host = ""

    def __enter__(self) -> "Server":
        command = [str(binary()), "serve", "--dev", "--listen", "127.0.0.1:0"]
        # Under TLS it makes a certificate, which is kept there.
        self.folder = tempfile.TemporaryDirectory(prefix="everwire-")
        environment = {**os.environ, "XDG_STATE_HOME": self.folder.name}
        self.certificate = pathlib.Path(self.folder.name, "everwire", "localhost.pem")
        if self.config:
            path = pathlib.Path(self.folder.name, "everwire.toml")
            path.write_text(self.config)
            command += ["--config", str(path)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.listening = threading.Event()
        # Reads to the end, since a full pipe would stop the server.
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.listening.wait(START_SECONDS_MAX)
        if not self.host:
            self.process.kill()
            self.__exit__()
            raise RuntimeError(f"the server did not start; `{' '.join(command)}` said:\n{''.join(self.lines)}")
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.folder.cleanup()
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text("".join(self.lines))

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if not self.host and (found := re.search(r"listening on https?://([^\s/]+)", line)):
                self.host = found[1]
                self.listening.set()
        self.listening.set()


def binary() -> pathlib.Path:
    path = pathlib.Path(os.environ.get("EVERWIRE_BIN") or ROOT / "target/debug/everwire").resolve()
    if not path.exists():
        raise SystemExit(f"no server at {path}; build it with `cargo build`, or name another one in EVERWIRE_BIN")
    return path
