# SPDX-License-Identifier: Apache-2.0
"""Whether the BMC let us in is read from the recorded steps, never from the words of a message."""

import pytest

from fencer.exporter.metrics.journal import bmc_reachable
from fencer.journal.event import Step, StepName
from fencer.model import Side
from tests.scenes import monitor

OPEN = Step(0.2, "BMC 10.0.0.5: session open", StepName.SESSION)
LUN = Step(0.2, "lun-0a: key registered", StepName.LOOK)


def failure(text: str) -> Step:
    return Step(5.0, text, StepName.FAILURE)


@pytest.mark.parametrize(
    ("steps", "failed", "reachable"),
    [
        ((OPEN,), (), True),
        ((OPEN, failure("lun-0a: no answer")), (Side.STORAGE,), True),
        ((failure("10.0.0.5: No route to host (trying again)"),), (Side.POWER,), False),
        ((failure("bmc.example.org: Name or service not known"),), (Side.POWER,), False),
        ((failure(""),), (Side.POWER, Side.STORAGE), False),
        ((), (Side.POWER,), False),
        ((LUN,), (), None),
        ((failure("/dev/sdb: no answer: login, BMC, get, session"),), (Side.STORAGE,), None),
        ((failure("192.168.1.50: login: no answer"),), (), None),
    ],
)
def test_bmc_reachable(steps: tuple[Step, ...], failed: tuple[Side, ...], reachable: bool | None) -> None:
    assert bmc_reachable(monitor(steps=steps, failed=failed, error="10.0.0.5: login: no BMC session")) is reachable
