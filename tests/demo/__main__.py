# SPDX-License-Identifier: Apache-2.0
"""Fences a node for real on one host: two simulated BMCs, a real iSCSI target, a writer that must be stopped.

    make demo    or    python -m tests.demo

Needs root (tgtd does) and the Debian packages in host-packages.txt. Exit status 0: every claim was checked and true.
"""

import os
import shutil
import sys
import time

from tests.demo.acts import Demo
from tests.demo.interrupts import Interrupted, Interrupts
from tests.demo.stage import Stage
from tests.demo.story import Story

PROGRAMS = {"ipmi_sim": "openipmi", "tgtd": "tgt", "tgtadm": "tgt"}


def main() -> int:
    story = Story(sys.stdout)
    if reason := _cannot():
        print(f"demo: {reason}", file=sys.stderr)
        return 1
    began = time.monotonic()
    try:
        interrupts = Interrupts()
        story.title("fence-halvm demo: fencing a node, on proof")
        with Stage(interrupts) as stage:
            demo = Demo(stage, story, interrupts)
            demo.introduce()
            demo.register()
            demo.fence()
            demo.fence_without_bmc()
            demo.refuse_without_word()
    except Interrupted as interrupt:
        story.ending(f"Interrupted ({interrupt}): everything that the demo had started is gone again.", good=False)
        return 128 + interrupt.number
    except (RuntimeError, OSError) as error:
        story.ending(f"The demo could not go on: {error}", good=False)
        return 1
    took_s = time.monotonic() - began
    if story.failed:
        story.ending(f"NOT shown, in {took_s:.1f} s: " + "; ".join(story.failed), good=False)
        return 1
    story.ending(
        f"Shown in {took_s:.1f} s, all {len(story.checked)} claims checked: a node was fenced through its BMC and its "
        "disk; its next write was refused; with a dead BMC the disk alone was proof because the operator had said so, "
        "and was none without that word. Nothing is left running.",
        good=True,
    )
    return 0


def _cannot() -> str | None:
    if os.geteuid() != 0:
        return "tgtd runs only as root: run the demo as root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(dict.fromkeys(PROGRAMS[name] for name in missing))
        return f"{', '.join(missing)} missing: apt-get install {packages}"
    return None


if __name__ == "__main__":
    sys.exit(main())
