# SPDX-License-Identifier: Apache-2.0
"""A finding of the status page."""

from typing import NamedTuple

from fencer._enum import IntEnum


class FindingSeverity(IntEnum):
    """How urgent a finding is."""

    BAD = 0
    WARNING = 1


class Finding(NamedTuple):
    """One finding. text: a sentence. page: its alert in the runbook. remedy: what to look at next, or ""."""

    severity: FindingSeverity
    text: str
    page: str
    remedy: str = ""
