# SPDX-License-Identifier: Apache-2.0
"""The identity of a BMC: parses, compares and judges it. Pure.

A password alone does not tell one BMC from another with the same password: a swapped lease, a duplicate address or a
name that resolves to another host makes a fence ask the wrong one. IPMI 2.0 has a GUID for each system, which RAKP 2
authenticates with the password (§13.21, §22.14). Redfish has a UUID, which TLS authenticates: another kind, same rules.
"""

from fencer._enum import StrEnum
from fencer._typing import NamedTuple
from fencer.model import KnownBmc


class IdentityKind(StrEnum):
    """Where an identity comes from. Values are comparable within one kind only."""

    IPMI_GUID = "ipmi-guid"


class BmcIdentity(NamedTuple):
    """The identity of a BMC. value: of IPMI_GUID the 16 bytes in the order in which they were sent."""

    kind: IdentityKind
    value: bytes

    def __str__(self) -> str:
        return f"{self.kind}:{self.value.hex()}"


def parse_identity(text: str) -> BmcIdentity | None:
    """The identity of a text that ``str`` made of one; None for any other text."""
    kind, _, digits = text.partition(":")
    value = parse_guid(digits)
    return BmcIdentity(IdentityKind.IPMI_GUID, value) if kind == IdentityKind.IPMI_GUID and value is not None else None


def parse_guid(text: str) -> bytes | None:
    """32 hexadecimal digits, with or without dashes; None for anything else."""
    try:
        value = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return value if len(value) == 16 else None


def tells_apart(guid: bytes) -> bool:
    """Whether a GUID tells boards apart. Boards that never got one send zeros, or one byte 16 times."""
    return len(set(guid)) > 1


def objection(known: KnownBmc, guid: bytes) -> tuple[str, str] | None:
    """Why a BMC with this GUID is not the node's, and what to do; None where nothing speaks against it."""
    if known.guid is not None:
        if guid == known.guid:
            return None
        return f"another BMC answers: its GUID is {guid.hex()}, not {known.guid.hex()}", known.remedy
    if not tells_apart(guid):
        return None
    for other, node, files in known.others:
        if other == guid:
            return (
                f"this is the BMC of {node}: it has the same GUID {guid.hex()}",
                f"correct ip=, or, where {node} is only another name of this node, remove {files}, or, where these "
                "boards have one GUID by manufacture, give bmc_guid=none for both",
            )
    return None
