"""`python -m tests.lab prepare | shell NODE | clean`: what the make targets of lab.mk run."""

import argparse
import shutil
import time

from . import console, level2, level3
from .images import build
from .places import LAB


def prepare() -> None:
    """Builds whatever is missing: images, then snapshots."""
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {what}", flush=True)

    build()
    say("images")
    for shape in level2.DEFAULT_SHAPES:
        level2.make_snapshot(shape)
        say(shape.name)
    level3.make_snapshot()
    say("level3")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("prepare")
    actions.add_parser("clean")
    shell = actions.add_parser("shell")
    shell.add_argument("node", choices=[*level3.NODES, level3.STORAGE, "level2"])
    given = parser.parse_args()
    match given.action:
        case "prepare":
            prepare()
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
