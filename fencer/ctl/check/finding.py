# SPDX-License-Identifier: Apache-2.0
"""The type of a finding of ``halvmctl check``."""

from typing import NamedTuple

from fencer.ctl.exit_status import CtlStatus


class CheckFinding(NamedTuple):
    """One thing that would make a failover fail (FAULT), slow it or surprise (WARNING), or could not be looked at
    (UNKNOWN).

    source: the file or program that says so. line: of the file; 0 when none is to blame, such as for what is missing.
    text: what is wrong, and what follows. remedy: what to do; "" where text is another program's sentence, which
    says it.
    """

    status: CtlStatus
    source: str
    line: int
    text: str
    remedy: str

    @property
    def place(self) -> str:
        """The file, and the line as compilers write it."""
        return f"{self.source}:{self.line}" if self.line else self.source

    def __str__(self) -> str:
        return f"{self.place}: {self.status.name}: {self.text}{self.remedy and f': {self.remedy}'}"


def fault(source: str, line: int, text: str, remedy: str) -> CheckFinding:
    """A failover fails."""
    return CheckFinding(CtlStatus.FAULT, source, line, text, remedy)


def warning(source: str, line: int, text: str, remedy: str) -> CheckFinding:
    """A failover works, but slower or otherwise than expected."""
    return CheckFinding(CtlStatus.WARNING, source, line, text, remedy)


def unknown(source: str, text: str, remedy: str) -> CheckFinding:
    """Something that could not be checked."""
    return CheckFinding(CtlStatus.UNKNOWN, source, 0, text, remedy)
