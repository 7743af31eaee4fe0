# SPDX-License-Identifier: Apache-2.0
"""Runs halvm-exporter as a service manager does, and asks it as clients do."""

import contextlib
import http.client
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fencer.exporter.answers import REUSE_S

EXPORTER = str(Path(sys.executable).with_name("halvm-exporter"))
START_S = 120.0
STOP_S = 60.0
SHOWN_S = 60.0


class Exporter:
    """One running exporter. place: the directory with watchdogd.json and journal.db."""

    def __init__(
        self,
        place: Path,
        *argv: str,
        listen: tuple[str, ...] = ("127.0.0.1:0",),
        prefix: tuple[str, ...] = (),
        program: tuple[str, ...] = (EXPORTER,),
    ) -> None:
        options = [f"--web.listen-address={address}" for address in listen]
        options += [f"--snapshot.file={place / 'watchdogd.json'}", f"--journal.file={place / 'journal.db'}"]
        self.process = subprocess.Popen(
            [*prefix, *program, *options, *argv],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
        self.said = ""
        self.ports: list[int] = []
        try:
            while len(self.ports) < len(listen):
                self._read(START_S)
                self.ports = [int(port) for port in re.findall(r"listening on \S+:(\d+)\b.*\n", self.said)]
        except BaseException:
            self.kill()
            raise

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def pid(self) -> int:
        """Of the exporter itself, also under strace."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        under = "strace" in Path(f"/proc/{self.process.pid}/comm").read_text()
        return int(children[0]) if under and children else self.process.pid

    def _read(self, within_s: float) -> None:
        assert self.process.stderr is not None
        ready, _, _ = select.select([self.process.stderr], [], [], within_s)
        text = os.read(self.process.stderr.fileno(), 65536).decode() if ready else ""
        if not text:
            raise AssertionError(f"the exporter did not start: {self.said}")
        self.said += text

    def log(self) -> str:
        """All that it has said so far."""
        assert self.process.stderr is not None
        while select.select([self.process.stderr], [], [], 0)[0]:
            text = os.read(self.process.stderr.fileno(), 65536).decode()
            if not text:
                break
            self.said += text
        return self.said

    def get(
        self,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """(status, headers, body) over a connection of its own."""
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            if tls is None
            else http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=tls)
        )
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def metrics(self) -> dict[str, float]:
        """Every series, of now: not the answer that somebody else got just before."""
        return self.metrics_of({})

    def metrics_of(self, headers: dict[str, str]) -> dict[str, float]:
        """The same, for a client that sends these."""
        time.sleep(REUSE_S)
        status, _, body = self.get("/metrics", headers)
        assert status == 200
        lines = [line for line in body.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def shows(self, series: str, value: float = 1) -> dict[str, float]:
        """Scrapes until a series has this value, and returns that scrape. On a machine that is busy, the exporter may
        give the journal up once (for it waits 1 s at most), and says so; the next scrape has it."""
        deadline = time.monotonic() + SHOWN_S
        while (found := self.metrics()).get(series) != value:
            if time.monotonic() > deadline:
                states = {name: is_so for name, is_so in found.items() if "_status" in name}
                raise AssertionError(f"{series} is {found.get(series)}, not {value}: {states} {self.log()}")
        return found

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, data: bytes, *, timeout_s: float = 60.0) -> bytes:
        """All that comes back for these bytes until the exporter closes."""
        with self.connect() as client:
            client.settimeout(timeout_s)
            with contextlib.suppress(OSError):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(OSError):
                while got := client.recv(65536):
                    answer += got
            return answer

    def rss_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status."""
        os.kill(self.pid, number)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                os.kill(self.pid, signal.SIGKILL)
            self.process.kill()
        self.process.wait(STOP_S)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def run(*argv: str) -> tuple[int, str]:
    """A call that ends by itself: exit status and what was said."""
    done = subprocess.run([EXPORTER, *argv], capture_output=True, text=True, timeout=START_S)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def until(condition: Callable[[], object], within_s: float = 15.0) -> None:
    """Waits for it."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextlib.contextmanager
def slow_clients(exporter: Exporter, number: int, first: bytes) -> Iterator[list[socket.socket]]:
    """Connections that have said ``first`` and then say nothing."""
    clients: list[socket.socket] = []
    try:
        for _ in range(number):
            client = exporter.connect()
            client.sendall(first)
            clients.append(client)
        yield clients
    finally:
        for client in clients:
            client.close()
