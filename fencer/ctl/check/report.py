# SPDX-License-Identifier: Apache-2.0
"""Findings as text and as JSON."""

from collections.abc import Iterator
from typing import Any, Final

from fencer.ctl.check.finding import CheckFinding
from fencer.ctl.exit_status import CtlStatus
from fencer.terminal import Terminal

_COUNTED: Final = {
    CtlStatus.FAULT: ("fault", "faults"),
    CtlStatus.WARNING: ("warning", "warnings"),
    CtlStatus.UNKNOWN: ("thing not looked at", "things not looked at"),
}


def report(found: tuple[CheckFinding, ...], terminal: Terminal) -> str:
    """Two lines a finding: where and what, and the remedy; and a line that sums up. A terminal gets them wrapped."""
    lines = [line for each in found for line in _lines(each, terminal)]
    numbers = {status: sum(each.status is status for each in found) for status in _COUNTED}
    counted = [f"{number} {_COUNTED[status][number > 1]}" for status, number in numbers.items() if number]
    summary = f"{', '.join(counted)}." if counted else terminal.good("Nothing found that would make a failover fail.")
    return "\n".join([*lines, summary]) + "\n"


def _lines(finding: CheckFinding, terminal: Terminal) -> Iterator[str]:
    yield terminal.weighed(terminal.sentence("", _printable(f"{finding.place}: {finding.status.name}: {finding.text}")))
    if finding.remedy:
        yield terminal.paragraph(_printable(f"remedy: {finding.remedy}"))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def as_json(found: tuple[CheckFinding, ...], status: CtlStatus) -> dict[str, Any]:
    """The findings as JSON, for scripts. docs/halvmctl.md lists the fields."""
    return {
        "status": int(status),
        "findings": [
            {
                "weight": each.status.name.lower(),
                "source": each.source,
                "line": each.line,
                "text": each.text,
                "remedy": each.remedy,
            }
            for each in found
        ],
    }
