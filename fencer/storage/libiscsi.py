# SPDX-License-Identifier: Apache-2.0
"""ScsiTransport to an iSCSI target by libiscsi, for a host that maps no LUN, and for tests without kernel SCSI.

What libiscsi 1.19 forced:

- connect and login are separate steps; iscsi_full_connect sends TEST UNIT READY and eats the unit attentions;
- noautoreconnect, or a PERSISTENT RESERVE OUT may be sent twice;
- only the async calls, with a deadline of our own: libiscsi's timeouts are whole seconds, and a context whose *sync*
  call timed out writes to a dead stack;
- only the head of struct scsi_task is the same in all versions, so data go into a buffer of ours.

Source: libiscsi 1.19 iscsi.h, scsi-lowlevel.h.
"""

import _socket as socket  # its Python half, ipaddress and regular expressions take longer to load than a login takes
import contextlib
import ctypes
import errno
import functools
import os
import select
import threading
from collections.abc import Callable

from fencer._typing import Final, NamedTuple
from fencer.errors import StorageError, TransportError, UsageError
from fencer.model import Deadline
from fencer.storage.shared_library import Signature, load
from fencer.storage.transport import ScsiReply, ScsiStatus, Sense

DEFAULT_PORT = 3260
MAX_LUN = 255  # peripheral device addressing, the only one libiscsi 1.19 encodes
LOGOUT_TIMEOUT_S = 0.5

_SCHEME = "iscsi://"
_NAME_TYPES = ("iqn.", "eui.", "naa.")  # RFC 7143 4.2.7
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:_-")
_NAME_MOST = 223
_DIGITS_MOST = 5

_SESSION_NORMAL = 2
_XFER_NONE, _XFER_READ, _XFER_WRITE = 0, 1, 2
_RESIDUAL_NONE, _RESIDUAL_UNDERFLOW = 0, 1

_MEMORY = "free memory on this node, then call again"
_NAME_REMEDY = "correct the name, or give the portal's address"
_REMEDIES = {
    "connect": "look at the portal's address and port, the network and the target, then call again",
    "login": "look at the target's name, and whether it admits this initiator without CHAP",
}


class IscsiUrl(NamedTuple):
    """``iscsi://host[:port]/target-name/lun``. host without brackets; port 1 to 65535; lun 0 to 255."""

    host: str
    port: int
    target: str
    lun: int

    @classmethod
    def parse(cls, text: str) -> "IscsiUrl":
        """Raises UsageError. An IPv6 address stands in brackets. CHAP credentials are refused."""
        parts = _parts(text)
        if parts is None and any(mark in text for mark in "%@"):  # not shown: it holds a password
            raise UsageError(
                "devices: an iSCSI URL with CHAP credentials is not taken: give iscsi://host[:port]/iqn/lun"
            )
        if parts is None:
            raise UsageError(f"devices: {text!r} is not an iSCSI URL: give iscsi://host[:port]/iqn/lun")
        portal, target, lun = parts
        host, port = portal
        if text[len(_SCHEME)] == "[" and not _is_address(host, socket.AF_INET6):
            raise UsageError(f"devices: {text!r}: give an IPv6 address between the brackets")
        if not 0 < port < 1 << 16:
            raise UsageError(f"devices: {text!r}: give a port from 1 to 65535")
        if not _is_name(target):
            raise UsageError(f"devices: {text!r}: give a target name that starts with iqn., eui. or naa.")
        if lun > MAX_LUN:
            raise UsageError(f"devices: {text!r}: give a LUN from 0 to {MAX_LUN}")
        return cls(host, port, target, lun)

    def __str__(self) -> str:
        return f"iscsi://{_portal(self.host, self.port)}/{self.target}/{self.lun}"


def _parts(text: str) -> tuple[tuple[str, int], str, int] | None:
    """Host and port, target and LUN of ``iscsi://host[:port]/target/lun``; None where it has not that form."""
    if not text.startswith(_SCHEME) or text.count("/") != 4:
        return None
    portal, target, lun = text[len(_SCHEME) :].split("/")
    if portal.startswith("["):
        host, bracket, rest = portal[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            return None
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = portal.partition(":")
        if any(mark in host for mark in "[]@"):
            return None
    if not host or not target or not _is_number(lun) or (colon and not _is_number(port)):
        return None
    return (host, int(port) if colon else DEFAULT_PORT), target, int(lun)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS_MOST


def _is_name(text: str) -> bool:
    """Whether it is an iSCSI name of at least one character behind its type."""
    return text.startswith(_NAME_TYPES) and 4 < len(text) <= _NAME_MOST and _NAME_CHARACTERS.issuperset(text)


def _is_address(host: str, *families: int) -> bool:
    """Whether host is a numeric address; one of IPv6 may name its zone (RFC 4007 11)."""
    address, percent, zone = host.partition("%")
    for family in families:
        with contextlib.suppress(OSError, ValueError):  # ValueError: a NUL in it
            socket.inet_pton(family, address)
            return not percent or (family == socket.AF_INET6 and bool(zone) and "%" not in zone)
    return False


def _portal(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class IscsiTransport:
    """One session with one target, used for one LUN.

    isid: 24 bits of the initiator session id. Its 16-bit qualifier is the LUN, so that a LUN's I_T nexus is the same at
    each login, and the sessions for several LUNs of one target are different nexuses. Two transports with the same
    initiator, isid, target and LUN reinstate each other's session: the older one fails.

    After an error the session is gone, and so is every later use. Not for use by several threads at once.
    """

    def __init__(self, url: IscsiUrl, *, initiator: str, isid: int, deadline: Deadline) -> None:
        """Connects and logs in by the deadline. Raises TransportError, or StorageError if libiscsi is missing."""
        if not 0 <= isid < 1 << 24:
            raise ValueError(f"isid {isid:#x} does not fit into 24 bits")
        self._url: Final = url
        self._lib: Final = _library()
        self._done: Final[dict[int, int]] = {}  # token of a call → its status
        self._tokens = 0
        self._kept: list[tuple[int, object]] = []  # tasks, with their buffers, of calls that never ended
        done = self._done
        # One callback for all calls, alive as long as the context: destroying it reports what was cancelled.
        self._callback: Final = _CALLBACK(lambda _context, status, _data, token: done.__setitem__(token, status))
        address = _resolve(url, deadline)
        self._context: int | None = self._lib.iscsi_create_context(initiator.encode())
        if self._context is None:
            raise StorageError(f"{url}: libiscsi: no context could be made", _MEMORY)
        self._lib.iscsi_set_targetname(self._context, url.target.encode())
        self._lib.iscsi_set_session_type(self._context, _SESSION_NORMAL)
        self._lib.iscsi_set_isid_random(self._context, isid, url.lun)
        self._lib.iscsi_set_noautoreconnect(self._context, 1)
        self._establish("connect", self._lib.iscsi_connect_async, deadline, address.encode())
        self._establish("login", self._lib.iscsi_login_async, deadline)

    @property
    def name(self) -> str:
        return str(self._url)

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """See ScsiTransport. data_out and data_in_length exclude each other (ValueError)."""
        if data_out and data_in_length:
            raise ValueError("a command carries data one way")
        if self._context is None:
            raise TransportError(f"{self.name}: the session is closed")
        direction = _XFER_WRITE if data_out else _XFER_READ if data_in_length else _XFER_NONE
        task = self._lib.scsi_create_task(len(cdb), cdb, direction, len(data_out) or data_in_length)
        if task is None:
            raise StorageError(f"{self.name}: libiscsi: no task could be made", _MEMORY)
        data_in = (ctypes.c_ubyte * data_in_length)() if data_in_length else None
        data = _Data(len(data_out), ctypes.cast(ctypes.c_char_p(data_out), ctypes.c_void_p)) if data_out else None
        keep = (task, (data_in, data, data_out))
        if data_in is not None and self._lib.scsi_task_add_data_in_buffer(task, data_in_length, data_in):
            self._lib.scsi_free_scsi_task(task)
            raise StorageError(f"{self.name}: libiscsi: no buffer could be added", _MEMORY)
        token = self._token()
        sent = self._lib.iscsi_scsi_command_async(
            self._context, self._url.lun, task, self._callback, ctypes.byref(data) if data else None, token
        )
        try:
            if sent:
                raise TransportError(f"{self.name}: not sent: {self._error()}")
            status = self._wait(token, Deadline.after(timeout_s))
        except TransportError:
            self._kept.append(keep)
            self._drop()
            raise
        head = _TaskHead.from_address(task)
        reply = self._reply(status, head, bytes(data_in) if data_in is not None else b"")
        self._lib.scsi_free_scsi_task(task)
        if reply is None:
            text = self._error()
            self._drop()
            raise TransportError(f"{self.name}: no SCSI status: {text}")
        return reply

    def close(self) -> None:
        """Logs out, waiting at most 0.5 s. Never raises."""
        if self._context is None:
            return
        with contextlib.suppress(TransportError):
            token = self._token()
            if self._lib.iscsi_logout_async(self._context, self._callback, token) == 0:
                self._wait(token, Deadline.after(LOGOUT_TIMEOUT_S))
        self._drop()

    # --- how ------------------------------------------------------------------------------------------------------

    def _establish(self, step: str, call: Callable[..., int], deadline: Deadline, *arguments: bytes) -> None:
        token = self._token()
        try:
            if call(self._context, *arguments, self._callback, token) or self._wait(token, deadline):
                raise TransportError(f"{self.name}: {self._error()}")
        except TransportError as error:
            self._drop()
            cause = str(error).removeprefix(self.name + ": ")
            raise TransportError(f"{self.name}: {step}: {cause}", _REMEDIES[step]) from error

    def _wait(self, token: int, deadline: Deadline) -> int:
        """Serves the connection until the call has ended; its status. Raises TransportError."""
        while token not in self._done:
            descriptor = self._lib.iscsi_get_fd(self._context)
            if descriptor < 0:
                raise TransportError(f"{self.name}: connection lost")
            if deadline.passed:
                raise TransportError(f"{self.name}: no answer in time")
            poll = select.poll()
            poll.register(descriptor, self._lib.iscsi_which_events(self._context))
            ready = poll.poll(deadline.remaining_s * 1000)
            events = ready[0][1] if ready else 0
            if events & select.POLLERR or events & (select.POLLHUP | select.POLLIN) == select.POLLHUP:
                # libiscsi would report its missing reconnect here, not the cause.
                raise TransportError(f"{self.name}: {_socket_error(descriptor)}")
            if events and self._lib.iscsi_service(self._context, events) < 0 and token not in self._done:
                raise TransportError(f"{self.name}: {self._error()}")
        return self._done.pop(token)

    @staticmethod
    def _reply(status: int, head: "_TaskHead", buffer: bytes) -> ScsiReply | None:
        """None when libiscsi gave up (cancelled, error): no SCSI status."""
        try:
            scsi_status = ScsiStatus(status)
        except ValueError:
            return None
        if scsi_status is ScsiStatus.CHECK_CONDITION:
            sense = Sense(head.sense_key, head.sense_ascq >> 8, head.sense_ascq & 0xFF) if head.error_type else None
            return ScsiReply(scsi_status, sense, b"")
        missing = head.residual if head.residual_status == _RESIDUAL_UNDERFLOW else 0
        return ScsiReply(scsi_status, None, buffer[: max(0, len(buffer) - missing)])

    def _token(self) -> int:
        self._tokens += 1
        return self._tokens

    def _error(self) -> str:
        text: bytes | None = self._lib.iscsi_get_error(self._context)
        return (text or b"").decode("utf-8", "replace").strip() or "connection lost"

    def _drop(self) -> None:
        """Closes the connection without a logout, then frees what unfinished calls pointed to."""
        if self._context is None:
            return
        self._lib.iscsi_destroy_context(self._context)
        self._context = None
        for task, _buffers in self._kept:
            self._lib.scsi_free_scsi_task(task)
        self._kept.clear()


def _socket_error(descriptor: int) -> str:
    """The pending error of a socket that belongs to libiscsi."""
    borrowed = socket.socket(fileno=descriptor)
    try:
        return os.strerror(borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET)
    finally:
        borrowed.detach()


def _resolve(url: IscsiUrl, deadline: Deadline) -> str:
    """The portal with a numeric address. libiscsi would ask the resolver without any limit."""
    if _is_address(url.host, socket.AF_INET, socket.AF_INET6):
        return _portal(url.host, url.port)
    found: list[str] = []
    failed: list[str] = []

    def ask() -> None:
        try:
            found.append(str(socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)[0][4][0]))
        except (OSError, UnicodeError) as error:
            failed.append(str(error))

    resolver = threading.Thread(target=ask, daemon=True, name=f"resolve {url.host}")
    resolver.start()
    resolver.join(deadline.remaining_s)
    if not found:
        raise TransportError(f"{url}: resolve {url.host}: {failed[0] if failed else 'no answer in time'}", _NAME_REMEDY)
    return _portal(found[0], url.port)


# --- the C side --------------------------------------------------------------------------------------------------


class _TaskHead(ctypes.Structure):
    """The head of struct scsi_task. After ascq the versions differ."""

    _fields_ = [
        ("status", ctypes.c_int),
        ("cdb_size", ctypes.c_int),
        ("xfer_dir", ctypes.c_int),
        ("expxferlen", ctypes.c_int),
        ("cdb", ctypes.c_ubyte * 16),
        ("residual_status", ctypes.c_int),
        ("residual", ctypes.c_size_t),
        ("error_type", ctypes.c_ubyte),
        ("sense_key", ctypes.c_int),
        ("sense_ascq", ctypes.c_int),
    ]


class _Data(ctypes.Structure):
    """struct iscsi_data."""

    _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_void_p)]


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_INT, _POINTER, _TEXT = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p

# Results are judged where they are used: the reason is in the context (iscsi_get_error), not in the result.
_FUNCTIONS = {
    "iscsi_create_context": Signature(_POINTER, (_TEXT,)),
    "iscsi_destroy_context": Signature(_INT, (_POINTER,)),
    "iscsi_set_targetname": Signature(_INT, (_POINTER, _TEXT)),
    "iscsi_set_session_type": Signature(_INT, (_POINTER, _INT)),
    "iscsi_set_isid_random": Signature(_INT, (_POINTER, ctypes.c_uint32, ctypes.c_uint32)),
    "iscsi_set_noautoreconnect": Signature(None, (_POINTER, _INT)),
    "iscsi_connect_async": Signature(_INT, (_POINTER, _TEXT, _CALLBACK, _POINTER)),
    "iscsi_login_async": Signature(_INT, (_POINTER, _CALLBACK, _POINTER)),
    "iscsi_logout_async": Signature(_INT, (_POINTER, _CALLBACK, _POINTER)),
    "iscsi_get_error": Signature(_TEXT, (_POINTER,)),
    "iscsi_get_fd": Signature(_INT, (_POINTER,)),
    "iscsi_which_events": Signature(_INT, (_POINTER,)),
    "iscsi_service": Signature(_INT, (_POINTER, _INT)),
    "iscsi_scsi_command_async": Signature(_INT, (_POINTER, _INT, _POINTER, _CALLBACK, _POINTER, _POINTER)),
    "scsi_create_task": Signature(_POINTER, (_INT, _TEXT, _INT, _INT)),
    "scsi_free_scsi_task": Signature(None, (_POINTER,)),
    "scsi_task_add_data_in_buffer": Signature(_INT, (_POINTER, _INT, _POINTER)),
}


@functools.cache
def _library() -> ctypes.CDLL:
    sonames = ("libiscsi.so.7", "libiscsi.so.8", "libiscsi.so.9", "libiscsi.so.10")
    return load(sonames, "iscsi", _FUNCTIONS)
