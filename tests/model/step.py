# SPDX-License-Identifier: Apache-2.0
"""The steps of an agent, and the goals that it is called for. Data only."""

from typing import NamedTuple

from fencer.observations import ArbitrationResult

RUN_DIR, PERSISTENT_DIR = "run", "persistent"


class Command(NamedTuple):
    """A SCSI command. Its answer: a ScsiReply, or LOST."""

    lun: int
    cdb: bytes
    data_out: bytes


class ReadFile(NamedTuple):
    """name: RUN_DIR or PERSISTENT_DIR for the marker there; "record". Answer: what is there, or None."""

    name: str


class WriteFile(NamedTuple):
    """name: as for ReadFile. content: None removes it."""

    name: str
    content: object


class AskContact(NamedTuple):
    """Answer: a Contact."""


class AwaitSession(NamedTuple):
    """Until the BMC opens a session."""


class PowerOff(NamedTuple):
    """Power was given (Go): the command to the BMC is under way, and is executed at some time."""


class End(NamedTuple):
    """result: of the race, if there was one. late: after STEPS_MOST steps."""

    result: ArbitrationResult | None = None
    late: bool = False


Pending = Command | ReadFile | WriteFile | AskContact | AwaitSession | PowerOff | End
LOST = "lost"


class Goal(NamedTuple):
    """What a node does: ``fence`` another one, ``on`` for itself, or ``restore`` its key (the sidecar).

    generation: for restore, with which the key was last listed.
    """

    what: str
    node: int
    victim: int = -1
    generation: int = 0


class Step(NamedTuple):
    """outs: what the agent has told since the answer before: ``won``, ``go``, ``proved N`` ...; pending: what it asks
    for now."""

    outs: tuple[str, ...]
    pending: Pending
