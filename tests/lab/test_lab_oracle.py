# SPDX-License-Identifier: Apache-2.0
"""The oracle condemns a fence that does not hold, and clears one that does."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import oracle
from .level2 import NODES, Level2Guest

A, B = NODES
ORACLE = "python3 /run/lab/oracle.py"


@pytest.fixture
def writer(guest: Level2Guest) -> Iterator[None]:
    """Node B writes; both nodes are registered, A holds the reservation."""
    guest.forget_reservations()
    guest.put("/run/lab/oracle.py", Path(oracle.__file__).read_text())
    a, b = guest.sd(A, 0), guest.sd(B, 0)
    register = f"sg_persist -n -o -I -S 0xa1 {a} && sg_persist -n -o -I -S 0xb1 {b}"
    guest.run(f"{register} && sg_persist -n -o -R -T 5 -K 0xa1 {a}", check=True)
    started = f"{ORACLE} write {b} {B} </dev/null >/run/lab/writer 2>&1 & echo $!"
    pid = guest.run(started, check=True).out.strip()
    while int(guest.run(f"{ORACLE} latest {guest.backing(0)} {B}", check=True).out) == 0:
        time.sleep(0.1)
    yield
    guest.run(f"kill {pid}")


def _judge(guest: Level2Guest, command: str) -> tuple[dict[str, object], dict[str, object]]:
    fenced = json.loads(guest.run(f"{ORACLE} fence {guest.sd(A, 0)} {B} -- {command}", check=True).out)
    time.sleep(1)
    judged = json.loads(guest.run(f"{ORACLE} check {guest.backing(0)} {B} {fenced['mark']}", check=True).out)
    return fenced, judged


@pytest.mark.usefixtures("writer")
def test_a_success_that_stops_no_node_is_found_out(guest: Level2Guest) -> None:
    fenced, judged = _judge(guest, "true")
    assert fenced["rc"] == 0
    assert isinstance(judged["violations"], int)
    assert judged["violations"] > 10


@pytest.mark.usefixtures("writer")
def test_a_fence_that_holds_is_cleared(guest: Level2Guest) -> None:
    fenced, judged = _judge(guest, f"sg_persist -n -o -A -T 5 -K 0xa1 -S 0xb1 {guest.sd(A, 0)}")
    assert fenced["rc"] == 0
    assert judged["violations"] == 0
    ended = json.loads(guest.run("cat /run/lab/writer", check=True).out)
    assert ended["errno"] == "EBADE"


def test_records_survive_the_round_trip() -> None:
    assert oracle.unpack(oracle.pack(B, 7, 1.5)) == (B, 7, 1.5)
    assert oracle.unpack(bytes(oracle.RECORD_BYTES)) is None
    assert len(oracle.pack(B, 7, 1.5)) == oracle.RECORD_BYTES
