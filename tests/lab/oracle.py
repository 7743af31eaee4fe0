#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The judge of a fence: did anything of the victim reach the disk after the fence was called a success?

This file runs inside the guests (standard library only) and is imported by the tests.

* `write DISK NODE` runs on a node and appends records as fast as the disk takes them, by O_DIRECT: each to the node's
  own region and to a region that both nodes share. It tells nobody; only the disk counts. It ends at the first error.
  With --again it tries the same record again until it is ended by SIGTERM, and takes it that no records are there yet.
* `fence DISK VICTIM -- COMMAND…` runs on the survivor. It runs the command, and in the moment in which it succeeds
  reads from the same disk, or from the file behind it, how far the victim has come: the mark. With --written it waits
  for the victim's first record before.
* `check DISK VICTIM MARK` runs on the storage side. Any record of the victim beyond the mark landed after the success.

Why this is sound: records are numbered by one writer in the order of its writes, each sent after the one before was
acknowledged, so one number says how far the victim came. The target serves the mark's read after it has served
whatever landed before. So nothing that landed before the success can be counted against the agent. What landed
between the command's exit and the read, one or two milliseconds, goes unnoticed: a victim that can still write has
hundreds of writes to make after that.

The last 48 MiB of the disk are the oracle's; the volume group ends before.
"""

import argparse
import contextlib
import errno
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

RECORD_BYTES = 512  # one sector: the target cannot tear it
REGION_BYTES = 16 << 20
SLOTS = REGION_BYTES // RECORD_BYTES
SHARED, REGIONS = 2, 3  # regions 0 and 1 belong to the nodes
_RECORD = struct.Struct(">16s16sQd")  # magic, node, sequence, time
_MAGIC = b"halvm-oracle-1\0\0"


def pack(node: str, sequence: int, time_s: float) -> bytes:
    """One record."""
    return _RECORD.pack(_MAGIC, node.encode(), sequence, time_s).ljust(RECORD_BYTES, b"\0")


def unpack(sector: bytes) -> tuple[str, int, float] | None:
    """Node, sequence and the writer's time; None for a sector that holds no record."""
    magic, node, sequence, time_s = _RECORD.unpack_from(sector)
    return (node.rstrip(b"\0").decode(), sequence, time_s) if magic == _MAGIC else None


def _region_of(node: str) -> int:
    return int(node[-1]) - 1


def _start(disk: int) -> int:
    return os.lseek(disk, 0, os.SEEK_END) - REGIONS * REGION_BYTES


def _offset(disk: int, region: int, sequence: int) -> int:
    return _start(disk) + region * REGION_BYTES + sequence % SLOTS * RECORD_BYTES


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file on tmpfs: the storage side's backing file
            raise
        return os.open(path, flags)


def records(path: str, region: int) -> Iterator[tuple[str, int, float]]:
    """Every record in a region."""
    disk = _open(path, os.O_RDONLY)
    try:
        buffer = mmap.mmap(-1, 1 << 20)
        begin = _start(disk) + region * REGION_BYTES
        for part in range(begin, begin + REGION_BYTES, len(buffer)):
            if _is_hole(disk, part, len(buffer)):
                continue
            if os.preadv(disk, [buffer], part) != len(buffer):
                raise OSError(errno.EIO, "short read", path)
            if buffer.find(_MAGIC) < 0:
                continue
            for place in range(0, len(buffer), RECORD_BYTES):
                record = unpack(buffer[place : place + RECORD_BYTES])
                if record:
                    yield record
    finally:
        os.close(disk)


def _is_hole(disk: int, begin: int, length: int) -> bool:
    """Whether a file holds nothing there. Never of a block device, which cannot tell."""
    try:
        return os.lseek(disk, begin, os.SEEK_DATA) >= begin + length
    except OSError as error:
        return error.errno == errno.ENXIO


def latest(path: str, node: str) -> int:
    """The highest sequence of a node's record anywhere, 0 if there is none."""
    own = [sequence for writer, sequence, _ in records(path, _region_of(node)) if writer == node]
    shared = [sequence for writer, sequence, _ in records(path, SHARED) if writer == node]
    return max([0, *own, *shared])


def advance(disk: int, node: str, known: int) -> int:
    """The victim's newest record at or after one already known: a few sectors instead of whole regions."""
    buffer = mmap.mmap(-1, RECORD_BYTES)
    while True:
        os.preadv(disk, [buffer], _offset(disk, _region_of(node), known + 1))
        record = unpack(buffer[:])
        if record is None or record[1] <= known:
            return known
        known = record[1]


def write(path: str, node: str, again: bool = False) -> int:
    """Appends until an error, whose errno it returns; with `again` until SIGTERM, from the first record on."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sequence = 0 if again else latest(path, node)
    disk = _open(path, os.O_WRONLY)
    buffer = mmap.mmap(-1, RECORD_BYTES)
    try:
        while True:
            sequence += 1
            buffer[:] = pack(node, sequence, time.time())
            for region in (_region_of(node), SHARED):
                while not _written(disk, buffer, _offset(disk, region, sequence), again):
                    time.sleep(0.05)
    except OSError as error:
        print(json.dumps({"sequence": sequence, "errno": errno.errorcode.get(error.errno or 0), "time": time.time()}))
        return error.errno or errno.EIO


def _written(disk: int, record: mmap.mmap, offset: int, again: bool) -> bool:
    """False after an error, if it is to be tried again."""
    try:
        os.pwritev(disk, [record], offset)
    except OSError:
        if not again:
            raise
        return False
    return True


def fence(path: str, victim: str, command: list[str], written: bool = False) -> dict[str, object]:
    """Runs the command and, where it succeeds, takes the mark at once. written: not before the victim has written."""
    disk = _open(path, os.O_RDONLY)
    while not (known := latest(path, victim)) and written:
        time.sleep(0.05)
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while process.poll() is None:  # follow the victim, so that little is left to read at the end
        with contextlib.suppress(OSError):  # our own path is one of the faults that a test sets
            known = advance(disk, victim, known)
        time.sleep(0.02)
    mark = advance(disk, victim, known) if process.returncode == 0 else None
    duration = time.monotonic() - started
    output = process.stdout.read() if process.stdout else ""
    return {"rc": process.returncode, "mark": mark, "seconds": round(duration, 3), "output": output}


def check(path: str, victim: str, mark: int) -> dict[str, object]:
    """What of the victim landed after the mark."""
    newest = latest(path, victim)
    return {"latest": newest, "violations": max(0, newest - mark)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    for action, arguments in {
        "write": ["node"],
        "latest": ["node"],
        "fence": ["victim"],
        "check": ["victim", "mark"],
    }.items():
        sub = actions.add_parser(action)
        sub.add_argument("disk")
        for argument in arguments:
            sub.add_argument(argument)
        if action == "write":
            sub.add_argument("--again", action="store_true")
        if action == "fence":
            sub.add_argument("--written", action="store_true")
            sub.add_argument("command", nargs="+")
    given = parser.parse_args()
    match given.action:
        case "write":
            return write(given.disk, given.node, given.again)
        case "latest":
            print(latest(given.disk, given.node))
        case "fence":
            outcome = fence(given.disk, given.victim, given.command, given.written)
            print(json.dumps(outcome))
        case "check":
            print(json.dumps(check(given.disk, given.victim, int(given.mark))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
