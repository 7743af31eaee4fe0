# SPDX-License-Identifier: Apache-2.0
"""Applies --web.config.file while the exporter runs: TLS and basic auth. Reads it again when one of its files changes.

At start, an invalid file is refused. Later, the previous configuration stays in force while the new one is invalid, and
while the new one asks for less protection (a half-written file does that): removing protection takes a restart. Without
protection before, an invalid file refuses all clients: its author may have meant to add some.
"""

import asyncio
import hashlib
import hmac
import secrets
import ssl
import time
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fencer._enum import IntEnum
from fencer.errors import UsageError
from fencer.exporter.web_settings import BYTES_MOST, OPTION, WebSettings, make_context, parse
from fencer.regular_file import read_regular_file

KNOWN_MOST: Final = 64
_AGAIN_S: Final = 1.0
_SETTLED_NS: Final = 100_000_000
"""A file that changed more recently is read again: a second change may leave the same time of modification."""
_PASSWORD_BYTES: Final = 72
"""bcrypt ignores what follows."""
_ALPHABET: Final = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_DIGEST_CHARACTERS: Final = 31


class _Lane(IntEnum):
    """Queues for password checks. One check of each lane runs at a time; lanes do not wait for each other."""

    SAME_PASSWORD = 0
    """This name and password were accepted before; the file has changed since."""
    SAME_ADDRESS = 1
    """A client at this address was accepted before, with another password."""
    STRANGER = 2


class WebConfig:
    """The settings in force. The constructor raises UsageError if the file is invalid.

    said: logs a sentence when the file becomes invalid, or valid again.
    """

    def __init__(self, path: Path | None, said: Callable[[str], None]) -> None:
        self._path = path
        self._said = said
        self._marks: dict[str, tuple[int, int, int] | None] = {}
        self._settings = WebSettings()
        self._context: ssl.SSLContext | None = None
        self._problem: UsageError | None = None
        self._refusing = False
        self._again_at = 0.0
        self._secret = secrets.token_bytes(32)
        self._dummy_hash = b""
        self._proved = _Recent()
        self._passwords = _Recent()
        self._addresses = _Recent()
        self._lanes = [asyncio.Semaphore(1) for _ in _Lane]
        if path is not None:
            settings = self._read(path)
            self._take(settings, _context(settings, path))

    @property
    def current(self) -> bool:
        """Whether the settings in force are those of the file."""
        return self._problem is None

    def settings(self) -> WebSettings:
        """The settings for this request. Raises UsageError while all clients are refused."""
        again = self._problem is not None and time.monotonic() >= self._again_at  # a missing file may be there now
        if self._path is not None and (again or self._changed()):
            self._reload(self._path)
        if self._problem is not None and self._refusing:
            raise self._problem
        return self._settings

    def context(self) -> ssl.SSLContext | None:
        """The TLS context for the next connection. Raises OSError while all clients are refused."""
        try:
            self.settings()
        except UsageError as error:
            raise OSError(str(error)) from error
        return self._context

    async def admits(self, authorization: str, peer: str) -> bool:
        """Whether this Authorization header gives access. Raises UsageError while all clients are refused."""
        users = self.settings().users
        if not users:
            return True
        try:
            scheme, _, encoded = authorization.partition(" ")
            if scheme.lower() != "basic":
                return False
            name, _, password = a2b_base64(encoded.encode("ascii"), strict_mode=True).partition(b":")
        except (Base64Error, UnicodeEncodeError):
            return False
        user = name.decode("utf-8", "replace")
        hashed = users.get(user, self._dummy_hash)
        proof, same = self._digest(hashed, name, password), self._digest(b"", name, password)
        if proof in self._proved:
            return True
        async with self._lanes[self._lane(same, peer)]:  # so that password guessing uses one processor at most
            right = proof in self._proved or await asyncio.to_thread(_matches, password, hashed)
        if not right or self.settings().users.get(user) != hashed:
            return False
        self._proved.add(proof)
        self._passwords.add(same)
        self._addresses.add(peer.encode())
        return True

    def _lane(self, same: bytes, peer: str) -> _Lane:
        if same in self._passwords:
            return _Lane.SAME_PASSWORD
        return _Lane.SAME_ADDRESS if peer.encode() in self._addresses else _Lane.STRANGER

    def _digest(self, *parts: bytes) -> bytes:
        """A keyed digest, so that no password is kept. It stays valid through a reload that does not change the user's
        hash."""
        return hmac.digest(self._secret, b"\0".join(parts), hashlib.sha256)

    # --- the files ------------------------------------------------------------------------------------------------

    def _reload(self, path: Path) -> None:
        self._again_at = time.monotonic() + _AGAIN_S
        before, settings = self._marks, None
        try:
            settings = self._read(path)
            context = _context(settings, path)
            if lost := settings.opens(self._settings):
                raise UsageError(
                    f"{OPTION}: {path}: asks no longer for {lost}: restart halvm-exporter if that is meant"
                )
        except UsageError as error:
            more = settings is None or bool(self._settings.opens(settings))  # protection is wanted than is in force
            self._refusing = more and not self._settings.closed
            if str(error) != str(self._problem):
                held = "every request is refused" if self._refusing else "the one before holds"
                self._said(f"{error} (until then {held})")
            self._problem = error
            return
        if self._problem is not None or self._marks != before:
            self._said(f"{OPTION}: {path}: read again")
        self._problem, self._refusing = None, False
        self._take(settings, context)

    def _read(self, path: Path) -> WebSettings:
        """Reads the file. Raises UsageError. Notes its version first: a change during the read is seen next time."""
        self._marks = {str(path): _mark(str(path))}
        settings = parse(_content(path), path)
        self._marks |= {file: _mark(file) for file in _files(settings)}
        return settings

    def _take(self, settings: WebSettings, context: ssl.SSLContext | None) -> None:
        self._settings, self._context = settings, context
        if settings.users:
            costs = max(hashed[4:6] for hashed in settings.users.values())
            self._dummy_hash = _unknowable(costs)

    def _changed(self) -> bool:
        now_ns = time.time_ns()
        return any(_mark(file) != mark or _unsettled(mark, now_ns) for file, mark in self._marks.items())


class _Recent:
    """The latest KNOWN_MOST items."""

    def __init__(self) -> None:
        self._of: dict[bytes, None] = {}

    def add(self, one: bytes) -> None:
        self._of.pop(one, None)
        self._of[one] = None
        while len(self._of) > KNOWN_MOST:
            del self._of[next(iter(self._of))]

    def __contains__(self, one: bytes) -> bool:
        return one in self._of


def _context(settings: WebSettings, path: Path) -> ssl.SSLContext | None:
    return None if settings.tls is None else make_context(settings.tls, path)


def _files(settings: WebSettings) -> tuple[str, ...]:
    tls = settings.tls
    return () if tls is None else tuple(file for file in (tls.cert, tls.key, tls.client_ca) if file)


def _mark(path: str) -> tuple[int, int, int] | None:
    """Inode, size and time of modification in ns; None if there is no such file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unsettled(mark: tuple[int, int, int] | None, now_ns: int) -> bool:
    return mark is not None and 0 <= now_ns - mark[2] < _SETTLED_NS


def _unknowable(cost: bytes) -> bytes:
    """A bcrypt hash that no password matches, for unknown users: checking it takes as long as a real one.

    cost: two digits.
    """
    import bcrypt

    salt = bcrypt.gensalt(int(cost))
    return salt + "".join(secrets.choice(_ALPHABET) for _ in range(_DIGEST_CHARACTERS)).encode()


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:_PASSWORD_BYTES], hashed)
    except ValueError:  # a NUL in it, for some versions
        return False


def _content(path: Path) -> bytes:
    """Reads the file. Raises UsageError."""
    try:
        return read_regular_file(str(path), BYTES_MOST, link=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{OPTION}: {path}: {reason}: give a file that can be read") from error
