# SPDX-License-Identifier: Apache-2.0
"""Sources that are asked in more than one way: Pacemaker's configuration, running or not, and LVM, new or old."""

from fencer.ctl.side_by_side import SourceReading, parsed
from fencer.ctl.sources import lvm_report
from fencer.ctl.sources.cib import CIB_FILE, Cib, parse_cib
from fencer.ctl.sources.cib import COMMAND as CIB_COMMAND
from fencer.ctl.sources.commands import Ask
from fencer.ctl.sources.lvm_report import LvmGroup
from fencer.errors import UsageError
from fencer.regular_file import read_regular_file

CIB_BYTES_MOST = 64 << 20
"""Largest size of a CIB file that is read. Those of large clusters have a few MiB."""


def read_cib(asking: Ask, file: str = CIB_FILE) -> SourceReading[Cib]:
    """The CIB of the running cluster; while it does not run, of this node's file."""
    answer = asking(CIB_COMMAND)
    if not answer.problem:
        try:
            return SourceReading(parse_cib(answer.out, "cibadmin"))
        except UsageError as error:
            return SourceReading(problem=str(error))
    try:
        content = read_regular_file(file, CIB_BYTES_MOST, link=True)
    except (OSError, ValueError) as error:
        reason = str(error) if isinstance(error, OSError) else f"{file}: {error}"
        return SourceReading(problem="" if answer.missing else f"{answer.problem}; {reason}")
    try:
        return SourceReading(parse_cib(content, file))
    except UsageError as error:
        return SourceReading(problem="" if answer.missing else f"{answer.problem}; {error}")


def read_vgs(asking: Ask) -> SourceReading[tuple[LvmGroup, ...]]:
    """All volume groups, also of an old LVM."""
    found = parsed(asking, lvm_report.VGS, lvm_report.parse_vgs)
    return parsed(asking, lvm_report.VGS_BEFORE_2_03_12, lvm_report.parse_vgs) if found.problem else found
