# SPDX-License-Identifier: Apache-2.0
"""Encodes and decodes INQUIRY, VPD page 83h and REPORT SUPPORTED OPERATION CODES. Bytes only, no I/O.

Source: SPC-4 r37, 6.6 (INQUIRY), 7.8.6 (device identification page), 6.35 (REPORT SUPPORTED OPERATION CODES).
"""

from collections.abc import Iterator

from fencer._typing import NamedTuple
from fencer.errors import MalformedAnswer

DISK = 0x00  # peripheral device type: direct access block device
OPCODE = 0x12
STANDARD_INQUIRY_LENGTH_BYTES = 96
FIRST_PAGE_LENGTH_BYTES = 252  # before SPC-3 the allocation length had one byte
SUPPORTED_OPCODES_LENGTH_BYTES = 48  # header, CDB usage data, timeouts descriptor
_STANDARD_INQUIRY_MINIMUM_BYTES = 36

_DEVICE_IDENTIFICATION = 0x83
_T10_VENDOR_ID, _EUI_64, _NAA, _SCSI_NAME = 0x1, 0x2, 0x3, 0x8
_NAA_PRIORITY = {0x6: 8, 0x5: 5, 0x4: 4, 0x3: 1}  # registered extended, registered, extended, locally assigned
_EUI_64_PRIORITY = {16: 7, 12: 6, 8: 3}


class StandardInquiry(NamedTuple):
    """Decoded standard INQUIRY data.

    peripheral_qualifier: 0 when a logical unit is there (1: not now, 3: never). Texts are stripped ASCII.
    """

    peripheral_qualifier: int
    peripheral_device_type: int
    vendor: str
    product: str
    revision: str


def inquiry_cdb(allocation_length_bytes: int, *, page: int | None = None) -> bytes:
    """The CDB of an INQUIRY, 6 bytes: standard data, or one vital product data page."""
    evpd = page is not None
    return bytes((OPCODE, evpd, page or 0)) + allocation_length_bytes.to_bytes(2) + b"\0"


def device_identification_cdb(allocation_length_bytes: int) -> bytes:
    """INQUIRY for VPD page 83h, 6 bytes."""
    return inquiry_cdb(allocation_length_bytes, page=_DEVICE_IDENTIFICATION)


def decode_standard_inquiry(data: bytes) -> StandardInquiry:
    """Standard INQUIRY data, of which 36 bytes are required. Raises MalformedAnswer."""
    if len(data) < _STANDARD_INQUIRY_MINIMUM_BYTES:
        raise MalformedAnswer(f"INQUIRY: {len(data)} bytes, at least {_STANDARD_INQUIRY_MINIMUM_BYTES} are required")
    return StandardInquiry(data[0] >> 5, data[0] & 0x1F, _ascii(data[8:16]), _ascii(data[16:32]), _ascii(data[32:36]))


def page_length_bytes(data: bytes) -> int:
    """How many bytes the whole VPD page has. More than len(data): ask again with that allocation length."""
    if len(data) < 4:
        raise MalformedAnswer(f"INQUIRY page 83h: {len(data)} bytes, the header has 4")
    if data[1] != _DEVICE_IDENTIFICATION:
        raise MalformedAnswer(f"INQUIRY page 83h: the target sent page {data[1]:02X}h")
    return 4 + int.from_bytes(data[2:4])


def decode_wwid(page: bytes) -> str | None:
    """A logical unit's name out of VPD page 83h, exactly as Linux writes it to ``/sys/.../device/wwid``.

    Only designators of the logical unit itself count. The order is Linux's (drivers/scsi/scsi_lib.c,
    scsi_vpd_lun_id, since 5.11), because a node that asks the target and a node that reads sysfs must agree on which
    LUN is the first: SCSI name string, NAA registered extended, EUI-64 of 16 and of 12 bytes, NAA registered, NAA
    extended, EUI-64 of 8 bytes; T10 vendor id and NAA locally assigned are last and equal.
    None: no usable designator. Raises MalformedAnswer, also when the page is not whole.
    """
    best: tuple[int, int, str] | None = None  # priority, designator length, name
    for kind, designator, priority, name in _named_designators(page):
        # Among equals Linux takes the last, but a text only if it is not shorter.
        shorter_text = kind in (_T10_VENDOR_ID, _SCSI_NAME) and best is not None and best[1] > len(designator)
        if best is None or (best[0] <= priority and not shorter_text):
            best = priority, len(designator), name
    return best[2] if best else None


def decode_names(page: bytes) -> tuple[str, ...]:
    """Every name of the logical unit in VPD page 83h, each as Linux would write it. Raises MalformedAnswer."""
    return tuple(name for _, _, _, name in _named_designators(page))


def _named_designators(page: bytes) -> Iterator[tuple[int, bytes, int, str]]:
    """Kind, bytes, Linux's priority and Linux's text of each designator of the logical unit that Linux would use."""
    length = page_length_bytes(page)
    if length > len(page):
        raise MalformedAnswer(f"INQUIRY page 83h: {len(page)} of {length} bytes: incomplete")
    offset = 4
    while offset < length:
        if offset + 4 > length or offset + 4 + page[offset + 3] > length:
            raise MalformedAnswer(f"INQUIRY page 83h: the designator at byte {offset} runs past the end")
        form, designator = page[offset + 1], page[offset + 4 : offset + 4 + page[offset + 3]]
        offset += 4 + len(designator)
        kind, of_logical_unit = form & 0x0F, not form & 0x30
        named = _name(kind, designator) if of_logical_unit and designator else None
        if named is not None:
            yield kind, designator, *named


def _name(kind: int, designator: bytes) -> tuple[int, str] | None:
    """Linux's priority and text of one designator; None if Linux would not use it."""
    if kind == _SCSI_NAME:
        return 9, designator.rstrip(b"\0").decode("utf-8", "backslashreplace")
    if kind == _NAA and (priority := _NAA_PRIORITY.get(designator[0] >> 4)) and len(designator) in (8, 16):
        return priority, f"naa.{designator.hex()}"
    if kind == _EUI_64 and (priority := _EUI_64_PRIORITY.get(len(designator))):
        return priority, f"eui.{designator.hex()}"
    if kind == _T10_VENDOR_ID:
        return 1, "t10." + "".join(_escaped(byte) for byte in designator)
    return None


def _escaped(byte: int) -> str:
    """One byte as the kernel's %pE writes it: printable ASCII as it is, the rest as a C escape."""
    if 0x20 <= byte < 0x7F:
        return chr(byte)
    short = {0: "0", 7: "a", 0x1B: "e", 9: "t", 0xA: "n", 0xB: "v", 0xC: "f", 0xD: "r"}.get(byte)
    return "\\" + (short or f"{byte:03o}")


def supported_opcodes_cdb(opcode: int, service_action: int, allocation_length_bytes: int) -> bytes:
    """REPORT SUPPORTED OPERATION CODES for one command with a service action (reporting options 010b), 12 bytes."""
    return (
        bytes((0xA3, 0x0C, 0x02, opcode)) + service_action.to_bytes(2) + allocation_length_bytes.to_bytes(4) + b"\0\0"
    )


def decode_supported(data: bytes) -> bool | None:
    """Whether the command is supported: True, False, or None when the target does not know now (SUPPORT 0 or reserved).

    Raises MalformedAnswer when the field is missing.
    """
    if len(data) < 2:
        raise MalformedAnswer(f"REPORT SUPPORTED OPERATION CODES: {len(data)} bytes, the header has 4")
    return {0b001: False, 0b011: True, 0b101: True}.get(data[1] & 0x07)


def _ascii(data: bytes) -> str:
    """Printable ASCII; anything else is shown as a question mark."""
    return "".join(chr(b) if 0x20 <= b < 0x7F else "?" for b in data.rstrip(b"\0")).strip()
