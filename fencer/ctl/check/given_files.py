# SPDX-License-Identifier: Apache-2.0
"""``halvmctl check`` of files that were given, on any machine."""

import argparse

from fencer.ctl.check.configuration import (
    CIB_BYTES,
    ConfigText,
    Files,
    Machine,
    fence_devices,
    file_findings,
    parse,
    read_text,
)
from fencer.ctl.check.finding import CheckFinding
from fencer.ctl.check.programs import validated
from fencer.ctl.sources.commands import Run, run_program
from fencer.errors import UsageError


def check_files(given: argparse.Namespace, run: Run = run_program) -> list[CheckFinding]:
    """given: the options of check. Raises UsageError where a file cannot be read or makes no sense."""

    def text(path: str | None, option: str) -> ConfigText | None:
        return None if path is None else read_text(path, option)

    def texts(paths: list[str] | None, option: str) -> tuple[ConfigText, ...]:
        return tuple(read_text(path, option) for path in paths or ())

    cib = None if given.cib is None else read_text(given.cib, "cib", CIB_BYTES)
    multipath = text(given.multipath_conf, "multipath_conf")
    files = Files(
        texts(given.cluster_conf, "cluster_conf"),
        text(given.corosync_conf, "corosync_conf"),
        texts(given.lvm_conf, "lvm_conf"),
        cib,
        text(given.dlm_conf, "dlm_conf"),
        () if multipath is None else (multipath,),
    )
    configuration = parse(files)
    for broken in configuration.broken:
        raise UsageError(broken.text if broken.source in broken.text else f"{broken.source}: {broken.text}")
    machine = Machine((given.local_node,)) if given.local_node else Machine()
    found = file_findings(files, configuration, machine)
    return found + validated(fence_devices(files, configuration), apart=True, run=run)
