"""Taking the key off at an orderly stop, on a real target: behind the lock, and never as if a fence had not been."""

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.cli import watchdogd_jobs
from fencer.cli.luns import open_luns
from fencer.errors import StorageError
from fencer.model import Deadline, ReservationKey, ReservationType
from fencer.request import StorageSettings
from fencer.storage.marker import Marker, read_marker
from fencer.storage.unfencing import LOCK_NAME, unfence
from fencer.watchdog.messages import Unregister
from fencer.watchdog.settings import ObserverSettings
from tests.agent_storage.nodes import Witness
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]
OWN, OTHER = ReservationKey(0xA1), ReservationKey(0xA2)


@pytest.fixture
def target() -> Iterator[Target]:
    with Target(luns=2) as target:
        yield target


class Node:
    """Registered by sessions that stay, as a node's kernel has them: tgtd's registrations belong to the session."""

    def __init__(self, storage: StorageSettings) -> None:
        deadline = Deadline.after(10)
        self._opened = open_luns(storage, deadline)
        self._order = Unregister(ObserverSettings(storage))
        unfence(self._opened, storage, OWN, lambda *_: None, deadline)

    def unregister(self) -> None:
        watchdogd_jobs.unregister(self._order, lambda _settings, _deadline: self._opened)


@pytest.fixture
def node(target: Target, tmp_path: Path) -> Node:
    storage = StorageSettings(
        tuple(target.urls), None, OWN, None, initiator="iqn.2026-11.test.fence-halvm:one", state_dir=str(tmp_path)
    )
    node = Node(storage)
    assert keys(target) == {OWN}
    return node


def keys(target: Target) -> set[ReservationKey]:
    found: set[ReservationKey] = set()
    for url in target.urls:
        witness = Witness(url)
        found |= set(witness.keys().keys)
        witness.close()
    return found


def test_the_key_is_gone_and_the_marker_says_that_it_was_us(target: Target, node: Node, tmp_path: Path) -> None:
    node.unregister()
    assert keys(target) == set()
    assert read_marker(str(tmp_path)) == Marker(OWN, ())


def test_it_waits_for_whoever_registers(target: Target, node: Node, tmp_path: Path) -> None:
    held = os.open(tmp_path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    thread = threading.Thread(target=node.unregister)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    assert keys(target) == {OWN}
    os.close(held)
    thread.join(20.0)
    assert not thread.is_alive()
    assert keys(target) == set()


def test_a_key_that_another_node_took_is_no_orderly_stop(target: Target, node: Node, tmp_path: Path) -> None:
    before = read_marker(str(tmp_path))
    for url in target.urls:
        other = Witness(url, "other", OTHER)
        other.nexus.preempt(OTHER, OWN, ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY, Deadline.after(5))
        other.close()
    assert OWN not in keys(target)
    with pytest.raises(StorageError, match="was gone already"):
        node.unregister()
    assert read_marker(str(tmp_path)) == before
