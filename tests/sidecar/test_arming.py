# SPDX-License-Identifier: Apache-2.0
"""The sidecar as processes while there is no watchdog to arm, or no storage. See tests/sidecar/sidecar.py."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fencer.sidecar.sd_notify import READY_VARIABLE
from fencer.state.snapshot import PolicyState
from tests.sidecar.running import PATIENCE_S, Sidecar, wait_for


def starting_for(rig: Sidecar, text: str) -> bool:
    snapshot = rig.snapshot()
    return (
        snapshot is not None and snapshot.state is PolicyState.STARTING and any(text in why for why in snapshot.reasons)
    )


def test_a_watchdog_that_comes_late_is_waited_for(sidecar: Sidecar) -> None:
    (sidecar.directory / "no-watchdog").touch()
    sidecar.start()
    wait_for(lambda: starting_for(sidecar, "nothing is armed: /dev/watchdog9: there is no such watchdog"), "not said")
    assert sidecar.acts() == [] and not sidecar.snapshot().watchdog.armed  # type: ignore[union-attr]
    (sidecar.directory / "no-watchdog").unlink()
    sidecar.until_fed()
    assert sidecar.until(PolicyState.KEEPALIVE).watchdog.armed


def test_storage_that_is_lost_while_nothing_is_armed_is_looked_for_anew(sidecar: Sidecar) -> None:
    sidecar.grace(2)
    (sidecar.directory / "no-watchdog").touch()
    process = sidecar.start()
    wait_for(lambda: starting_for(sidecar, "nothing is armed"), "it never looked")
    sidecar.scene("lost")
    assert process.wait(PATIENCE_S) == 75
    assert "nothing is armed: begins anew" in sidecar.acts()[-1] and "reset" not in sidecar.acts()


def test_a_preemption_while_nothing_is_armed_is_final(sidecar: Sidecar) -> None:
    (sidecar.directory / "no-watchdog").touch()
    process = sidecar.start()
    wait_for(lambda: starting_for(sidecar, "nothing is armed"), "it never looked")
    sidecar.scene("preempted")
    assert process.wait(PATIENCE_S) == 3


def test_a_device_that_only_a_new_process_may_open_ends_it_for_a_restart(sidecar: Sidecar) -> None:
    assert sidecar.start("closed").wait(PATIENCE_S) == 75
    assert "its driver came after this service" in sidecar.acts()[-1]


@contextmanager
def manager_of(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(PATIENCE_S)
        yield manager


def told_until(manager: socket.socket, word: bytes) -> list[bytes]:
    told = [manager.recv(4096)]
    while word not in told[-1]:
        told.append(manager.recv(4096))
    return told


def test_what_waits_for_the_unit_does_not_wait_for_storage(sidecar: Sidecar, tmp_path: Path) -> None:
    with manager_of(tmp_path / "notify") as manager:
        sidecar.scene("lost")
        sidecar.start(notify=str(tmp_path / "notify"))
        told_until(manager, b"READY=1")
        assert sidecar.acts() == []  # ready, and nothing is armed
        sidecar.scene("registered")
        sidecar.until_fed()
        sidecar.processes[-1].send_signal(signal.SIGTERM)
        assert not any(b"READY=1" in told for told in told_until(manager, b"STOPPING=1"))  # it was said once


def test_with_the_drop_in_only_what_is_armed_is_ready(
    sidecar: Sidecar,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(READY_VARIABLE, "armed")
    with manager_of(tmp_path / "notify") as manager:
        sidecar.scene("lost")
        sidecar.start(notify=str(tmp_path / "notify"))
        manager.settimeout(2.0)  # four times as long as readiness would take without it
        with pytest.raises(TimeoutError):
            told_until(manager, b"READY=1")
        manager.settimeout(PATIENCE_S)
        sidecar.scene("registered")
        told_until(manager, b"READY=1")
        assert sidecar.acts("arm")
