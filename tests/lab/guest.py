# SPDX-License-Identifier: Apache-2.0
"""A running guest: commands and files through its guest agent, control through QMP."""

import base64
import itertools
import json
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

_CHUNK = 48 << 10


class GuestError(Exception):
    """The guest, its agent or its QEMU did not do what was asked."""


class Result(NamedTuple):
    """How a command in a guest ended; a signal counts as a negative rc."""

    rc: int
    out: str
    err: str


class _Agent:
    """The QEMU guest agent's protocol on one kept connection (qemu docs/interop/qemu-ga-ref)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._ids = itertools.count(1)

    def request(self, command: str, arguments: dict[str, object], timeout_s: float) -> Any:
        with self._lock:
            try:
                if self._socket is None:
                    self._connect(timeout_s)
                self._send({"execute": command, "arguments": arguments})
                reply = self._line(timeout_s)
            except BaseException as error:
                self.close()  # a late answer must not be taken for the next command's
                if isinstance(error, OSError | ValueError):
                    raise GuestError(f"{self._path}: {command}: {error or type(error).__name__}") from error
                raise
        if "error" in reply:
            raise GuestError(f"{command}: {reply['error'].get('desc')}")
        return reply["return"]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._socket.connect(str(self._path))
        number = next(self._ids) + int(time.time() * 1000) % 10**9 * 1000
        self._send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, prefix=b"\xff")
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            line = self._raw_line(timeout_s)
            if b"\xff" in line and json.loads(line.rpartition(b"\xff")[2]).get("return") == number:
                return
        raise TimeoutError("no answer to guest-sync")

    def _send(self, message: object, prefix: bytes = b"") -> None:
        assert self._socket is not None
        self._socket.sendall(prefix + json.dumps(message).encode() + b"\n")

    def _raw_line(self, timeout_s: float) -> bytes:
        assert self._socket is not None
        self._socket.settimeout(timeout_s)
        line = bytearray()
        while not line.endswith(b"\n"):
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError("QEMU closed the connection")
            line += data
        return bytes(line)

    def _line(self, timeout_s: float) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._raw_line(timeout_s))
        return answer


class Job:
    """A command under way in a guest. Its end is seen when it and all that hold its output have ended."""

    def __init__(self, guest: "Guest", command: str, pid: int) -> None:
        self._guest, self.command, self.pid = guest, command, pid

    def poll(self) -> Result | None:
        status = self._guest.agent("guest-exec-status", {"pid": self.pid})
        if not status["exited"]:
            return None

        def text(name: str) -> str:
            return base64.b64decode(status.get(name, "")).decode(errors="replace")

        return Result(status.get("exitcode", -status.get("signal", 0)), text("out-data"), text("err-data"))

    def wait(self, timeout_s: float) -> Result:
        end, pause = time.monotonic() + timeout_s, 0.01
        while (result := self.poll()) is None:
            if time.monotonic() > end:
                raise GuestError(f"{self._guest.name}: {self.command}: still running after {timeout_s} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)
        return result


class Guest:
    """A guest by its run directory, whoever started its QEMU."""

    def __init__(self, name: str, run: Path, qemu: "subprocess.Popen[bytes] | None" = None) -> None:
        self.name, self.directory = name, run
        self._qemu = qemu
        self._agent = _Agent(run / "agent")

    def agent(self, command: str, arguments: dict[str, object] | None = None, *, within_s: float = 20) -> Any:
        """One guest-agent command (qemu docs/interop/qemu-ga-ref)."""
        return self._agent.request(command, arguments or {}, within_s)

    def _give_up(self, end: float, why: object) -> None:
        """Raises when waiting longer is useless: the time is over, or the QEMU that we started has ended."""
        log = self.directory / "qemu.log"
        said = log.read_text(errors="replace")[-1000:] if log.exists() else ""
        if self._qemu is not None and self._qemu.poll() is not None:
            raise GuestError(f"{self.name}: QEMU has ended: {said}")
        if time.monotonic() > end:
            raise GuestError(f"{self.name}: gave up waiting: {why}\n{said}{self.console()[-2000:]}")

    def wait_ready(self, timeout_s: float = 120) -> None:
        """Returns when the guest's agent answers."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                self.agent("guest-ping", within_s=1)
            except GuestError as error:
                self._give_up(end, error)
                time.sleep(0.05)
            else:
                return

    def spawn(self, command: str) -> Job:
        """Starts a shell command. What it leaves in the background must not keep its output open."""
        arguments: dict[str, object] = {"path": "/bin/bash", "arg": ["-c", command], "capture-output": True}
        return Job(self, command, self.agent("guest-exec", arguments)["pid"])

    def run(self, command: str, *, timeout_s: float = 120, check: bool = False) -> Result:
        """Runs a shell command as root. With check, any exit status but 0 raises GuestError."""
        result = self.spawn(command).wait(timeout_s)
        if check and result.rc:
            raise GuestError(f"{self.name}: {command}: exit {result.rc}\n{result.out}{result.err}")
        return result

    def put(self, path: str, content: str | bytes) -> None:
        """Writes a file, about half a megabyte a second."""
        data = content.encode() if isinstance(content, str) else content
        handle = self.agent("guest-file-open", {"path": path, "mode": "w"})
        for start in range(0, len(data), _CHUNK):
            chunk = base64.b64encode(data[start : start + _CHUNK]).decode()
            self.agent("guest-file-write", {"handle": handle, "buf-b64": chunk})
        self.agent("guest-file-close", {"handle": handle})

    def get(self, path: str) -> bytes:
        """Reads a file, as slowly as put writes."""
        handle = self.agent("guest-file-open", {"path": path, "mode": "r"})
        data, end_of_file = bytearray(), False
        while not end_of_file:
            part = self.agent("guest-file-read", {"handle": handle, "count": _CHUNK})
            data += base64.b64decode(part["buf-b64"])
            end_of_file = part["eof"]
        self.agent("guest-file-close", {"handle": handle})
        return bytes(data)

    def wake(self, with_product: bool) -> None:
        """Tells a restored guest, which believes that it is still the day of its snapshot, what has changed."""
        self.run(f"date -s @{time.time():.3f} >/dev/null" + (" && lab-product" if with_product else ""), check=True)

    def clock_lead_s(self) -> float:
        """By how much the guest's clock is ahead of ours, to a few milliseconds: the closest of five looks."""
        looks: list[tuple[float, float]] = []
        for _ in range(5):
            before_s = time.time()
            there_s = self.agent("guest-get-time") / 1e9
            after_s = time.time()
            looks.append((after_s - before_s, there_s - (before_s + after_s) / 2))
        return min(looks)[1]

    def qmp(self, command: str, **arguments: object) -> Any:
        """One command to QEMU itself (qemu docs/interop/qemu-qmp-ref)."""
        try:
            with socket.socket(socket.AF_UNIX) as channel:
                channel.settimeout(20)
                channel.connect(str(self.directory / "qmp"))
                stream = channel.makefile("rw")
                stream.readline()  # greeting
                reply: dict[str, Any] = {}
                for name, given in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": name, "arguments": given}) + "\n")
                    stream.flush()
                    reply = {"event": ""}
                    while "event" in reply:
                        reply = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise GuestError(f"{self.name}: {command}: {error}") from error
        if "error" in reply:
            raise GuestError(f"{self.name}: {command}: {reply['error'].get('desc')}")
        return reply["return"]

    def is_running(self) -> bool:
        """Whether a QEMU answers on this guest's QMP socket."""
        try:
            return bool(self.qmp("query-status")["running"])
        except GuestError:
            return False

    def wait_loaded(self, timeout_s: float = 120) -> None:
        """Returns when QEMU has taken in, or written out, the whole memory."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                status = self.qmp("query-migrate").get("status")
            except GuestError as error:
                status = str(error)
            if status == "completed":
                return
            if status == "failed":
                raise GuestError(f"{self.name}: migration failed")
            self._give_up(end, status)
            time.sleep(0.02)

    def save_memory(self, state: Path) -> None:
        """Writes a stopped guest's memory to a file."""
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 4 << 30})
        self.qmp("migrate", uri=f"exec:cat > {state}")
        self.wait_loaded()

    def console(self) -> str:
        log = self.directory / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""


def make_disk(run: Path, backing: Path, backing_format: str) -> None:
    """A root disk that reads from `backing` until it is written to."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", backing_format]
    subprocess.run([*command, str(run / "root.qcow2")], check=True, capture_output=True)


def keep_disk(run: Path, image: Path, kept: Path) -> None:
    """Copies the root disk, so that it needs the image only and not what lies between them, such as another snapshot.

    Not by `qemu-img convert -B`, which takes only the uppermost layer.
    """
    shutil.copy(run / "root.qcow2", kept)
    command = ["qemu-img", "rebase", "-b", str(image), "-F", "raw", str(kept)]
    subprocess.run(command, check=True, capture_output=True)
