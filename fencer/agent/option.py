# SPDX-License-Identifier: Apache-2.0
"""What an option of the agent is: its type of value, its section of the man page, where it comes from.

Rows are named tuples, not dataclasses: Pacemaker asks for metadata often, and the import of ``dataclasses``, which
imports ``inspect``, would take longer than everything else in that call.
"""

from fencer._enum import Enum
from fencer._typing import NamedTuple


class ValueKind(Enum):
    """Types of option values, by the words of FenceAgentAPI metadata."""

    STRING = "string"
    BOOLEAN = "boolean"  # on argv a flag; on stdin 1/yes/on/true or 0/no/off/false
    INTEGER = "integer"  # 0 or more
    SECOND = "second"  # 0 or more, decimals allowed
    SELECT = "select"  # one of the choices, in upper or lower case


class Group(Enum):
    """Sections of the man page."""

    GENERAL = "General"
    POWER = "BMC (power)"
    STORAGE = "Shared storage"
    PROOF = "Proof and arbitration"


class Effect(Enum):
    """Whether the agent uses an option."""

    USED = "used"
    NONE = "none"  # accepted, because callers of other agents send it; -v says that it is ignored


class Origin(Enum):
    """The agent that an option comes from."""

    IPMILAN = "fence_ipmilan"  # including the options that fence-agents' library gives to every agent
    SCSI = "fence_scsi"
    OURS = "fence_halvm"


class Option(NamedTuple):
    """One option, a row of the table.

    name: canonical name, as in metadata and on stdin. letter: for argv, or "". long: for argv, without the dashes.
    argument: placeholder of the value in help texts, without brackets; "" for a flag.
    short_description: one line for all texts, without default and choices.
    more: sentences for the man page and the docs. order: place in metadata and help, as fence-agents sorts.
    old_names: accepted on stdin, deprecated in metadata. silent_names: accepted on stdin, not documented.
    default: None where there is none, or where it depends on other options (then ``default_text`` describes it).
    on_stdin: False for a flag that is refused on stdin, since it would prevent or weaken a cluster manager's fence.
    """

    name: str
    letter: str
    long: str
    argument: str
    kind: ValueKind
    order: int
    group: Group
    origin: Origin
    short_description: str
    more: str = ""
    default: str | None = None
    default_text: str = ""
    choices: tuple[str, ...] = ()
    old_names: tuple[str, ...] = ()
    silent_names: tuple[str, ...] = ()
    required: bool = False
    effect: Effect = Effect.USED
    in_metadata: bool = True
    on_stdin: bool = True

    @property
    def synopsis(self) -> str:
        """The option as help texts show it: ``-a, --ip=[ip]``."""
        letter = f"-{self.letter}, " if self.letter else ""
        return f"{letter}--{self.long}" + (f"=[{self.argument}]" if self.argument else "")

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that stdin accepts."""
        return (self.name, *self.old_names, *self.silent_names)
