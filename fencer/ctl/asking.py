# SPDX-License-Identifier: Apache-2.0
"""Sources that are asked in more than one way: Pacemaker's configuration, running or not, and LVM, new or old."""

from pathlib import Path

from fencer.ctl.side_by_side import SourceReading, parsed
from fencer.ctl.sources import lvm_report
from fencer.ctl.sources.cib import CIB_FILE, Cib, parse_cib
from fencer.ctl.sources.cib import COMMAND as CIB_COMMAND
from fencer.ctl.sources.commands import Ask
from fencer.ctl.sources.lvm_report import LvmGroup
from fencer.errors import UsageError


def read_cib(asking: Ask, file: str = CIB_FILE) -> SourceReading[Cib]:
    """The CIB of the running cluster; while it does not run, of this node's file."""
    answer = asking(CIB_COMMAND)
    if not answer.problem:
        try:
            return SourceReading(parse_cib(answer.out, "cibadmin"))
        except UsageError as error:
            return SourceReading(problem=str(error))
    try:
        return SourceReading(parse_cib(Path(file).read_bytes(), file))
    except (OSError, UsageError) as error:
        return SourceReading(problem="" if answer.missing else f"{answer.problem}; {error}")


def read_vgs(asking: Ask) -> SourceReading[tuple[LvmGroup, ...]]:
    """All volume groups, also of an old LVM."""
    found = parsed(asking, lvm_report.VGS, lvm_report.parse_vgs)
    return parsed(asking, lvm_report.VGS_BEFORE_2_03_12, lvm_report.parse_vgs) if found.problem else found
