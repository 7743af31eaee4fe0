#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Numbered records on the cluster's file system, and who acknowledged which.

`records.py write FILE ADDRESS PORT` runs on the node that has it mounted: it appends a record, fsyncs, and only then
acknowledges it to the address by UDP. `records.py listen ADDRESS PORT FILE` keeps what was acknowledged. So a record
that is in the listener's file and not in the cluster's is a loss. Standard library only: it runs in a guest.
"""

import os
import socket
import sys
import time
from pathlib import Path

INTERVAL_S = 0.05


def last(text: str) -> int:
    """The number of the last whole record."""
    lines = text.splitlines()
    return int(lines[-1].split()[0]) if lines else 0


def write(file: str, address: str, port: int) -> None:
    """For ever; ends by the error of the file system."""
    node, channel = os.uname().nodename, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    records = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    number = last(Path(file).read_text())
    while True:
        number += 1
        record = f"{number} {node}\n".encode()
        os.write(records, record)
        os.fsync(records)
        channel.sendto(record, (address, port))
        time.sleep(INTERVAL_S)


def listen(address: str, port: int, file: str) -> None:
    """For ever. Each line: the time, the record."""
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((address, port))
    with Path(file).open("a", buffering=1) as kept:
        while True:
            record = channel.recv(100).decode()
            kept.write(f"{time.time():.3f} {record}")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    listen(sys.argv[2], int(sys.argv[3]), sys.argv[4])
