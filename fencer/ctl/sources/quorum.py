# SPDX-License-Identifier: Apache-2.0
"""``corosync-quorumtool -s``: whether this node is quorate, and with whom. Pure."""

from typing import Final, NamedTuple

COMMAND: Final = ("corosync-quorumtool", "-s")


class Member(NamedTuple):
    """A node that corosync sees. local: this node."""

    node_id: int
    name: str
    votes: int
    local: bool


class Quorum(NamedTuple):
    """needed: votes that make a partition quorate. flags: corosync's words, such as ``2Node`` and ``WaitForAll``."""

    quorate: bool
    votes: int
    needed: int
    expected: int
    flags: tuple[str, ...]
    members: tuple[Member, ...]


def parse_quorum(text: str) -> Quorum:
    """Raises ValueError where the text is not what corosync-quorumtool -s prints."""
    parts = (line.partition(":") for line in text.splitlines())
    values = {key.strip(): value.strip() for key, colon, value in parts if colon}
    try:
        flags = tuple(values.get("Flags", "").split())
        return Quorum(
            values["Quorate"] == "Yes",
            int(values["Total votes"]),
            int(values["Quorum"].split()[0]),  # "2 Activity blocked" in a partition without quorum
            int(values["Expected votes"]),
            tuple(flag for flag in flags if flag != "Quorate"),
            tuple(_members(text)),
        )
    except (KeyError, IndexError) as error:
        raise ValueError(f"corosync-quorumtool: no line {error}") from error


def _members(text: str) -> list[Member]:
    """The table below "Membership information": node id, votes, in some versions the quorum device's word, name.

    A quorum device is listed with node id 0 and is no member.
    """
    _, _, table = text.partition("Membership information")
    found = []
    for line in table.splitlines():
        match line.replace(_LOCAL, "").split():
            case [node_id, votes, *_, name] if node_id.isdecimal() and votes.isdecimal() and int(node_id):
                found.append(Member(int(node_id), name, int(votes), _LOCAL in line))
    return found


_LOCAL: Final = "(local)"
