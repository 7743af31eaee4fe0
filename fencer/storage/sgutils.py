# SPDX-License-Identifier: Apache-2.0
"""ScsiTransport by the kernel: SG_IO on /dev/sdX or /dev/sgN, through libsgutils2's pass-through interface.

The descriptor is opened read-only: udev watches block devices for the close of a writable descriptor and then probes
them anew, and partition nodes blink. PERSISTENT RESERVE OUT on a read-only descriptor needs CAP_SYS_RAWIO.

Source: sg_pt.h 1.46.
"""

import contextlib
import ctypes
import errno
import fcntl
import functools
import math
import os
import stat

from fencer._typing import Any, Final
from fencer.errors import StorageError, StorageRefused, TransportError
from fencer.storage import pr
from fencer.storage.block_devices import read_attribute
from fencer.storage.shared_library import Signature, load
from fencer.storage.transport import ScsiReply, ScsiStatus

_SG_GET_VERSION_NUM = 0x2282
_SENSE_LENGTH_BYTES = 252
_DO_TIMEOUT = 2
_RESULT_TRANSPORT_ERROR, _RESULT_OS_ERROR = 3, 4
_STATUS_MASK = 0x7E
_NOT_SENT = (errno.EPERM, errno.EACCES, errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP)
_GONE = (errno.ENODEV, errno.ENXIO)  # of a disk that was deleted, an open descriptor never works again

_GIVE_A_DISK = "give a shared SCSI disk"
_UPDATE = "install another version of libsgutils2"
_RECONNECT = "connect this path again (rescan the host or log in at the target), then call again"


def _remedy(number: int | None) -> str | None:
    """The remedy for an errno; None: that of the error's class."""
    if number in (errno.EPERM, errno.EACCES):
        return "run as root, with CAP_SYS_RAWIO"
    if number in _NOT_SENT:
        return _GIVE_A_DISK
    if number in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files on this node (ulimit -n, LimitNOFILE=), then call again"
    return _RECONNECT if number in (*_GONE, errno.ENOENT) else None


class SgTransport:
    """One path to a LUN: one I_T nexus. Several threads may use it at once.

    A command that the kernel cannot abort (D state) outlives its timeout; a caller that must not wait runs it in a
    thread or process that can be left behind.
    """

    def __init__(self, path: str, *, wwid: str | None = None) -> None:
        """path: /dev/sdX, /dev/sgN, or a link to one. Raises StorageError for anything else, or without libsgutils2.

        wwid: opens it with the first command instead, and again where that failed or the disk was deleted, as long as
        the path leads to this LUN: the kernel gives names anew. Opening may hang while the kernel recovers a host.
        """
        self._path: Final = path
        self._wwid: Final = wwid
        self._lib: Final = _library()
        self._descriptor: int | None = None
        self._closed = False
        if wwid is None:
            self._descriptor = self._open()

    @property
    def name(self) -> str:
        return self._path

    def execute(self, cdb: bytes, *, data_out: bytes = b"", data_in_length: int = 0, timeout_s: float) -> ScsiReply:
        """See ScsiTransport. The timeout is rounded up to whole seconds, the unit of libsgutils2.

        StorageError: it was not sent (not permitted, not understood). data_out and data_in_length exclude each other
        (ValueError).
        """
        if data_out and data_in_length:
            raise ValueError("a command carries data one way")
        if self._closed or (self._descriptor is None and self._wwid is None):
            raise TransportError(f"{self.name}: closed")
        descriptor = self._descriptor = self._open() if self._descriptor is None else self._descriptor
        lib = self._lib
        sense = ctypes.create_string_buffer(_SENSE_LENGTH_BYTES)
        command = ctypes.create_string_buffer(cdb, len(cdb))
        data = ctypes.create_string_buffer(data_out or bytes(data_in_length), len(data_out) or data_in_length or 1)
        request = lib.construct_scsi_pt_obj_with_fd(descriptor, 0)
        try:
            lib.set_scsi_pt_cdb(request, command, len(cdb))
            lib.set_scsi_pt_sense(request, sense, len(sense))
            if data_out:
                lib.set_scsi_pt_data_out(request, data, len(data_out))
            elif data_in_length:
                lib.set_scsi_pt_data_in(request, data, data_in_length)
            self._require_sent(lib.do_scsi_pt(request, descriptor, max(1, math.ceil(timeout_s)), 0))
            status = self._status(request)
            sense_data = sense.raw[: lib.get_scsi_pt_sense_len(request)]
            missing = min(max(0, lib.get_scsi_pt_resid(request)), data_in_length)
        finally:
            lib.destruct_scsi_pt_obj(request)
        if status is ScsiStatus.CHECK_CONDITION:
            decoded = pr.decode_sense(sense_data)
            # A remark on a command that was executed (recovered error) comes with its data.
            return ScsiReply(status, decoded, data.raw[: data_in_length - missing] if decoded else b"")
        return ScsiReply(status, None, data.raw[: data_in_length - missing])

    def close(self) -> None:
        """Closes the descriptor. Never raises."""
        self._closed = True
        self._drop()

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            kind = StorageRefused if error.errno in _NOT_SENT else StorageError
            raise kind(f"{self._path}: open: {error.strerror}", _remedy(error.errno)) from error
        try:
            _require_scsi_device(self._path, descriptor)
            if self._wwid is not None:
                _require_wwid(self._path, descriptor, self._wwid)
        except StorageError:
            os.close(descriptor)
            raise
        return descriptor

    def _drop(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _require_sent(self, result: int) -> None:
        """Raises TransportError unless the command was sent. result: of do_scsi_pt: 0, -errno or SCSI_PT_DO_*."""
        if result == 0:
            return
        if -result in _NOT_SENT:
            raise StorageRefused(f"{self.name}: SG_IO: {os.strerror(-result)}", _remedy(-result))
        if -result in _GONE and self._wwid is not None:
            self._drop()
        if result < 0:
            raise TransportError(f"{self.name}: SG_IO: {os.strerror(-result)}", _remedy(-result))
        if result == _DO_TIMEOUT:
            raise TransportError(f"{self.name}: SG_IO: timed out")
        raise StorageError(f"{self.name}: SG_IO: libsgutils2 refused the request ({result})", _UPDATE)

    def _status(self, request: int) -> ScsiStatus:
        """The SCSI status, if one came back. Raises TransportError."""
        lib = self._lib
        status = lib.get_scsi_pt_status_response(request) & _STATUS_MASK
        category = lib.get_scsi_pt_result_category(request)
        # Older kernels set a host byte (DID_NEXUS_FAILURE) beside RESERVATION CONFLICT: the target answered.
        if category == _RESULT_TRANSPORT_ERROR and status != ScsiStatus.RESERVATION_CONFLICT:
            text = ctypes.create_string_buffer(256)
            lib.get_scsi_pt_transport_err_str(request, len(text), text)
            reason = text.value.decode("utf-8", "replace").strip() or f"{lib.get_scsi_pt_transport_err(request):#x}"
            raise TransportError(f"{self.name}: no SCSI status: {reason}")
        if category == _RESULT_OS_ERROR:
            raise TransportError(f"{self.name}: SG_IO: {os.strerror(lib.get_scsi_pt_os_err(request))}")
        try:
            return ScsiStatus(status)
        except ValueError as error:
            raise TransportError(f"{self.name}: unknown SCSI status {status:#x}") from error


def _require_scsi_device(path: str, descriptor: int) -> None:
    """Raises StorageError unless SG_IO on this descriptor reaches exactly one nexus."""
    found = os.fstat(descriptor)
    if not (stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        raise StorageRefused(f"{path}: open: not a SCSI device: neither a block nor a character device", _GIVE_A_DISK)
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    if stat.S_ISBLK(found.st_mode) and os.path.exists(f"/sys/dev/block/{number}/dm"):
        raise StorageRefused(f"{path}: open: a device-mapper device sends to one path only: give its paths", "")
    try:
        fcntl.ioctl(descriptor, _SG_GET_VERSION_NUM, bytes(4))
    except OSError as error:
        kind = StorageError if error.errno in _GONE else StorageRefused
        remedy = _remedy(error.errno) if error.errno in _GONE else _GIVE_A_DISK
        raise kind(f"{path}: open: not a SCSI device: {error.strerror}", remedy) from error


def _require_wwid(path: str, descriptor: int, wwid: str) -> None:
    """Raises StorageError where the kernel knows that this is another LUN."""
    found = os.fstat(descriptor)
    kind = "block" if stat.S_ISBLK(found.st_mode) else "char"
    known = read_attribute(f"/sys/dev/{kind}/{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}/device/wwid")
    if known not in ("", wwid):
        raise StorageError(
            f"{path}: open: it is another LUN now, {known}", "call again, so that paths are looked up anew"
        )


# --- the C side --------------------------------------------------------------------------------------------------


def _require_object(result: int | None, _function: object, _arguments: tuple[Any, ...]) -> int:
    if result is None:
        raise StorageError("libsgutils2: out of memory", "free memory on this node, then call again")
    return result


_INT, _POINTER, _TEXT = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p

_FUNCTIONS = {
    "construct_scsi_pt_obj_with_fd": Signature(_POINTER, (_INT, _INT), _require_object, quick=True),
    "destruct_scsi_pt_obj": Signature(None, (_POINTER,), quick=True),
    "set_scsi_pt_cdb": Signature(None, (_POINTER, _TEXT, _INT), quick=True),
    "set_scsi_pt_sense": Signature(None, (_POINTER, _TEXT, _INT), quick=True),
    "set_scsi_pt_data_in": Signature(None, (_POINTER, _TEXT, _INT), quick=True),
    "set_scsi_pt_data_out": Signature(None, (_POINTER, _TEXT, _INT), quick=True),
    "do_scsi_pt": Signature(_INT, (_POINTER, _INT, _INT, _INT)),  # judged by _require_sent, which knows the path
    "get_scsi_pt_result_category": Signature(_INT, (_POINTER,), quick=True),  # and these by _status
    "get_scsi_pt_status_response": Signature(_INT, (_POINTER,), quick=True),
    "get_scsi_pt_sense_len": Signature(_INT, (_POINTER,), quick=True),
    "get_scsi_pt_resid": Signature(_INT, (_POINTER,), quick=True),
    "get_scsi_pt_os_err": Signature(_INT, (_POINTER,), quick=True),
    "get_scsi_pt_transport_err": Signature(_INT, (_POINTER,), quick=True),
    "get_scsi_pt_transport_err_str": Signature(_TEXT, (_POINTER, _INT, _TEXT), quick=True),
}

_SONAMES = (
    "libsgutils2-1.46.so.2",  # Debian 12
    "libsgutils2-1.48.so.2",
    "libsgutils2-1.47.so.2",
    "libsgutils2-1.49.so.2",
    "libsgutils2-1.45.so.2",
    "libsgutils2.so.2",
    "libsgutils2.so",
)


def load_library() -> None:
    """Loads libsgutils2 now rather than with the first path. Raises StorageError when it is missing."""
    _library()


@functools.cache
def _library() -> ctypes.CDLL:
    return load(_SONAMES, "sgutils2", _FUNCTIONS)
