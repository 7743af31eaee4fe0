# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.lab prepare [--only SNAPSHOT] | shell NODE | clean`: what the make targets of lab.mk run."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from . import console, level2, level3
from .images import build
from .places import LAB, PROJECT

SHAPES = {shape.name: shape for shape in level2.DEFAULT_SHAPES}
SNAPSHOTS = ("level3", *sorted(SHAPES, key=lambda name: not SHAPES[name].multipath))  # what takes long, first


def make_snapshot(name: str) -> None:
    if name in SHAPES:
        level2.make_snapshot(SHAPES[name])
    else:
        level3.make_snapshot()


def prepare(names: Sequence[str] = SNAPSHOTS) -> None:
    """Builds whatever is missing: images, then these snapshots, as many at a time as there are cores for."""
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"lab: {time.monotonic() - started:6.1f} s  {what}", flush=True)

    def make(name: str) -> None:
        # A process each: Ctrl-C reaches all of them, and what they started ends with them.
        command = [*("setpriv", "--pdeathsig", "KILL"), sys.executable, "-m", "tests.lab", "snapshot", name]
        subprocess.run(command, cwd=PROJECT, stdin=subprocess.DEVNULL, check=True)
        say(name)

    build()
    say("images")
    there = {"level3": level3.snapshot_directory(), **{name: shape.snapshot for name, shape in SHAPES.items()}}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(make, [name for name in names if not there[name].exists()]))
    say("all there")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("prepare").add_argument("--only", choices=SNAPSHOTS)
    actions.add_parser("clean")
    actions.add_parser("snapshot").add_argument("name", choices=SNAPSHOTS)
    shell = actions.add_parser("shell")
    shell.add_argument("node", choices=[*level3.NODES, level3.STORAGE, "level2"])
    given = parser.parse_args()
    match given.action:
        case "prepare":
            prepare([given.only] if given.only else SNAPSHOTS)
        case "snapshot":
            make_snapshot(given.name)
        case "clean":
            shutil.rmtree(LAB, ignore_errors=True)
        case "shell":
            prepare()
            if given.node == "level2":
                with level2.restored(level2.Shape()) as guest:
                    console.attach(guest)
            else:
                with level3.restored() as cluster:
                    guests = {level3.STORAGE: cluster.storage, **cluster.nodes}
                    console.attach(guests[given.node])


if __name__ == "__main__":
    main()
