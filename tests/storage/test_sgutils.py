# SPDX-License-Identifier: Apache-2.0
"""libsgutils2: loading it, and what is refused. Real SCSI disks are tests/lab's business: this kernel has none."""

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.errors import StorageError, StorageRefused, TransportError
from fencer.storage import sgutils
from fencer.storage.library_packages import package_here
from fencer.storage.sgutils import SgTransport
from fencer.storage.shared_library import Signature, load
from fencer.storage.transport import ScsiStatus, Sense
from tests.rig import require_library


@pytest.fixture(autouse=True)
def _sgutils_installed() -> None:
    require_library(package_here("sgutils2"), *sgutils._SONAMES)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_a_device_without_scsi_is_refused(path: str) -> None:
    with pytest.raises(StorageError, match=rf"^{path}: open: not a SCSI device"):
        SgTransport(path)


def test_a_file_and_a_fifo_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(512))
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "fifo"):
        with pytest.raises(StorageError, match="neither a block nor a character device"):
            SgTransport(str(tmp_path / name))


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing: open: No such file or directory$"):
        SgTransport(str(tmp_path / "missing"))


def test_a_refused_path_leaves_no_descriptor_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(StorageError):
            SgTransport("/dev/null")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_missing_library_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    package = re.escape(package_here("sgutils2"))
    with pytest.raises(StorageError, match=rf"libsgutils2: cannot be loaded: install the package {package} \(libno-"):
        load(["libno-such-thing.so.1"], "sgutils2", {})


def test_a_missing_function_names_itself_and_the_package() -> None:
    with pytest.raises(StorageError, match=r"function no_such_function is missing: install another version of the pac"):
        load(["libc.so.6"], "sgutils2", {"no_such_function": Signature(ctypes.c_int, ())})


def test_nothing_is_loaded_at_import() -> None:
    modules = "fencer.storage.pr, fencer.storage.inquiry, fencer.storage.nexus"
    code = f"import sys, {modules}; sys.exit('ctypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what the library reports, judged -----------------------------------------------------------------------------
#
# The library's functions are replaced by a stand-in for its request object, since SG_IO has no target here.


class FakeLibrary:
    """libsgutils2 with one device behind it that answers every request in the same way."""

    def __init__(self, *, result: int = 0, category: int = 0, status: int = 0, sense: bytes = b"", data: bytes = b""):
        self.result, self.category, self.status, self.sense, self.data = result, category, status, sense, data
        self.requests = 0
        self.timeouts_s: list[int] = []
        self._length = 0

    def construct_scsi_pt_obj_with_fd(self, _descriptor: int, _verbose: int) -> int:
        self.requests += 1
        return 1

    def destruct_scsi_pt_obj(self, _request: int) -> None:
        self.requests -= 1

    def set_scsi_pt_cdb(self, _request: int, cdb: ctypes.Array[ctypes.c_char], length: int) -> None:
        assert len(cdb) == length

    def set_scsi_pt_sense(self, _request: int, buffer: ctypes.Array[ctypes.c_char], length: int) -> None:
        ctypes.memmove(buffer, self.sense, len(self.sense))

    def set_scsi_pt_data_in(self, _request: int, buffer: ctypes.Array[ctypes.c_char], length: int) -> None:
        ctypes.memmove(buffer, self.data, len(self.data))
        self._length = length

    def set_scsi_pt_data_out(self, _request: int, buffer: ctypes.Array[ctypes.c_char], length: int) -> None:
        assert len(buffer) == length

    def do_scsi_pt(self, _request: int, _descriptor: int, timeout_s: int, _verbose: int) -> int:
        self.timeouts_s.append(timeout_s)
        return self.result

    def get_scsi_pt_result_category(self, _request: int) -> int:
        return self.category

    def get_scsi_pt_status_response(self, _request: int) -> int:
        return self.status

    def get_scsi_pt_sense_len(self, _request: int) -> int:
        return len(self.sense)

    def get_scsi_pt_resid(self, _request: int) -> int:
        return self._length - len(self.data)

    def get_scsi_pt_os_err(self, _request: int) -> int:
        return 5

    def get_scsi_pt_transport_err(self, _request: int) -> int:
        return 3

    def get_scsi_pt_transport_err_str(self, _request: int, _length: int, text: ctypes.Array[ctypes.c_char]) -> bytes:
        text.value = b"Host_status=0x03 [DID_TIME_OUT]"
        return b""


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[SgTransport]:
    monkeypatch.setattr(sgutils, "_require_scsi_device", lambda _path, _descriptor: None)
    monkeypatch.setattr(sgutils, "_library", FakeLibrary)
    opened = SgTransport("/dev/null")
    yield opened
    opened.close()
    assert library(opened).requests == 0


def library(transport: SgTransport) -> FakeLibrary:
    found = transport._lib
    assert isinstance(found, FakeLibrary)
    return found


def test_data_end_where_the_residual_says(transport: SgTransport) -> None:
    library(transport).data = b"12345678"
    assert transport.execute(bytes(6), data_in_length=64, timeout_s=0.2).data == b"12345678"
    assert library(transport).timeouts_s == [1]


def test_sense_is_decoded(transport: SgTransport) -> None:
    fake = library(transport)
    fake.category, fake.status, fake.sense = 2, 2, bytes.fromhex("700006000000000a000000002a05000000 00")
    reply = transport.execute(bytes(6), timeout_s=1)
    assert (reply.status, reply.sense) == (ScsiStatus.CHECK_CONDITION, Sense(6, 0x2A, 5))


@pytest.mark.parametrize("category", [1, 3])
def test_a_reservation_conflict_is_an_answer(transport: SgTransport, category: int) -> None:
    library(transport).category, library(transport).status = category, 0x18
    assert transport.execute(bytes(10), data_out=bytes(24), timeout_s=1).status is ScsiStatus.RESERVATION_CONFLICT


def test_a_transport_error_is_no_answer(transport: SgTransport) -> None:
    library(transport).category = 3
    with pytest.raises(TransportError, match="DID_TIME_OUT"):
        transport.execute(bytes(6), timeout_s=1)


def test_an_error_of_the_operating_system_is_no_answer(transport: SgTransport) -> None:
    library(transport).category = 4
    with pytest.raises(TransportError, match="Input/output error"):
        transport.execute(bytes(6), timeout_s=1)


@pytest.mark.parametrize(("result", "reason"), [(2, "timed out"), (-19, "No such device"), (-4, "Interrupted")])
def test_no_answer_from_the_kernel(transport: SgTransport, result: int, reason: str) -> None:
    library(transport).result = result
    with pytest.raises(TransportError, match=reason):
        transport.execute(bytes(6), timeout_s=1)


@pytest.mark.parametrize("result", [-1, -25, 1])
def test_a_request_that_was_not_sent(transport: SgTransport, result: int) -> None:
    library(transport).result = result
    with pytest.raises(StorageError) as caught:
        transport.execute(bytes(6), timeout_s=1)
    assert not isinstance(caught.value, TransportError)


def test_an_unknown_status_is_no_answer(transport: SgTransport) -> None:
    library(transport).category, library(transport).status = 1, 0x7E
    with pytest.raises(TransportError, match="unknown SCSI status"):
        transport.execute(bytes(6), timeout_s=1)


def test_after_close_nothing_is_sent(transport: SgTransport) -> None:
    transport.close()
    transport.close()
    with pytest.raises(TransportError, match="closed"):
        transport.execute(bytes(6), timeout_s=1)


# --- a path that is opened with its first command -----------------------------------------------------------------

WWID = "naa.6001405000000001"


def test_a_path_that_cannot_be_opened_fails_with_its_command_and_is_opened_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sgutils, "_require_scsi_device", lambda _path, _descriptor: None)
    monkeypatch.setattr(sgutils, "_library", FakeLibrary)
    path = SgTransport(str(tmp_path / "sdb"), wwid=WWID)
    with pytest.raises(StorageError, match=r"sdb: open: No such file or directory$") as caught:
        path.execute(b"\0" * 6, timeout_s=1)
    assert not isinstance(caught.value, StorageRefused)
    (tmp_path / "sdb").touch()
    assert path.execute(b"\0" * 6, timeout_s=1).status is ScsiStatus.GOOD
    path.close()
    with pytest.raises(TransportError, match="closed"):
        path.execute(b"\0" * 6, timeout_s=1)


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENXIO])
def test_a_disk_that_was_deleted_is_opened_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    monkeypatch.setattr(sgutils, "_require_scsi_device", lambda _path, _descriptor: None)
    library = FakeLibrary(result=-number)
    monkeypatch.setattr(sgutils, "_library", lambda: library)
    (tmp_path / "sdb").touch()
    path = SgTransport(str(tmp_path / "sdb"), wwid=WWID)
    with pytest.raises(TransportError):
        path.execute(b"\0" * 6, timeout_s=1)
    (tmp_path / "sdb").unlink()
    with pytest.raises(StorageError, match="open: No such file"):
        path.execute(b"\0" * 6, timeout_s=1)


@pytest.mark.parametrize(("known", "same"), [(WWID, True), ("", True), ("naa.6001405000000002", False)])
def test_a_name_that_leads_to_another_lun_now_is_not_used(
    monkeypatch: pytest.MonkeyPatch, known: str, same: bool
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sgutils, "_require_scsi_device", lambda _path, _descriptor: None)
    monkeypatch.setattr(sgutils, "_library", FakeLibrary)
    monkeypatch.setattr(sgutils, "read_attribute", lambda path: asked.append(path) or known)
    path = SgTransport("/dev/null", wwid=WWID)
    if same:
        assert path.execute(b"\0" * 6, timeout_s=1).status is ScsiStatus.GOOD
    else:
        with pytest.raises(StorageError, match=r"^/dev/null: open: it is another LUN now, naa\.6001405000000002$"):
            path.execute(b"\0" * 6, timeout_s=1)
    assert asked == ["/sys/dev/char/1:3/device/wwid"]
    path.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOTTY])
def test_what_is_not_permitted_is_a_refusal(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(sgutils, "_require_scsi_device", lambda _path, _descriptor: None)
    monkeypatch.setattr(sgutils, "_library", lambda: FakeLibrary(result=-number))
    transport = SgTransport("/dev/null")
    with pytest.raises(StorageRefused):
        transport.execute(b"\0" * 6, timeout_s=1)
