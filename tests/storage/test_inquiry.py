# SPDX-License-Identifier: Apache-2.0
"""What a logical unit says about itself: captures, cut and hostile pages, Linux's order of names."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.errors import MalformedAnswer
from fencer.storage import inquiry
from tests.storage.captures import capture

LOGICAL_UNIT, TARGET_PORT = 0x00, 0x10
NAA_6 = bytes.fromhex("6001405a1b2c3d4e5f60718293a4b5c6")
NAA_5 = bytes.fromhex("5000c500a1b2c3d4")
NAA_3 = bytes.fromhex("3000000100000001")
EUI_8, EUI_12, EUI_16 = bytes(range(8)), bytes(range(12)), bytes(range(16))


def page(*designators: tuple[int, bytes]) -> bytes:
    """A page 83h; each designator is association and type, and its bytes."""
    body = b"".join(bytes((1, form, 0, len(data))) + data for form, data in designators)
    return b"\0\x83" + len(body).to_bytes(2) + body


def test_cdbs() -> None:
    assert inquiry.inquiry_cdb(96).hex(" ") == "12 00 00 00 60 00"
    assert inquiry.device_identification_cdb(2048).hex(" ") == "12 01 83 08 00 00"
    assert inquiry.supported_opcodes_cdb(0x5F, 5, 48).hex(" ") == "a3 0c 02 5f 00 05 00 00 00 30 00 00"


# --- names --------------------------------------------------------------------------------------------------------


def test_captured_names() -> None:
    assert inquiry.decode_wwid(capture("tgtd_device_identification")) == "naa.60000000000000000e00000000010001"
    assert inquiry.decode_wwid(capture("lio_device_identification")) == "naa.6001405a1b2c3d4e5f60718293a4b5c6"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((8, b"iqn.x:a-longer-name\0"), (3, NAA_6)),
        ((3, NAA_6), (2, EUI_16)),
        ((2, EUI_16), (2, EUI_12)),
        ((2, EUI_12), (3, NAA_5)),
        ((3, NAA_5), (2, EUI_8)),
        ((2, EUI_8), (1, b"ACME    a very long vendor id")),
        ((2, EUI_8), (3, NAA_3)),
    ],
)
def test_the_order_is_that_of_linux(better: tuple[int, bytes], worse: tuple[int, bytes]) -> None:
    name = inquiry.decode_wwid(page(better))
    assert name is not None
    assert inquiry.decode_wwid(page(better, worse)) == name
    assert inquiry.decode_wwid(page(worse, better)) == name


def test_names_as_linux_writes_them() -> None:
    assert inquiry.decode_wwid(page((2, EUI_8))) == "eui.0001020304050607"
    assert inquiry.decode_wwid(page((1, b"ATA     \x01\x00\n\\\xff "))) == "t10.ATA     \\001\\0\\n\\\\377 "
    assert inquiry.decode_wwid(page((8, b"iqn.x:lun1\0\0"))) == "iqn.x:lun1"


def test_the_last_of_equals_counts_and_a_text_never_if_it_is_shorter() -> None:
    assert inquiry.decode_wwid(page((1, b"VENDOR  long"), (3, NAA_3))) == "naa.3000000100000001"
    assert inquiry.decode_wwid(page((1, b"VENDOR  long"), (1, b"VENDOR"))) == "t10.VENDOR  long"
    assert inquiry.decode_wwid(page((3, NAA_6), (8, b"iqn.x"))) == f"naa.{NAA_6.hex()}"
    assert inquiry.decode_wwid(page((3, NAA_5), (3, NAA_5[:-1] + b"\0"))) == "naa.5000c500a1b2c300"


@pytest.mark.parametrize(
    "designators",
    [
        (),
        ((TARGET_PORT | 3, NAA_5), (0x20 | 8, b"iqn.x")),
        ((3, b""), (0, b"vendor"), (4, bytes(4)), (2, bytes(5)), (3, b"\x20" + bytes(7)), (3, b"\x50")),
    ],
)
def test_no_usable_name(designators: tuple[tuple[int, bytes], ...]) -> None:
    assert inquiry.decode_wwid(page(*designators)) is None


@pytest.mark.parametrize("name", ["tgtd_device_identification", "lio_device_identification"])
def test_a_cut_page_is_never_decoded_in_part(name: str) -> None:
    whole = capture(name)
    assert inquiry.page_length_bytes(whole[:4]) == len(whole)
    for length in range(len(whole)):
        with pytest.raises(MalformedAnswer):
            inquiry.decode_wwid(whole[:length])


def test_hostile_pages() -> None:
    for data in (
        b"\0\x80\0\0",
        b"\0\x83\0\x03\1\3\0",
        b"\0\x83\0\x08\1\3\0\xff" + bytes(4),
        page((3, NAA_6))[:-1] + b"",
    ):
        with pytest.raises(MalformedAnswer):
            inquiry.decode_wwid(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.binary(max_size=80), st.booleans())
def test_whatever_comes_in_only_our_errors_come_out(data: bytes, headed: bool) -> None:
    if headed:
        data = b"\0\x83" + len(data).to_bytes(2) + data
    for decode in (inquiry.decode_wwid, inquiry.decode_standard_inquiry, inquiry.decode_supported):
        try:
            decode(data)
        except MalformedAnswer:
            continue


# --- standard inquiry ---------------------------------------------------------------------------------------------


def test_standard_inquiry_of_tgtd() -> None:
    found = inquiry.decode_standard_inquiry(capture("tgtd_inquiry"))
    assert found == inquiry.StandardInquiry(0, inquiry.DISK, "IET", "VIRTUAL-DISK", "0001")


def test_a_cut_inquiry() -> None:
    for length in range(36):
        with pytest.raises(MalformedAnswer):
            inquiry.decode_standard_inquiry(capture("tgtd_inquiry")[:length])


def test_no_device_and_odd_letters() -> None:
    found = inquiry.decode_standard_inquiry(b"\x7f" + bytes(7) + b"\x1b[2Jx\xff  " + bytes(20))
    assert (found.peripheral_qualifier, found.peripheral_device_type, found.vendor) == (3, 0x1F, "?[2Jx?")


# --- supported operation codes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("support", "answer"), [(0, None), (1, False), (2, None), (3, True), (4, None), (5, True), (6, None), (0x83, True)]
)
def test_support(support: int, answer: bool | None) -> None:
    assert inquiry.decode_supported(bytes((0, support, 0, 0))) is answer


def test_tgtds_claim() -> None:
    assert inquiry.decode_supported(capture("tgtd_preempt_and_abort_supported")) is True
    for length in range(2):
        with pytest.raises(MalformedAnswer):
            inquiry.decode_supported(capture("tgtd_preempt_and_abort_supported")[:length])
