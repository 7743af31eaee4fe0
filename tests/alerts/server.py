# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus, private, and what it says over its HTTP API."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.rig import free_port, require_program

STOP_S = 10


class Sample(NamedTuple):
    """One series of an answer."""

    labels: dict[str, str]
    value: float


class Api:
    """The HTTP API at an address. fetch: the body of a URL; raises OSError."""

    def __init__(self, address: str, fetch: Callable[[str], bytes] | None = None) -> None:
        self._address = address
        self._fetch = fetch or _fetch

    def query(self, expression: str, at_unix_s: float | None = None) -> list[Sample]:
        """The instant vector."""
        at = {} if at_unix_s is None else {"time": f"{at_unix_s:.3f}"}
        result = self.get("query", {"query": expression, **at})["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def history(self, expression: str, start_s: float, end_s: float, step_s: float) -> list[tuple[dict[str, str], Any]]:
        """Of each series its labels and its (time, value)s."""
        asked = {"query": expression, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:g}"}
        result = self.get("query_range", asked)["result"]
        return [(each["metric"], [(float(at), float(value)) for at, value in each["values"]]) for each in result]

    def get(self, what: str, asked: dict[str, str] | None = None) -> Any:
        """data of /api/v1/what. Raises OSError, ValueError for what it refuses."""
        answer = json.loads(self._fetch(f"http://{self._address}/api/v1/{what}?{urllib.parse.urlencode(asked or {})}"))
        if answer["status"] != "success":
            raise ValueError(f"{what}: {answer['error']}")
        return answer["data"]

    def wait_until(self, expression: str, deadline_s: float) -> list[Sample]:
        """The first answer that is not empty. Raises TimeoutError."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            try:
                if samples := self.query(expression):
                    return samples
            except (OSError, json.JSONDecodeError):  # it does not listen yet, or says that it is not ready
                pass
            time.sleep(0.2)
        raise TimeoutError(f"no series within {deadline_s:g} s: {expression}")


@contextmanager
def prometheus(config: str, directory: Path) -> Iterator[Api]:
    """One with this configuration; its files in directory."""
    (directory / "prometheus.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    command = [require_program("prometheus", "prometheus"), *arguments(directory, address)]
    with (directory / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield Api(address)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def arguments(directory: Path, address: str) -> list[str]:
    """Of a Prometheus that keeps its files in directory."""
    return [
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as refused:
        body = refused.read()  # says what it did not like
    return body
