# SPDX-License-Identifier: Apache-2.0
"""Texts for the codes of IPMI, for messages: completion codes, RAKP status codes, privilege levels."""

from fencer.model import Privilege

_COMPLETION_CODE = {  # IPMI 2.0 table 5-2; 81h to 83h are Send Message's, §22.7
    0x81: "lost arbitration on the bus",
    0x82: "bus error",
    0x83: "no device answers at that address",
    0xC0: "node busy",
    0xC1: "invalid command",
    0xC2: "invalid command for this LUN",
    0xC3: "timeout",
    0xC4: "out of space",
    0xC5: "reservation cancelled",
    0xC7: "request data length invalid",
    0xC9: "parameter out of range",
    0xCB: "not present",
    0xCC: "invalid data field",
    0xCE: "response could not be provided",
    0xCF: "duplicate request",
    0xD2: "BMC initialization in progress",
    0xD3: "destination unavailable",
    0xD4: "insufficient privilege",
    0xD5: "not supported in the present state",
    0xD6: "command disabled",
    0xFF: "unspecified error",
}
PRIVILEGE = frozenset((0x80, 0x81, 0xD4))
"""What Set Session Privilege Level says of a level that is not granted (IPMI 2.0 §22.18, table 5-2). A BMC that starts
says it, too, for some seconds."""
INSUFFICIENT_PRIVILEGE = 0xD4
UNSUPPORTED = frozenset((0xC1, 0xC2, 0xC7, 0xC9, 0xCB, 0xCC, 0xD6))
"""The BMC does not know this request now: asking the same again at once is pointless, a new session may help."""

_RAKP_STATUS = {  # IPMI 2.0 table 13-15
    0x01: "it has no free session slot",
    0x03: "invalid payload type",
    0x04: "invalid authentication algorithm",
    0x05: "invalid integrity algorithm",
    0x06: "no matching authentication payload",
    0x07: "no matching integrity payload",
    0x09: "invalid role",
    0x0A: "unauthorized role or privilege level",
    0x0B: "it has no free session slot for this privilege level",
    0x0C: "invalid user name length",
    0x0D: "unauthorized user name",
    0x0E: "unauthorized GUID",
    0x0F: "invalid integrity check value",
    0x10: "invalid confidentiality algorithm",
    0x11: "no cipher suite matches",
    0x12: "illegal parameter",
}
RAKP_NO_SLOT = (0x01, 0x0B)
RAKP_STALE_SESSION_ID = (0x02, 0x08)
RAKP_NOT_WITH_THIS_PRIVILEGE = (0x09, 0x0A, 0x0D)  # which one depends on the vendor
RAKP_FINAL = (0x04, 0x05, 0x09, 0x0A, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11)
"""Names authentication or privilege. What a BMC says that starts, or is out of resources, is not among them."""


def completion_code_text(code: int) -> str:
    """As it stands in a message."""
    return f"completion code {code:#04x} ({_COMPLETION_CODE.get(code, 'unknown')})"


def rakp_status_text(status: int) -> str:
    """As it stands in a message."""
    return _RAKP_STATUS.get(status, f"status code {status:#04x}")


def level_name(level: int) -> str:
    """A privilege level in small letters."""
    return Privilege(level).name.lower()


def shown_name(username: bytes) -> str:
    """A user name, which IPMI holds as bytes of no stated encoding."""
    return username.decode("utf-8", "backslashreplace") or "''"
